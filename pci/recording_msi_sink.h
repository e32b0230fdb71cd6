// RecordingMsiSink (testonly): a MsiSink that delivers to nobody. It keeps the routes and a list of
// all calls, and a test may make the next Connect fail. As with KVM, connecting does not take the
// count out of an eventfd, disconnecting does.
#ifndef MINIVMM_PCI_RECORDING_MSI_SINK_H_
#define MINIVMM_PCI_RECORDING_MSI_SINK_H_

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "pci/msi_sink.h"

namespace minivmm {

class RecordingMsiSink final : public MsiSink {
 public:
  explicit RecordingMsiSink(uint16_t vectors) : routes_(vectors) {
    for (uint16_t i = 0; i < vectors; ++i) {
      auto event = EventFd::Create();
      VMM_CHECK(event.has_value());
      events_.push_back(std::move(*event));
    }
  }

  const EventFd& interrupt(uint16_t vector) const override { return events_.at(vector); }

  Result<void> Connect(uint16_t vector, MsiMessage message) override {
    calls_.push_back(fmt::format("connect {} {:#x} {:#x}", vector, message.address, message.data));
    if (std::exchange(fail_next_connect, false)) return Fail("no more routes");
    routes_.at(vector) = message;
    return {};
  }

  void Disconnect(uint16_t vector) override {
    calls_.push_back(fmt::format("disconnect {}", vector));
    if (routes_.at(vector)) events_.at(vector).Drain();
    routes_.at(vector).reset();
  }

  std::optional<MsiMessage> route(uint16_t vector) const { return routes_.at(vector); }
  // Since the last time.
  std::vector<std::string> TakeCalls() { return std::exchange(calls_, {}); }

  bool fail_next_connect = false;

 private:
  std::vector<EventFd> events_;
  std::vector<std::optional<MsiMessage>> routes_;
  std::vector<std::string> calls_;
};

}  // namespace minivmm

#endif  // MINIVMM_PCI_RECORDING_MSI_SINK_H_
