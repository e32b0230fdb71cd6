#include "devices/guest_memory.h"

#include <algorithm>
#include <utility>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"

namespace minivmm {

GuestMemory::GuestMemory(std::vector<GuestRegion> regions) : regions_(std::move(regions)) {
  for (size_t i = 1; i < regions_.size(); ++i) {
    VMM_CHECK(regions_[i - 1].guest_address + regions_[i - 1].host.size() <=
              regions_[i].guest_address);
  }
}

std::span<std::byte> GuestMemory::Slice(uint64_t address, uint64_t length) const {
  for (const GuestRegion& region : regions_) {
    if (address < region.guest_address) continue;
    uint64_t offset = address - region.guest_address;
    if (RangeFits(offset, length, region.host.size())) return region.host.subspan(offset, length);
  }
  return {};
}

std::span<std::byte> GuestMemory::FirstPart(uint64_t address, uint64_t length) const {
  for (const GuestRegion& region : regions_) {
    if (address < region.guest_address) continue;
    uint64_t offset = address - region.guest_address;
    if (offset < region.host.size()) {
      return region.host.subspan(offset, std::min(length, region.host.size() - offset));
    }
  }
  return {};
}

}  // namespace minivmm
