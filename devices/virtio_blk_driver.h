// For tests: the guest's driver of a virtio-blk device, with one ring and two eventfds for each of
// its queues, in memory of its own (FakeGuest). It drives the device model directly, without a
// transport. One thread.
//
//   VirtioBlkDriver driver(disk, {.name = "d", .num_queues = 4, .packed = true});
//   driver.Activate();
//   CHECK(driver.Send(Header(kBlkTypeIn, 0), 513).status() == kBlkStatusOk);
#ifndef MINIVMM_DEVICES_VIRTIO_BLK_DRIVER_H_
#define MINIVMM_DEVICES_VIRTIO_BLK_DRIVER_H_

#include <doctest/doctest.h>
#include <poll.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "blockcore/base/event_fd.h"
#include "blockcore/base/units.h"
#include "devices/virtio_blk.h"
#include "devices/virtqueue_driver.h"

namespace minivmm {

using Bytes = std::vector<uint8_t>;

// The readable bytes of a request: a header, or a header + data.
inline Bytes Header(uint32_t type, uint64_t sector) {
  const VirtioBlkHeader header{type, 0, sector};
  Bytes bytes(sizeof(header));
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline Bytes Data(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

class TestNeedsReset : public NeedsReset {
 public:
  void Raise() override { event.Notify(); }
  EventFd event = *EventFd::Create();
};

// A driver of one queue, with its eventfds. `ring` is made anew for each activation.
struct TestQueue {
  std::unique_ptr<VirtqueueDriver> ring;
  EventFd doorbell = *EventFd::Create();
  EventFd interrupt = *EventFd::Create();
  std::atomic<const EventFd*> route{nullptr};
};

// What came back for one request.
struct Answer {
  uint32_t used_bytes;
  Bytes written;  // the writable bytes
  uint8_t status() const { return written.back(); }
};

class VirtioBlkDriver {
 public:
  static constexpr uint64_t kAllRing = kFeatureIndirectDesc | kFeatureEventIdx;
  static constexpr uint64_t kVersion1 = uint64_t{1} << 32;

  // `disk` must outlive it. The rings are packed if `options.packed`. `on_held`: VirtioBlk::Create.
  VirtioBlkDriver(BlockNode& disk, const VirtioBlkOptions& options,
                  const std::function<void()>& on_held = {})
      : layout_(options.packed ? kFeatureRingPacked : 0),
        num_queues_(options.num_queues),
        queue_size_(options.queue_size) {
    auto created = VirtioBlk::Create(options, disk, on_held);
    REQUIRE(created.has_value());
    device = std::move(*created);
    for (int i = 0; i < num_queues_; ++i) queues.push_back(std::make_unique<TestQueue>());
    NewRings();
  }
  ~VirtioBlkDriver() {
    if (device) device->Reset();
  }
  VirtioBlkDriver(const VirtioBlkDriver&) = delete;
  VirtioBlkDriver& operator=(const VirtioBlkDriver&) = delete;

  // Rings, and behind them buffers, from guest address `start` on.
  void NewRings(uint64_t ring_features = kAllRing, uint64_t start = FakeGuest::kBase) {
    guest.Rewind(start);
    for (auto& queue : queues) {
      queue->ring = std::make_unique<VirtqueueDriver>(guest, queue_size_, ring_features | layout_);
      queue->route = &queue->interrupt;
      queue->interrupt.Drain();
    }
    buffers_ = guest.mark();
  }

  uint64_t AllFeatures() const { return device->offered_features() | kVersion1; }

  void Activate(uint64_t features) {
    Activation activation{.features = features, .queues = {}, .needs_reset = &needs_reset};
    for (uint16_t i = 0; i < num_queues_; ++i) activation.queues.push_back(MakeActive(i));
    device->Activate(std::move(activation));
  }
  void Activate() { Activate(AllFeatures()); }
  ActiveQueue MakeActive(uint16_t queue) {
    VirtqueueDriver& ring = *queues[queue]->ring;
    return {.index = queue,
            .ring = *Virtqueue::Create(guest.memory(), ring.config(), ring.features()),
            .doorbell = &queues[queue]->doorbell,
            .interrupt = &queues[queue]->route};
  }
  // RING_RESET and a new ring.
  void RenewQueue(uint16_t queue, uint16_t size) {
    device->StopQueue(queue);
    queues[queue]->ring = std::make_unique<VirtqueueDriver>(guest, size, kAllRing | layout_);
    buffers_ = guest.mark();
    device->StartQueue(MakeActive(queue));
  }

  // Waits for the next used entry of a queue as a driver does: by interrupt.
  VirtqueueDriver::Used WaitUsed(int queue = 0) {
    VirtqueueDriver& ring = *queues[queue]->ring;
    for (;;) {
      if (auto used = ring.TakeUsed()) return *used;
      if (ring.EnableInterrupt()) continue;
      pollfd poll_fd{queues[queue]->interrupt.fd(), POLLIN, 0};
      ::poll(&poll_fd, 1, -1);
      queues[queue]->interrupt.Drain();
    }
  }

  void Ring(int queue = 0) {
    if (queues[queue]->ring->NeedsDoorbell()) queues[queue]->doorbell.Notify();
  }

  // Offers without ringing; returns the address of the writable bytes.
  uint64_t Offer(const Bytes& readable, size_t writable_bytes, int queue = 0,
                 uint32_t piece = 4096) {
    const uint64_t source = guest.Allocate(readable.size() + 1);
    guest.Fill(source, readable);
    const uint64_t target = guest.Allocate(writable_bytes + 1);
    std::memset(guest.Host(target), 0xee, writable_bytes);
    ChainBuilder(*queues[queue]->ring)
        .Indirect()
        .ReadablePieces(source, static_cast<uint32_t>(readable.size()), piece)
        .WritablePieces(target, static_cast<uint32_t>(writable_bytes), piece)
        .Raw({0, 0, RingDescriptor::kWrite, 0})
        .Offer();
    return target;
  }

  Answer Send(const Bytes& readable, size_t writable_bytes, int queue = 0, uint32_t piece = 4096) {
    guest.Rewind(buffers_);
    const uint64_t target = Offer(readable, writable_bytes, queue, piece);
    Ring(queue);
    const VirtqueueDriver::Used used = WaitUsed(queue);
    Answer answer{used.length, Bytes(writable_bytes)};
    guest.Read(target, answer.written);
    return answer;
  }

  // One request on queue 0, in bytes: its status, and what it brings if that is OK.
  uint8_t Do(uint32_t type, uint64_t offset_bytes = 0) {
    return Send(Header(type, offset_bytes / kSectorBytes), 1).status();
  }
  uint8_t Write(uint64_t offset_bytes, const Bytes& data) {
    return Send(Header(kBlkTypeOut, offset_bytes / kSectorBytes) + data, 1, 0, 1536).status();
  }
  std::pair<uint8_t, Bytes> Read(uint64_t offset_bytes, size_t length_bytes) {
    Answer answer =
        Send(Header(kBlkTypeIn, offset_bytes / kSectorBytes), length_bytes + 1, 0, 1536);
    const uint8_t status = answer.status();
    answer.written.pop_back();
    if (status != kBlkStatusOk) answer.written.clear();
    return {status, std::move(answer.written)};
  }
  uint8_t Range(uint32_t type, uint64_t offset_bytes, uint64_t length_bytes, uint32_t flags) {
    const VirtioBlkSegment segment{offset_bytes / kSectorBytes,
                                   static_cast<uint32_t>(length_bytes / kSectorBytes), flags};
    Bytes bytes(sizeof(segment));
    std::memcpy(bytes.data(), &segment, sizeof(segment));
    return Send(Header(type, 0) + bytes, 1).status();
  }
  // And where the data went.
  std::pair<uint8_t, uint64_t> Append(uint64_t zone_bytes, const Bytes& data) {
    const Answer answer = Send(Header(kBlkTypeZoneAppend, zone_bytes / kSectorBytes) + data, 16);
    uint64_t sector = 0;
    std::memcpy(&sector, answer.written.data(), sizeof(sector));
    return {answer.status(), answer.status() == kBlkStatusOk ? sector * kSectorBytes : 0};
  }
  // The first zones. It must succeed.
  std::vector<VirtioBlkZoneDescriptor> Report(uint32_t zones) {
    const Answer answer = Send(Header(kBlkTypeZoneReport, 0), 64 + 64 * zones + 1);
    REQUIRE(answer.status() == kBlkStatusOk);
    std::vector<VirtioBlkZoneDescriptor> list(zones);
    std::memcpy(list.data(), answer.written.data() + 64, 64 * zones);
    return list;
  }

  template <typename T>
  T Config(uint64_t offset, uint64_t features = 0) {
    T value;
    device->ReadConfig(features, offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  FakeGuest guest;
  std::unique_ptr<VirtioBlk> device;
  std::vector<std::unique_ptr<TestQueue>> queues;
  TestNeedsReset needs_reset;

 private:
  const uint64_t layout_;
  uint16_t num_queues_;
  uint16_t queue_size_;
  uint64_t buffers_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTIO_BLK_DRIVER_H_
