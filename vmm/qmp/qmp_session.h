// QmpSession: the protocol with one client, from the greeting on; no sockets. Bytes in, lines out.
// Main thread; a fuzzer may drive it with nothing else.
//
//   Start ─▶ greeting ─▶ negotiation: only qmp_capabilities ─▶ commands and events
//
// One command at a time: what comes behind a command that has not been answered yet waits. What is
// no JSON gets an error, and the session goes on with the next byte, as QEMU's does.
#ifndef MINIVMM_VMM_QMP_QMP_SESSION_H_
#define MINIVMM_VMM_QMP_QMP_SESSION_H_

#include <boost/json.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "vmm/qmp/json_framer.h"
#include "vmm/qmp/qmp_command.h"

namespace minivmm {

// What query-version and the greeting say.
boost::json::object QmpVersion();

class QmpSession {
 public:
  // `write` is given whole lines with their ends. No command is begun while `has_room` denies that
  // its answer can be taken. Neither may destroy the session. `commands` outlives the session.
  QmpSession(const QmpCommands& commands, std::function<void(std::string line)> write,
             std::function<bool()> has_room);

  QmpSession(const QmpSession&) = delete;
  QmpSession& operator=(const QmpSession&) = delete;

  void Start();

  // Any bytes in any pieces. Kept in memory as long as a command is unanswered or there is no room:
  // give no more then.
  void Receive(std::string_view bytes);
  // There may be room again: goes on with what waits.
  void Continue();
  bool is_busy() const { return pending_ != nullptr; }

  // `event` is whole: timestamp, name, data. Dropped during negotiation.
  void SendEvent(const boost::json::object& event);

 private:
  // A command that is not answered yet.
  struct Pending {
    boost::json::value id;
    bool has_id = false;
  };

  void Handle(JsonFramer::Frame frame);
  void HandleRequest(const boost::json::object& request);
  Result<void> CheckRequest(const boost::json::object& request) const;
  void Execute(std::string_view name, const boost::json::object& arguments);
  QmpAnswer Negotiate(const boost::json::object& arguments);
  void Answer(QmpAnswer answer);
  void Write(const boost::json::object& message);

  const QmpCommands& commands_;
  const std::function<void(std::string line)> write_;
  const std::function<bool()> has_room_;
  const QmpCommand negotiation_;
  JsonFramer framer_;
  std::string waiting_;  // received, not looked at yet
  std::shared_ptr<Pending> pending_;
  bool negotiated_ = false;
  bool continuing_ = false;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_QMP_SESSION_H_
