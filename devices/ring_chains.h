// RingChains: puts together the chains of one ring, of either layout, and keeps the storage of
// those that are out. The ring reads descriptors and says what they mean; here are the checks that
// do not depend on the layout: guest memory, order, length.
//
//   Begin ─ AddBuffer … AddBuffer ─ Finish ──▶ DescriptorChain ──▶ TakeBack
//      └── given up at any error: the next Begin starts anew
//
// One thread: that of the queue. Allocates nothing for chains of up to 16 elements.
#ifndef MINIVMM_DEVICES_RING_CHAINS_H_
#define MINIVMM_DEVICES_RING_CHAINS_H_

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blockcore/base/result.h"
#include "devices/descriptor_chain.h"
#include "devices/guest_memory.h"

namespace minivmm {

class RingChains {
 public:
  // At most `size` chains are out at a time. `memory` must outlive this.
  RingChains(const GuestMemory& memory, uint16_t size);

  uint16_t size() const { return static_cast<uint16_t>(slots_.size()); }
  // Chains that may still go out.
  uint16_t free_chains() const { return static_cast<uint16_t>(free_slots_.size()); }

  // A chain must be free.
  void Begin();
  // Fails when the chain gets longer than max(size, 1024) buffers or 4 GiB, when a readable buffer
  // comes after a writable one (virtio 2.7.4.2; empty ones aside), or when not all of it is guest
  // memory.
  Result<void> AddBuffer(uint64_t address, uint32_t length, bool writable);
  // The table of an indirect descriptor; fails when its length is not one to max(size, 1024)
  // descriptors or when it is not within one region of guest memory.
  Result<std::span<std::byte>> IndirectTable(uint64_t address, uint32_t length) const;
  // `id`: what the ring gives back to the driver; `descriptors`: of the ring, the chain's.
  DescriptorChain Finish(uint16_t id, uint16_t descriptors);

  void TakeBack(DescriptorChain& chain);

 private:
  // Elements of a chain that is out. A slot has room for a small chain; the first long one in a
  // slot brings room for any.
  struct Slot {
    std::unique_ptr<iovec[]> large;
  };
  // Makes room for any chain; false: this one is as long as a chain may be.
  bool Grow();

  const GuestMemory* memory_;
  uint32_t buffer_limit_;  // of a chain, direct and indirect
  size_t element_limit_;   // buffers that do not overlap span each border between regions once

  std::unique_ptr<iovec[]> small_elements_;
  std::vector<Slot> slots_;
  std::vector<uint16_t> free_slots_;

  // The chain between Begin and Finish.
  uint16_t slot_ = 0;
  std::span<iovec> elements_;
  size_t count_ = 0;
  size_t readable_count_ = 0;
  uint32_t buffers_ = 0;
  uint64_t total_bytes_ = 0;
  bool writable_seen_ = false;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_RING_CHAINS_H_
