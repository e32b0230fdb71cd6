// ZonedImage: the medium below a zoned disk in a file. It keeps each zone's bytes in a slot of the
// child node, remembers zones and write pointers in a ZonedTable, and makes them durable when a
// flush asks for it. It decides nothing: ZoneQueue above it sends only what a zone allows, one
// write or operation at a time in each sequential zone.
//
//   read, write ──▶ zone ──ZonedTable──▶ slot ──▶ child     a piece for each zone it touches
//   open, close, finish, reset ──▶ ZonedTable               in memory, at once
//   flush ──▶ commit
//
//   commit, one at a time; flushes that come meanwhile share the next one
//
//     BeginCommit ─▶ child flush ─▶ page writes ─▶ child flush ─▶ EndCommit ─▶ flushes complete
//     what is true    the data       to the other                    │
//     now             it speaks of   places                          │ slots that were taken away
//                    (nothing changed: only the first flush)         ▼
//   sweep, one at a time            requests that began before are through ─▶ punch ─▶ free again
//
// A commit starts by itself when kManyRetiredSlots slots wait for one, and when a write finds no
// free slot; the write then waits.
//
// Holes are punched by kWriteZeroes that may unmap: with kDiscard, a device with large blocks would
// leave parts of them as they were. A child that grows is opened anew before another image is
// opened on it: its capacity was taken when it was opened.
//
// Threads: any number of I/O threads. A request stays on its own; commits and sweeps run on
// whichever thread started them, which may end only after them and waits by itself. One mutex
// guards all state; it is never held across Submit of the child, Complete or Post. Tickets come
// from a free list, so that a request allocates nothing once there were as many in flight before.
#ifndef MINIVMM_BLOCKCORE_ZONED_ZONED_IMAGE_H_
#define MINIVMM_BLOCKCORE_ZONED_ZONED_IMAGE_H_

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"
#include "blockcore/io_thread.h"
#include "blockcore/zoned/zoned_table.h"

namespace minivmm {

class ZonedImage : public BlockNode {
 public:
  // Reads header and table through `thread`, and unless `read_only` brings the image in order
  // (PrepareZonedForWriting). Any thread but an I/O thread. `child` outlives the image and is used
  // by it alone; `thread` is needed no longer than the call. The message is the reason alone; after
  // an error that is not one of I/O, nothing was written.
  static Result<std::unique_ptr<ZonedImage>> Open(IoThread& thread, BlockNode& child,
                                                  bool read_only);

  // No request is in flight. Waits for a commit or sweep that nobody waits for. What was not
  // flushed may be lost.
  ~ZonedImage() override;

  const BlockLimits& limits() const override { return limits_; }

  // kRead and kWrite of any range, across zones, too; kFlush; kZoneOpen, Close, Finish, Reset,
  // ResetAll and Report. kUnsupported for all others. What a zone lacks reads as zeroes. When a
  // write fails, the write pointer stays.
  void Submit(IoThread& thread, BlockRequest& request) override;

  // All zones as they are now; any thread.
  std::vector<ZoneDescriptor> ReportZones() const;

 private:
  struct Ticket;
  struct PageIo;
  // What a critical section leaves to be done after the unlock.
  struct Turn {
    IoThread& thread;  // the one it runs on
    bool flush_for_commit = false;
    bool punch = false;
    Ticket* finished = nullptr;  // status set: each is sent home
    Ticket* resumed = nullptr;   // a slot may be there

    bool empty() const {
      return !flush_for_commit && !punch && finished == nullptr && resumed == nullptr;
    }
  };
  enum class Step { kDone, kZeroes, kChild, kWait, kFail };
  static constexpr size_t kManyRetiredSlots = 16;

  ZonedImage(BlockNode& child, const BlockLimits& limits, ZonedTable table);

  // Reads and writes. `lock` is held on entry, not on return.
  void Transfer(Ticket& ticket, std::unique_lock<std::mutex> lock);
  void OnPieceDone(Ticket& ticket);

  void AnswerReport(BlockRequest& request) const;
  void ChangeZones(IoThread& thread, BlockRequest& request);

  // All below: the mutex is held.
  Ticket& TakeTicket(IoThread& thread, BlockRequest& request);
  void GiveTicket(Ticket& ticket);
  Step PlanPiece(Ticket& ticket, Turn& turn);
  Step PlanWrite(Ticket& ticket, uint64_t within_bytes, uint64_t length_bytes, Turn& turn);
  Step PlanChildRequest(Ticket& ticket, BlockOp op, uint64_t within_bytes, uint64_t length_bytes);
  void LeaveSlot(Ticket& ticket, Turn& turn);
  BlockStatus ChangeZone(BlockOp op, uint64_t offset_bytes);
  bool SlotsWillReturn() const;
  void ResumeSlotWaiters(BlockStatus commit_status, Turn& turn);
  void StartCommit(Turn& turn);
  void EndCommit(BlockStatus status, Turn& turn);
  void StartSweep(Turn& turn);
  void StartPunching(Turn& turn);
  void PreparePunch(Turn& turn);
  void EndPunch(BlockStatus status, Turn& turn);
  void NotifyIfIdle();

  // The mutex is not held.
  void Perform(const Turn& turn);
  void FlushForCommit();
  void OnCommitFlushed(BlockStatus status);
  void WriteNextPage(PageIo& io);
  void OnPageWritten(PageIo& io);
  void FinishCommit(BlockStatus status);
  void OnPunched(BlockStatus status);

  BlockNode& child_;
  BlockLimits limits_;

  mutable std::mutex mutex_;
  ZonedTable table_;
  std::vector<std::unique_ptr<Ticket>> tickets_;
  Ticket* free_tickets_ = nullptr;
  Ticket* slot_waiters_ = nullptr;  // in no order

  // The commit. What stands behind the first line is used by its thread alone while one runs.
  bool commit_active_ = false;
  Ticket* flush_waiters_ = nullptr;   // for the next one
  Ticket* commit_waiters_ = nullptr;  // for this one
  IoThread* commit_thread_ = nullptr;
  BlockRequest commit_flush_;
  bool pages_written_ = false;
  std::vector<ZonedTable::PageWrite> page_writes_;
  std::vector<std::unique_ptr<PageIo>> page_ios_;
  size_t next_page_ = 0;
  size_t pages_in_flight_ = 0;
  BlockStatus page_status_ = BlockStatus::kOk;

  // The sweep. Each request to a slot counts as a user in the epoch in which it began; a sweep
  // begins a new epoch and waits until the old one has no users.
  enum class Sweep { kIdle, kWaiting, kPunching } sweep_ = Sweep::kIdle;
  std::vector<uint32_t> loose_slots_;  // named nowhere any more: for the next sweep
  std::vector<uint32_t> sweep_slots_;  // for this one, in descending order
  bool punch_singly_ = false;          // a hole of several could not be punched
  uint32_t punch_count_ = 0;           // of the hole under way: the last so many of them
  BlockRequest punch_request_;
  IoThread* sweep_thread_ = nullptr;
  std::array<uint64_t, 2> slot_users_{};
  uint8_t epoch_ = 0;

  std::condition_variable idle_;  // neither commit nor sweep
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_ZONED_IMAGE_H_
