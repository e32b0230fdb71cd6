#include "blockcore/file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "blockcore/base/log.h"
#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/disk_transfer.h"
#include "blockcore/file_lock.h"

namespace minivmm {
namespace {

Result<void> CheckFileType(const std::string& filename, mode_t mode) {
  if (S_ISREG(mode)) return {};
  if (S_ISBLK(mode)) {
    return Fail("cannot open '{}' as a file: it is a block device: use driver=host_device",
                filename);
  }
  if (S_ISDIR(mode)) return Fail("cannot open '{}' as a disk: it is a directory", filename);
  return Fail("cannot open '{}' as a disk: it is not a regular file", filename);
}

Unexpected OpenError(const FileOptions& options, int error) {
  const std::string& filename = options.filename;
  switch (error) {
    case ENOENT:
      return Fail("cannot open '{}': {}; a new disk is made with: truncate -s 10G FILE", filename,
                  ErrnoText(error));
    case EACCES:
    case EPERM:
    case EROFS:
      if (options.read_only) return Fail("cannot open '{}': {}", filename, ErrnoText(error));
      return Fail(
          "cannot open '{}' for writing: {}; make it writable for you, or give read-only=on",
          filename, ErrnoText(error));
    case EINVAL:
      if (!options.cache_direct) break;
      return Fail(
          "cannot open '{}' with cache.direct=on: its file system has no direct I/O; leave "
          "cache.direct off, or move the file",
          filename);
    default:
      break;
  }
  return Fail("cannot open '{}': {}", filename, ErrnoText(error));
}

Result<void> LockFile(int fd, const FileOptions& options) {
  const int error = LockWholeFile(fd, options.read_only ? FileUse::kShared : FileUse::kExclusive);
  if (error == EAGAIN) {
    return Fail("cannot lock '{}': it is in use by another disk or program; stop that one{}",
                options.filename,
                options.read_only ? "" : ", or give read-only=on to all that use it");
  }
  if (error != 0) {
    LOG("'{}' cannot be locked against other programs ({}): going on without", options.filename,
        ErrnoText(error));
  }
  return {};
}

// What O_DIRECT demands where the kernel does not say: the smaller size if a read of it works.
uint32_t ProbeDirectIoBlock(int fd) {
  constexpr size_t kLargeBlockBytes = 4096;
  alignas(kLargeBlockBytes) static thread_local std::byte block[kLargeBlockBytes];
  return ::pread(fd, block, kSectorBytes, 0) >= 0 ? kSectorBytes : kLargeBlockBytes;
}

class FileDisk : public PlainDisk {
 public:
  using PlainDisk::PlainDisk;

  Result<void> Grow(uint64_t capacity_bytes) override {
    if (::ftruncate(fd_.get(), static_cast<off_t>(capacity_bytes)) != 0) {
      return Fail("cannot make the file {} bytes long: {}", capacity_bytes, ErrnoText(errno));
    }
    limits_.capacity_bytes = capacity_bytes;
    return {};
  }
};

}  // namespace

Result<std::unique_ptr<BlockNode>> OpenFile(const FileOptions& options) {
  const std::string& filename = options.filename;
  // Looked at before it is opened, because opening a device or a pipe has effects.
  struct stat status {};
  if (::stat(filename.c_str(), &status) != 0) return OpenError(options, errno);
  TRY_VOID(CheckFileType(filename, status.st_mode));
  int flags = O_CLOEXEC | (options.read_only ? O_RDONLY : O_RDWR);
  if (options.cache_direct) flags |= O_DIRECT;
  UniqueFd fd(::open(filename.c_str(), flags));
  if (!fd) return OpenError(options, errno);
  if (::fstat(fd.get(), &status) != 0) return OpenError(options, errno);
  TRY_VOID(CheckFileType(filename, status.st_mode));
  TRY_VOID(LockFile(fd.get(), options));
  if (status.st_size == 0) {
    return Fail("cannot use '{}' as a disk: it is empty; give it a size with: truncate -s 10G FILE",
                filename);
  }

  DirectIoAlignment alignment;
  if (options.cache_direct) {
    alignment = ReadDirectIoAlignment(fd.get(), ProbeDirectIoBlock(fd.get()));
  }
  BlockLimits limits;
  limits.logical_block_bytes = std::max<uint32_t>(kSectorBytes, alignment.block_bytes);
  limits.physical_block_bytes = limits.logical_block_bytes;
  limits.write_alignment_bytes = alignment.block_bytes;
  limits.capacity_bytes = AlignUp(status.st_size, limits.logical_block_bytes);
  limits.read_only = options.read_only;
  limits.grows = !options.read_only;
  limits.write_zeroes = !options.read_only;
  limits.discard = options.discard && !options.read_only;
  if (limits.discard) {
    limits.discard_granularity_bytes =
        std::max<uint32_t>(limits.logical_block_bytes, status.st_blksize);
  }
  DiskTransferOptions transfer{.filename = filename,
                               .fd = fd.get(),
                               .alignment = alignment,
                               .zeroes_past_end = true,
                               .no_flush = options.cache_no_flush};
  return std::make_unique<FileDisk>(std::move(fd), limits, std::move(transfer));
}

}  // namespace minivmm
