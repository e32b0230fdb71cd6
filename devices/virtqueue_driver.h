// For tests: the guest's side of a ring, in a vector of bytes. FakeGuest is the memory,
// VirtqueueDriver a ring in it, split or packed by its features, ChainBuilder a request on that
// ring. All of it can be told to break the rules: raw descriptors, indices and entries of a split
// ring are open to editing here, those of a packed ring by packed().
//
//   FakeGuest guest;
//   VirtqueueDriver driver(guest, 8, kFeatureIndirectDesc);
//   Virtqueue ring = *Virtqueue::Create(guest.memory(), driver.config(), driver.features());
//   uint64_t status = guest.Allocate(1);
//   ChainBuilder(driver).Readable(header).Writable(status, 1).Offer();
//
// One thread for one driver, which may be another one than the ring's.
#ifndef MINIVMM_DEVICES_VIRTQUEUE_DRIVER_H_
#define MINIVMM_DEVICES_VIRTQUEUE_DRIVER_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "devices/fake_guest.h"
#include "devices/packed_driver.h"
#include "devices/virtqueue.h"

namespace minivmm {

// virtio 2.7.5.
struct RingDescriptor {
  static constexpr uint16_t kNext = 1;
  static constexpr uint16_t kWrite = 2;
  static constexpr uint16_t kIndirect = 4;

  uint64_t address = 0;
  uint32_t length = 0;
  uint16_t flags = 0;
  uint16_t next = 0;
};
static_assert(sizeof(RingDescriptor) == 16);

class VirtqueueDriver {
 public:
  struct Used {
    uint32_t id;
    uint32_t length;
    bool operator==(const Used&) const = default;
  };

  VirtqueueDriver(FakeGuest& guest, uint16_t size, uint64_t features)
      : guest_(guest), features_(features) {
    config_.size = size;
    if (features & kFeatureRingPacked) {
      config_.descriptor_address = guest.Allocate(16u * size, 16);
      config_.driver_address = guest.Allocate(4, 4);
      config_.device_address = guest.Allocate(4, 4);
      std::memset(guest.Host(config_.descriptor_address), 0,
                  config_.device_address + 4 - config_.descriptor_address);
      packed_.emplace(guest, config_, (features & kFeatureEventIdx) != 0);
      return;
    }
    config_.descriptor_address = guest.Allocate(16u * size, 16);
    config_.driver_address = guest.Allocate(6u + 2u * size, 2);
    config_.device_address = guest.Allocate(6u + 8u * size, 4);
    std::memset(guest.Host(config_.descriptor_address), 0,
                config_.device_address + 6 + 8u * size - config_.descriptor_address);
    for (uint32_t i = size; i-- > 0;) free_.push_back(static_cast<uint16_t>(i));
    chains_.resize(size);
  }

  FakeGuest& guest() { return guest_; }
  const QueueConfig& config() const { return config_; }
  uint64_t features() const { return features_; }
  size_t free_descriptors() const { return packed_ ? packed_->free_descriptors() : free_.size(); }
  bool is_packed() const { return packed_.has_value(); }
  PackedDriver& packed() { return *packed_; }

  // --- What a driver does ---

  uint16_t TakeDescriptor() {
    VMM_CHECK(!free_.empty());
    const uint16_t index = free_.back();
    free_.pop_back();
    return index;
  }
  void SetDescriptor(uint16_t index, const RingDescriptor& descriptor) {
    guest_.Store(config_.descriptor_address + 16u * index, descriptor);
  }
  RingDescriptor GetDescriptor(uint16_t index) {
    return guest_.Load<RingDescriptor>(config_.descriptor_address + 16u * index);
  }
  // `descriptors` are free again once the head was used.
  void Remember(uint16_t head, std::vector<uint16_t> descriptors) {
    chains_[head] = std::move(descriptors);
  }

  // Makes the chain at `head` available.
  void Offer(uint16_t head) {
    SetAvailEntry(avail_index_, head);
    SetAvailIndex(++avail_index_);
  }

