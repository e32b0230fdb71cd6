#include "blockcore/host_device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "blockcore/base/thread_entry.h"
#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/disk_transfer.h"
#include "blockcore/io_thread.h"
#include "blockcore/zone_ioctl.h"
#include "blockcore/zoned_device.h"

namespace minivmm {
namespace {

// Appends are written by us at the write pointer, so the host sets no limit. This one keeps a
// guest's appends short enough for zones not to wait long, and long enough for full speed.
constexpr uint64_t kMaxAppendBytes = 1_MiB;

// Without system calls of its own, and the group by its number: vmm/sandbox lets a device be
// opened, but the user not be asked for, nor the name of a group.
Unexpected OpenError(const HostDeviceOptions& options, const struct stat& status, int error) {
  const std::string& filename = options.filename;
  switch (error) {
    case EBUSY:
      return Fail(
          "cannot open '{}' for this program alone: it is mounted or in use (see lsblk, "
          "mount and /proc/mdstat); unmount it or stop who uses it",
          filename);
    case EACCES:
    case EPERM:
      if (::getauxval(AT_EUID) == 0) {
        return Fail(
            "cannot open '{}': {}, even for root: a container or a security policy "
            "forbids this device",
            filename, ErrnoText(error));
      }
      if (status.st_gid == 0 || (status.st_mode & S_IRGRP) == 0) {
        return Fail("cannot open '{}': {}; run as root", filename, ErrnoText(error));
      }
      return Fail(
          "cannot open '{}': {}; run as root, or as a member of its group: usermod -aG {} "
          "USER, then log in again",
          filename, ErrnoText(error), status.st_gid);
    case EROFS:
      return Fail("cannot open '{}' for writing: the device is read-only; give read-only=on",
                  filename);
    case ENXIO:
    case ENODEV:
      return Fail("cannot open '{}': there is no device behind this name any more", filename);
    default:
      return Fail("cannot open '{}': {}", filename, ErrnoText(error));
  }
}

// The queue attributes of one block device, /sys/dev/block/MAJOR:MINOR/queue.
class QueueAttributes {
 public:
  explicit QueueAttributes(dev_t device)
      : directory_(fmt::format("/sys/dev/block/{}:{}", major(device), minor(device))) {}

  // A partition has no queue of its own.
  bool IsPartition() const { return ::access((directory_ + "/partition").c_str(), F_OK) == 0; }

  std::optional<std::string> Text(const char* name) const {
    const char* queue = IsPartition() ? "/../queue/" : "/queue/";
    std::ifstream file(directory_ + queue + name);
    std::string line;
    if (!std::getline(file, line)) return std::nullopt;
    return line;
  }

  std::optional<uint64_t> Number(const char* name) const {
    std::optional<std::string> text = Text(name);
    if (!text) return std::nullopt;
    uint64_t value = 0;
    auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc{} || end != text->data() + text->size()) return std::nullopt;
    return value;
  }

 private:
  std::string directory_;
};

Result<ZonedModel> ReadZonedModel(const QueueAttributes& attributes, const std::string& filename) {
  std::optional<std::string> text = attributes.Text("zoned");
  if (!text || *text == "none") return ZonedModel::kNone;
  if (attributes.IsPartition()) {
    return Fail("cannot use '{}': it is a partition of a zoned disk; give the whole disk",
                filename);
  }
  if (*text == "host-managed") return ZonedModel::kHostManaged;
  if (*text == "host-aware") return ZonedModel::kHostAware;
  return Fail("cannot use '{}': the kernel calls its zoned model '{}', which minivmm does not know",
              filename, *text);
}

Result<BlockLimits> ReadPlainLimits(int fd, const HostDeviceOptions& options) {
  const std::string& filename = options.filename;
  uint64_t capacity_bytes = 0;
  int logical_block_bytes = 0;
  unsigned physical_block_bytes = 0;
  if (::ioctl(fd, BLKGETSIZE64, &capacity_bytes) != 0 ||
      ::ioctl(fd, BLKSSZGET, &logical_block_bytes) != 0 ||
      ::ioctl(fd, BLKPBSZGET, &physical_block_bytes) != 0) {
    return Fail("cannot ask '{}' for its size: {}", filename, ErrnoText(errno));
  }
  if (capacity_bytes == 0) return Fail("cannot use '{}': the device is empty (0 bytes)", filename);
  BlockLimits limits;
  limits.logical_block_bytes = static_cast<uint32_t>(logical_block_bytes);
  limits.physical_block_bytes = std::max<uint32_t>(physical_block_bytes, logical_block_bytes);
  limits.capacity_bytes = AlignDown(capacity_bytes, limits.logical_block_bytes);
  limits.read_only = options.read_only;
  return limits;
}

void AddDiscardLimits(const QueueAttributes& attributes, BlockLimits& limits) {
  // A discard is done by punching a hole, which the kernel makes a write of zeroes that frees.
  limits.discard = attributes.Number("write_zeroes_max_bytes").value_or(0) != 0 &&
                   attributes.Number("discard_max_bytes").value_or(0) != 0;
  if (limits.discard) {
    limits.discard_granularity_bytes = static_cast<uint32_t>(std::max<uint64_t>(
        attributes.Number("discard_granularity").value_or(0), limits.logical_block_bytes));
  }
}

Result<void> AddZonedLimits(const QueueAttributes& attributes, const std::string& filename,
                            BlockLimits& limits) {
  uint64_t zone_size_bytes = attributes.Number("chunk_sectors").value_or(0) * kSectorBytes;
  uint64_t zone_count = attributes.Number("nr_zones").value_or(0);
  if (zone_size_bytes == 0 || zone_count == 0 || zone_count > UINT32_MAX) {
    return Fail(
        "cannot use '{}': the kernel says that it is zoned, but gives no zone size or number "
        "of zones",
        filename);
  }
  limits.zone_size_bytes = zone_size_bytes;
  limits.zone_count = static_cast<uint32_t>(zone_count);
  // Absent: no limit. More than there are zones is no limit either.
  auto zone_limit = [&](const char* name) {
    uint64_t value = attributes.Number(name).value_or(0);
    return value >= zone_count ? 0 : static_cast<uint32_t>(value);
  };
  limits.max_open_zones = zone_limit("max_open_zones");
  limits.max_active_zones = zone_limit("max_active_zones");
  uint64_t granularity = attributes.Number("zone_write_granularity").value_or(0);
  if (granularity == 0) granularity = limits.physical_block_bytes;
  limits.write_granularity_bytes = static_cast<uint32_t>(granularity);
  return {};
}

// No zone may be smaller than the longest append.
uint64_t LongestAppend(std::span<const ZoneDescriptor> zones, const BlockLimits& limits) {
  uint64_t longest = std::min(limits.zone_size_bytes, kMaxAppendBytes);
  for (const ZoneDescriptor& zone : zones) {
    if (zone.type != ZoneType::kConventional && zone.capacity_bytes != 0) {
      longest = std::min(longest, zone.capacity_bytes);
    }
  }
  return std::max<uint64_t>(AlignDown(longest, limits.write_granularity_bytes),
                            limits.write_granularity_bytes);
}

}  // namespace

