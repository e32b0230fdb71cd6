#include "vmm/disk_properties.h"

#include <charconv>

#include "blockcore/base/units.h"

namespace minivmm {
namespace {

using Where = std::string_view;
using Value = const std::string&;

// QEMU's form: a hexadecimal slot, with or without 0x, and a function behind a dot.
Result<int> ParseSlot(Where where, std::string_view text) {
  std::string_view digits = text;
  if (digits.starts_with("0x") || digits.starts_with("0X")) digits.remove_prefix(2);
  int slot = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), slot, 16);
  std::string_view rest = digits.substr(static_cast<size_t>(end - digits.data()));
  if (error != std::errc() || slot < 1 || slot > 31 || !(rest.empty() || rest.starts_with('.'))) {
    return Fail("{}: '{}' is not a PCI slot from 1 to 1f (hexadecimal)", where, text);
  }
  if (!rest.empty() && rest != ".0") {
    return Fail("{}: '{}': a slot has function 0 only", where, text);
  }
  return slot;
}

std::string OnOff(bool value) { return value ? "on" : "off"; }

std::string NumberOrNothing(uint32_t value) { return value == 0 ? "" : fmt::format("{}", value); }

Result<void> SetOnError(std::optional<OnError>& target, Where where, Value value, ErrorsOf errors) {
  target.reset();
  if (value == "auto") return {};
  TRY(target, ParseOnError(where, value, errors));
  return {};
}

// A property that is nothing but a switch of VirtioBlkOptions.
template <bool VirtioBlkOptions::*kMember>
constexpr Property<DiskRequest> Switch(std::string_view name, std::string_view help) {
  return {name, "on|off", help,
          [](DiskRequest& disk, Where where, Value value) -> Result<void> {
            TRY(disk.device.options.*kMember, ParseSwitch(where, value));
            return {};
          },
          [](const DiskRequest& disk) { return OnOff(disk.device.options.*kMember); }};
}

