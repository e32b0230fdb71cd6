#include "devices/ring_parts.h"

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"

namespace minivmm {

Result<void> PlaceRingParts(const GuestMemory& memory, std::span<RingPart> parts) {
  for (RingPart& part : parts) {
    if (!IsAligned(part.address, part.alignment)) {
      return Fail("{} at {:#x} is not aligned to {} bytes", part.name, part.address,
                  part.alignment);
    }
    part.host = memory.Slice(part.address, part.bytes).data();
    if (part.host == nullptr) {
      return Fail("{} at {:#x}, {} bytes, is not in guest memory", part.name, part.address,
                  part.bytes);
    }
    // Regions are mapped at page boundaries; atomic access depends on it.
    VMM_CHECK(IsAligned(reinterpret_cast<uintptr_t>(part.host), part.alignment));
  }
  return {};
}

}  // namespace minivmm
