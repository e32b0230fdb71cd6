#include "vmm/drive_option.h"

#include <doctest/doctest.h>

#include <string>

namespace minivmm {
namespace {

DriveOption Accepted(std::string_view text) {
  Result<DriveOption> drive = ParseDrive(text);
  if (!drive) FAIL(drive.error().message);
  return *drive;
}

std::string Refused(std::string_view text) {
  Result<DriveOption> drive = ParseDrive(text);
  REQUIRE_FALSE(drive);
  return drive.error().message;
}

std::string Key(const DriveOption& drive, std::string_view key) {
  for (const auto& [name, value] : drive.keys) {
    if (name == key) return value;
  }
  return "absent";
}

TEST_CASE("the line of QEMU's documentation, with its last comma") {
  for (const char* text :
       {"driver=host_device,file=/dev/nullb0,if=virtio,",
        "file=/dev/nullb0,driver=host_device,if=virtio", "/dev/nullb0,format=host_device,if=virtio",
        R"({"driver": "host_device", "file": "/dev/nullb0", "if": "virtio"})"}) {
    DriveOption drive = Accepted(text);
    CHECK(drive.makes_device);
    CHECK(drive.file == "/dev/nullb0");
    CHECK(drive.format == "host_device");
    CHECK(drive.keys.empty());
    CHECK(drive.write_cache);
  }
}

TEST_CASE("cache modes are QEMU's") {
  struct Mode {
    const char* name;
    const char* direct;
    const char* no_flush;
    bool write_cache;
  };
  for (const Mode& mode :
       {Mode{"writeback", "off", "off", true}, Mode{"none", "on", "off", true},
        Mode{"off", "on", "off", true}, Mode{"writethrough", "off", "off", false},
        Mode{"directsync", "on", "off", false}, Mode{"unsafe", "off", "on", true}}) {
    INFO(std::string(mode.name));
    DriveOption drive = Accepted(fmt::format("file=a,if=none,cache={}", mode.name));
    CHECK(Key(drive, "cache.direct") == mode.direct);
    CHECK(Key(drive, "cache.no-flush") == mode.no_flush);
    CHECK(drive.write_cache == mode.write_cache);
  }
  CHECK(
      Refused("file=a,if=none,cache=fast") ==
      "--drive: cache=fast is not known: say none, writeback, writethrough, directsync or unsafe");
}

TEST_CASE("the parts of a cache mode may be given one by one, instead of the mode") {
  DriveOption drive = Accepted("file=a,if=none,cache.direct=on,cache.writeback=off");
  CHECK(Key(drive, "cache.direct") == "on");
  CHECK(Key(drive, "cache.writeback") == "absent");
  CHECK_FALSE(drive.write_cache);
  CHECK(Refused("file=a,if=none,cache=none,cache.direct=off").find("exclude each other") !=
        std::string::npos);
  CHECK(Refused("file=a,if=none,cache.writeback=x").find("cache.writeback: 'x'") !=
        std::string::npos);
}

TEST_CASE("what becomes of errors is said with QEMU's words, and is report if nothing is said") {
  CHECK(Accepted("file=a,if=none").errors == ErrorPolicy());
  CHECK(ErrorPolicy().writes == OnError::kReport);
  for (auto [word, on_error] :
       {std::pair{"report", OnError::kReport}, std::pair{"ignore", OnError::kIgnore},
        std::pair{"stop", OnError::kStop}, std::pair{"enospc", OnError::kEnospc}}) {
    INFO(std::string(word));
    DriveOption drive = Accepted(fmt::format("file=a,if=virtio,werror={}", word));
    CHECK(drive.errors == ErrorPolicy{.writes = on_error});
    CHECK(drive.keys.empty());
    if (on_error == OnError::kEnospc) continue;
    CHECK(Accepted(fmt::format("file=a,if=virtio,rerror={}", word)).errors ==
          ErrorPolicy{.reads = on_error});
  }
  CHECK(Refused("file=a,if=virtio,rerror=enospc") ==
        "--drive: rerror: a read needs no space: say report, ignore or stop");
  CHECK(Refused("file=a,if=virtio,werror=halt") ==
        "--drive: werror: 'halt' is not known: say report, ignore, enospc or stop");
  CHECK(Refused("file=a,if=virtio,rerror=halt") ==
        "--drive: rerror: 'halt' is not known: say report, ignore or stop");
}

TEST_CASE("keys that are not a drive's own go to the node, under the node's names") {
  DriveOption drive = Accepted(
      "if=none,id=d,driver=raw,file.driver=file,file.filename=a,,b,readonly=on,discard=on,"
      "offset=1M,media=disk");
  CHECK(drive.file.empty());
  CHECK(Key(drive, "file.filename") == "a,b");
  CHECK(Key(drive, "read-only") == "on");
  CHECK(Key(drive, "discard") == "unmap");
  CHECK(Key(drive, "offset") == "1M");
  CHECK(Key(drive, "media") == "absent");
  CHECK(Key(Accepted("file=a,if=none,discard=off"), "discard") == "ignore");
}

TEST_CASE("what is missing or contradicts itself is named") {
  CHECK(Refused("file=a").find("add if=virtio") != std::string::npos);
  CHECK(Refused("file=a,if=ide").find("if=ide is not there") != std::string::npos);
  CHECK(Refused("if=virtio").find("no file: add file=PATH") != std::string::npos);
  for (std::string_view key : {"id.5", "node-name.x", "media.x", "werror.x", "readonly.x"}) {
    CHECK(Refused(fmt::format("file=a,if=none,{}=b", key)) ==
          fmt::format("--drive: unknown key '{}'", key));
  }
  CHECK(Refused("file=a,if=none,format=raw,driver.x=b") == "--drive: unknown key 'driver.x'");
  CHECK(Refused("fil=a,if=virtio").find("unknown key 'fil'; did you mean 'file'?") !=
        std::string::npos);
  CHECK(Refused("file=a,if=none,driver=raw,format=raw").find("are the same") != std::string::npos);
  CHECK(Refused("file=a,if=none,file.driver=file").find("exclude each other") != std::string::npos);
  CHECK(Refused("file=a,if=none,filename=b").find("exclude each other") != std::string::npos);
  CHECK(Refused("file=a,if=none,index=1").find("index goes with if=virtio") != std::string::npos);
  CHECK(Refused("file=a,if=virtio,index=x").find("--drive: index: 'x'") != std::string::npos);
  CHECK(Refused("file=a,if=virtio,media=cdrom").find("media=cdrom") != std::string::npos);
  CHECK(Refused("file=a,file=b,if=virtio").find("given twice") != std::string::npos);
  CHECK(Refused("").find("empty") != std::string::npos);
}

TEST_CASE("keys of QEMU's that mean nothing here are refused by name, with the reason") {
  for (const char* key :
       {"detect-zeroes", "throttling.iops-total", "bps", "iops_max", "group", "copy-on-read",
        "snapshot", "serial", "addr", "bus", "unit", "cyls", "locking", "backing.driver"}) {
    INFO(std::string(key));
    std::string message = Refused(fmt::format("file=a,if=virtio,{}=1", key));
    CHECK(message.starts_with(fmt::format("--drive: {} is not there: ", key)));
  }
}

TEST_CASE("as JSON a drive says all that it is, but for its device") {
  DriveOption drive = Accepted(
      "file=a,if=virtio,cache=writethrough,format=raw,read-only=on,werror=enospc,rerror=stop");
  drive.id = drive.node_name = "virtio0";
  std::string json = DriveToJson(drive);
  DriveOption again = Accepted(json);
  again.node_name = again.id;
  CHECK_FALSE(again.makes_device);
  CHECK(again.id == "virtio0");
  CHECK(again.file == "a");
  CHECK(again.format == "raw");
  CHECK_FALSE(again.write_cache);
  CHECK(again.errors == ErrorPolicy{.reads = OnError::kStop, .writes = OnError::kEnospc});
  CHECK(again.keys == drive.keys);
  CHECK(DriveToJson(again) == json);
}

}  // namespace
}  // namespace minivmm
