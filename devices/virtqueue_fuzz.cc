// Virtqueue: a driver that writes rings, descriptors and indices as the input says, most of them
// sound, while the device pops and pushes.
#include <set>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "devices/virtqueue.h"
#include "tools/bazel/fuzz/fuzz_input.h"

namespace minivmm {
namespace {

// virtio 2.7.5.
struct Descriptor {
  uint64_t address = 0;
  uint32_t length = 0;
  uint16_t flags = 0;
  uint16_t next = 0;
};
constexpr uint16_t kNext = 1;
constexpr uint16_t kWrite = 2;
constexpr uint16_t kIndirect = 4;

// virtio 2.8.13.
struct PackedDescriptor {
  uint64_t address = 0;
  uint32_t length = 0;
  uint16_t id = 0;
  uint16_t flags = 0;
};
constexpr uint16_t kPackedAvailable = 1 << 7;
constexpr uint16_t kPackedUsed = 1 << 15;

// Two regions that touch, a hole, and a third. Address 0 is no memory.
constexpr uint64_t kLowBase = 0x1'0000;
constexpr uint64_t kLowBytes = 16_KiB;
constexpr uint64_t kMiddleBase = kLowBase + kLowBytes;
constexpr uint64_t kMiddleBytes = 4_KiB;
constexpr uint64_t kHighBase = 0x1'0000'0000;
constexpr uint64_t kHighBytes = 8_KiB;

class Memory {
 public:
  const GuestMemory& guest() const { return guest_; }

  template <typename T>
  void Store(uint64_t address, const T& value) {
    const std::span<std::byte> place = guest_.Slice(address, sizeof(T));
    if (place.data() != nullptr) std::memcpy(place.data(), &value, sizeof(T));
  }
  template <typename T>
  T Load(uint64_t address) const {
    T value{};
    const std::span<std::byte> place = guest_.Slice(address, sizeof(T));
    if (place.data() != nullptr) std::memcpy(&value, place.data(), sizeof(T));
    return value;
  }
  bool Holds(const iovec& element) const {
    return std::ranges::any_of(guest_.regions(), [&](const GuestRegion& region) {
      const std::byte* begin = static_cast<const std::byte*>(element.iov_base);
      return begin >= region.host.data() &&
             RangeFits(static_cast<uint64_t>(begin - region.host.data()), element.iov_len,
                       region.host.size());
    });
  }

 private:
  struct alignas(4096) Page {
    std::byte bytes[4_KiB] = {};
  };
  static std::span<std::byte> BytesOf(std::vector<Page>& pages) {
    return std::as_writable_bytes(std::span(pages));
  }

  // Storage of their own, so that a sanitizer sees what leaves a region.
  std::vector<Page> low_ = std::vector<Page>(kLowBytes / 4_KiB);
  std::vector<Page> middle_ = std::vector<Page>(kMiddleBytes / 4_KiB);
  std::vector<Page> high_ = std::vector<Page>(kHighBytes / 4_KiB);
  GuestMemory guest_{
      {{kLowBase, BytesOf(low_)}, {kMiddleBase, BytesOf(middle_)}, {kHighBase, BytesOf(high_)}}};
};

uint64_t SomeAddress(FuzzInput& input) {
  switch (input.Below(6)) {
    case 0:
      return kMiddleBase - input.Below(64);  // near the border
    case 1:
      return kHighBase + input.Below(kHighBytes);
    case 2:
      return input.Number();
    default:
      return kLowBase + input.Below(kLowBytes);
  }
}

uint32_t SomeLength(FuzzInput& input) {
  switch (input.Below(8)) {
    case 0:
      return static_cast<uint32_t>(input.Number());
    case 1:
      return 0;
    case 2:
      return static_cast<uint32_t>(input.Below(8_KiB));
    default:
      return static_cast<uint32_t>(1 + input.Below(64));
  }
}

struct Rig {
  explicit Rig(FuzzInput& fuzz_input) : input(fuzz_input) {}

  FuzzInput& input;
  Memory memory;
  QueueConfig config;
  bool packed = false;
  uint16_t avail_index = 0;
  bool avail_wrap = true;  // of a packed ring
  std::vector<DescriptorChain> out;
  std::set<uint16_t> slots;
  bool broken = false;

  bool Sound() { return input.Below(16) != 0; }  // whether to keep to the rules this time

  Descriptor SomeDescriptor(bool writable) {
    Descriptor descriptor;
    descriptor.address = SomeAddress(input);
    descriptor.length = SomeLength(input);
    if (writable) descriptor.flags |= kWrite;
    if (input.Below(8) == 0) {
      descriptor.flags = kIndirect;
      descriptor.length = static_cast<uint32_t>(16 * (1 + input.Below(8)));
    }
    return descriptor;
  }