  // Whether the device asks for a notification of what was offered since the last call.
  bool NeedsDoorbell() {
    if (packed_) return packed_->NeedsDoorbell();
    const uint16_t before = std::exchange(notified_, avail_index_);
    if (features_ & kFeatureEventIdx) {
      const uint16_t event = Shared(AvailEventAddress()).load(std::memory_order_seq_cst);
      return static_cast<uint16_t>(avail_index_ - event - 1) <
             static_cast<uint16_t>(avail_index_ - before);
    }
    return !(used_flags() & 1);
  }

  // The next used entry, if there is one.
  std::optional<Used> TakeUsed() {
    if (packed_) {
      const auto used = packed_->TakeUsed();
      if (!used) return std::nullopt;
      return Used{used->first, used->second};
    }
    if (used_index() == taken_) return std::nullopt;
    const Used used =
        guest_.Load<Used>(config_.device_address + 4 + 8u * (taken_ & (config_.size - 1)));
    ++taken_;
    if (used.id < config_.size) {
      for (uint16_t index : std::exchange(chains_[used.id], {})) free_.push_back(index);
    }
    return used;
  }

  // Asks for an interrupt after the next used entry; true: there is one already.
  bool EnableInterrupt() {
    if (packed_) return packed_->EnableInterrupt();
    if (features_ & kFeatureEventIdx) {
      SetUsedEvent(taken_);
    } else {
      SetAvailFlags(0);
    }
    return used_index() != taken_;
  }

  // --- Raw fields ---

  void SetAvailEntry(uint16_t position, uint16_t head) {
    Shared(config_.driver_address + 4 + 2u * (position & (config_.size - 1)))
        .store(head, std::memory_order_relaxed);
  }
  void SetAvailIndex(uint16_t index) {
    avail_index_ = index;
    Shared(config_.driver_address + 2).store(index, std::memory_order_seq_cst);
  }
  uint16_t avail_index() const { return avail_index_; }
  void SetAvailFlags(uint16_t flags) {
    Shared(config_.driver_address).store(flags, std::memory_order_seq_cst);
  }
  void SetUsedEvent(uint16_t index) {
    Shared(config_.driver_address + 4 + 2u * config_.size).store(index, std::memory_order_seq_cst);
  }
  // How many chains came back since the start, modulo 2^16.
  uint16_t used_index() {
    if (packed_) return packed_->CountUsed();
    return Shared(config_.device_address + 2).load(std::memory_order_seq_cst);
  }
  uint16_t used_flags() { return Shared(config_.device_address).load(std::memory_order_seq_cst); }
  uint16_t avail_event() { return Shared(AvailEventAddress()).load(std::memory_order_seq_cst); }

 private:
  uint64_t AvailEventAddress() const { return config_.device_address + 4 + 8u * config_.size; }
  std::atomic_ref<uint16_t> Shared(uint64_t address) {
    return std::atomic_ref<uint16_t>(*reinterpret_cast<uint16_t*>(guest_.Host(address)));
  }

  FakeGuest& guest_;
  QueueConfig config_;
  uint64_t features_;
  uint16_t avail_index_ = 0;
  uint16_t notified_ = 0;
  uint16_t taken_ = 0;
  std::vector<uint16_t> free_;
  std::vector<std::vector<uint16_t>> chains_;  // by head
  std::optional<PackedDriver> packed_;         // what is above is of no use then
};

class ChainBuilder {
 public:
  explicit ChainBuilder(VirtqueueDriver& driver) : driver_(driver) {}

