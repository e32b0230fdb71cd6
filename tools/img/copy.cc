#include "tools/img/copy.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "blockcore/base/units.h"
#include "blockcore/zoned/zoned_create.h"
#include "tools/img/progress.h"

namespace minivmm {
namespace {

constexpr size_t kChunkBytes = 1_MiB;
constexpr size_t kBlockBytes = 4096;

// Aligned, since devices with zones are read and written past the page cache.
class Buffer {
 public:
  Buffer() : bytes_(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kChunkBytes))) {
    VMM_CHECK(bytes_ != nullptr);
    std::fill_n(bytes_.get(), kChunkBytes, std::byte{0});
  }
  std::span<std::byte> first(size_t count) { return {bytes_.get(), count}; }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
};

bool IsZero(std::span<const std::byte> data) {
  return std::all_of(data.begin(), data.end(), [](std::byte b) { return b == std::byte{0}; });
}

// The data without the zeroes at its end, in whole blocks of `unit`.
std::span<const std::byte> WithoutTrailingZeroes(std::span<const std::byte> data, uint64_t unit) {
  while (data.size() >= unit && IsZero(data.last(unit))) data = data.first(data.size() - unit);
  return data;
}

Result<void> WriteDataBlocks(OutputFile& file, uint64_t offset, std::span<const std::byte> data,
                             uint64_t& moved_bytes) {
  while (!data.empty()) {
    size_t run = 0;  // of blocks with data
    while (run < data.size() &&
           !IsZero(data.subspan(run, std::min(kBlockBytes, data.size() - run)))) {
      run += std::min(kBlockBytes, data.size() - run);
    }
    TRY_VOID(file.Write(offset, data.first(run)));
    moved_bytes += run;
    const size_t step = std::min(data.size(), run + kBlockBytes);
    offset += step;
    data = data.subspan(step);
  }
  return {};
}

// One zone of the target and what of it is to be written.
struct ZoneGoal {
  uint64_t start_bytes = 0;
  uint64_t data_end_bytes = 0;  // nothing but zeroes behind
  uint64_t write_to_bytes = 0;  // zeroes are written up to here
  uint64_t end_bytes = 0;       // of what can be written
  bool conventional = false;
  enum class Finish { kNo, kIfWritten, kYes } finish = Finish::kNo;
};

class ZoneWriter {
 public:
  ZoneWriter(DiskSource& source, const ZonedTarget& target, Progress& progress)
      : source_(source), target_(target), progress_(progress) {}

  Result<void> Write(const ZoneGoal& goal) {
    const uint64_t unit = target_.geometry.write_granularity_bytes;
    const bool keep_holes = goal.conventional && target_.sparse;
    uint64_t written_to = goal.start_bytes;
    uint64_t at = goal.start_bytes;
    while (at < goal.data_end_bytes) {
      const uint64_t next =
          std::max(at, AlignDown(source_.NextData(at, goal.data_end_bytes), unit));
      progress_.Advance(next - at, 0);
      if (next >= goal.data_end_bytes) break;
      const std::span<std::byte> chunk =
          buffer_.first(std::min<uint64_t>(kChunkBytes, goal.data_end_bytes - next));
      TRY_VOID(source_.Read(next, chunk));
      at = next + chunk.size();
      const std::span<const std::byte> data = WithoutTrailingZeroes(chunk, unit);
      if (!data.empty()) {
        if (!keep_holes) TRY_VOID(WriteZeroes(written_to, next));
        TRY_VOID(target_.io->Write(next, data));
        written_to = next + data.size();
      }
      progress_.Advance(chunk.size(), data.size());
    }
    TRY_VOID(WriteZeroes(written_to, goal.write_to_bytes));
    written_to = std::max(written_to, goal.write_to_bytes);
    const bool finish =
        goal.finish == ZoneGoal::Finish::kYes ||
        (goal.finish == ZoneGoal::Finish::kIfWritten && written_to != goal.start_bytes);
    if (!finish || written_to == goal.end_bytes) return {};
    return target_.io->ChangeZone(BlockOp::kZoneFinish, goal.start_bytes);
  }

 private:
  Result<void> WriteZeroes(uint64_t from, uint64_t to) {
    while (from < to) {
      const uint64_t count = std::min<uint64_t>(kChunkBytes, to - from);
      TRY_VOID(target_.io->Write(from, zeroes_.first(count)));
      from += count;
    }
    return {};
  }

  DiskSource& source_;
  const ZonedTarget& target_;
  Progress& progress_;
  Buffer buffer_;
  Buffer zeroes_;
};

