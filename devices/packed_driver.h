// For tests: the guest's side of a packed ring (virtio 2.8), used by VirtqueueDriver when
// RING_PACKED is among its features. Raw descriptors and event words are open to editing, to break
// the rules. One thread for one driver, which may be another one than the ring's.
#ifndef MINIVMM_DEVICES_PACKED_DRIVER_H_
#define MINIVMM_DEVICES_PACKED_DRIVER_H_

#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "devices/fake_guest.h"
#include "devices/queue_config.h"

namespace minivmm {

// virtio 2.8.13.
struct PackedDescriptor {
  static constexpr uint16_t kAvailable = 1 << 7;
  static constexpr uint16_t kUsed = 1 << 15;

  uint64_t address = 0;
  uint32_t length = 0;
  uint16_t id = 0;
  uint16_t flags = 0;
};
static_assert(sizeof(PackedDescriptor) == 16);

class PackedDriver {
 public:
  PackedDriver(FakeGuest& guest, const QueueConfig& config, bool event_idx)
      : guest_(guest), config_(config), event_idx_(event_idx), lengths_(config.size) {
    for (uint32_t id = config.size; id-- > 0;) free_ids_.push_back(static_cast<uint16_t>(id));
    free_ = config.size;
  }

  uint16_t free_descriptors() const { return free_; }
  uint16_t next_avail() const { return avail_.index; }
  bool avail_wrap() const { return avail_.wrap; }

  // Makes a list available, with flags as they are plus those of the lap; the id goes into its last
  // descriptor, garbage into the others. Returns the id.
  uint16_t Offer(std::vector<PackedDescriptor> list) {
    VMM_CHECK(!list.empty() && list.size() <= free_);
    const uint16_t id = free_ids_.back();
    free_ids_.pop_back();
    free_ = static_cast<uint16_t>(free_ - list.size());
    lengths_[id] = static_cast<uint16_t>(list.size());
    const Place head = avail_;
    for (size_t i = 0; i < list.size(); ++i) {
      list[i].id = i + 1 == list.size() ? id : 0xdead;
      list[i].flags |= avail_.wrap ? PackedDescriptor::kAvailable : PackedDescriptor::kUsed;
      if (i > 0) SetDescriptor(avail_.index, list[i]);
      avail_ = Next(avail_, 1);
      ++added_;
    }
    SetDescriptor(head.index, list[0]);
    return id;
  }

  bool NeedsDoorbell() {
    const uint32_t added = std::exchange(added_, 0);
    const uint32_t event = Shared<uint32_t>(config_.device_address).load(std::memory_order_seq_cst);
    if (event >> 16 == 1) return false;
    if (event >> 16 == 0) return true;
    VMM_CHECK(event_idx_ && event >> 16 == 2);
    const int lap = ((event >> 15 & 1) != 0) == avail_.wrap ? 0 : config_.size;
    const int beyond = avail_.index - static_cast<int>(event & 0x7fff) + lap;
    return beyond > 0 && static_cast<uint32_t>(beyond) <= added;
  }

  // The next used descriptor. One that brings no length (nothing was written) reads as 0.
  std::optional<std::pair<uint16_t, uint32_t>> TakeUsed() {
    if (!IsUsed(used_)) return std::nullopt;
    const PackedDescriptor used = GetDescriptor(used_.index);
    ++taken_;
    if (used.id < config_.size && lengths_[used.id] != 0) {
      const uint16_t length = std::exchange(lengths_[used.id], uint16_t{0});
      used_ = Next(used_, length);
      free_ = static_cast<uint16_t>(free_ + length);
      free_ids_.push_back(used.id);
    } else {
      used_ = Next(used_, 1);
    }
    return std::pair{used.id, used.flags & 2 ? used.length : 0};
  }

  // Lists that came back since the start, taken or not.
  uint16_t CountUsed() {
    uint16_t waiting = 0;
    for (Place place = used_; IsUsed(place) && waiting < config_.size; ++waiting) {
      const uint16_t id = GetDescriptor(place.index).id;
      VMM_CHECK(id < config_.size && lengths_[id] != 0);
      place = Next(place, lengths_[id]);
    }
    return static_cast<uint16_t>(taken_ + waiting);
  }

  bool EnableInterrupt() {
    SetDriverEvent(event_idx_ ? used_.index | uint32_t{used_.wrap} << 15 | 2u << 16 : 0);
    return IsUsed(used_);
  }

  // --- Raw fields ---

  // Flags last.
  void SetDescriptor(uint16_t index, const PackedDescriptor& descriptor) {
    const uint64_t address = config_.descriptor_address + 16u * index;
    std::memcpy(guest_.Host(address), &descriptor, 14);
    Shared<uint16_t>(address + 14).store(descriptor.flags, std::memory_order_seq_cst);
  }
  PackedDescriptor GetDescriptor(uint16_t index) {
    PackedDescriptor descriptor;
    const uint64_t address = config_.descriptor_address + 16u * index;
    descriptor.flags = Shared<uint16_t>(address + 14).load(std::memory_order_seq_cst);
    std::memcpy(static_cast<void*>(&descriptor), guest_.Host(address), 14);
    return descriptor;
  }
  void SetDriverEvent(uint32_t word) {
    Shared<uint32_t>(config_.driver_address).store(word, std::memory_order_seq_cst);
  }
  uint32_t device_event() {
    return Shared<uint32_t>(config_.device_address).load(std::memory_order_seq_cst);
  }

 private:
  struct Place {
    uint16_t index = 0;
    bool wrap = true;
  };
  Place Next(Place place, uint16_t count) const {
    const uint32_t index = uint32_t{place.index} + count;
    if (index < config_.size) return {static_cast<uint16_t>(index), place.wrap};
    return {static_cast<uint16_t>(index - config_.size), !place.wrap};
  }
  bool IsUsed(Place place) {
    const uint16_t flags = Shared<uint16_t>(config_.descriptor_address + 16u * place.index + 14)
                               .load(std::memory_order_seq_cst);
    return ((flags & PackedDescriptor::kAvailable) != 0) == place.wrap &&
           ((flags & PackedDescriptor::kUsed) != 0) == place.wrap;
  }
  template <typename T>
  std::atomic_ref<T> Shared(uint64_t address) {
    return std::atomic_ref<T>(*reinterpret_cast<T*>(guest_.Host(address)));
  }

  FakeGuest& guest_;
  const QueueConfig config_;
  const bool event_idx_;
  Place avail_;
  Place used_;
  uint16_t free_ = 0;
  uint32_t added_ = 0;
  uint32_t taken_ = 0;
  std::vector<uint16_t> free_ids_;
  std::vector<uint16_t> lengths_;  // of the lists that are out, by id; 0: not out
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_PACKED_DRIVER_H_
