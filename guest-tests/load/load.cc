#include "guest-tests/load/load.h"

#include "guest-tests/bare-metal/require.h"
#include "guest-tests/load/timestamp.h"

namespace minivmm {
namespace {

constexpr uint64_t kPageBytes = 4096;
// As used_event, what no index reaches for a long time.
constexpr uint16_t kFarAhead = 0x8000;

// What the device looks at lies in cache lines of its own, as in Linux.
struct alignas(128) LoadRequest {
  Descriptor table[3];
  BlkHeader header;
  volatile uint8_t status;
};

RingMemory rings[kMaxLoadQueues];
LoadRequest built[kMaxLoadQueues][kMaxQueueSize];

uint16_t Index(const volatile uint16_t& index) {
  const uint16_t value = index;
  CompilerBarrier();
  return value;
}

}  // namespace

const char* Load::Open(const PciFunction& function, const LoadOptions& options, uint64_t data,
                       uint64_t data_bytes) {
  options_ = options;
  if (options.depth == 0 || options.depth > kMaxQueueSize) return "depth= is 1 to 256";
  if (options.size == 0 || options.size % kSectorBytes != 0) return "size= is a multiple of 512";
  if (options.queues == 0 || options.queues > kMaxLoadQueues) return "queues= is 1 to 4";
  buffer_bytes_ = (options.size + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (options.queues * options.depth * buffer_bytes_ > data_bytes) {
    return "the machine has not enough memory for the data";
  }

  if (const char* error = pci_.Open(function)) return error;
  if (!pci_.Negotiate(pci_.OfferedFeatures() & kDriverFeatures & ~kFeatureZoned)) {
    return "the disk refuses its own features";
  }
  if (options.queues > pci_.QueueCount()) return "the disk has fewer queues";
  const uint64_t capacity =
      pci_.Config<uint32_t>(kBlkCapacity) | uint64_t{pci_.Config<uint32_t>(kBlkCapacity + 4)} << 32;
  sectors_of_place_ = buffer_bytes_ / kSectorBytes;
  places_ = capacity / sectors_of_place_;
  if (places_ == 0) return "the disk is smaller than a request";

  pci_.ResetMsixTable();
  for (uint16_t i = 0; i < options.queues; ++i) {
    Build(i, data + i * options.depth * buffer_bytes_);
  }
  pci_.AddStatus(kStatusDriverOk);
  return nullptr;
}

void Load::Build(uint16_t index, uint64_t data) {
  RingMemory& ring = rings[index];
  const bool reads = options_.op == LoadOptions::Op::kRead;
  for (uint16_t i = 0; i < options_.depth; ++i) {
    LoadRequest& request = built[index][i];
    request.header.type = reads ? kIn : kOut;
    request.table[0] = {reinterpret_cast<uint64_t>(&request.header), sizeof(request.header),
                        kDescriptorNext, 1};
    request.table[1] = {data + i * buffer_bytes_, static_cast<uint32_t>(options_.size),
                        static_cast<uint16_t>(kDescriptorNext | (reads ? kDescriptorWrite : 0)), 2};
    request.table[2] = {reinterpret_cast<uint64_t>(&request.status), 1, kDescriptorWrite, 0};
    ring.descriptors[i] = {reinterpret_cast<uint64_t>(request.table), sizeof(request.table),
                           kDescriptorIndirect, 0};
  }
  REQUIRE(pci_.MaxQueueSize(index) >= kMaxQueueSize);
  pci_.EnableQueue(index, kMaxQueueSize, ring, 0);
  queues_[index] = {&ring, pci_.DoorbellOf(index), 0, 0, 0};
}

void Load::Enter(Queue& queue, uint16_t head) {
  LoadRequest& request = built[&queue - queues_][head];
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  request.header.sector = random_ % places_ * sectors_of_place_;
  request.status = kStatusNotWritten;
  queue.ring->available.ring[(queue.available + queue.entered) % kMaxQueueSize] = head;
  ++queue.entered;
}

void Load::Publish(Queue& queue) {
  const uint16_t count = queue.entered;
  queue.entered = 0;
  queue.available = static_cast<uint16_t>(queue.available + count);
  queue.ring->available.ring[kMaxQueueSize] = static_cast<uint16_t>(queue.used + kFarAhead);
  CompilerBarrier();
  const_cast<volatile uint16_t&>(queue.ring->available.index) = queue.available;
  FullBarrier();
  const uint16_t wanted = Index(queue.ring->used.avail_event);
  if (static_cast<uint16_t>(queue.available - wanted - 1) < count) {
    MmioWrite<uint16_t>(queue.doorbell, static_cast<uint16_t>(&queue - queues_));
  }
}

void Load::Take(Queue& queue, bool again) {
  const uint16_t end = Index(queue.ring->used.index);
  for (; queue.used != end; ++queue.used) {
    const auto head = static_cast<uint16_t>(queue.ring->used.ring[queue.used % kMaxQueueSize].id);
    const uint8_t status = built[&queue - queues_][head % kMaxQueueSize].status;
    if (status != kOk && failure_ == 0) failure_ = status;
    ++requests_;
    if (again) Enter(queue, head);
  }
}

void Load::Run(uint64_t end) {
  const auto depth = static_cast<uint16_t>(options_.depth);
  const auto half = static_cast<uint16_t>((depth + 1) / 2);
  for (unsigned q = 0; q < options_.queues; ++q) {
    for (uint16_t head = 0; head < depth; ++head) Enter(queues_[q], head);
    Publish(queues_[q]);
  }
  while (failure_ == 0 && (requests_ < options_.requests || ReadTimestamp() < end)) {
    for (unsigned q = 0; q < options_.queues; ++q) {
      Queue& queue = queues_[q];
      if (static_cast<uint16_t>(Index(queue.ring->used.index) - queue.used) < half) {
        asm volatile("pause");
        continue;
      }
      Take(queue, true);
      Publish(queue);
    }
  }
  for (unsigned q = 0; q < options_.queues; ++q) {
    while (queues_[q].used != queues_[q].available) Take(queues_[q], false);
  }
}

}  // namespace minivmm