ZoneGoal GoalFor(DiskSource& source, const ZonedTarget& target, uint32_t zone) {
  const ZonedGeometry& g = target.geometry;
  ZoneGoal goal;
  goal.start_bytes = zone * g.zone_size_bytes;
  goal.end_bytes = goal.start_bytes + g.ZoneCapacity(zone);
  goal.conventional = zone < g.conventional_zones;
  if (source.zones().empty()) {
    goal.data_end_bytes =
        AlignUp(std::clamp(source.capacity_bytes(), goal.start_bytes, goal.end_bytes),
                g.write_granularity_bytes);
    // Whole zones of zeroes stay empty.
    if (!goal.conventional && g.max_active_zones != 0) goal.finish = ZoneGoal::Finish::kIfWritten;
  } else {
    goal.data_end_bytes = source.zones()[zone].data_end_bytes;
    if (source.zones()[zone].full) goal.finish = ZoneGoal::Finish::kYes;
    goal.write_to_bytes = source.zones()[zone].descriptor.write_pointer_bytes;
  }
  if (target.sparse && (goal.conventional || goal.finish == ZoneGoal::Finish::kYes)) {
    goal.write_to_bytes = 0;
  }
  return goal;
}

// Bytes that are to be looked at, for the progress line.
uint64_t TotalBytes(const DiskSource& source) {
  if (source.zones().empty()) return source.capacity_bytes();
  uint64_t total = 0;
  for (const SourceZone& zone : source.zones()) {
    total += zone.data_end_bytes - zone.descriptor.start_bytes;
  }
  return total;
}

Result<uint64_t> FillImage(DiskSource& source, const ZonedGeometry& geometry,
                           const std::string& path, const std::string& what) {
  uint64_t moved = 0;
  {
    TRY(OpenedDisk disk, OpenZonedDisk(path));
    TRY(moved, CopyToZones(source, {disk.io.get(), geometry, true}, what));
  }
  TRY(OpenedDisk disk, OpenImageFile(path, Access::kWrite));
  TRY(ZonedContents image, LoadImage(path, disk));
  for (uint32_t i = 0; i < source.zones().size(); ++i) {
    const ZoneCondition condition = source.zones()[i].descriptor.condition;
    if (condition == ZoneCondition::kReadOnly) image.table.SetFault(i, ZoneFault::kReadOnly);
    if (condition == ZoneCondition::kOffline) image.table.SetFault(i, ZoneFault::kOffline);
  }
  if (image.table.dirty()) {
    TRY_VOID(PrepareZonedForWriting(*disk.io, image));
    TRY_VOID(CommitZonedTable(*disk.io, image.table));
  }
  return moved;
}

}  // namespace

Result<uint64_t> CopyToFile(DiskSource& source, OutputFile& file, const std::string& what) {
  Progress progress(what, TotalBytes(source));
  Buffer buffer;
  for (const SourceZone& zone : source.zones()) {
    uint64_t at = zone.descriptor.start_bytes;
    while (at < zone.data_end_bytes) {
      const uint64_t next = source.NextData(at, zone.data_end_bytes);
      progress.Advance(next - at, 0);
      const std::span<std::byte> chunk =
          buffer.first(std::min<uint64_t>(kChunkBytes, zone.data_end_bytes - next));
      if (chunk.empty()) break;
      TRY_VOID(source.Read(next, chunk));
      uint64_t moved = 0;
      TRY_VOID(WriteDataBlocks(file, next, chunk, moved));
      progress.Advance(chunk.size(), moved);
      at = next + chunk.size();
    }
  }
  return progress.moved_bytes();
}

Result<uint64_t> CopyToZones(DiskSource& source, const ZonedTarget& target,
                             const std::string& what) {
  Progress progress(what, TotalBytes(source));
  ZoneWriter writer(source, target, progress);
  // A device's zone is active while it is written, also one that ends up full: those come first,
  // while no others take up the limit of active zones.
  for (bool full : {true, false}) {
    for (uint32_t zone = 0; zone < target.geometry.zone_count(); ++zone) {
      const ZoneGoal goal = GoalFor(source, target, zone);
      if ((goal.finish != ZoneGoal::Finish::kNo) != full) continue;
      if (Result<void> written = writer.Write(goal); !written) {
        return Fail("zone {}: {}", zone, written.error().message);
      }
    }
  }
  TRY_VOID(target.io->Flush());
  return progress.moved_bytes();
}

Result<uint64_t> CopyToNewImage(DiskSource& source, const ZonedGeometry& geometry,
                                const std::string& path, bool overwrite, const std::string& what) {
  struct stat status {};
  if (!overwrite && ::lstat(path.c_str(), &status) == 0) {
    return Fail("cannot create '{}': it exists already; choose another name, or give --force",
                path);
  }
  TRY_VOID(CreateZonedImage(path, geometry, overwrite));
  Result<uint64_t> moved = FillImage(source, geometry, path, what);
  if (!moved) ::unlink(path.c_str());
  return moved;
}

}  // namespace minivmm
