// For tests: guest memory in a vector of bytes. One thread, but for fields that a test shares by
// atomics of its own.
#ifndef MINIVMM_DEVICES_FAKE_GUEST_H_
#define MINIVMM_DEVICES_FAKE_GUEST_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "devices/guest_memory.h"

namespace minivmm {

class FakeGuest {
 public:
  // Address 0 is not memory, so that a forgotten address is noticed.
  static constexpr uint64_t kBase = 0x10000;

  explicit FakeGuest(size_t bytes = 4_MiB)
      : bytes_(bytes), memory_({{.guest_address = kBase, .host = bytes_}}) {}
  FakeGuest(const FakeGuest&) = delete;
  FakeGuest& operator=(const FakeGuest&) = delete;

  const GuestMemory& memory() const { return memory_; }
  uint64_t end() const { return kBase + bytes_.size(); }

  // Memory that nothing else uses; never freed but by Rewind.
  uint64_t Allocate(uint64_t bytes, uint64_t alignment = 16) {
    const uint64_t address = AlignUp(next_, alignment);
    VMM_CHECK(address + bytes <= end());
    next_ = address + bytes;
    return address;
  }
  // Forgets all that was allocated after `mark` was taken.
  uint64_t mark() const { return next_; }
  void Rewind(uint64_t mark) { next_ = mark; }

  std::byte* Host(uint64_t address) {
    VMM_CHECK(address >= kBase && address < end());
    return bytes_.data() + (address - kBase);
  }
  // Whole arrays into guest memory and back.
  void Fill(uint64_t address, std::span<const uint8_t> bytes) {
    std::transform(bytes.begin(), bytes.end(), Host(address),
                   [](uint8_t byte) { return std::byte{byte}; });
  }
  void Read(uint64_t address, std::span<uint8_t> bytes) {
    std::transform(bytes.begin(), bytes.end(), Host(address), bytes.begin(),
                   [](uint8_t, std::byte byte) { return static_cast<uint8_t>(byte); });
  }

  template <typename T>
  T Load(uint64_t address) {
    T value;
    std::memcpy(&value, Host(address), sizeof(T));
    return value;
  }
  template <typename T>
  void Store(uint64_t address, const T& value) {
    std::memcpy(Host(address), &value, sizeof(T));
  }
  // A copy of `value` in guest memory.
  template <typename T>
  uint64_t Place(const T& value) {
    const uint64_t address = Allocate(sizeof(T));
    Store(address, value);
    return address;
  }

 private:
  std::vector<std::byte> bytes_;
  GuestMemory memory_;
  uint64_t next_ = kBase;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_FAKE_GUEST_H_
