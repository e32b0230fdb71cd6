#include "vmm/qmp/qmp_connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <string_view>
#include <utility>

#include "blockcore/base/log.h"

namespace minivmm {
namespace {
namespace asio = boost::asio;

constexpr size_t kPieceBytes = 4096;
// Written bytes are cut off the front of the output when there are so many of them.
constexpr size_t kCutBytes = 64 << 10;

}  // namespace

std::shared_ptr<QmpConnection> QmpConnection::Start(asio::io_context& context, Ends ends,
                                                    const QmpCommands& commands,
                                                    std::function<void()> closed) {
  std::shared_ptr<QmpConnection> connection(
      new QmpConnection(context, std::move(ends), commands, std::move(closed)));
  connection->session_.Start();
  connection->WaitForInput();
  return connection;
}

QmpConnection::QmpConnection(asio::io_context& context, Ends ends, const QmpCommands& commands,
                             std::function<void()> closed)
    : context_(context),
      closed_(std::move(closed)),
      ends_(std::move(ends)),
      session_(
          commands, [this](std::string line) { Write(std::move(line)); },
          [this] { return HasRoom(); }) {}

void QmpConnection::SendEvent(const boost::json::object& event) {
  if (!is_open_) return;
  session_.SendEvent(event);
  if (is_open_ && unwritten_bytes() > kMaxOutputBytes + longest_line_bytes_) {
    LOG_RATE_LIMITED("--qmp {}: the client does not read: dropped with {} bytes unread", ends_.name,
                     unwritten_bytes());
    Close();
  }
}

void QmpConnection::WaitForInput() {
  if (reading_ || !MayRead()) return;
  reading_ = true;
  ends_.input.async_wait(asio::posix::stream_descriptor::wait_read,
                         [weak = weak_from_this()](const boost::system::error_code& error) {
                           const std::shared_ptr<QmpConnection> self = weak.lock();
                           if (!self || error == asio::error::operation_aborted) return;
                           // Another error: a regular file, which never makes anybody wait.
                           self->Read();
                         });
}

void QmpConnection::Read() {
  reading_ = false;
  if (!MayRead()) return;  // what was read before is not done with: Flush waits again
  std::array<char, kPieceBytes> piece;
  const ssize_t count = ::read(ends_.input.native_handle(), piece.data(), piece.size());
  if (count > 0) {
    session_.Receive(std::string_view(piece.data(), static_cast<size_t>(count)));
  } else if (count == 0) {
    at_end_ = true;
    if (ends_.is_socket && unwritten_bytes() == 0) Close();
  } else if (errno != EINTR && errno != EAGAIN) {
    Close();
  }
  WaitForInput();
}

void QmpConnection::Write(std::string line) {
  if (!is_open_) return;
  longest_line_bytes_ = std::max(longest_line_bytes_, line.size());
  output_ += line;
  Flush();
}

void QmpConnection::Flush() {
  while (is_open_ && !writing_ && unwritten_bytes() > 0) {
    const char* data = output_.data() + written_bytes_;
    const int fd = ends_.output.native_handle();
    // A client that has gone must not end the program by SIGPIPE.
    const ssize_t count = ends_.is_socket ? ::send(fd, data, unwritten_bytes(), MSG_NOSIGNAL)
                                          : ::write(fd, data, unwritten_bytes());
    if (count >= 0) {
      written_bytes_ += static_cast<size_t>(count);
    } else if (errno == EAGAIN) {
      writing_ = true;
      ends_.output.async_wait(asio::posix::stream_descriptor::wait_write,
                              [weak = weak_from_this()](const boost::system::error_code& error) {
                                const std::shared_ptr<QmpConnection> self = weak.lock();
                                if (!self || error == asio::error::operation_aborted) return;
                                self->writing_ = false;
                                self->Flush();
                              });
    } else if (errno != EINTR) {
      Close();
    }
  }
  if (written_bytes_ >= kCutBytes || unwritten_bytes() == 0) {
    output_.erase(0, written_bytes_);
    written_bytes_ = 0;
  }
  session_.Continue();
  if (ends_.is_socket && at_end_ && output_.empty()) Close();
  WaitForInput();
}

void QmpConnection::Close() {
  if (!is_open_) return;
  is_open_ = false;
  boost::system::error_code ignored;
  ends_.input.close(ignored);
  ends_.output.close(ignored);
  asio::post(context_, [weak = weak_from_this()] {
    if (const std::shared_ptr<QmpConnection> self = weak.lock()) self->closed_();
  });
}

}  // namespace minivmm
