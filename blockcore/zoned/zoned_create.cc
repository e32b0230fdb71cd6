#include "blockcore/zoned/zoned_create.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/file_lock.h"

namespace minivmm {
namespace {

Result<ImageId> RandomId() {
  ImageId id;
  if (::getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) {
    return Fail("the system gives no random numbers: {}", ErrnoText(errno));
  }
  return id;
}

Result<UniqueFd> OpenNewFile(const std::string& path, bool overwrite, bool& created) {
  constexpr mode_t kMode = 0666;  // less the umask
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
  created = static_cast<bool>(fd);
  if (!created && errno == EEXIST) {
    if (!overwrite) return Fail("the file exists already; remove it, or choose another name");
    fd = UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  }
  if (!fd) return Fail("{}", ErrnoText(errno));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return Fail("{}", ErrnoText(errno));
  if (!S_ISREG(status.st_mode)) return Fail("it is not a regular file");
  // The lock of driver 'file'. A file system without locks has no users that hold one.
  if (LockWholeFile(fd.get(), FileUse::kExclusive) == EAGAIN) {
    return Fail("it is in use as a disk; stop the program that uses it");
  }
  return fd;
}

Result<void> WriteAll(int fd, uint64_t offset_bytes, std::span<const std::byte> data) {
  while (!data.empty()) {
    ssize_t written = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset_bytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Fail("cannot write to it: {}", ErrnoText(errno));
    offset_bytes += static_cast<uint64_t>(written);
    data = data.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<void> FillFile(int fd, const ZonedHeader& header) {
  if (::ftruncate(fd, static_cast<off_t>(header.data_offset_bytes())) != 0) {
    return Fail("cannot give it its size: {}", ErrnoText(errno));
  }
  TRY_VOID(FormatZonedImage(header, [fd](uint64_t offset_bytes, std::span<const std::byte> data) {
    return WriteAll(fd, offset_bytes, data);
  }));
  if (::fsync(fd) != 0) return Fail("cannot bring it to stable storage: {}", ErrnoText(errno));
  return {};
}

Result<void> Create(const std::string& path, const ZonedGeometry& geometry, bool overwrite) {
  TRY_VOID(CheckGeometry(geometry));
  ZonedHeader header;
  header.geometry = geometry;
  TRY(header.id, RandomId());
  bool created = false;
  TRY(UniqueFd fd, OpenNewFile(path, overwrite, created));
  if (::ftruncate(fd.get(), 0) != 0) return Fail("cannot empty it: {}", ErrnoText(errno));
  Result<void> filled = FillFile(fd.get(), header);
  if (filled && created) filled = SyncDirectoryOf(path);
  if (!filled) ::unlink(path.c_str());
  return filled;
}

}  // namespace

Result<void> CreateZonedImage(const std::string& path, const ZonedGeometry& geometry,
                              bool overwrite) {
  Result<void> done = Create(path, geometry, overwrite);
  if (!done) return Fail("cannot create zoned image '{}': {}", path, done.error().message);
  return {};
}

Result<void> SyncDirectoryOf(const std::string& path) {
  std::filesystem::path directory = std::filesystem::path(path).parent_path();
  if (directory.empty()) directory = ".";
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd ? ::fsync(fd.get()) == 0 || errno == EINVAL : errno == EACCES) return {};
  return Fail("cannot bring its directory to stable storage: {}", ErrnoText(errno));
}

Result<void> FormatZonedImage(
    const ZonedHeader& header,
    const std::function<Result<void>(uint64_t offset_bytes, std::span<const std::byte> data)>&
        write) {
  constexpr uint32_t kPagesPerWrite = 512;
  const ZonedGeometry& g = header.geometry;
  std::vector<ZoneRecord> records;
  std::vector<std::byte> bytes;
  for (uint32_t first = 0; first < header.table_pages(); first += kPagesPerWrite) {
    const uint32_t end = std::min(header.table_pages(), first + kPagesPerWrite);
    bytes.clear();
    for (uint32_t page = first; page < end; ++page) {
      const uint32_t first_zone = page * kZonesPerPage;
      records.assign(std::min(kZonesPerPage, g.zone_count() - first_zone), {});
      for (uint32_t i = 0; i < records.size() && first_zone + i < g.conventional_zones; ++i) {
        records[i].condition = ZoneCondition::kNotWritePointer;
      }
      // Both places, so that a damaged one is always known from one that was never written.
      ZonedPage encoded = EncodeTablePage(header, page, 1, records);
      for (int place = 0; place < 2; ++place) {
        bytes.insert(bytes.end(), encoded.begin(), encoded.end());
      }
    }
    TRY_VOID(write(header.PageOffset(first, 0), bytes));
  }
  ZonedPage encoded = EncodeHeader(header);
  bytes.assign(encoded.begin(), encoded.end());
  bytes.insert(bytes.end(), encoded.begin(), encoded.end());
  return write(0, bytes);
}

}  // namespace minivmm
