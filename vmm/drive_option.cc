#include "vmm/drive_option.h"

#include <algorithm>
#include <boost/json.hpp>
#include <iterator>
#include <vector>

#include "blockcore/options.h"

namespace minivmm {
namespace {

constexpr std::string_view kWhere = "--drive";

struct CacheMode {
  std::string_view name;
  bool direct;
  bool no_flush;
  bool write_cache;
};

constexpr CacheMode kCacheModes[] = {
    {"writeback", false, false, true},  {"none", true, false, true},
    {"off", true, false, true},         {"writethrough", false, false, false},
    {"directsync", true, false, false}, {"unsafe", false, true, true},
};

// Keys of QEMU's -drive that mean nothing here, or belong elsewhere. A name stands for the keys
// below it too: throttling.iops-total.
struct RefusedKey {
  std::string_view name;
  std::string_view why;
};

constexpr std::string_view kNoThrottling = "minivmm does not limit rates";
constexpr std::string_view kNoGeometry = "disks have no geometry of heads and cylinders";
constexpr std::string_view kNoBuses = "virtio disks have no bus or unit";

constexpr RefusedKey kRefusedKeys[] = {
    {"addr", "use if=none and --device virtio-blk-pci,drive=ID,addr=SLOT"},
    {"auto-read-only", "say read-only=on when the disk must not be written"},
    {"backing", "disks have no backing file"},
    {"boot", "the guest boots from --kernel"},
    {"bps", kNoThrottling},
    {"bps_max", kNoThrottling},
    {"bps_rd", kNoThrottling},
    {"bps_rd_max", kNoThrottling},
    {"bps_wr", kNoThrottling},
    {"bps_wr_max", kNoThrottling},
    {"bus", kNoBuses},
    {"copy-on-read", "disks have no backing file"},
    {"cyls", kNoGeometry},
    {"detect-zeroes", "what the guest writes is written"},
    {"force-share", "a disk has one writer; read-only=on lets readers share it"},
    {"group", kNoThrottling},
    {"heads", kNoGeometry},
    {"iops", kNoThrottling},
    {"iops_max", kNoThrottling},
    {"iops_rd", kNoThrottling},
    {"iops_rd_max", kNoThrottling},
    {"iops_size", kNoThrottling},
    {"iops_wr", kNoThrottling},
    {"iops_wr_max", kNoThrottling},
    {"locking", "files and devices are always locked"},
    {"secs", kNoGeometry},
    {"serial", "use if=none and --device virtio-blk-pci,drive=ID,serial=TEXT"},
    {"snapshot", "there are no snapshots: copy the file"},
    {"stats-account-failed", "all requests are counted"},
    {"stats-account-invalid", "all requests are counted"},
    {"stats-intervals", "latencies are always counted"},
    {"throttling", kNoThrottling},
    {"trans", kNoGeometry},
    {"unit", kNoBuses},
};

// The one who takes keys out of a description.
class DriveReading {
 public:
  explicit DriveReading(Description given) : given_(std::move(given)) {}

  // `key` outlives this.
  std::optional<std::string> Take(std::string_view key) {
    ours_.push_back(key);
    auto found = std::ranges::find(given_, key, &Description::value_type::first);
    if (found == given_.end()) return std::nullopt;
    std::string value = std::move(found->second);
    given_.erase(found);
    return value;
  }

  // Either spelling of a key, not both.
  Result<std::optional<std::string>> Take(std::string_view key, std::string_view other) {
    std::optional<std::string> value = Take(key);
    std::optional<std::string> second = Take(other);
    if (value && second) return Fail("{}: {} and {} are the same: give one", kWhere, key, other);
    return value ? value : second;
  }

  Result<void> CheckNoneRefused() const {
    for (const auto& [key, value] : given_) {
      auto refused = std::ranges::find(kRefusedKeys, FirstWord(key), &RefusedKey::name);
      if (refused != std::end(kRefusedKeys)) {
        return Fail("{}: {} is not there: {}", kWhere, key, refused->why);
      }
    }
    return {};
  }

