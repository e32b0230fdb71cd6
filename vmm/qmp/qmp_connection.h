// QmpConnection: one client's bytes, in and out, around a QmpSession. Main thread, within the
// io_context's run functions; nothing blocks.
//
//   readable ─▶ read a piece ─▶ session ─▶ output ─▶ written at once, or when there is room
//
// While a command is unanswered, or a client leaves many answers unread, no further command of his
// is begun and nothing more is read from him: only events can then make the output grow, and he is
// dropped when they pile up.
#ifndef MINIVMM_VMM_QMP_QMP_CONNECTION_H_
#define MINIVMM_VMM_QMP_QMP_CONNECTION_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <string>

#include "vmm/qmp/qmp_session.h"

namespace minivmm {

class QmpConnection : public std::enable_shared_from_this<QmpConnection> {
 public:
  // With more than that unwritten no further command is begun.
  static constexpr size_t kEnoughOutputBytes = 64 << 10;
  // A client is dropped when more is unwritten than this and the longest of his lines, an answer
  // that he may be reading.
  static constexpr size_t kMaxOutputBytes = 4 << 20;

  // Where the client is. The descriptors are non-blocking; a socket is in both.
  struct Ends {
    boost::asio::posix::stream_descriptor input;
    boost::asio::posix::stream_descriptor output;
    bool is_socket = false;
    std::string name = {};  // for messages
  };

  // `closed` is called once, from the context and not within another call, when the client has
  // gone or was dropped. The end of a stream that is no socket closes nothing.
  static std::shared_ptr<QmpConnection> Start(boost::asio::io_context& context, Ends ends,
                                              const QmpCommands& commands,
                                              std::function<void()> closed);

  void SendEvent(const boost::json::object& event);

 private:
  QmpConnection(boost::asio::io_context& context, Ends ends, const QmpCommands& commands,
                std::function<void()> closed);

  bool HasRoom() const { return is_open_ && unwritten_bytes() <= kEnoughOutputBytes; }
  bool MayRead() const { return HasRoom() && !at_end_ && !session_.is_busy(); }
  void WaitForInput();
  void Read();
  void Write(std::string line);
  void Flush();
  void Close();
  size_t unwritten_bytes() const { return output_.size() - written_bytes_; }

  boost::asio::io_context& context_;
  const std::function<void()> closed_;
  Ends ends_;
  std::string output_;
  size_t written_bytes_ = 0;  // at the front of output_
  size_t longest_line_bytes_ = 0;
  bool reading_ = false;  // waits for input
  bool writing_ = false;  // waits for room
  bool at_end_ = false;   // of the input
  bool is_open_ = true;
  QmpSession session_;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_QMP_CONNECTION_H_
