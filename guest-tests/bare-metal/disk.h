// The virtio-blk disk under test, as a small driver: start, submit, wait, and one function per kind
// of request. A completion counts only when its interrupt came as well. What a check wants to see
// but no driver would do goes through queue() and pci().
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_DISK_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_DISK_H_

#include <cstdint>

#include "guest-tests/bare-metal/virtio.h"
#include "guest-tests/bare-metal/virtio_pci.h"
#include "guest-tests/bare-metal/virtqueue.h"

namespace minivmm {

constexpr uint16_t kMaxQueues = 16;
constexpr uint16_t kMaxSegments = 256;
constexpr uint16_t kConfigEntry = 0;  // MSI-X table entry for configuration changes

// One request in flight. Lives until it is done; `status` is what the device wrote last.
struct Request {
  BlkHeader header;
  uint8_t status;
  bool done;
  uint32_t used_bytes;
};

class Disk {
 public:
  // Reads what never changes. Null on success, otherwise what is wrong. `packed`: drive packed
  // rings from now on.
  const char* Open(const PciFunction& function, bool packed);

  VirtioPci& pci() { return pci_; }
  uint64_t offered() const { return offered_; }
  bool Offers(uint64_t feature) const { return (offered_ & feature) != 0; }
  bool Has(uint64_t feature) const { return (negotiated_ & feature) != 0; }
  uint64_t capacity_sectors() const { return capacity_sectors_; }
  uint16_t queue_count() const { return queue_count_; }
  bool IsPacked() const { return packed_; }
  bool IsZoned() const { return Offers(kFeatureZoned); }
  bool IsHostAware() const { return IsZoned() && zoned_model_ == kModelHostAware; }

  // Reset, negotiation of the offered features in `wanted`, all queues, DRIVER_OK.
  void Start(uint64_t wanted = kDriverFeatures);
  // The parts of it.
  void Negotiate(uint64_t wanted);
  void EnableQueues(uint16_t max_size = kMaxQueueSize);
  void EnableQueue(uint16_t index, uint16_t max_size);
  void GoLive() { pci_.AddStatus(kStatusDriverOk); }

  Virtqueue& queue(uint16_t index) { return queues_[index]; }
  uint16_t EntryOfQueue(uint16_t index) const;
  uint64_t QueueInterrupts(uint16_t index) const;
  uint64_t ConfigInterrupts() const;

  // Fills in header and status of `request` and enters header, segments and status byte as one
  // chain in a queue.
  void Submit(Request* request, uint32_t type, uint64_t sector, const Segment* data,
              uint16_t data_count, uint16_t queue_index = 0);
  // Enters a chain that a check has placed by itself; null when nobody wants to know of its
  // completion.
  void SubmitChain(Request* request, uint16_t head, uint16_t queue_index = 0);
  // Publishes what was entered and notifies the device where it asks for that.
  void Kick(uint16_t queue_index = 0);
  // Waits until everything in the queue is done and at least one interrupt came since Kick().
  void Await(uint16_t queue_index = 0);
  // That, and takes the completions.
  void AwaitAll(uint16_t queue_index = 0);
  // The same as AwaitAll() by looking at the ring only.
  void PollAll(uint16_t queue_index = 0);

  // Waits until the device asks for a reset, which it has to.
  void RequireNeedsReset();
  bool NeedsReset() const { return (pci_.Status() & kStatusNeedsReset) != 0; }

  // One request from start to end; returns its status.
  uint8_t Run(uint32_t type, uint64_t sector, const Segment* data, uint16_t data_count,
              uint16_t queue_index = 0);
  uint8_t Command(uint32_t type, uint64_t sector) { return Run(type, sector, nullptr, 0); }
  uint8_t Read(uint64_t sector, void* data, uint32_t bytes);
  uint8_t Write(uint64_t sector, const void* data, uint32_t bytes);
  // The same through a chain whose every segment is given, header and status included.
  void RunChain(const Segment* segments, uint16_t count);
  // Bytes that the device said it wrote in the last request that completed.
  uint32_t used_bytes() const { return used_bytes_; }

 private:
  void TakeAll(uint16_t queue_index);
  // Whether the device has asked for a reset since the start, as its configuration interrupt tells.
  bool IsBroken() const;

  VirtioPci pci_;
  Virtqueue queues_[kMaxQueues];
  uint64_t config_interrupts_at_start_ = 0;
  uint64_t interrupts_at_kick_[kMaxQueues] = {};
  Request* requests_[kMaxQueues][kMaxQueueSize] = {};  // by head of the chain
  uint64_t offered_ = 0;
  uint64_t negotiated_ = 0;
  uint64_t capacity_sectors_ = 0;
  uint32_t used_bytes_ = 0;
  uint16_t queue_count_ = 0;
  bool packed_ = false;
  uint8_t zoned_model_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_DISK_H_
