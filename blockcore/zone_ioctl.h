// The zone ioctls of Linux block devices (<linux/blkzoned.h>), which count in 512-byte sectors; all
// else of blockcore counts in bytes. ReadZones is for set-up; ZoneIoctlThread does the same and the
// zone operations for requests, on a thread of its own because these calls block. It decides
// nothing: ZoneQueue does, and sends one operation per zone at a time.
//
//   I/O thread: Submit ─▶ list ─▶ helper thread: ioctl ─▶ Post ─▶ I/O thread: Complete
#ifndef MINIVMM_BLOCKCORE_ZONE_IOCTL_H_
#define MINIVMM_BLOCKCORE_ZONE_IOCTL_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_request.h"
#include "blockcore/io_thread.h"
#include "blockcore/zone.h"

namespace minivmm {

// Reads the descriptors of all zones of the disk open as `fd`, as the kernel gives them: types,
// conditions and write pointers are not checked, numbers of the kernel's that ZoneType and
// ZoneCondition do not name are possible. Blocks. `filename` is for the message.
Result<std::vector<ZoneDescriptor>> ReadZones(int fd, const std::string& filename);

class ZoneIoctlThread {
 public:
  // `fd` is a zoned disk, open for as long as this lives.
  ZoneIoctlThread(int fd, std::string filename, uint64_t capacity_bytes, uint64_t zone_size_bytes);

  // All requests must have completed.
  ~ZoneIoctlThread();

  ZoneIoctlThread(const ZoneIoctlThread&) = delete;
  ZoneIoctlThread& operator=(const ZoneIoctlThread&) = delete;

  // kZoneReport, kZoneOpen, kZoneClose, kZoneFinish, kZoneReset and kZoneResetAll, on the request's
  // I/O thread. Offsets lie within the disk; all but the report's are starts of zones.
  void Submit(IoThread& thread, BlockRequest& request);

 private:
  struct Job;

  void Run();
  BlockStatus Execute(BlockRequest& request, std::vector<std::byte>& report_buffer);

  const int fd_;
  const std::string filename_;
  const uint64_t capacity_bytes_;
  const uint64_t zone_size_bytes_;

  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  bool stopping_ = false;
  Job* first_ = nullptr;
  Job* last_ = nullptr;
  Job* free_ = nullptr;
  std::vector<std::unique_ptr<Job>> jobs_;

  std::thread thread_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONE_IOCTL_H_