  ChainBuilder& Readable(uint64_t address, uint32_t length) { return Raw({address, length, 0, 0}); }
  ChainBuilder& Writable(uint64_t address, uint32_t length) {
    return Raw({address, length, RingDescriptor::kWrite, 0});
  }
  // A readable copy of `value`.
  template <typename T>
  ChainBuilder& Readable(const T& value) {
    return Readable(driver_.guest().Place(value), sizeof(T));
  }
  // The same ranges in pieces of `piece` bytes.
  ChainBuilder& ReadablePieces(uint64_t address, uint32_t length, uint32_t piece) {
    return Pieces(address, length, piece, 0);
  }
  ChainBuilder& WritablePieces(uint64_t address, uint32_t length, uint32_t piece) {
    return Pieces(address, length, piece, RingDescriptor::kWrite);
  }
  // As it is, but for `next` and kNext, which Offer fills in.
  ChainBuilder& Raw(const RingDescriptor& descriptor) {
    (indirect_ ? indirect_elements_ : direct_elements_).push_back(descriptor);
    return *this;
  }
  // All that follows goes into an indirect table.
  ChainBuilder& Indirect() {
    indirect_ = true;
    return *this;
  }

  // Writes descriptors and makes the chain available; returns its head, or its buffer id.
  uint16_t Offer() {
    if (driver_.is_packed()) {
      PlaceTable();
      std::vector<PackedDescriptor> list = Packed(direct_elements_);
      for (size_t i = 0; i + 1 < list.size(); ++i) list[i].flags |= RingDescriptor::kNext;
      return driver_.packed().Offer(std::move(list));
    }
    const uint16_t head = Write();
    driver_.Offer(head);
    return head;
  }

  // Writes descriptors only; split rings.
  uint16_t Write() {
    PlaceTable();
    VMM_CHECK(!direct_elements_.empty());
    std::vector<uint16_t> indices;
    for (size_t i = 0; i < direct_elements_.size(); ++i) {
      indices.push_back(driver_.TakeDescriptor());
    }
    Link(direct_elements_, [&](size_t i) { return indices[i]; });
    for (size_t i = 0; i < indices.size(); ++i) {
      driver_.SetDescriptor(indices[i], direct_elements_[i]);
    }
    const uint16_t head = indices.front();
    driver_.Remember(head, std::move(indices));
    return head;
  }

 private:
  ChainBuilder& Pieces(uint64_t address, uint32_t length, uint32_t piece, uint16_t flags) {
    for (uint32_t done = 0; done < length; done += piece) {
      Raw({address + done, std::min(piece, length - done), flags, 0});
    }
    return *this;
  }

  // The indirect table, and the descriptor that names it.
  void PlaceTable() {
    if (!indirect_) return;
    const auto bytes = static_cast<uint32_t>(indirect_elements_.size() * 16);
    const uint64_t table = driver_.guest().Allocate(bytes);
    if (driver_.is_packed()) {
      const std::vector<PackedDescriptor> entries = Packed(indirect_elements_);
      std::memcpy(driver_.guest().Host(table), entries.data(), bytes);
    } else {
      Link(indirect_elements_, [](size_t i) { return static_cast<uint16_t>(i); });
      std::memcpy(driver_.guest().Host(table), indirect_elements_.data(), bytes);
    }
    direct_elements_.push_back({table, bytes, RingDescriptor::kIndirect, 0});
  }

  static std::vector<PackedDescriptor> Packed(const std::vector<RingDescriptor>& elements) {
    std::vector<PackedDescriptor> list;
    for (const RingDescriptor& element : elements) {
      list.push_back({element.address, element.length, 0xbeef, element.flags});
    }
    return list;
  }

  // The last one keeps an invalid `next`, as Linux leaves it: it means nothing there.
  template <typename IndexOf>
  static void Link(std::vector<RingDescriptor>& elements, IndexOf index_of) {
    for (size_t i = 0; i < elements.size(); ++i) {
      const bool last = i + 1 == elements.size();
      if (!last) elements[i].flags |= RingDescriptor::kNext;
      elements[i].next = last ? 0xffff : index_of(i + 1);
    }
  }

  VirtqueueDriver& driver_;
  bool indirect_ = false;
  std::vector<RingDescriptor> direct_elements_;
  std::vector<RingDescriptor> indirect_elements_;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTQUEUE_DRIVER_H_
