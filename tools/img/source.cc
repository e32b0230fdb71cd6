#include "tools/img/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "blockcore/base/units.h"
#include "blockcore/file_lock.h"
#include "tools/img/disk.h"
#include "tools/img/dump_format.h"
#include "tools/img/geometry_options.h"

namespace minivmm {
namespace {

class ImageSource : public DiskSource {
 public:
  ImageSource(OpenedDisk disk, ZonedContents image)
      : disk_(std::move(disk)), image_(std::move(image)) {
    geometry_ = image_.header.geometry;
    capacity_bytes_ = geometry_.capacity_bytes;
    zones_.reserve(image_.table.zone_count());
    for (uint32_t i = 0; i < image_.table.zone_count(); ++i) zones_.push_back(Describe(i));
  }

  Result<void> Read(uint64_t offset_bytes, std::span<std::byte> data) override {
    const uint64_t zone_size = geometry_.zone_size_bytes;
    const uint32_t zone = static_cast<uint32_t>(offset_bytes / zone_size);
    const uint32_t slot = image_.table.record(zone).slot;
    if (slot == kNoSlot) {
      std::fill(data.begin(), data.end(), std::byte{0});
      return {};
    }
    return disk_.io->Read(image_.header.SlotOffset(slot) + offset_bytes % zone_size, data);
  }

 private:
  SourceZone Describe(uint32_t number) const {
    const ZoneRecord& record = image_.table.record(number);
    SourceZone zone{.descriptor = image_.table.Describe(number)};
    ZoneDescriptor& d = zone.descriptor;
    zone.full = record.condition == ZoneCondition::kFull;
    if (image_.table.IsConventional(number)) {
      d.write_pointer_bytes = d.start_bytes + d.length_bytes;
      zone.data_end_bytes = record.slot == kNoSlot ? d.start_bytes : d.write_pointer_bytes;
    } else {
      zone.data_end_bytes = d.start_bytes + record.written_bytes;
      d.write_pointer_bytes = zone.full ? d.start_bytes + d.capacity_bytes : zone.data_end_bytes;
    }
    if (record.fault == ZoneFault::kOffline) {
      d.write_pointer_bytes = d.start_bytes;
      zone.data_end_bytes = d.start_bytes;
      zone.full = false;
    }
    return zone;
  }

  OpenedDisk disk_;
  ZonedContents image_;
};

class ZonedDeviceSource : public DiskSource {
 public:
  ZonedDeviceSource(OpenedDisk disk, const ZonedGeometry& geometry, std::vector<SourceZone> zones)
      : disk_(std::move(disk)) {
    geometry_ = geometry;
    capacity_bytes_ = geometry.capacity_bytes;
    zones_ = std::move(zones);
  }

  Result<void> Read(uint64_t offset_bytes, std::span<std::byte> data) override {
    return disk_.io->Read(offset_bytes, data);
  }

 private:
  OpenedDisk disk_;
};

// An ordinary file or device, or the data file of a dump.
class PlainSource : public DiskSource {
 public:
  static Result<std::unique_ptr<PlainSource>> Open(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return Fail("cannot open '{}': {}", path, ErrnoText(errno));
    if (LockWholeFile(fd.get(), FileUse::kShared) == EAGAIN) {
      return Fail("'{}' is in use by a guest or another program: stop that one first", path);
    }
    const off_t size = ::lseek(fd.get(), 0, SEEK_END);
    if (size < 0) return Fail("cannot find the size of '{}': {}", path, ErrnoText(errno));
    if (size == 0) return Fail("'{}' is empty", path);
    auto source = std::make_unique<PlainSource>();
    source->path_ = path;
    source->fd_ = std::move(fd);
    source->capacity_bytes_ = static_cast<uint64_t>(size);
    return source;
  }

  Result<void> Read(uint64_t offset_bytes, std::span<std::byte> data) override {
    while (!data.empty()) {
      const ssize_t count =
          ::pread(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset_bytes));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Fail("cannot read '{}': {}", path_, ErrnoText(errno));
      if (count == 0) break;
      offset_bytes += static_cast<uint64_t>(count);
      data = data.subspan(static_cast<size_t>(count));
    }
    std::fill(data.begin(), data.end(), std::byte{0});
    return {};
  }

  uint64_t NextData(uint64_t offset_bytes, uint64_t end_bytes) override {
    const off_t found = ::lseek(fd_.get(), static_cast<off_t>(offset_bytes), SEEK_DATA);
    if (found < 0) return errno == ENXIO ? end_bytes : std::min(offset_bytes, end_bytes);
    return std::min(static_cast<uint64_t>(found), end_bytes);
  }

  void AddZones(DumpInfo info) {
    geometry_ = info.geometry;
    zones_ = std::move(info.zones);
  }

