#include "vmm/guest_ram.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "blockcore/base/units.h"
#include "firmware/memory_layout.h"

namespace minivmm {
namespace {

// A region is aligned like this in our address space too: else neither we nor KVM could use large
// pages.
constexpr uint64_t kLargePageBytes = 2_MiB;

Result<std::span<std::byte>> Map(uint64_t bytes, int protection, int flags, int fd) {
  void* address = ::mmap(nullptr, bytes, protection, flags, fd, 0);
  if (address == MAP_FAILED) return Fail("{}", ErrnoText(errno));
  return std::span(static_cast<std::byte*>(address), bytes);
}

}  // namespace

Mapping::Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Result<MappedFile> MappedFile::Open(const std::string& what, const std::string& path) {
  MappedFile file;
  file.name_ = fmt::format("{} '{}'", what, path);
  file.fd_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.fd_) return Fail("cannot open {}: {}", file.name_, ErrnoText(errno));
  struct stat status {};
  if (::fstat(file.fd_.get(), &status) != 0) {
    return Fail("cannot examine {}: {}", file.name_, ErrnoText(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    return Fail("cannot use '{}' as {}: it is {}, not a file", path, what,
                S_ISDIR(status.st_mode) ? "a directory" : "a device or a pipe");
  }
  if (status.st_size == 0) return Fail("cannot use '{}' as {}: the file is empty", path, what);
  auto bytes = Map(static_cast<uint64_t>(status.st_size), PROT_READ, MAP_PRIVATE, file.fd_.get());
  if (!bytes) return Fail("cannot read {}: {}", file.name_, bytes.error().message);
  file.mapping_ = Mapping(*bytes);
  file.written_at_ = status.st_mtim;
  return file;
}

Result<void> MappedFile::CheckUnchanged() const {
  if (!fd_) return {};
  struct stat status {};
  if (::fstat(fd_.get(), &status) == 0 && static_cast<uint64_t>(status.st_size) == bytes().size() &&
      status.st_mtim.tv_sec == written_at_.tv_sec &&
      status.st_mtim.tv_nsec == written_at_.tv_nsec) {
    return {};
  }
  return Fail("{} has been written to since minivmm started: start minivmm anew", name_);
}

void MappedFile::Evict() {
  if (fd_) ::madvise(mapping_.bytes().data(), mapping_.bytes().size(), MADV_DONTNEED);
}

Result<GuestRam> GuestRam::Allocate(uint64_t bytes) {
  // Anonymous memory gets large pages where the kernel's settings for shared memory would not give
  // any.
  auto room = Map(bytes + kLargePageBytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  if (!room) {
    return Fail("cannot get {} MiB of memory for the guest: {}: give it less with -m", bytes >> 20,
                room.error().message);
  }
  Mapping mapping(*room);
  auto start = reinterpret_cast<uint64_t>(room->data());
  uint64_t next = AlignUp(start, kLargePageBytes) - start;
  std::vector<GuestRegion> regions;
  for (const MemoryRange& range : RamRanges(bytes)) {
    regions.push_back({range.address, room->subspan(next, range.bytes)});
    next += range.bytes;
  }
  // Advice: where it is not taken, small pages do as well.
  ::madvise(room->data(), room->size(), MADV_HUGEPAGE);
  ::madvise(room->data(), room->size(), MADV_DONTFORK);
  ::madvise(room->data(), room->size(), MADV_DONTDUMP);
  return GuestRam(std::move(mapping), std::move(regions));
}

}  // namespace minivmm
