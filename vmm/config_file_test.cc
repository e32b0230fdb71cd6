#include "vmm/config_file.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <map>
#include <string>
#include <vector>

namespace minivmm {
namespace {

Result<CommandLine> ParseWith(const std::map<std::string, std::string>& files,
                              std::initializer_list<const char*> arguments) {
  std::vector<const char*> all(arguments);
  return ParseCommandLine(all, [&](const std::string& path) -> Result<std::string> {
    auto found = files.find(path);
    if (found == files.end()) return Fail("cannot open '{}': No such file or directory", path);
    return found->second;
  });
}

CommandLine Configured(const std::string& json,
                       std::initializer_list<const char*> arguments = {"--config", "c"}) {
  Result<CommandLine> line = ParseWith({{"c", json}}, arguments);
  if (!line) FAIL(line.error().message);
  return *line;
}

std::string Refused(const std::string& json) {
  Result<CommandLine> line = ParseWith({{"c", json}}, {"--config", "c"});
  REQUIRE_FALSE(line);
  return line.error().message;
}

TEST_CASE("a file describes the whole machine: text, numbers, switches, objects, arrays") {
  CommandLine line = Configured(R"({
      "kernel": "vmlinux", "append": "console=ttyS0", "memory": 300, "smp": 2, "no-reboot": true,
      "S": false, "serial": "none", "nodefaults": true, "cpu": "host",
      "blockdev": [{"driver": "raw", "node-name": "d0", "file": {"driver": "null-co"}},
                   "driver=null-co,node-name=d1"],
      "drive": {"file": "a,b", "if": "virtio", "readonly": true},
      "device": [{"driver": "virtio-blk-pci", "drive": "d0", "num-queues": 3, "packed": true},
                 "pvpanic"],
      "qmp": "unix:/run/qmp,server=on,wait=off"})");
  CHECK(line.kernel == "vmlinux");
  CHECK(line.command_line == "console=ttyS0");
  CHECK(line.memory_bytes == 300_MiB);
  CHECK(line.cpu_count == 2);
  CHECK(line.no_reboot);
  CHECK_FALSE(line.start_paused);
  CHECK(line.serial.kind == SerialOutput::Kind::kNone);
  CHECK(line.blockdevs.size() == 2);
  REQUIRE(line.drives.size() == 1);
  CHECK(line.drives[0].file == "a,b");
  REQUIRE(line.disks.size() == 2);
  CHECK(line.disks[0].options.num_queues == 3);
  CHECK(line.disks[0].options.packed);
  CHECK(line.pvpanic);
  CHECK(line.qmp.size() == 1);
}

TEST_CASE("what stands behind --config counts more, and lists grow") {
  CommandLine line =
      Configured(R"({"kernel": "a", "smp": 2, "device": "pvpanic"})",
                 {"--smp", "3", "--config", "c", "--kernel", "b", "--device", "isa-debug-exit"});
  CHECK(line.kernel == "b");
  CHECK(line.cpu_count == 2);
  CHECK(line.pvpanic);
  CHECK(line.debug_exit.has_value());
}

TEST_CASE("wrong files are refused with their name and the option's") {
  CHECK(ParseWith({}, {"--config", "c"}).error().message ==
        "--config c: cannot open 'c': No such file or directory");
  CHECK(Refused("").starts_with("--config c: it is not valid JSON: "));
  CHECK(Refused("{\"kernel\": \"a\"} x").starts_with("--config c: it is not valid JSON: "));
  CHECK(Refused("[]") == "--config c: it must be a JSON object with the names of options");
  CHECK(Refused(R"({"kernal": "a"})") ==
        "--config c: unknown option 'kernal'; did you mean 'kernel'? (--help shows all)");
  CHECK(Refused(R"({"kernel": null})") ==
        "--config c: 'kernel' must be text, an integer, true, false, an object, or an array of "
        "these");
  CHECK(Refused(R"({"smp": 1.5})").starts_with("--config c: 'smp' must be text"));
  CHECK(Refused(R"({"device": [["pvpanic"]]})").starts_with("--config c: 'device' must be text"));
  CHECK(Refused(R"({"kernel": ["a", "b"]})") == "--config c: 'kernel' can have one value only");
  CHECK(Refused(R"({"kernel": true})") == "--config c: option kernel needs a value");
  CHECK(Refused(R"({"no-reboot": "yes"})") == "--config c: option no-reboot takes no value");
  CHECK(Refused(R"({"smp": 99})") == "--config c: --smp: '99' is not a number from 1 to 16");
  CHECK(Refused(R"({"config": "c"})") == "--config c: it cannot name another configuration, 'c'");
  CHECK(Refused(R"({"machine": "q35"})").starts_with("--config c: QEMU's option machine is not"));
  CHECK(Refused(R"({"drive": {"if": "virtio", "file": "a", "group": "g"}})")
            .starts_with("--config c: --drive: group is not there"));
}

TEST_CASE("a key given twice in one object is refused, not dropped") {
  CHECK(Refused(R"({"kernel": "k", "drive": {"file": "a"}, "drive": {"file": "b"}})") ==
        "--config c: 'drive' is given twice: give it once, with an array for several values");
  CHECK(Refused(R"({"kernel": "k", "smp": 1, "sm\u0070": 2})")
            .starts_with("--config c: 'smp' is given twice"));
  CHECK(Refused(R"({"kernel": "k", "drive": {"file": "a", "file": "b"}})") ==
        "--config c: 'file' is given twice in one object: give it once");
  CHECK(Refused(R"({"kernel": "k", "blockdev": [{"driver": "raw", "node-name": "n",
                    "file": {"driver": "null-co", "driver": "file"}}]})") ==
        "--config c: 'driver' is given twice in one object: give it once");
  CHECK(Configured(R"({"kernel": "k", "drive": [{"file": "a", "if": "virtio"},
                                                {"file": "b", "if": "virtio"}]})")
            .drives.size() == 2);
}