 private:
  std::string path_;
  UniqueFd fd_;
};

SourceZone FromReport(const ZoneDescriptor& reported) {
  SourceZone zone{.descriptor = reported};
  ZoneDescriptor& d = zone.descriptor;
  const uint64_t end = d.start_bytes + d.capacity_bytes;
  switch (d.condition) {
    case ZoneCondition::kEmpty:
    case ZoneCondition::kOffline:
      d.write_pointer_bytes = d.start_bytes;
      break;
    case ZoneCondition::kFull:
    case ZoneCondition::kReadOnly:  // its write pointer is not known
      d.write_pointer_bytes = end;
      break;
    default:
      break;
  }
  zone.data_end_bytes = d.write_pointer_bytes;
  if (d.type == ZoneType::kConventional) {
    d.write_pointer_bytes = end;
    if (d.condition != ZoneCondition::kOffline) zone.data_end_bytes = end;
  } else {
    zone.full = d.write_pointer_bytes == end;
  }
  return zone;
}

Result<std::vector<std::byte>> ReadWhole(const std::string& path) {
  constexpr uint64_t kMaxInfoBytes = 192 + (uint64_t{1} << 24) * 64;
  TRY(std::unique_ptr<PlainSource> file, PlainSource::Open(path));
  if (file->capacity_bytes() > kMaxInfoBytes) {
    return Fail("'{}' is too large for zone information", path);
  }
  std::vector<std::byte> bytes(file->capacity_bytes());
  TRY_VOID(file->Read(0, bytes));
  return bytes;
}

}  // namespace

Result<ZonedGeometry> GeometryOf(const std::vector<SourceZone>& zones, ZonedGeometry known) {
  known.conventional_zones = 0;
  known.zone_capacity_bytes = 0;
  for (uint32_t i = 0; i < zones.size(); ++i) {
    const ZoneDescriptor& d = zones[i].descriptor;
    if (d.type == ZoneType::kConventional) {
      if (known.conventional_zones != i) {
        return Fail("its zone {} is conventional behind sequential ones, which images cannot have",
                    i);
      }
      ++known.conventional_zones;
      continue;
    }
    if (known.zone_capacity_bytes == 0) known.zone_capacity_bytes = d.capacity_bytes;
    if (d.capacity_bytes != std::min(known.zone_capacity_bytes, d.length_bytes)) {
      return Fail("its zone {} has a capacity of its own, which images cannot have", i);
    }
  }
  if (known.zone_capacity_bytes == 0) known.zone_capacity_bytes = known.zone_size_bytes;
  known.max_append_bytes =
      DefaultMaxAppend(known.zone_capacity_bytes, known.write_granularity_bytes);
  return known;
}

Result<std::unique_ptr<DiskSource>> OpenImageSource(const std::string& path) {
  TRY(OpenedDisk disk, OpenImageFile(path, Access::kRead));
  TRY(ZonedContents image, LoadImage(path, disk));
  return std::make_unique<ImageSource>(std::move(disk), std::move(image));
}

Result<std::unique_ptr<DiskSource>> OpenPlainSource(const std::string& path) {
  TRY(std::unique_ptr<PlainSource> source, PlainSource::Open(path));
  return source;
}

Result<std::unique_ptr<DiskSource>> OpenDeviceSource(const std::string& path) {
  TRY(OpenedDisk disk, OpenBlockDevice(path, Access::kRead));
  const BlockLimits& limits = disk.node->limits();
  if (limits.zoned == ZonedModel::kNone) {
    disk.io.reset();
    disk.node.reset();
    return OpenPlainSource(path);
  }
  TRY(const std::vector<ZoneDescriptor> reported, disk.io->ReportZones());
  std::vector<SourceZone> zones;
  for (const ZoneDescriptor& zone : reported) zones.push_back(FromReport(zone));
  ZonedGeometry known;
  known.model = limits.zoned;
  known.capacity_bytes = limits.capacity_bytes;
  known.zone_size_bytes = limits.zone_size_bytes;
  known.max_open_zones = limits.max_open_zones;
  known.max_active_zones = limits.max_active_zones;
  known.logical_block_bytes = limits.logical_block_bytes;
  known.physical_block_bytes = limits.physical_block_bytes;
  known.write_granularity_bytes = limits.write_granularity_bytes;
  Result<ZonedGeometry> geometry = GeometryOf(zones, known);
  if (geometry) {
    if (limits.max_append_bytes != 0) {
      geometry->max_append_bytes =
          AlignDown(std::min(limits.max_append_bytes, geometry->zone_capacity_bytes),
                    geometry->write_granularity_bytes);
    }
    if (Result<void> possible = CheckGeometry(*geometry); !possible) {
      geometry = Unexpected(possible.error());
    }
  }
  if (!geometry) return Fail("'{}' cannot become an image: {}", path, geometry.error().message);
  return std::make_unique<ZonedDeviceSource>(std::move(disk), *geometry, std::move(zones));
}

Result<std::unique_ptr<DiskSource>> OpenDumpSource(const std::string& prefix) {
  const std::string info_path = DumpInfoPath(prefix);
  const std::string data_path = DumpDataPath(prefix);
  TRY(const std::vector<std::byte> bytes, ReadWhole(info_path));
  Result<DumpInfo> info = DecodeDumpInfo(bytes);
  if (!info)
    return Fail("cannot use '{}' as zone information: {}", info_path, info.error().message);
  TRY(std::unique_ptr<PlainSource> source, PlainSource::Open(data_path));
  if (source->capacity_bytes() != info->geometry.capacity_bytes) {
    return Fail("'{}' does not belong to '{}': it has {} bytes, and the disk has {}", data_path,
                info_path, source->capacity_bytes(), info->geometry.capacity_bytes);
  }
  source->AddZones(std::move(*info));
  return source;
}

}  // namespace minivmm
