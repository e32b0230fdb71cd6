// IoSession: the lines of commands that minivmm-io is given, done one after the other on one disk.
//
//   line ─▶ command ─▶ checks ─▶ Transfer on the I/O thread ─▶ report
//                                   │
//                                   └ aio_*: the next line does not wait; what has become of it
//                                     is printed before a later line, or by aio_flush
//
// Everything is printed by the caller's thread, in Run and FinishTransfers.
#ifndef MINIVMM_TOOLS_IO_SESSION_H_
#define MINIVMM_TOOLS_IO_SESSION_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "blockcore/block_node.h"
#include "blockcore/io_thread.h"
#include "tools/io/command.h"
#include "tools/io/transfer.h"

namespace minivmm {

class IoSession {
 public:
  // One stream of text: commands' results, or complaints about their form.
  using Sink = std::function<void(std::string_view)>;

  struct Settings {
    std::string driver;          // of the disk, for `info`
    bool writethrough = false;   // each write is on stable storage before it is done
    bool show_progress = false;  // of `bench`, on the complaints' stream
  };

  // `disk` is null without a disk. `thread` and `disk` outlive this object.
  IoSession(IoThread& thread, BlockNode* disk, Settings settings, Sink out, Sink complaints);
  ~IoSession();  // waits for what is under way

  IoSession(const IoSession&) = delete;
  IoSession& operator=(const IoSession&) = delete;

  // One line. Empty lines do nothing.
  void Run(std::string_view line);
  // Waits for all that is under way, and reports it.
  void FinishTransfers();

  bool ended() const { return ended_; }    // `quit` came
  bool failed() const { return failed_; }  // any command so far, or a transfer of one

  // For commands, below.

  BlockNode& disk() { return *disk_; }
  const BlockLimits& limits() const { return disk_->limits(); }
  IoThread& thread() { return thread_; }
  const Settings& settings() const { return settings_; }

  template <typename... Args>
  void Print(fmt::format_string<Args...> format, Args&&... args) {
    out_(fmt::format(format, std::forward<Args>(args)...));
  }
  void PrintText(std::string_view text) { out_(text); }
  void Complain(std::string_view text) { complaints_(text); }
  // Prints the line; false.
  template <typename... Args>
  [[nodiscard]] bool Fails(fmt::format_string<Args...> format, Args&&... args) {
    out_(fmt::format(format, std::forward<Args>(args)...) + "\n");
    return false;
  }

  // Starts it, for Run to report later by `report`, which prints and returns false for a failure.
  void Start(std::unique_ptr<Transfer> transfer, std::function<bool(const Transfer&)> report);
  void End() { ended_ = true; }

  // The zones from that which holds `offset_bytes` on, at most `count`; fewer at the disk's end.
  Result<std::vector<ZoneDescriptor>> ReportZones(uint64_t offset_bytes, uint64_t count);
  // Why an operation on a range of the disk failed, with the zone as it is now.
  std::string Explain(BlockOp op, BlockStatus status, uint64_t offset_bytes, uint64_t length_bytes);

 private:
  struct Pending {
    std::unique_ptr<Transfer> transfer;
    std::function<bool(const Transfer&)> report;
  };

  bool RunCommand(std::string_view line);
  void ReportDone();

  IoThread& thread_;
  BlockNode* disk_;
  const Settings settings_;
  Sink out_;
  Sink complaints_;
  bool ended_ = false;
  bool failed_ = false;

  std::list<Pending> pending_;
  std::mutex mutex_;
  std::condition_variable done_condition_;
  std::deque<std::list<Pending>::iterator> done_;  // under mutex_; in order of completion
};

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IO_SESSION_H_
