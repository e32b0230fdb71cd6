// QmpServer: minivmm's control sockets, QEMU's machine protocol (QMP) on each of them. main makes
// it before the first machine and destroys it after the last one, but before the disks. Main
// thread: everything happens within io_context's run functions.
//
//   client ⇄ socket ⇄ QmpConnection ⇄ QmpSession ──▶ QmpCommands ──▶ MachineControl, BlockGraph, …
//                                         ▲                      └─▶ ZoneQuery (a thread of its own)
//   MachineControl's events ──────────────┤
//   disks' I/O threads ──▶ BlockErrorQueue┘
//
// A client can make nobody wait, but for the opening of a disk that it adds: reads and writes never
// block, one command of a client runs at a time, and who does not read is not heard, and dropped
// when events pile up. Not here: what commands do.
#ifndef MINIVMM_VMM_QMP_QMP_SERVER_H_
#define MINIVMM_VMM_QMP_QMP_SERVER_H_

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_backend.h"
#include "blockcore/block_graph.h"
#include "vmm/machine_control.h"
#include "vmm/qmp/qmp_socket.h"

namespace minivmm {

// A disk that the guest has.
struct QmpDisk {
  std::string id;  // of the device
  BlockBackend* backend = nullptr;
  uint32_t logical_block_bytes = 0;  // that the device was given; 0: the disk's own
};

// What clients control. All of it outlives the server.
struct QmpTarget {
  MachineControl& control;
  BlockGraph& graph;
  std::vector<QmpDisk> disks;
};

class QmpServer {
 public:
  // Makes the sockets (mode 0600) and listens; takes the one event sink of the control and the
  // error observers of the disks, and starts the thread of query-zones. A socket file that nobody
  // listens on any more is replaced. Fails, naming the --qmp, when a path is in use, is no socket
  // or cannot be made. `context` outlives the server.
  static Result<std::unique_ptr<QmpServer>> Create(boost::asio::io_context& context,
                                                   std::span<const QmpSocket> sockets,
                                                   QmpTarget target);

  // Waits for the reports that are under way, hands out what can be written at once, and removes
  // the socket files. No machine uses the disks any more.
  ~QmpServer();

  QmpServer(const QmpServer&) = delete;
  QmpServer& operator=(const QmpServer&) = delete;

  // Runs `context` until each socket with `wait` has had a client, or until `give_up` says so,
  // which is asked after each thing that happened. No client is greeted or heard before; all are
  // whenever `context` runs from then on.
  void Serve(const std::function<bool()>& give_up);

 private:
  struct State;

  QmpServer();

  std::shared_ptr<State> state_;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_QMP_SERVER_H_
