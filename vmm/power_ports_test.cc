#include "vmm/power_ports.h"

#include <doctest/doctest.h>

#include <array>
#include <optional>

namespace minivmm {
namespace {

struct Machine {
  Machine() { REQUIRE(ports.AddTo(bus)); }

  std::optional<StopRequest::Kind> Write(uint16_t port, uint8_t value) {
    stopped.reset();
    std::array<std::byte, 1> data{std::byte{value}};
    bus.Write(port, data);
    return stopped;
  }
  uint8_t Read(uint16_t port) {
    std::array<std::byte, 1> data{};
    bus.Read(port, data);
    return std::to_integer<uint8_t>(data[0]);
  }

  std::optional<StopRequest::Kind> stopped;
  PowerPorts::StopMachine stop = [this](const StopRequest& request) { stopped = request.kind; };
  PowerPorts ports{stop};
  IoBus bus;
};

TEST_CASE("sleep type S5 with sleep-enable switches the machine off, nothing less does") {
  Machine machine;
  CHECK(machine.Write(0x600, 5 << 2 | 1 << 5) == StopRequest::Kind::kPowerOff);
  CHECK_FALSE(machine.Write(0x600, 5 << 2));
  CHECK_FALSE(machine.Write(0x600, 1 << 5));
  CHECK_FALSE(machine.Write(0x600, 3 << 2 | 1 << 5));
  CHECK_FALSE(machine.Write(0x601, 5 << 2 | 1 << 5));
}

TEST_CASE("the ACPI reset register and the keyboard controller's reset line reset the machine") {
  Machine machine;
  CHECK(machine.Write(0x602, 1) == StopRequest::Kind::kReset);
  CHECK_FALSE(machine.Write(0x602, 0));
  CHECK(machine.Write(0x64, 0xfe) == StopRequest::Kind::kReset);
  CHECK_FALSE(machine.Write(0x64, 0xd1));
}

TEST_CASE("no keyboard controller answers and no wake-up is pending") {
  Machine machine;
  CHECK(machine.Read(0x64) == 0xff);
  CHECK(machine.Read(0x600) == 0);
  CHECK(machine.Read(0x601) == 0);
}

}  // namespace
}  // namespace minivmm