  // A list of descriptors in the ring, or in a table for an indirect one. In a packed ring the list
  // is made available at the same time.
  void WriteDescriptors(uint64_t table, uint16_t table_entries) {
    const bool in_packed_ring = packed && table == config.descriptor_address;
    uint16_t index = static_cast<uint16_t>(input.Below(table_entries));
    if (in_packed_ring) index = avail_index;
    const uint64_t count = 1 + input.Below(6);
    const uint64_t first_writable = input.Below(count + 1);
    for (uint64_t i = 0; i < count; ++i) {
      Descriptor descriptor = SomeDescriptor(i >= first_writable);
      const uint16_t next = static_cast<uint16_t>((index + 1u) % table_entries);
      descriptor.next = next;
      if (i + 1 < count && (descriptor.flags & kIndirect) == 0) descriptor.flags |= kNext;
      if (!Sound()) descriptor.flags = static_cast<uint16_t>(input.Take<uint8_t>());
      if (!Sound()) descriptor.next = input.Take<uint16_t>();
      if (packed) {
        PackedDescriptor other{descriptor.address, descriptor.length, descriptor.next,
                               descriptor.flags};
        if (in_packed_ring) other.flags |= avail_wrap ? kPackedAvailable : kPackedUsed;
        memory.Store(table + 16u * index, other);
      } else {
        memory.Store(table + 16u * index, descriptor);
      }
      index = next;
      if (in_packed_ring && index == 0) avail_wrap = !avail_wrap;
    }
    if (in_packed_ring) avail_index = index;
  }

  void Offer() {
    if (packed) {
      // What the driver wants to be notified of, in place of indices.
      return memory.Store(config.driver_address, input.Take<uint32_t>());
    }
    const uint16_t head =
        Sound() ? static_cast<uint16_t>(input.Below(config.size)) : input.Take<uint16_t>();
    memory.Store(config.driver_address + 4 + 2u * (avail_index % config.size), head);
    avail_index = Sound() ? static_cast<uint16_t>(avail_index + 1) : input.Take<uint16_t>();
    memory.Store(config.driver_address + 2, avail_index);
  }

  void Pop(Virtqueue& ring) {
    auto chain = ring.Pop();
    VMM_CHECK(!(broken && chain));
    if (!chain) {
      broken = true;
      CheckErrorText(chain.error().message);
      return;
    }
    if (!*chain) return;
    uint64_t bytes = 0;
    for (std::span<iovec> elements : {(*chain)->readable(), (*chain)->writable()}) {
      for (const iovec& element : elements) {
        VMM_CHECK(element.iov_len != 0 && memory.Holds(element));
        bytes += element.iov_len;
      }
    }
    VMM_CHECK(bytes <= UINT32_MAX);
    VMM_CHECK((*chain)->slot() < ring.size());
    VMM_CHECK(slots.insert((*chain)->slot()).second);
    out.push_back(std::move(**chain));
  }

  void Push(Virtqueue& ring) {
    if (out.empty()) return;
    const auto chosen = out.begin() + static_cast<ptrdiff_t>(input.Below(out.size()));
    slots.erase(chosen->slot());
    ring.Push(std::move(*chosen), input.Take<uint8_t>());
    *chosen = std::move(out.back());
    out.pop_back();
  }

  void Run() {
    uint64_t features = input.Pick<uint64_t>(
        {0, kFeatureIndirectDesc, kFeatureEventIdx, kFeatureIndirectDesc | kFeatureEventIdx});
    packed = input.TakeBool();
    if (packed) features |= kFeatureRingPacked;
    config.size = Sound() ? input.Pick<uint16_t>({1, 2, 8, 64}) : input.Take<uint16_t>();
    const uint64_t size = config.size;
    config.descriptor_address = kLowBase;
    config.driver_address = AlignUp(kLowBase + 16 * size, 4);
    config.device_address = AlignUp(config.driver_address + 6 + 2 * size, 4);
    for (uint64_t* address :
         {&config.descriptor_address, &config.driver_address, &config.device_address}) {
      if (!Sound()) *address = SomeAddress(input);
    }
    auto ring = Virtqueue::Create(memory.guest(), config, features);
    if (!ring) return CheckErrorText(ring.error().message);
    VMM_CHECK(ring->size() == config.size);

    while (!input.empty()) {
      switch (input.Below(10)) {
        case 0:
        case 1:
          WriteDescriptors(config.descriptor_address, config.size);
          break;
        case 2:
          WriteDescriptors(kHighBase + input.Below(64) * 16, 16);  // as an indirect table
          break;
        case 3:
        case 4:
          Offer();
          break;
        case 5:
          Pop(*ring);
          break;
        case 6:
          Push(*ring);
          break;
        case 7:
          if (ring->EnableDoorbell()) VMM_CHECK(!broken);
          break;
        case 8:
          ring->DisableDoorbell();
          VMM_CHECK(!ring->NeedsInterrupt() || !broken);
          break;
        default: {
          const uint64_t value = input.Take<uint64_t>();
          memory.Store(SomeAddress(input), value);
          break;
        }
      }
    }
    while (!out.empty()) Push(*ring);
  }
};

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  minivmm::FuzzInput input(data, size);
  minivmm::Rig(input).Run();
  return 0;
}
