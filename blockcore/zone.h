// The vocabulary of zoned storage, in bytes. The numbers of types, conditions and models are those
// of the virtio specification (5.2.6, zone descriptor) and of <linux/blkzoned.h>, which agree.
#ifndef MINIVMM_BLOCKCORE_ZONE_H_
#define MINIVMM_BLOCKCORE_ZONE_H_

#include <cstdint>

namespace minivmm {

enum class ZonedModel : uint8_t {
  kNone = 0,         // an ordinary disk
  kHostManaged = 1,  // sequential zones take writes at their write pointer only
  kHostAware = 2,    // sequential zones prefer that, but take random writes
};

enum class ZoneType : uint8_t {
  kConventional = 1,
  kSequentialRequired = 2,
  kSequentialPreferred = 3,
};

enum class ZoneCondition : uint8_t {
  kNotWritePointer = 0,  // conventional zones without a fault
  kEmpty = 1,
  kImplicitlyOpen = 2,
  kExplicitlyOpen = 3,
  kClosed = 4,
  kReadOnly = 13,
  kFull = 14,
  kOffline = 15,
};

struct ZoneDescriptor {
  uint64_t start_bytes = 0;
  uint64_t length_bytes = 0;    // the zone size but for a short last zone
  uint64_t capacity_bytes = 0;  // writable from the start on; <= length
  // Absolute. Meaningful for empty, open and closed zones; start + length for full and conventional
  // ones (spec: undefined there).
  uint64_t write_pointer_bytes = 0;
  ZoneType type = ZoneType::kSequentialRequired;
  ZoneCondition condition = ZoneCondition::kEmpty;

  bool operator==(const ZoneDescriptor&) const = default;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONE_H_
