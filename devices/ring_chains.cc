#include "devices/ring_chains.h"

#include <algorithm>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "devices/ring_parts.h"

namespace minivmm {
namespace {

// A chain may be as long as the ring; rings shorter than this take longer chains all the same, by
// way of indirect tables.
constexpr uint32_t kMinBufferLimit = 1024;

// Chains up to this many elements need nothing beyond what the constructor allocated.
constexpr size_t kSmallChain = 16;

}  // namespace

RingChains::RingChains(const GuestMemory& memory, uint16_t size)
    : memory_(&memory),
      buffer_limit_(std::max<uint32_t>(size, kMinBufferLimit)),
      element_limit_(buffer_limit_ + memory.regions().size() - 1),
      small_elements_(std::make_unique_for_overwrite<iovec[]>(size * kSmallChain)),
      slots_(size) {
  free_slots_.reserve(size);
  // Taken from the back: the lowest slots are used most and stay in the cache.
  for (uint16_t slot = size; slot-- > 0;) free_slots_.push_back(slot);
}

void RingChains::Begin() {
  VMM_CHECK(!free_slots_.empty());
  slot_ = free_slots_.back();
  const std::unique_ptr<iovec[]>& large = slots_[slot_].large;
  elements_ = large ? std::span(large.get(), element_limit_)
                    : std::span(&small_elements_[slot_ * kSmallChain], kSmallChain);
  count_ = 0;
  readable_count_ = 0;
  buffers_ = 0;
  total_bytes_ = 0;
  writable_seen_ = false;
}

bool RingChains::Grow() {
  if (count_ == element_limit_) return false;
  std::unique_ptr<iovec[]>& large = slots_[slot_].large;
  large = std::make_unique_for_overwrite<iovec[]>(element_limit_);
  std::copy_n(elements_.begin(), count_, large.get());
  elements_ = std::span(large.get(), element_limit_);
  return true;
}

Result<void> RingChains::AddBuffer(uint64_t address, uint32_t length, bool writable) {
  if (++buffers_ > buffer_limit_) {
    return Fail("chain is longer than {} descriptors or a loop", buffer_limit_);
  }
  if (length == 0) return {};
  if (writable) {
    writable_seen_ = true;
  } else if (writable_seen_) {
    return Fail("device-readable descriptor after a device-writable one");
  }
  total_bytes_ += length;
  if (total_bytes_ > UINT32_MAX) return Fail("chain is longer than 4 GiB");
  // A buffer may lie in several regions that touch.
  for (uint64_t at = address, left = length; left != 0;) {
    const std::span<std::byte> part = memory_->FirstPart(at, left);
    if (part.empty() || (count_ == elements_.size() && !Grow())) {
      return Fail("buffer at {:#x}, {} bytes, is not in guest memory", address, length);
    }
    elements_[count_++] = {part.data(), part.size()};
    at += part.size();
    left -= part.size();
  }
  if (!writable) readable_count_ = count_;
  return {};
}

Result<std::span<std::byte>> RingChains::IndirectTable(uint64_t address, uint32_t length) const {
  const uint64_t entries = length / kDescriptorBytes;
  if (entries == 0 || entries > buffer_limit_ || !IsAligned(length, kDescriptorBytes)) {
    return Fail("indirect table of {} bytes", length);
  }
  const std::span<std::byte> table = memory_->Slice(address, length);
  if (table.data() == nullptr) {
    return Fail("indirect table at {:#x}, {} bytes, is not in guest memory", address, length);
  }
  return table;
}

DescriptorChain RingChains::Finish(uint16_t id, uint16_t descriptors) {
  free_slots_.pop_back();
  return DescriptorChain(id, descriptors, slot_, elements_.first(readable_count_),
                         elements_.subspan(readable_count_, count_ - readable_count_));
}

void RingChains::TakeBack(DescriptorChain& chain) {
  VMM_CHECK(chain.outstanding_);
  chain.outstanding_ = false;
  free_slots_.push_back(chain.slot_);
}

}  // namespace minivmm
