#include "vmm/qmp/qmp_server.h"

#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <utility>

#include "blockcore/base/log.h"
#include "vmm/qmp/command_sets.h"
#include "vmm/qmp/qmp_events.h"
#include "vmm/qmp/qmp_listener.h"
#include "vmm/qmp/zone_query.h"

namespace minivmm {
namespace asio = boost::asio;

namespace {

// A guest that makes errors as fast as it can fills one queue in that time, and no more.
constexpr std::chrono::seconds kBetweenErrors{1};

}  // namespace

struct QmpServer::State : std::enable_shared_from_this<State> {
  State(asio::io_context& io_context, QmpTarget qmp_target, EventFd error_wake_up)
      : context(io_context),
        target(std::move(qmp_target)),
        errors(std::move(error_wake_up)),
        errors_readable(io_context),
        error_pause(io_context) {}

  void SendToAll(const boost::json::object& event) {
    for (const auto& listener : listeners) listener->SendEvent(event);
  }

  void WaitForErrors() {
    errors_readable.async_wait(asio::posix::stream_descriptor::wait_read,
                               [weak = weak_from_this()](const boost::system::error_code& error) {
                                 const std::shared_ptr<State> self = weak.lock();
                                 if (self && !error) self->SendErrors();
                               });
  }

  void SendErrors() {
    TellErrors();
    error_pause.expires_after(kBetweenErrors);
    error_pause.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
      const std::shared_ptr<State> self = weak.lock();
      if (self && !error) self->WaitForErrors();
    });
  }

  void TellErrors() {
    const BlockErrorQueue::Batch batch = errors.TakeAll();
    for (size_t i = 0; i < batch.count; ++i) {
      const QmpDisk& disk = target.disks[batch.errors[i].disk];
      SendToAll(BlockErrorMessage(disk.id, disk.backend->node_name(), batch.errors[i].error,
                                  std::exchange(errors_left_out, 0), QmpTime::Now()));
    }
    errors_left_out += batch.left_out;
  }

  asio::io_context& context;
  const QmpTarget target;
  BlockErrorQueue errors;
  asio::posix::stream_descriptor errors_readable;
  asio::steady_timer error_pause;
  uint64_t errors_left_out = 0;  // that no event has told of
  std::unique_ptr<ZoneQuery> zone_query;
  QmpCommands commands;
  std::vector<std::shared_ptr<QmpListener>> listeners;
};

QmpServer::QmpServer() = default;

Result<std::unique_ptr<QmpServer>> QmpServer::Create(asio::io_context& context,
                                                     std::span<const QmpSocket> sockets,
                                                     QmpTarget target) {
  TRY(EventFd wake_up, EventFd::Create());
  const int watched = ::dup(wake_up.fd());
  if (watched < 0) return Fail("cannot duplicate a descriptor: {}", ErrnoText(errno));
  std::unique_ptr<QmpServer> server(new QmpServer);
  server->state_ = std::make_shared<State>(context, std::move(target), std::move(wake_up));
  State& state = *server->state_;
  state.errors_readable.assign(watched);
  TRY(state.zone_query, ZoneQuery::Create(context));
  AddMachineCommands(state.commands, state.target);
  AddBlockCommands(state.commands, state.target);
  AddZoneCommands(state.commands, state.target, *state.zone_query);
  for (const QmpSocket& socket : sockets) {
    TRY(auto listener, QmpListener::Create(context, socket, state.commands));
    state.listeners.push_back(std::move(listener));
  }
  state.WaitForErrors();
  for (size_t i = 0; i < state.target.disks.size(); ++i) {
    state.target.disks[i].backend->SetErrorObserver(
        [&errors = state.errors, i](const BlockError& error) {
          errors.Push({.disk = i, .error = error});
        });
  }
  state.target.control.SetEventSink([&state](const MachineEvent& event) {
    // An error that stopped the machine comes before the word that it stands still.
    if (event.kind == MachineEvent::Kind::kStop) state.TellErrors();
    state.SendToAll(MachineEventMessage(event, QmpTime::Now()));
  });
  return server;
}

QmpServer::~QmpServer() {
  state_->target.control.SetEventSink({});
  state_->zone_query.reset();  // a report under way may fail, and call its disk's observer
  for (const QmpDisk& disk : state_->target.disks) disk.backend->SetErrorObserver({});
}

void QmpServer::Serve(const std::function<bool()>& give_up) {
  for (const auto& listener : state_->listeners) {
    if (!listener->is_awaited()) continue;
    LOG("--qmp {}: the guest starts when a client has come", listener->socket().text);
    while (listener->is_awaited() && !give_up()) state_->context.run_one();
  }
  for (const auto& listener : state_->listeners) listener->Serve();
}

}  // namespace minivmm