TEST_CASE("both names of an option are one option") {
  CHECK(Refused(R"({"kernel": "k", "m": 1, "memory": 2})") ==
        "--config c: 'm' or 'memory' can have one value only");
}

TEST_CASE("false leaves out an option that exists and has no value") {
  CHECK_FALSE(Configured(R"({"kernel": "k", "S": false, "usb": false})").start_paused);
  CHECK(Refused(R"({"kernel": "k", "nosuch": false})")
            .starts_with("--config c: unknown option 'nosuch'"));
  CHECK(Refused(R"({"kernel": "k", "sandbox": false})") ==
        "--config c: option sandbox needs a value");
}

TEST_CASE("the printed machine, read again, is the same machine") {
  CommandLine line = Configured(
      "{}", {"--kernel",   "a \"b\"",
             "--initrd",   "i",
             "--append",   "x=\"1 2\" \\",
             "-m",         "3G",
             "--smp",      "4",
             "--blockdev", "driver=raw,node-name=d0,file.driver=file,file.filename=a,,b,",
             "--blockdev", R"({"node-name": "d1", "driver": "null-co", "size": 1048576})",
             "--drive",    "file=/dev/nullb0,if=virtio,cache=directsync,aio=io_uring,werror=stop",
             "--drive",    "file=z,format=zoned,if=none,id=z,node-name=n,cache=writethrough",
             "--device",   "virtio-blk-pci,drive=z,bootindex=1,write-cache=on,rerror=stop",
             "--device",   "virtio-blk-pci,drive=d0,bootindex=0,addr=1f,serial=7,num-queues=2",
             "--device",   "isa-debug-exit,iobase=0xf4,iosize=4",
             "--device",   "pvpanic",
             "--serial",   "file:log",
             "--qmp",      "unix:/run/a,,b,server,nowait",
             "--qmp",      "stdio",
             "-S",         "--no-reboot",
             "--sandbox",  "off",
             "--dry-run",  "--print",
             "json"});
  std::string printed = RenderConfig(line);
  CAPTURE(printed);
  CommandLine again = Configured(printed);
  CHECK(RenderConfig(again) == printed);

  CHECK(again.action == CommandLine::Action::kRun);
  CHECK(again.kernel == line.kernel);
  CHECK(again.initrd == line.initrd);
  CHECK(again.command_line == line.command_line);
  CHECK(again.memory_bytes == line.memory_bytes);
  CHECK(again.cpu_count == line.cpu_count);
  CHECK_FALSE(again.sandbox);
  REQUIRE(again.blockdevs.size() == line.blockdevs.size());
  for (size_t i = 0; i < line.blockdevs.size(); ++i) {
    CHECK(again.blockdevs[i].options.KeysAndValues() == line.blockdevs[i].options.KeysAndValues());
  }
  REQUIRE(again.drives.size() == line.drives.size());
  for (size_t i = 0; i < line.drives.size(); ++i) {
    CHECK(again.drives[i].id == line.drives[i].id);
    CHECK(again.drives[i].node_name == line.drives[i].node_name);
    CHECK(again.drives[i].file == line.drives[i].file);
    CHECK(again.drives[i].format == line.drives[i].format);
    CHECK(again.drives[i].keys == line.drives[i].keys);
    CHECK(again.drives[i].write_cache == line.drives[i].write_cache);
    CHECK(again.drives[i].errors == line.drives[i].errors);
  }
  REQUIRE(again.disks.size() == line.disks.size());
  for (size_t i = 0; i < line.disks.size(); ++i) {
    CHECK(again.disks[i].id == line.disks[i].id);
    CHECK(again.disks[i].drive == line.disks[i].drive);
    CHECK(again.disks[i].slot == line.disks[i].slot);
    CHECK(again.disks[i].bootindex == line.disks[i].bootindex);
    CHECK(again.disks[i].options.serial == line.disks[i].options.serial);
    CHECK(again.disks[i].options.num_queues == line.disks[i].options.num_queues);
    CHECK(again.disks[i].errors == line.disks[i].errors);
    CHECK(again.disks[i].options.write_cache == line.disks[i].options.write_cache);
  }
  CHECK(again.debug_exit->iobase == 0xf4);
  CHECK(again.debug_exit->iosize == 4);
  CHECK(again.pvpanic);
  CHECK(again.serial.path == "log");
  REQUIRE(again.qmp.size() == 2);
  CHECK(again.qmp[0].path == "/run/a,b");
  CHECK_FALSE(again.qmp[0].wait);
  CHECK(again.qmp[1].stdio);
  CHECK(again.no_reboot);
  CHECK(again.start_paused);
}

TEST_CASE("names that are no UTF-8 are printed as they are, and read back") {
  CommandLine line = Configured("{}", {"--kernel", "k\x80", "--drive", "file=d\x80,if=virtio",
                                       "--device", "virtio-blk-pci,drive=b\x80"});
  const std::string printed = RenderConfig(line);
  CHECK(printed.find("\"k\x80\"") != std::string::npos);
  CHECK(printed.find("\"d\x80\"") != std::string::npos);
  CHECK(printed.find("\"b\x80\"") != std::string::npos);
  CHECK(RenderConfig(Configured(printed)) == printed);
}

}  // namespace
}  // namespace minivmm
