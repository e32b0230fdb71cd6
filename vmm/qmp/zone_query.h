// ZoneQuery reads reports of zones for control clients on an I/O thread of its own, so that the
// main thread does not wait for a disk, and tells in JSON what it found. Main thread, but for the
// pure functions.
//
//   Start ──▶ I/O thread: BlockBackend::Submit ──▶ the disk ──▶ main thread: done
#ifndef MINIVMM_VMM_QMP_ZONE_QUERY_H_
#define MINIVMM_VMM_QMP_ZONE_QUERY_H_

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_backend.h"
#include "blockcore/io_thread.h"

namespace minivmm {

// The model and its limits; all in bytes or zones, 0 = no limit.
boost::json::object ZonedLimitsMessage(const BlockLimits& limits);
// "write-pointer" is there only where there is one.
boost::json::object ZoneMessage(const ZoneDescriptor& zone);

class ZoneQuery {
 public:
  // `context` outlives the query and runs `done`. Fails when there can be no I/O thread.
  static Result<std::unique_ptr<ZoneQuery>> Create(boost::asio::io_context& context);

  // Waits for the reports under way; their `done` is not called any more.
  ~ZoneQuery();

  ZoneQuery(const ZoneQuery&) = delete;
  ZoneQuery& operator=(const ZoneQuery&) = delete;

  using Done = std::function<void(BlockStatus status, std::span<const ZoneDescriptor> zones)>;

  // Reports up to `count` zones from that of `offset_bytes`, which lies in the disk. `disk`
  // outlives the query; or `temporary` is the same disk, for this query only.
  void Report(BlockBackend& disk, std::unique_ptr<BlockBackend> temporary, uint64_t offset_bytes,
              uint32_t count, Done done);

 private:
  struct Job;

  explicit ZoneQuery(boost::asio::io_context& context);
  void Completed(Job& job);

  boost::asio::io_context& context_;
  std::list<std::unique_ptr<Job>> jobs_;
  std::shared_ptr<ZoneQuery*> self_;  // for what is posted and may come after the end
  std::mutex mutex_;
  std::condition_variable all_done_;
  size_t under_way_ = 0;
  std::unique_ptr<IoThread> thread_;  // ends before the rest goes
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_ZONE_QUERY_H_