Result<std::unique_ptr<BlockNode>> OpenHostDevice(const HostDeviceOptions& options) {
  const std::string& filename = options.filename;
  struct stat status {};
  if (::stat(filename.c_str(), &status) != 0) {
    if (errno == ENOENT) {
      return Fail("cannot open '{}': there is no such device; lsblk shows those there are",
                  filename);
    }
    return OpenError(options, status, errno);
  }
  if (S_ISREG(status.st_mode)) {
    return Fail("cannot open '{}' as a device: it is a regular file: use driver=file", filename);
  }
  if (!S_ISBLK(status.st_mode)) {
    return Fail(
        "cannot open '{}' as a device: it is not a block device; lsblk shows those there are",
        filename);
  }
  QueueAttributes attributes(status.st_rdev);
  TRY(ZonedModel zoned, ReadZonedModel(attributes, filename));
  bool is_zoned = zoned != ZonedModel::kNone;
  if (is_zoned && options.cache_direct == false) {
    return Fail(
        "cannot open '{}' with cache.direct=off: the page cache of the host does not write "
        "zones in order; leave the option out",
        filename);
  }
  if (is_zoned && options.discard) {
    return Fail(
        "cannot open '{}' with discard=unmap: a zoned disk frees space by zone resets; leave "
        "the option out, or driver 'zoned' where that is to stand above it",
        filename);
  }
  bool direct = is_zoned || options.cache_direct.value_or(false);
  int flags =
      O_CLOEXEC | O_EXCL | (options.read_only ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0);
  UniqueFd fd(::open(filename.c_str(), flags));
  if (!fd) return OpenError(options, status, errno);
  struct stat opened {};
  if (::fstat(fd.get(), &opened) != 0 || opened.st_rdev != status.st_rdev) {
    return Fail("cannot open '{}': the device changed meanwhile; try again", filename);
  }

  // Few drivers look at this when they are opened.
  int device_is_read_only = 0;
  if (!options.read_only && ::ioctl(fd.get(), BLKROGET, &device_is_read_only) == 0 &&
      device_is_read_only != 0) {
    return OpenError(options, status, EROFS);
  }

  TRY(BlockLimits limits, ReadPlainLimits(fd.get(), options));
  DiskTransferOptions transfer{.filename = filename,
                               .fd = fd.get(),
                               .command_block_bytes = limits.logical_block_bytes,
                               .no_flush = options.cache_no_flush,
                               .zoned = is_zoned};
  if (direct) {
    transfer.alignment = ReadDirectIoAlignment(fd.get(), limits.logical_block_bytes);
    // More than the kernel asks for: null_blk (6.12) loses data of a block that is scattered over
    // two pieces of memory, as one is whose buffer does not begin at a block and crosses a page.
    transfer.alignment.memory_bytes =
        std::max(transfer.alignment.memory_bytes, limits.logical_block_bytes);
    limits.write_alignment_bytes = transfer.alignment.block_bytes;
  }
  if (!is_zoned) {
    if (options.discard && !options.read_only) AddDiscardLimits(attributes, limits);
    limits.write_zeroes = !options.read_only;
    return std::make_unique<PlainDisk>(std::move(fd), limits, std::move(transfer));
  }

  limits.zoned = zoned;
  TRY_VOID(AddZonedLimits(attributes, filename, limits));
  TRY(std::vector<ZoneDescriptor> zones, ReadZones(fd.get(), filename));
  limits.max_append_bytes = LongestAppend(zones, limits);
  Result<ZoneModel> model = ZoneModel::Create(limits, zones);
  if (!model) return Fail("cannot use '{}': {}", filename, model.error().message);
  try {
    return std::make_unique<ZonedDevice>(std::move(fd), std::move(transfer), std::move(*model));
  } catch (const std::system_error& error) {
    return CannotStartThread(error);
  }
}

}  // namespace minivmm
