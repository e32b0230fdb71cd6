#include "guest-tests/bare-metal/disk.h"

#include "guest-tests/bare-metal/require.h"

namespace minivmm {
namespace {

RingMemory rings[kMaxQueues];

}  // namespace

const char* Disk::Open(const PciFunction& function, bool packed) {
  if (const char* error = pci_.Open(function)) return error;
  offered_ = pci_.OfferedFeatures();
  packed_ = packed;
  if (packed_ && !Offers(kFeatureRingPacked)) return "ring=packed, but RING_PACKED is not offered";
  queue_count_ = pci_.QueueCount();
  if (queue_count_ == 0) return "the device has no queue";
  if (queue_count_ > kMaxQueues) queue_count_ = kMaxQueues;
  capacity_sectors_ =
      pci_.Config<uint32_t>(kBlkCapacity) | uint64_t{pci_.Config<uint32_t>(kBlkCapacity + 4)} << 32;
  if (IsZoned()) zoned_model_ = pci_.Config<uint8_t>(kBlkZonedModel);
  if (capacity_sectors_ < 256) return "the disk has less than 256 sectors";
  return nullptr;
}

bool Disk::IsBroken() const {
  return ConfigInterrupts() != config_interrupts_at_start_ && NeedsReset();
}

void Disk::Start(uint64_t wanted) {
  Negotiate(wanted);
  EnableQueues();
  GoLive();
  REQUIRE_EQ(pci_.Status(),
             kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk);
}

void Disk::Negotiate(uint64_t wanted) {
  if (packed_) wanted |= kFeatureRingPacked;
  negotiated_ = offered_ & wanted;
  REQUIRE(pci_.Negotiate(negotiated_));
}

void Disk::EnableQueues(uint16_t max_size) {
  pci_.ResetMsixTable();
  TakePendingInterrupts();
  config_interrupts_at_start_ = ConfigInterrupts();
  pci_.SetCommon<uint16_t>(kConfigMsixVector, kConfigEntry);
  REQUIRE_EQ(pci_.Common<uint16_t>(kConfigMsixVector), kConfigEntry);
  for (uint16_t i = 0; i < queue_count_; ++i) EnableQueue(i, max_size);
}

void Disk::EnableQueue(uint16_t index, uint16_t max_size) {
  uint16_t size = pci_.MaxQueueSize(index);
  if (size > max_size) size = max_size;
  queues_[index].Attach(&rings[index], size, Has(kFeatureEventIdx), packed_);
  pci_.EnableQueue(index, size, rings[index], EntryOfQueue(index));
}

uint16_t Disk::EntryOfQueue(uint16_t index) const {
  const uint16_t entries = pci_.msix_entries();
  return entries == 1 ? 0 : static_cast<uint16_t>(1 + index % (entries - 1));
}

uint64_t Disk::QueueInterrupts(uint16_t index) const {
  return InterruptCount(VirtioPci::VectorOfEntry(EntryOfQueue(index)));
}

uint64_t Disk::ConfigInterrupts() const {
  return InterruptCount(VirtioPci::VectorOfEntry(kConfigEntry));
}

void Disk::Submit(Request* request, uint32_t type, uint64_t sector, const Segment* data,
                  uint16_t data_count, uint16_t queue_index) {
  REQUIRE(data_count + 2 <= kMaxSegments);
  *request = Request{{type, 0, sector}, kStatusNotWritten, false, 0};
  Segment segments[kMaxSegments];
  uint16_t count = 0;
  segments[count++] = Readable(&request->header, sizeof(request->header));
  for (uint16_t i = 0; i < data_count; ++i) segments[count++] = data[i];
  segments[count++] = Writable(&request->status, sizeof(request->status));
  SubmitChain(request, queues_[queue_index].Place(segments, count), queue_index);
}

void Disk::SubmitChain(Request* request, uint16_t head, uint16_t queue_index) {
  requests_[queue_index][head] = request;
  queues_[queue_index].Push(head);
}

void Disk::Kick(uint16_t queue_index) {
  interrupts_at_kick_[queue_index] = QueueInterrupts(queue_index);
  if (queues_[queue_index].Publish()) pci_.Notify(queue_index);
}

void Disk::TakeAll(uint16_t queue_index) {
  Virtqueue& queue = queues_[queue_index];
  while (queue.in_flight() > 0) {
    const UsedElement element = queue.TakeUsed();
    REQUIRE(element.id < queue.size());
    used_bytes_ = element.bytes;
    Request* request = requests_[queue_index][element.id];
    if (request == nullptr) continue;
    REQUIRE(!request->done);
    request->done = true;
    request->used_bytes = element.bytes;
  }
}

void Disk::PollAll(uint16_t queue_index) {
  Virtqueue& queue = queues_[queue_index];
  const bool all_requests_completed =
      WaitFor([&] { return queue.UsedCount() >= queue.in_flight() || IsBroken(); });
  REQUIRE(!IsBroken());
  REQUIRE(all_requests_completed);
  REQUIRE_EQ(queue.UsedCount(), queue.in_flight());
  TakeAll(queue_index);
}

void Disk::Await(uint16_t queue_index) {
  Virtqueue& queue = queues_[queue_index];
  const bool interrupt_came = WaitFor([&] {
    return IsBroken() || (queue.UsedCount() >= queue.in_flight() &&
                          QueueInterrupts(queue_index) > interrupts_at_kick_[queue_index]);
  });
  REQUIRE(!IsBroken());
  const bool all_requests_completed = queue.UsedCount() >= queue.in_flight();
  REQUIRE(all_requests_completed);
  REQUIRE(interrupt_came);
  REQUIRE_EQ(queue.UsedCount(), queue.in_flight());
}

void Disk::AwaitAll(uint16_t queue_index) {
  Await(queue_index);
  TakeAll(queue_index);
}

void Disk::RequireNeedsReset() {
  const bool device_needs_reset = WaitFor([this] { return NeedsReset(); });
  REQUIRE(device_needs_reset);
}

uint8_t Disk::Run(uint32_t type, uint64_t sector, const Segment* data, uint16_t data_count,
                  uint16_t queue_index) {
  static Request request;
  Submit(&request, type, sector, data, data_count, queue_index);
  Kick(queue_index);
  AwaitAll(queue_index);
  return request.status;
}

uint8_t Disk::Read(uint64_t sector, void* data, uint32_t bytes) {
  const Segment segment = Writable(data, bytes);
  return Run(kIn, sector, &segment, 1);
}

uint8_t Disk::Write(uint64_t sector, const void* data, uint32_t bytes) {
  const Segment segment = Readable(data, bytes);
  return Run(kOut, sector, &segment, 1);
}

void Disk::RunChain(const Segment* segments, uint16_t count) {
  SubmitChain(nullptr, queues_[0].Place(segments, count));
  Kick();
  AwaitAll();
}

}  // namespace minivmm
