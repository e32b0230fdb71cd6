// A zoned virtio-blk disk with up to kMaxSlots requests in flight in one queue. A slot is a request
// with its descriptors, header, status and data: it is started again as soon as it is done, each by
// itself, as a guest with that many writers would do it.
//
//   Start(slot, …)  enters the slot's request and rings the doorbell where the device wants that
//   Await()         sleeps until an interrupt if none is done, then gives the slots that are
#ifndef MINIVMM_GUEST_TESTS_ZONE_LOAD_DISK_H_
#define MINIVMM_GUEST_TESTS_ZONE_LOAD_DISK_H_

#include <cstdint>

#include "guest-tests/bare-metal/virtio_pci.h"

namespace minivmm {

constexpr uint16_t kMaxSlots = 64;
constexpr uint32_t kMaxRequestBytes = 128 * 1024;

class ZonedDisk {
 public:
  // Null on success, otherwise what is wrong.
  const char* Open(const PciFunction& function);

  uint64_t capacity_sectors() const { return capacity_sectors_; }
  uint64_t zone_sectors() const { return zone_sectors_; }

  // A read, write, append or zone command. `bytes` of data go to or come from the slot's own
  // buffer.
  void Start(uint16_t slot, uint32_t type, uint64_t sector, uint32_t bytes);
  // A report, for as many zones as kReportZones says, into pages that lie apart from each other as
  // Linux's do.
  void StartReport(uint16_t slot, uint64_t sector);
  static constexpr uint64_t kReportPages = 120;
  static constexpr uint64_t kReportZones = kReportPages * 4096 / sizeof(ZoneDescriptor) - 1;
  // Zones that the report in flight last has given.
  uint64_t ReportedZones() const;

  // The doorbell, for all that was started since.
  void Kick();
  // Calls `done(slot)` for each request that is done, at least one. False if one of them failed,
  // which is printed, or if none is done within seconds.
  template <typename Done>
  bool Await(Done done) {
    if (!AwaitInterrupt()) return false;
    while (seen_ != *used_index_) {
      const auto slot = static_cast<uint16_t>(TakeUsed());
      if (!Succeeded(slot)) return false;
      done(slot);
    }
    return true;
  }

 private:
  void Enter(uint16_t slot, uint32_t type, uint64_t sector, uint16_t descriptors);
  bool AwaitInterrupt();
  uint32_t TakeUsed();
  bool Succeeded(uint16_t slot) const;

  VirtioPci pci_;
  const volatile uint16_t* used_index_ = nullptr;
  uint64_t capacity_sectors_ = 0;
  uint64_t zone_sectors_ = 0;
  uint64_t doorbell_ = 0;
  uint16_t size_ = 0;
  uint16_t entered_ = 0;
  uint16_t published_ = 0;
  uint16_t seen_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_ZONE_LOAD_DISK_H_
