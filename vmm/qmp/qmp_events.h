// The events of the protocol, as JSON, and BlockErrorQueue, which brings the errors of disks from
// their I/O threads to the main thread. The functions are pure; any thread.
#ifndef MINIVMM_VMM_QMP_QMP_EVENTS_H_
#define MINIVMM_VMM_QMP_QMP_EVENTS_H_

#include <array>
#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "blockcore/base/event_fd.h"
#include "blockcore/block_backend.h"
#include "vmm/machine_control.h"

namespace minivmm {

// Since 1970, of the host's clock.
struct QmpTime {
  int64_t seconds = 0;
  int64_t microseconds = 0;

  static QmpTime Now();
};

boost::json::object MachineEventMessage(const MachineEvent& event, QmpTime time);

// A disk's error on its way. No text, so that nothing is allocated for it.
struct DiskError {
  size_t disk = 0;  // index of the disk
  BlockError error{};
};

// `left_out`: errors before this one that nobody was told of.
boost::json::object BlockErrorMessage(std::string_view device_id, std::string_view node_name,
                                      const BlockError& error, uint64_t left_out, QmpTime time);

// Where QEMU would have the device `id`.
std::string QomPath(std::string_view device_id);

// A bounded queue: a guest that makes errors faster than they are taken gets them counted only. One
// that stops the machine has the last place in any case.
class BlockErrorQueue {
 public:
  static constexpr size_t kCapacity = 64;

  explicit BlockErrorQueue(EventFd wake_up) : wake_up_(std::move(wake_up)) {}

  // I/O threads. Neither allocates nor waits for the one who takes.
  void Push(const DiskError& error);

  // Main thread.
  struct Batch {
    std::array<DiskError, kCapacity> errors;
    size_t count = 0;
    uint64_t left_out = 0;  // after those of the batch
  };
  Batch TakeAll();

  // Readable when there is something to take, until TakeAll.
  const EventFd& wake_up() const { return wake_up_; }

 private:
  EventFd wake_up_;
  std::mutex mutex_;
  Batch batch_;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_QMP_EVENTS_H_
