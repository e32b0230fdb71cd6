// QmpListener: one --qmp, and the client it has at the moment: one at a time, as QEMU; others wait
// in the socket's queue. Main thread.
#ifndef MINIVMM_VMM_QMP_QMP_LISTENER_H_
#define MINIVMM_VMM_QMP_QMP_LISTENER_H_

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>

#include "blockcore/base/result.h"
#include "vmm/qmp/qmp_connection.h"
#include "vmm/qmp/qmp_socket.h"

namespace minivmm {

class QmpListener : public std::enable_shared_from_this<QmpListener> {
 public:
  // Standard input and output: the client is there already. A path: listens.
  static Result<std::shared_ptr<QmpListener>> Create(boost::asio::io_context& context,
                                                     const QmpSocket& socket,
                                                     const QmpCommands& commands);

  // Removes the socket file, if it is still the one that was made.
  ~QmpListener();

  QmpListener(const QmpListener&) = delete;
  QmpListener& operator=(const QmpListener&) = delete;

  // From now on clients are served; the first may have come already.
  void Serve();

  // Whether nobody has come whom the guest must wait for.
  bool is_awaited() const { return socket_.wait && !socket_.stdio && !had_client_; }
  const QmpSocket& socket() const { return socket_; }

  void SendEvent(const boost::json::object& event) {
    if (client_) client_->SendEvent(event);
  }

 private:
  QmpListener(boost::asio::io_context& context, const QmpSocket& socket,
              const QmpCommands& commands);

  Result<void> Listen();
  Result<void> OpenStdio();
  void WaitForClient();
  void Accept();
  void Take(QmpConnection::Ends ends);
  void StartClient();

  boost::asio::io_context& context_;
  const QmpSocket socket_;
  const QmpCommands& commands_;
  boost::asio::posix::stream_descriptor listening_;
  boost::asio::steady_timer retry_;
  // The file that was made.
  bool has_file_ = false;
  dev_t file_device_ = 0;
  ino_t file_inode_ = 0;
  bool serves_ = false;
  std::optional<QmpConnection::Ends> ends_;  // of who came before that
  std::shared_ptr<QmpConnection> client_;
  bool had_client_ = false;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_QMP_LISTENER_H_