const Property<DiskRequest> kProperties[] = {
    {"drive", "NAME", "node-name of the --blockdev, or id of the --drive, to use",
     [](DiskRequest& disk, Where, Value value) -> Result<void> {
       disk.device.drive = value;
       return {};
     },
     [](const DiskRequest& disk) { return disk.device.drive; }},
    {"id", "NAME", "name of the device, for messages",
     [](DiskRequest& disk, Where, Value value) -> Result<void> {
       disk.device.id = value;
       return {};
     },
     [](const DiskRequest& disk) { return disk.device.id; }},
    {"serial", "TEXT", "serial number that the guest sees, at most 20 bytes",
     [](DiskRequest& disk, Where where, Value value) -> Result<void> {
       if (value.size() > 20) {
         return Fail("{}: '{}' has {} bytes, a serial number at most 20", where, value,
                     value.size());
       }
       disk.device.options.serial = value;
       return {};
     },
     [](const DiskRequest& disk) { return disk.device.options.serial; }},
    {"num-queues", "N", "queues, each with its own thread, 1 to 64 (default: one per vCPU)",
     [](DiskRequest& disk, Where where, Value value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 1, 64));
       disk.num_queues = static_cast<uint16_t>(number);
       return {};
     },
     [](const DiskRequest& disk) { return NumberOrNothing(disk.num_queues.value_or(0)); }},
    {"queue-size", "N", "entries of each queue, a power of two, 4 to 1024 (default 256)",
     [](DiskRequest& disk, Where where, Value value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 4, 1024));
       if (!IsPowerOfTwo(number)) return Fail("{}: {} is not a power of two", where, number);
       disk.device.options.queue_size = static_cast<uint16_t>(number);
       return {};
     },
     [](const DiskRequest& disk) { return NumberOrNothing(disk.device.options.queue_size); }},
    {"poll-max-ns", "N",
     "how long a queue looks for requests before it sleeps, to 1000000 (default 32768; 0: not)",
     [](DiskRequest& disk, Where where, Value value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 0, 1'000'000));
       disk.device.options.poll_max_ns = static_cast<uint32_t>(number);
       return {};
     },
     [](const DiskRequest& disk) { return fmt::format("{}", disk.device.options.poll_max_ns); }},
    {"logical_block_size", "BYTES", "unit of requests, 512 to 2M (default: the disk's)",
     [](DiskRequest& disk, Where where, Value value) -> Result<void> {
       TRY(disk.device.options.logical_block_bytes, ParseBlockSize(where, value));
       return {};
     },
     [](const DiskRequest& disk) {
       return NumberOrNothing(disk.device.options.logical_block_bytes);
     }},
    {"physical_block_size", "BYTES", "unit of fast requests, 512 to 2M (default: the disk's)",
     [](DiskRequest& disk, Where where, Value value) -> Result<void> {
       TRY(disk.device.options.physical_block_bytes, ParseBlockSize(where, value));
       return {};
     },
     [](const DiskRequest& disk) {
       return NumberOrNothing(disk.device.options.physical_block_bytes);
     }},
    {"write-cache", "on|off|auto", "off: writes are stable when they end (auto: as cache= says)",
     [](DiskRequest& disk, Where where, Value value) -> Result<void> {
       disk.write_cache.reset();
       if (value == "auto") return {};
       TRY(disk.write_cache, ParseSwitch(where, value));
       return {};
     },
     [](const DiskRequest& disk) {
       return disk.write_cache ? OnOff(*disk.write_cache) : std::string();
     }},
    {"werror", "report|ignore|enospc|stop|auto",
     "when the host fails a write; enospc: stop if it is full (auto: as the drive has it)",
     [](DiskRequest& disk, Where where, Value value) {
       return SetOnError(disk.write_errors, where, value, ErrorsOf::kWrites);
     },
     [](const DiskRequest& disk) {
       return disk.write_errors ? OnErrorText(*disk.write_errors) : std::string();
     }},
    {"rerror", "report|ignore|stop|auto",
     "when the host fails a read; stop: the guest waits for QMP's cont",
     [](DiskRequest& disk, Where where, Value value) {
       return SetOnError(disk.read_errors, where, value, ErrorsOf::kReads);
     },
     [](const DiskRequest& disk) {
       return disk.read_errors ? OnErrorText(*disk.read_errors) : std::string();
     }},
    Switch<&VirtioBlkOptions::config_wce>("config-wce", "whether the guest may change write-cache"),
    Switch<&VirtioBlkOptions::discard>("discard", "offer discards, if the disk can"),
    Switch<&VirtioBlkOptions::write_zeroes>("write-zeroes", "offer zeroing, if the disk can"),
    Switch<&VirtioBlkOptions::seg_max_adjust>("seg-max-adjust",
                                              "segments of a request follow queue-size"),
    Switch<&VirtioBlkOptions::packed>("packed", "offer packed rings (default off)"),
    Switch<&VirtioBlkOptions::queue_reset>("queue_reset", "offer the reset of single queues"),
    Switch<&VirtioBlkOptions::event_idx>("event_idx", "offer to save interrupts and doorbells"),
    Switch<&VirtioBlkOptions::indirect_desc>("indirect_desc", "offer indirect descriptors"),
    {"addr", "SLOT", "PCI slot, hexadecimal, 1 to 1f (default: the first free one)",
     [](DiskRequest& disk, Where where, Value value) -> Result<void> {
       TRY(disk.device.slot, ParseSlot(where, value));
       return {};
     },
     [](const DiskRequest& disk) {
       return disk.device.slot ? fmt::format("{:#x}", *disk.device.slot) : std::string();
     }},
    {"bootindex", "N", "disks without addr get their slots in this order, 0 first",
     [](DiskRequest& disk, Where where, Value value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 0, INT32_MAX));
       disk.device.bootindex = static_cast<int>(number);
       return {};
     },
     [](const DiskRequest& disk) {
       return disk.device.bootindex ? fmt::format("{}", *disk.device.bootindex) : std::string();
     }},
};

