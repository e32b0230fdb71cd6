#include "vmm/qmp/qmp_listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "blockcore/base/log.h"
#include "blockcore/base/unique_fd.h"

namespace minivmm {
namespace {
namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;

// Between two tries to take a client when the program is out of descriptors.
constexpr std::chrono::seconds kRetryAfter{1};
// Clients that wait while another one is served.
constexpr int kMaxWaitingClients = 8;

// A descriptor of its own, so that the owner of `fd` may close that.
Result<Descriptor> Watch(asio::io_context& context, int fd) {
  const int own = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return Fail("cannot duplicate a descriptor: {}", ErrnoText(errno));
  Descriptor descriptor(context);
  boost::system::error_code error;
  descriptor.assign(own, error);
  if (error) {
    ::close(own);
    return Fail("cannot watch a descriptor: {}", error.message());
  }
  return descriptor;
}

// Standard input and output are shared with other programs, to whom a non-blocking mode would be a
// surprise: open them once more. What cannot be opened again, a socket, is changed.
Result<UniqueFd> OpenNonBlocking(int fd, int mode) {
  const std::string path = fmt::format("/proc/self/fd/{}", fd);
  UniqueFd again(::open(path.c_str(), mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (again) {
    // Regular files begin anew otherwise.
    ::lseek(again.get(), ::lseek(fd, 0, SEEK_CUR), SEEK_SET);
    return again;
  }
  again = UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!again || ::fcntl(again.get(), F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
    return Fail("cannot use descriptor {}: {}", fd, ErrnoText(errno));
  }
  return again;
}

bool IsSocket(int fd) {
  struct stat info;
  return ::fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
}

Result<UniqueFd> MakeSocket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Fail("cannot make a socket: {}", ErrnoText(errno));
  return fd;
}

// Makes way for a new socket at `address`: a file that nobody listens on is removed.
Result<void> RemoveStale(const sockaddr_un& address) {
  struct stat info;
  if (::lstat(address.sun_path, &info) != 0) return {};
  if (!S_ISSOCK(info.st_mode)) return Fail("there is a file that is no socket: remove it");
  TRY(UniqueFd probe, MakeSocket());
  const auto* where = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(probe.get(), where, sizeof(address)) == 0 || errno == EAGAIN) {
    return Fail("another process listens there: end it, or choose another path");
  }
  if (errno != ECONNREFUSED) {
    return Fail("cannot find out whether somebody listens there: {}", ErrnoText(errno));
  }
  if (::unlink(address.sun_path) != 0) {
    return Fail("cannot remove the socket of a process that has ended: {}", ErrnoText(errno));
  }
  return {};
}

}  // namespace

QmpListener::QmpListener(asio::io_context& context, const QmpSocket& socket,
                         const QmpCommands& commands)
    : context_(context),
      socket_(socket),
      commands_(commands),
      listening_(context),
      retry_(context) {}

Result<std::shared_ptr<QmpListener>> QmpListener::Create(asio::io_context& context,
                                                         const QmpSocket& socket,
                                                         const QmpCommands& commands) {
  std::shared_ptr<QmpListener> listener(new QmpListener(context, socket, commands));
  Result<void> opened = socket.stdio ? listener->OpenStdio() : listener->Listen();
  if (!opened) return Fail("--qmp {}: {}", socket.text, opened.error().message);
  return listener;
}

QmpListener::~QmpListener() {
  struct stat info;
  if (has_file_ && ::lstat(socket_.path.c_str(), &info) == 0 && info.st_dev == file_device_ &&
      info.st_ino == file_inode_ && ::unlink(socket_.path.c_str()) != 0) {
    LOG("cannot remove the control socket '{}': {}", socket_.path, ErrnoText(errno));
  }
}

Result<void> QmpListener::OpenStdio() {
  TRY(const UniqueFd input, OpenNonBlocking(STDIN_FILENO, O_RDONLY));
  TRY(const UniqueFd output, OpenNonBlocking(STDOUT_FILENO, O_WRONLY | O_APPEND));
  TRY(Descriptor watched_input, Watch(context_, input.get()));
  TRY(Descriptor watched_output, Watch(context_, output.get()));
  Take({.input = std::move(watched_input),
        .output = std::move(watched_output),
        .is_socket = IsSocket(output.get()),
        .name = socket_.text});
  return {};
}

Result<void> QmpListener::Listen() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_.path.empty() || socket_.path.size() >= sizeof(address.sun_path)) {
    return Fail("the path of a socket has 1 to {} bytes", sizeof(address.sun_path) - 1);
  }
  std::memcpy(address.sun_path, socket_.path.data(), socket_.path.size());
  TRY_VOID(RemoveStale(address));
  TRY(const UniqueFd fd, MakeSocket());
  // bind gives the file the mode of the socket, so that nobody else can come in between.
  if (::fchmod(fd.get(), 0600) != 0) {
    return Fail("cannot set the mode of the socket: {}", ErrnoText(errno));
  }
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Fail("cannot make the socket '{}': {}", socket_.path, ErrnoText(errno));
  }
  struct stat info;
  if (::lstat(socket_.path.c_str(), &info) == 0) {
    has_file_ = true;
    file_device_ = info.st_dev;
    file_inode_ = info.st_ino;
  }
  if (::listen(fd.get(), kMaxWaitingClients) != 0)
    return Fail("cannot listen: {}", ErrnoText(errno));
  TRY(listening_, Watch(context_, fd.get()));
  WaitForClient();
  return {};
}

void QmpListener::WaitForClient() {
  listening_.async_wait(Descriptor::wait_read,
                        [weak = weak_from_this()](const boost::system::error_code& error) {
                          const std::shared_ptr<QmpListener> self = weak.lock();
                          if (self && !error) self->Accept();
                        });
}

void QmpListener::Accept() {
  const UniqueFd fd(
      ::accept4(listening_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)) return WaitForClient();
  if (fd) {
    Result<Descriptor> input = Watch(context_, fd.get());
    Result<Descriptor> output = Watch(context_, fd.get());
    if (input && output) {
      Take({.input = std::move(*input),
            .output = std::move(*output),
            .is_socket = true,
            .name = socket_.text});
      return;
    }
  }
  LOG_RATE_LIMITED("--qmp {}: cannot take a client: {}", socket_.text, ErrnoText(errno));
  retry_.expires_after(kRetryAfter);
  retry_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const std::shared_ptr<QmpListener> self = weak.lock();
    if (self && !error) self->WaitForClient();
  });
}

void QmpListener::Serve() {
  serves_ = true;
  if (ends_) StartClient();
}

void QmpListener::Take(QmpConnection::Ends ends) {
  had_client_ = true;
  ends_ = std::move(ends);
  if (serves_) StartClient();
}

void QmpListener::StartClient() {
  QmpConnection::Ends ends = std::move(*ends_);
  ends_.reset();
  client_ = QmpConnection::Start(context_, std::move(ends), commands_, [this] {
    client_.reset();  // the listener lives as long as its client
    if (!socket_.stdio) WaitForClient();
  });
}

}  // namespace minivmm
