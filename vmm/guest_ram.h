// GuestRam: the guest's memory as a mapping of ours, and the files that are copied into it. Main
// thread, while the machine is built; the bytes are then the guest's, and devices reach them
// through GuestMemory.
//
// Memory is zero and costs nothing until it is touched, by the guest or by us.
#ifndef MINIVMM_VMM_GUEST_RAM_H_
#define MINIVMM_VMM_GUEST_RAM_H_

#include <time.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/base/unique_fd.h"
#include "devices/guest_memory.h"

namespace minivmm {

// Bytes from mmap, unmapped with the object.
class Mapping {
 public:
  Mapping() = default;
  explicit Mapping(std::span<std::byte> bytes) : bytes_(bytes) {}
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

// The bytes of a regular file, from when it was opened on; without a file, none.
class MappedFile {
 public:
  MappedFile() = default;
  // `what` ("kernel") names it in messages. An empty file is an error.
  static Result<MappedFile> Open(const std::string& what, const std::string& path);

  // Whoever looks at them after Open asks CheckUnchanged right before: what a file has lost cannot
  // be read without SIGBUS.
  std::span<const std::byte> bytes() const { return mapping_.bytes(); }
  // Fails when somebody has written to the file since Open.
  Result<void> CheckUnchanged() const;
  // Takes no memory until the bytes are looked at again.
  void Evict();

 private:
  std::string name_;  // "kernel 'vmlinux'"
  UniqueFd fd_;
  Mapping mapping_;
  timespec written_at_{};
};

class GuestRam {
 public:
  // Placed as RamRanges (firmware/memory_layout.h) says; `bytes` is a multiple of 1 MiB.
  static Result<GuestRam> Allocate(uint64_t bytes);

  const std::vector<GuestRegion>& regions() const { return regions_; }

 private:
  GuestRam(Mapping mapping, std::vector<GuestRegion> regions)
      : mapping_(std::move(mapping)), regions_(std::move(regions)) {}

  Mapping mapping_;
  std::vector<GuestRegion> regions_;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_GUEST_RAM_H_
