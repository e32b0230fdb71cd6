#include "tools/img/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "blockcore/file.h"
#include "blockcore/file_lock.h"
#include "blockcore/host_device.h"
#include "blockcore/zoned/zoned_create.h"
#include "blockcore/zoned/zoned_image.h"

namespace minivmm {
namespace {

// The lock of driver 'file': one writer, or any number of readers.
bool IsLockedAgainst(const std::string& path, Access access) {
  UniqueFd fd(::open(path.c_str(), O_CLOEXEC | (access == Access::kRead ? O_RDONLY : O_RDWR)));
  struct flock lock {};
  lock.l_type = access == Access::kWrite ? F_WRLCK : F_RDLCK;
  lock.l_whence = SEEK_SET;
  return ::fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

// Says in this tool's words what driver 'file' would say in those of the command line of minivmm.
Result<void> CheckUsable(const std::string& path, Access access) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return Fail("cannot open '{}': {}", path, ErrnoText(errno));
  }
  if (S_ISBLK(status.st_mode)) {
    return Fail("cannot open '{}' as an image: it is a block device; only convert takes one", path);
  }
  if (!S_ISREG(status.st_mode)) {
    return Fail("cannot open '{}' as an image: it is not a regular file", path);
  }
  if (status.st_size == 0) return Fail("cannot use '{}' as a zoned image: it is empty", path);
  UniqueFd fd(::open(path.c_str(), O_CLOEXEC | (access == Access::kRead ? O_RDONLY : O_RDWR)));
  if (!fd) {
    return Fail("cannot open '{}'{}: {}", path, access == Access::kRead ? "" : " for writing",
                ErrnoText(errno));
  }
  return {};
}

}  // namespace

Result<OpenedDisk> OpenImageFile(const std::string& path, Access access) {
  TRY_VOID(CheckUsable(path, access));
  OpenedDisk disk;
  TRY(disk.thread, IoThread::Start("img"));
  const bool read_only = access == Access::kRead;
  Result<std::unique_ptr<BlockNode>> file =
      OpenFile({.filename = path, .read_only = read_only, .discard = !read_only});
  if (!file && IsLockedAgainst(path, access)) {
    return Fail("'{}' is in use by a guest or another program: stop that one first", path);
  }
  if (!file) return Unexpected(file.error());
  disk.node = std::move(*file);
  disk.io = std::make_unique<SyncIo>(*disk.thread, *disk.node);
  return disk;
}

Result<OpenedDisk> OpenZonedDisk(const std::string& path) {
  TRY(OpenedDisk disk, OpenImageFile(path, Access::kWrite));
  disk.child = std::move(disk.node);
  Result<std::unique_ptr<ZonedImage>> image =
      ZonedImage::Open(*disk.thread, *disk.child, /*read_only=*/false);
  if (!image) return Fail("cannot use '{}' as a zoned image: {}", path, image.error().message);
  disk.node = std::move(*image);
  disk.io = std::make_unique<SyncIo>(*disk.thread, *disk.node);
  return disk;
}

Result<OpenedDisk> OpenBlockDevice(const std::string& path, Access access) {
  OpenedDisk disk;
  TRY(disk.thread, IoThread::Start("img"));
  TRY(disk.node, OpenHostDevice({.filename = path, .read_only = access == Access::kRead}));
  disk.io = std::make_unique<SyncIo>(*disk.thread, *disk.node);
  return disk;
}

Result<ZonedContents> LoadImage(const std::string& path, OpenedDisk& disk) {
  Result<ZonedContents> contents = LoadZonedContents(*disk.io);
  if (!contents) {
    return Fail("cannot use '{}' as a zoned image: {}", path, contents.error().message);
  }
  return contents;
}

Result<DiskKind> LookAt(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return Fail("cannot open '{}': {}", path, ErrnoText(errno));
  }
  if (S_ISBLK(status.st_mode)) return DiskKind::kBlockDevice;
  if (!S_ISREG(status.st_mode)) {
    return Fail("cannot use '{}' as a disk: it is neither a file nor a block device", path);
  }
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Fail("cannot open '{}': {}", path, ErrnoText(errno));
  std::array<std::byte, 2 * kZonedPageBytes> start{};
  if (::pread(fd.get(), start.data(), start.size(), 0) < 0) {
    return Fail("cannot read '{}': {}", path, ErrnoText(errno));
  }
  return EitherLooksZoned(start) ? DiskKind::kZonedImage : DiskKind::kPlainFile;
}

Result<OutputFile> OutputFile::Open(const std::string& path, bool overwrite) {
  constexpr mode_t kMode = 0666;  // less the umask
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
  const bool created = static_cast<bool>(fd);
  if (!created && errno == EEXIST) {
    if (!overwrite) {
      return Fail("cannot create '{}': it exists already; choose another name, or give --force",
                  path);
    }
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
      return Fail("cannot overwrite '{}': it is not a regular file", path);
    }
    fd = UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  }
  if (!fd) return Fail("cannot create '{}': {}", path, ErrnoText(errno));
  if (LockWholeFile(fd.get(), FileUse::kExclusive) == EAGAIN) {
    return Fail("cannot overwrite '{}': it is in use as a disk", path);
  }
  return OutputFile(path, std::move(fd), created);
}

OutputFile::~OutputFile() {
  if (fd_ && remove_) ::unlink(path_.c_str());
}

Result<void> OutputFile::Clear(uint64_t size_bytes) {
  if (::ftruncate(fd_.get(), 0) != 0) {
    return Fail("cannot empty '{}': {}", path_, ErrnoText(errno));
  }
  remove_ = true;
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_bytes)) == 0) return {};
  if (errno == EFBIG) {
    return Fail("cannot give '{}' its size of {} bytes: its file system has no files that large",
                path_, size_bytes);
  }
  return Fail("cannot give '{}' its size of {} bytes: {}", path_, size_bytes, ErrnoText(errno));
}

Result<void> OutputFile::Write(uint64_t offset_bytes, std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t written =
        ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset_bytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Fail("cannot write to '{}': {}", path_, ErrnoText(errno));
    offset_bytes += static_cast<uint64_t>(written);
    data = data.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<void> OutputFile::Commit() {
  if (::fsync(fd_.get()) != 0) {
    return Fail("cannot bring '{}' to stable storage: {}", path_, ErrnoText(errno));
  }
  fd_ = UniqueFd();
  if (Result<void> synced = SyncDirectoryOf(path_); !synced) {
    return Fail("'{}' is complete, but: {}", path_, synced.error().message);
  }
  return {};
}

}  // namespace minivmm
