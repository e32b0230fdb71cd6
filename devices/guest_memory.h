// GuestMemory: the guest's RAM as the VMM sees it, and the only place that makes pointers of guest
// addresses. One or two regions (below and above the hole under 4 GiB), fixed after construction;
// any thread. The guest writes to it at any time: copy, then check, then use.
#ifndef MINIVMM_DEVICES_GUEST_MEMORY_H_
#define MINIVMM_DEVICES_GUEST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace minivmm {

struct GuestRegion {
  uint64_t guest_address;
  std::span<std::byte> host;  // borrowed
};

class GuestMemory {
 public:
  // `regions` in rising order of address, not overlapping.
  explicit GuestMemory(std::vector<GuestRegion> regions);

  // The host bytes of [address, address + length), which must lie in one region; empty span with
  // data() == nullptr otherwise (and for ranges that wrap). A zero length is valid anywhere within
  // a region.
  std::span<std::byte> Slice(uint64_t address, uint64_t length) const;

  // The first of these bytes, as many as lie in one region; empty when `address` lies in none. For
  // ranges that straddle regions.
  std::span<std::byte> FirstPart(uint64_t address, uint64_t length) const;

  const std::vector<GuestRegion>& regions() const { return regions_; }

 private:
  std::vector<GuestRegion> regions_;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_GUEST_MEMORY_H_
