#include "guest-tests/zone-load/disk.h"

#include "guest-tests/bare-metal/console.h"
#include "guest-tests/bare-metal/cpu.h"
#include "guest-tests/bare-metal/interrupts.h"

namespace minivmm {
namespace {

constexpr uint16_t kTableEntries = ZonedDisk::kReportPages + 2;
constexpr uint64_t kPageBytes = 4096;

// What follows the data: an append's sector comes before the status byte, nothing does otherwise.
struct Tail {
  uint64_t sector;
  uint8_t status;
};
constexpr uint32_t kAppendTailBytes = 9;

struct alignas(128) Slot {
  Descriptor table[kTableEntries];
  BlkHeader header;
  Tail tail;
};

RingMemory ring;
Slot slots[kMaxSlots];
alignas(4096) uint8_t data[kMaxSlots][kMaxRequestBytes];
// Every second page of it is used.
alignas(4096) uint8_t report[2 * ZonedDisk::kReportPages * kPageBytes];

}  // namespace

const char* ZonedDisk::Open(const PciFunction& function) {
  if (used_index_ != nullptr) pci_.Reset();  // The last disk lets go of the ring.
  pci_ = VirtioPci();
  if (const char* error = pci_.Open(function)) return error;
  if (!pci_.Negotiate(pci_.OfferedFeatures() & kDriverFeatures)) {
    return "the disk refuses its features";
  }
  if ((pci_.OfferedFeatures() & kFeatureZoned) == 0) return "the disk has no zones";
  if ((pci_.OfferedFeatures() & kFeatureEventIdx) == 0) return "EVENT_IDX is not offered";
  capacity_sectors_ =
      pci_.Config<uint32_t>(kBlkCapacity) | uint64_t{pci_.Config<uint32_t>(kBlkCapacity + 4)} << 32;
  zone_sectors_ = pci_.Config<uint32_t>(kBlkZoneSectors);

  __builtin_memset(&ring, 0, sizeof(ring));
  entered_ = published_ = seen_ = 0;
  pci_.ResetMsixTable();
  size_ = pci_.MaxQueueSize(0);
  if (size_ > kMaxQueueSize) size_ = kMaxQueueSize;
  if (size_ < kMaxSlots) return "the queue is too short";
  pci_.EnableQueue(0, size_, ring, static_cast<uint16_t>(pci_.msix_entries() > 1 ? 1 : 0));
  doorbell_ = pci_.DoorbellOf(0);
  used_index_ = &ring.used.index;
  pci_.AddStatus(kStatusDriverOk);
  return nullptr;
}

void ZonedDisk::Start(uint16_t slot, uint32_t type, uint64_t sector, uint32_t bytes) {
  Slot& it = slots[slot];
  uint16_t count = 1;
  if (bytes != 0) {
    const uint16_t direction = type == kIn ? kDescriptorWrite : 0;
    it.table[count] = {reinterpret_cast<uint64_t>(data[slot]), bytes,
                       static_cast<uint16_t>(kDescriptorNext | direction),
                       static_cast<uint16_t>(count + 1)};
    ++count;
  }
  Enter(slot, type, sector, count);
}

void ZonedDisk::StartReport(uint16_t slot, uint64_t sector) {
  uint16_t count = 1;
  for (uint64_t page = 0; page < kReportPages; ++page, ++count) {
    slots[slot].table[count] = {reinterpret_cast<uint64_t>(&report[2 * page * kPageBytes]),
                                kPageBytes, kDescriptorNext | kDescriptorWrite,
                                static_cast<uint16_t>(count + 1)};
  }
  Enter(slot, kZoneReport, sector, count);
}

uint64_t ZonedDisk::ReportedZones() const {
  return *reinterpret_cast<const volatile uint64_t*>(report);
}

// `count` descriptors are in the slot's table, the header's place included.
void ZonedDisk::Enter(uint16_t slot, uint32_t type, uint64_t sector, uint16_t count) {
  Slot& it = slots[slot];
  it.header = {type, 0, sector};
  it.tail = {~uint64_t{0}, kStatusNotWritten};
  it.table[0] = {reinterpret_cast<uint64_t>(&it.header), sizeof(it.header), kDescriptorNext, 1};
  it.table[count] =
      type == kZoneAppend
          ? Descriptor{reinterpret_cast<uint64_t>(&it.tail), kAppendTailBytes, kDescriptorWrite, 0}
          : Descriptor{reinterpret_cast<uint64_t>(&it.tail.status), 1, kDescriptorWrite, 0};
  ring.descriptors[slot] = {reinterpret_cast<uint64_t>(it.table),
                            static_cast<uint32_t>((count + 1) * sizeof(Descriptor)),
                            kDescriptorIndirect, 0};
  ring.available.ring[entered_ % size_] = slot;
  ++entered_;
}

void ZonedDisk::Kick() {
  if (entered_ == published_) return;
  const uint16_t before = published_;
  published_ = entered_;
  CompilerBarrier();
  *const_cast<volatile uint16_t*>(&ring.available.index) = published_;
  FullBarrier();
  const auto event = *const_cast<const volatile uint16_t*>(
      reinterpret_cast<const uint16_t*>(&ring.used.ring[size_]));
  if (static_cast<uint16_t>(published_ - event - 1) < static_cast<uint16_t>(published_ - before)) {
    MmioWrite<uint16_t>(doorbell_, 0);
  }
}

bool ZonedDisk::AwaitInterrupt() {
  *const_cast<volatile uint16_t*>(&ring.available.ring[size_]) = seen_;  // used_event
  FullBarrier();
  if (WaitFor([&] { return *used_index_ != seen_; })) return true;
  Print("@failed the disk has done nothing for ", kTimeoutTicks * kTickMs, " ms\n");
  return false;
}

uint32_t ZonedDisk::TakeUsed() {
  CompilerBarrier();
  return ring.used.ring[seen_++ % size_].id;
}

bool ZonedDisk::Succeeded(uint16_t slot) const {
  if (slot >= kMaxSlots) {
    Print("@failed the used ring names the descriptor ", unsigned{slot}, "\n");
    return false;
  }
  const Slot& it = slots[slot];
  const uint8_t status = *const_cast<const volatile uint8_t*>(&it.tail.status);
  if (status == kOk) return true;
  Print("@failed request of type ", it.header.type, " at sector ", it.header.sector,
        " ended with status ", unsigned{status}, "\n");
  return false;
}

}  // namespace minivmm