constexpr std::string_view kOwnThreads = "each queue has its own I/O thread anyway: leave it out";
constexpr std::string_view kNoRom = "the guest starts its kernel at once, without option ROMs";
constexpr std::string_view kNoGeometry = "disks have no geometry of heads and cylinders";
constexpr std::string_view kNoPciExtras = "the device is a plain function of bus 0";
constexpr std::string_view kModern = "devices are modern ones (virtio 1) only";
constexpr std::string_view kDiskSaysSo = "the disk's own limits hold: leave it out";

constexpr FixedProperty kFixed[] = {
    {"account-failed", "on", "all requests are counted"},
    {"account-invalid", "on", "all requests are counted"},
    {"acpi-index", "", kNoPciExtras},
    {"aer", "off", kNoPciExtras},
    {"any_layout", "on", "that is so always"},
    {"ats", "off", kNoPciExtras},
    {"backend_defaults", "auto", kDiskSaysSo},
    {"bus", "pci.0", "there is one PCI bus: leave it out"},
    {"busnr", "", "there is one PCI bus: leave it out"},
    {"class", "", "the class of a disk is fixed"},
    {"cyls", "", kNoGeometry},
    {"disable-legacy", "on", kModern},
    {"disable-modern", "off", kModern},
    {"discard_granularity", "", kDiskSaysSo},
    {"failover_pair_id", "", "devices do not come and go while the guest runs"},
    {"heads", "", kNoGeometry},
    {"in_order", "off", "requests end in any order"},
    {"ioeventfd", "on", "doorbells are always eventfds of the host"},
    {"iommu_platform", "off", "there is no IOMMU"},
    {"iothread", "", kOwnThreads},
    {"iothread-vq-mapping", "", kOwnThreads},
    {"lcyls", "", kNoGeometry},
    {"lheads", "", kNoGeometry},
    {"lsecs", "", kNoGeometry},
    {"max-discard-sectors", "", kDiskSaysSo},
    {"max-write-zeroes-sectors", "", kDiskSaysSo},
    {"migrate-extra", "", "guests do not migrate"},
    {"min_io_size", "0", kDiskSaysSo},
    {"modern-pio-notify", "off", "doorbells are in memory"},
    {"multifunction", "off", "a slot has one function"},
    {"notify_on_empty", "", kModern},
    {"opt_io_size", "0", kDiskSaysSo},
    {"page-per-vq", "off", "doorbells lie side by side"},
    {"report-discard-granularity", "on", kDiskSaysSo},
    {"request-merging", "", "the zone queues join what belongs together: leave it out"},
    {"rombar", "0", kNoRom},
    {"romfile", "", kNoRom},
    {"romsize", "", kNoRom},
    {"scsi", "off", "SCSI commands belong to legacy devices"},
    {"secs", "", kNoGeometry},
    {"share-rw", "off", "a disk has one writer"},
    {"use-disabled-flag", "", "guests do not migrate"},
    {"use-started", "", "guests do not migrate"},
    {"vectors", "", "each queue has an interrupt vector of its own: leave it out"},
    {"x-", "", "properties with x- are QEMU's experiments"},
};

}  // namespace

std::span<const Property<DiskRequest>> DiskProperties() { return kProperties; }

Result<DiskRequest> ReadDiskProperties(const Description& given) {
  DiskRequest disk;
  TRY_VOID(ReadProperties<DiskRequest>("virtio-blk-pci", given, kProperties, kFixed, disk));
  if (disk.device.drive.empty()) {
    return Fail(
        "--device virtio-blk-pci: no drive: add drive=NAME with the node-name of a --blockdev");
  }
  if (disk.device.id.empty()) disk.device.id = disk.device.drive;
  disk.device.options.name = disk.device.id;
  const uint32_t logical = disk.device.options.logical_block_bytes;
  const uint32_t physical = disk.device.options.physical_block_bytes;
  if (physical != 0 && logical > physical) {
    return Fail("--device virtio-blk-pci: logical_block_size={} is above physical_block_size={}",
                logical, physical);
  }
  return disk;
}

}  // namespace minivmm
