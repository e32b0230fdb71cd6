// DescriptorChain: one buffer that the driver made available, as host memory. Virtqueue::Pop makes
// it: every descriptor was copied once and checked, guest addresses are gone.
//
//   readable():  | 16 | 4096 | 512 |      what the driver sends, in order
//   writable():  | 4096 | 1 |             room for the answer, in order
//
// How the driver cut its bytes into descriptors means nothing (virtio 2.7.4.1), and a descriptor
// that spans two regions of guest memory is two elements here. No element is empty. The elements
// live in the ring's storage until the chain is given back; their holder may shorten them. The
// bytes they point to may change at any time: the guest runs.
//
// Move-only; must be given back with Virtqueue::Push. One thread: that of its queue.
#ifndef MINIVMM_DEVICES_DESCRIPTOR_CHAIN_H_
#define MINIVMM_DEVICES_DESCRIPTOR_CHAIN_H_

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <utility>

#include "blockcore/base/check.h"

namespace minivmm {

class DescriptorChain {
 public:
  DescriptorChain(DescriptorChain&& other) noexcept
      : readable_(other.readable_),
        writable_(other.writable_),
        id_(other.id_),
        descriptors_(other.descriptors_),
        slot_(other.slot_),
        outstanding_(std::exchange(other.outstanding_, false)) {}
  DescriptorChain& operator=(DescriptorChain&& other) noexcept {
    VMM_CHECK(!outstanding_);
    readable_ = other.readable_;
    writable_ = other.writable_;
    id_ = other.id_;
    descriptors_ = other.descriptors_;
    slot_ = other.slot_;
    outstanding_ = std::exchange(other.outstanding_, false);
    return *this;
  }
  ~DescriptorChain() { VMM_CHECK(!outstanding_); }

  // Both together hold less than 4 GiB (2^32 bytes).
  std::span<iovec> readable() const { return readable_; }
  std::span<iovec> writable() const { return writable_; }

  // Less than the queue's size, and different for any two chains that are out at the same time: an
  // index for storage of the chain's holder. Not what the driver calls the chain: a hostile driver
  // offers one twice.
  uint16_t slot() const { return slot_; }

 private:
  friend class RingChains;
  friend class PackedRing;
  friend class SplitRing;
  DescriptorChain(uint16_t id, uint16_t descriptors, uint16_t slot, std::span<iovec> readable,
                  std::span<iovec> writable)
      : readable_(readable),
        writable_(writable),
        id_(id),
        descriptors_(descriptors),
        slot_(slot),
        outstanding_(true) {}

  std::span<iovec> readable_;
  std::span<iovec> writable_;
  uint16_t id_ = 0;           // for the driver: index of the head, or buffer id
  uint16_t descriptors_ = 0;  // how far the ring moves on with this chain
  uint16_t slot_ = 0;
  bool outstanding_ = false;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_DESCRIPTOR_CHAIN_H_