  // The block driver's. None has keys below one that was asked for here, but for these two; printed
  // beside it, they would not be read back.
  Result<Description> TakeRest() {
    for (const auto& [key, value] : given_) {
      const std::string_view first_word = FirstWord(key);
      if (first_word == key || first_word == "file" || first_word == "cache") continue;
      if (std::ranges::find(ours_, first_word) != ours_.end()) {
        return Fail("{}: unknown key '{}'", kWhere, key);
      }
    }
    return std::move(given_);
  }

 private:
  static std::string_view FirstWord(std::string_view key) { return key.substr(0, key.find('.')); }

  Description given_;
  std::vector<std::string_view> ours_;  // that were asked for
};

Result<void> TakeInterface(DriveReading& given, DriveOption& drive) {
  std::optional<std::string> interface = given.Take("if");
  if (!interface) {
    return Fail(
        "{}: add if=virtio for a disk of the guest, or if=none for one that a --device uses",
        kWhere);
  }
  drive.makes_device = *interface == "virtio";
  if (!drive.makes_device && *interface != "none") {
    return Fail("{}: if={} is not there: minivmm has virtio disks only: say if=virtio or if=none",
                kWhere, *interface);
  }
  if (std::optional<std::string> index = given.Take("index")) {
    if (!drive.makes_device) return Fail("{}: index goes with if=virtio only", kWhere);
    TRY(drive.index, ParseInRange("--drive: index", *index, 0, 99));
  }
  std::optional<std::string> media = given.Take("media");
  if (media && *media != "disk") {
    return Fail("{}: media={} is not there: minivmm has disks only", kWhere, *media);
  }
  return {};
}

Result<void> TakeFile(DriveReading& given, DriveOption& drive) {
  drive.file = given.Take("file").value_or("");
  TRY(std::optional<std::string> format, given.Take("driver", "format"));
  drive.format = format.value_or("");
  return {};
}

Result<void> TakeCache(DriveReading& given, DriveOption& drive) {
  std::optional<std::string> mode_name = given.Take("cache");
  if (mode_name) {
    auto mode = std::ranges::find(kCacheModes, *mode_name, &CacheMode::name);
    if (mode == std::end(kCacheModes)) {
      return Fail(
          "{}: cache={} is not known: say none, writeback, writethrough, directsync or unsafe",
          kWhere, *mode_name);
    }
    drive.write_cache = mode->write_cache;
    drive.keys.emplace_back("cache.direct", mode->direct ? "on" : "off");
    drive.keys.emplace_back("cache.no-flush", mode->no_flush ? "on" : "off");
  }
  if (std::optional<std::string> writeback = given.Take("cache.writeback")) {
    TRY(drive.write_cache, ParseSwitch("--drive: cache.writeback", *writeback));
  }
  return {};
}

Result<void> TakeErrorPolicy(DriveReading& given, DriveOption& drive) {
  if (std::optional<std::string> reads = given.Take("rerror")) {
    TRY(drive.errors.reads, ParseOnError("--drive: rerror", *reads, ErrorsOf::kReads));
  }
  if (std::optional<std::string> writes = given.Take("werror")) {
    TRY(drive.errors.writes, ParseOnError("--drive: werror", *writes, ErrorsOf::kWrites));
  }
  return {};
}

// What the node takes by another name, or by another word.
Result<void> TakeTranslated(DriveReading& given, DriveOption& drive) {
  TRY(std::optional<std::string> read_only, given.Take("read-only", "readonly"));
  if (read_only) drive.keys.emplace_back("read-only", *read_only);
  if (std::optional<std::string> discard = given.Take("discard")) {
    if (*discard == "on") discard = "unmap";
    if (*discard == "off") discard = "ignore";
    drive.keys.emplace_back("discard", *discard);
  }
  return {};
}

Result<void> CheckFile(const DriveOption& drive) {
  if (drive.file.empty() && drive.format.empty()) {
    constexpr std::string_view kFileKeys[] = {"file", "driver", "format"};
    for (const auto& [key, value] : drive.keys) {
      if (!NearestWord(key, kFileKeys)) continue;
      return Fail("{}: unknown key '{}'{}", kWhere, key, SuggestionFor(key, kFileKeys));
    }
    return Fail("{}: no file: add file=PATH, or driver=NAME and the driver's keys", kWhere);
  }
  for (const auto& [key, value] : drive.keys) {
    if (drive.file.empty()) break;
    if (key == "filename") return Fail("{}: file and filename exclude each other", kWhere);
  }
  return {};
}

}  // namespace

Result<DriveOption> ParseDrive(std::string_view text) {
  Result<Description> description = ParseDescription(text, "file");
  if (!description) return Fail("{} {}: {}", kWhere, text, description.error().message);
  DriveReading given(std::move(*description));
  DriveOption drive;
  drive.text = text;
  TRY_VOID(given.CheckNoneRefused());
  drive.id = given.Take("id").value_or("");
  drive.node_name = given.Take("node-name").value_or("");
  TRY_VOID(TakeInterface(given, drive));
  TRY_VOID(TakeFile(given, drive));
  TRY_VOID(TakeCache(given, drive));
  TRY_VOID(TakeErrorPolicy(given, drive));
  TRY_VOID(TakeTranslated(given, drive));
  TRY(Description rest, given.TakeRest());
  std::ranges::move(rest, std::back_inserter(drive.keys));
  std::ranges::sort(drive.keys);
  TRY_VOID(CheckFile(drive));
  return drive;
}

std::string DriveToJson(const DriveOption& drive) {
  Description description = {{"if", "none"}, {"id", drive.id}};
  if (drive.node_name != drive.id) description.emplace_back("node-name", drive.node_name);
  if (!drive.file.empty()) description.emplace_back("file", drive.file);
  if (!drive.format.empty()) description.emplace_back("driver", drive.format);
  if (!drive.write_cache) description.emplace_back("cache.writeback", "off");
  const ErrorPolicy defaults;
  if (drive.errors.reads != defaults.reads) {
    description.emplace_back("rerror", OnErrorText(drive.errors.reads));
  }
  if (drive.errors.writes != defaults.writes) {
    description.emplace_back("werror", OnErrorText(drive.errors.writes));
  }
  description.insert(description.end(), drive.keys.begin(), drive.keys.end());
  return DescriptionToJson(description);
}

ManualSection DriveManual() {
  return {
      .title = "KEYS OF --drive",
      .text = "Names that mean something for a whole drive; all others go to its block driver.",
      .entries =
          {
              {"file=PATH", "the disk, a file or a device of the host", {}, {}},
              {"format=NAME, driver=NAME",
               "how the file is to be taken: raw, zoned, host_device or file",
               "Without it a device is a host_device and a file is raw; one that begins as a zoned "
               "image is refused.",
               {}},
              {"if=virtio|none", "with a device for the guest, or only for --device", {}, {}},
              {"id=NAME", "the name for --device virtio-blk-pci,drive=NAME", {}, {}},
              {"node-name=NAME", "the name of the block node (default: the id)", {}, {}},
              {"cache=MODE",
               "none, writeback, writethrough, directsync or unsafe",
               "none and directsync pass the host's page cache by (cache.direct=on). With "
               "writethrough and directsync each write is on stable storage before the guest "
               "learns of its end. unsafe ignores the guest's flushes (cache.no-flush=on).",
               {}},
              {"werror=report|ignore|enospc|stop, rerror=report|ignore|stop",
               "what becomes of a write or read that the host fails (default: report)",
               "report: the guest gets the error. ignore: it is told that all went well; appends "
               "and zone operations are reported all the same. stop: the request waits and the "
               "guest is paused until a control client says cont; then it is tried again. enospc: "
               "stop when the host has no space, else report.",
               {}},
              {"read-only=on|off, readonly=on|off", "the guest cannot write", {}, {}},
              {"discard=unmap|ignore", "whether discards reach the disk", {}, {}},
              {"media=disk, index=N", "a disk, the one named virtioN", {}, {}},
          },
  };
}

}  // namespace minivmm
