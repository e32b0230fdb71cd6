#include "vmm/power_ports.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "firmware/memory_layout.h"

namespace minivmm {
namespace {

// ACPI specification 6.5, 4.8.3.7: the sleep control register of hardware-reduced ACPI.
constexpr uint8_t kSleepEnable = 1 << 5;
constexpr int kSleepTypeShift = 2;
constexpr uint8_t kSleepTypeMask = 7;

constexpr uint64_t kSleepControlOffset = kAcpiSleepControlPort - kAcpiSleepControlPort;
constexpr uint64_t kResetOffset = kAcpiResetPort - kAcpiSleepControlPort;
constexpr uint64_t kAcpiPorts = kResetOffset + 1;

constexpr uint64_t kKeyboardControllerPort = 0x64;
constexpr uint8_t kPulseResetLine = 0xfe;

}  // namespace

Result<void> PowerPorts::AddTo(IoBus& ports) {
  TRY_VOID(ports.Add("ACPI", kAcpiSleepControlPort, kAcpiPorts, acpi_));
  return ports.Add("keyboard controller", kKeyboardControllerPort, 1, keyboard_controller_);
}

// The sleep status register never has its wake bit set: a machine that is off does not come back.
void PowerPorts::Acpi::Read(uint64_t, std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0});
}

void PowerPorts::Acpi::Write(uint64_t offset, std::span<const std::byte> data) {
  auto value = std::to_integer<uint8_t>(data[0]);
  if (offset == kSleepControlOffset && (value & kSleepEnable) != 0 &&
      (value >> kSleepTypeShift & kSleepTypeMask) == kAcpiSleepTypeS5) {
    stop_machine_({.kind = StopRequest::Kind::kPowerOff});
  } else if (offset == kResetOffset && value == kAcpiResetValue) {
    stop_machine_({.kind = StopRequest::Kind::kReset});
  }
}

// All ones, as if nothing were there: a driver that probes gives up at once.
void PowerPorts::KeyboardController::Read(uint64_t, std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0xff});
}

void PowerPorts::KeyboardController::Write(uint64_t, std::span<const std::byte> data) {
  if (std::to_integer<uint8_t>(data[0]) == kPulseResetLine) {
    stop_machine_({.kind = StopRequest::Kind::kReset});
  }
}

Segment BuildResetVector() {
  constexpr uint64_t kResetVectorAddress = 0xf'fff0;
  constexpr std::array<uint8_t, 9> kCode = {
      0xb0,
      kAcpiResetValue,  // mov $value, %al
      0xba,
      kAcpiResetPort & 0xff,
      kAcpiResetPort >> 8,  // mov $port, %dx
      0xee,                 // out %al, (%dx)
      0xf4,                 // hlt
      0xeb,
      0xfd,  // jmp to the hlt
  };
  std::vector<std::byte> bytes(kCode.size());
  std::memcpy(bytes.data(), kCode.data(), kCode.size());
  return Segment::Own(kResetVectorAddress, std::move(bytes));
}

}  // namespace minivmm
