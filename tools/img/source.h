// DiskSource: the disk that `convert`, `dump` and `restore` read. Four kinds: a zoned image, a
// zoned device of the host, the two files of a dump, and an ordinary file or device. It knows where
// there is nothing to read, so that an empty disk of 26 TB is copied at once. Blocking; main's
// thread.
#ifndef MINIVMM_TOOLS_IMG_SOURCE_H_
#define MINIVMM_TOOLS_IMG_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/base/unique_fd.h"
#include "blockcore/zoned/zoned_format.h"

namespace minivmm {

// A zone of the source. Unlike in a report, `write_pointer_bytes` is that of the data also for
// full, read-only and offline zones (for the last: the start, since nothing can be read there).
struct SourceZone {
  ZoneDescriptor descriptor;
  // The bytes from here to the write pointer read as zeroes.
  uint64_t data_end_bytes = 0;
  bool full = false;  // also when it is read-only
};

class DiskSource {
 public:
  virtual ~DiskSource() = default;

  uint64_t capacity_bytes() const { return capacity_bytes_; }
  // Of a zoned source.
  const ZonedGeometry& geometry() const { return geometry_; }
  // Empty unless the source is zoned.
  const std::vector<SourceZone>& zones() const { return zones_; }

  // Below a zone's data_end_bytes, or anywhere in an ordinary disk; what lies behind the end of the
  // disk reads as zeroes.
  virtual Result<void> Read(uint64_t offset_bytes, std::span<std::byte> data) = 0;
  // The first offset from here on that may hold anything but zeroes; `end_bytes` if none does.
  virtual uint64_t NextData(uint64_t offset_bytes, uint64_t end_bytes) {
    return offset_bytes < end_bytes ? offset_bytes : end_bytes;
  }

 protected:
  uint64_t capacity_bytes_ = 0;
  ZonedGeometry geometry_;
  std::vector<SourceZone> zones_;
};

Result<std::unique_ptr<DiskSource>> OpenImageSource(const std::string& path);
// A zoned device, or an ordinary one.
Result<std::unique_ptr<DiskSource>> OpenDeviceSource(const std::string& path);
Result<std::unique_ptr<DiskSource>> OpenPlainSource(const std::string& path);
// PREFIX_zone_info.dump and PREFIX_zone_data.dump.
Result<std::unique_ptr<DiskSource>> OpenDumpSource(const std::string& prefix);

// What all zones have in common. Fails when the zones make no disk that an image can be: the
// conventional ones first, the same capacity in all others.
Result<ZonedGeometry> GeometryOf(const std::vector<SourceZone>& zones, ZonedGeometry known);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_SOURCE_H_
