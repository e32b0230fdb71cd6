// Configuration space through both ways in, ports and ECAM: whatever the guest writes, what is not
// its own stays as it was.
#include <array>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "pci/config_space.h"
#include "pci/pci_bus.h"
#include "tools/bazel/fuzz/fuzz_input.h"

namespace minivmm {
namespace {

constexpr uint64_t kWindowStart = 0xc000'0000;
constexpr uint64_t kWindowEnd = 0xe000'0000;
constexpr int kSlot = 3;

struct Capability {
  PciCapabilityHeader header{.id = 0x09};
  uint16_t fixed = 0x1234;
  uint32_t writable = 0;
};

// Two BARs, one capability with a writable part.
class Device final : public PciDevice {
 public:
  Device() : PciDevice({.vendor_id = 0x1af4, .device_id = 0x1042, .class_code = 0x01'80'00}) {
    config_.AddMemoryBar(0, 64_KiB);
    config_.AddMemoryBar(4, 4_KiB, /*prefetchable=*/true);
    capability = config_.AddCapability(
        Capability{}, Capability{.header = {.id = 0}, .fixed = 0, .writable = ~0u});
  }
  void OnReadBar(int index, uint64_t offset, std::span<std::byte> data) override {
    VMM_CHECK(config_.memory_enabled());
    VMM_CHECK(RangeFits(offset, data.size(), bar_size_bytes(index)));
    std::ranges::fill(data, std::byte{0xb0});
  }
  void OnWriteBar(int index, uint64_t offset, std::span<const std::byte> data) override {
    VMM_CHECK(config_.memory_enabled());
    VMM_CHECK(RangeFits(offset, data.size(), bar_size_bytes(index)));
  }
  bool memory_enabled() const { return config_.memory_enabled(); }

  uint8_t capability;
};

struct Rig {
  Device device;
  PciBus bus{kWindowStart, kWindowEnd};
  uint64_t bar_addresses[2];

  Rig() {
    VMM_CHECK(bus.Add(kSlot, device).has_value());
    bar_addresses[0] = device.bar_address(0);
    bar_addresses[1] = device.bar_address(4);
  }

  template <typename T>
  T Read(uint64_t offset) {
    T value = 0;
    device.ReadConfig(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  // Reads as a BAR of `bytes` at `address` must: the mask after sizing, else the address.
  void CheckBar(uint64_t offset, uint64_t address, uint64_t bytes, uint32_t flags) {
    const uint32_t low = Read<uint32_t>(offset);
    const uint32_t high = Read<uint32_t>(offset + 4);
    const uint64_t mask = ~(bytes - 1);
    VMM_CHECK((low & 15) == flags);
    VMM_CHECK((low & ~15u) == static_cast<uint32_t>(address) ||
              (low & ~15u) == static_cast<uint32_t>(mask));
    VMM_CHECK(high == address >> 32 || high == mask >> 32);
  }

  void CheckFixedParts() {
    VMM_CHECK(Read<uint32_t>(0x00) == 0x1042'1af4);
    VMM_CHECK(Read<uint32_t>(0x08) >> 8 == 0x01'80'00);
    VMM_CHECK((Read<uint16_t>(0x04) & ~0x406) == 0);
    VMM_CHECK(Read<uint8_t>(0x0e) == 0 && Read<uint8_t>(0x34) == device.capability);
    VMM_CHECK(Read<uint8_t>(0x3d) == 0);  // no interrupt pin
    VMM_CHECK(Read<uint32_t>(device.capability) == 0x1234'0009);
    VMM_CHECK(Read<uint64_t>(device.capability + 8) == 0);
    VMM_CHECK(device.bar_address(0) == bar_addresses[0]);
    VMM_CHECK(device.bar_address(4) == bar_addresses[1]);
    CheckBar(0x10, bar_addresses[0], 64_KiB, 0b0100);
    CheckBar(0x20, bar_addresses[1], 4_KiB, 0b1100);
  }
};

void Run(FuzzInput& input) {
  Rig rig;
  rig.CheckFixedParts();
  const uint32_t select = 0x8000'0000 | kSlot << 11;
  while (!input.empty()) {
    const uint64_t kind = input.Below(7);
    const size_t width = input.Pick<size_t>({4, 1, 2, 8});
    const uint64_t value = input.Number();
    std::array<std::byte, 8> storage;
    std::memcpy(storage.data(), &value, sizeof(value));
    const std::span<std::byte> data = std::span(storage).first(width);
    switch (kind) {
      case 0: {
        const uint32_t address = select | static_cast<uint32_t>(input.Below(256));
        rig.bus.config_ports().Write(0, std::as_bytes(std::span(&address, 1)));
        break;
      }
      case 1:
      case 2: {
        const uint64_t offset = kind == 1 ? 4 + input.Below(4) : input.Below(8);
        if (RangeFits(offset, width, kPciConfigPortBytes)) {
          kind == 1 ? rig.bus.config_ports().Write(offset, data)
                    : rig.bus.config_ports().Read(offset, data);
        }
        break;
      }
      case 3:
      case 4: {
        const uint64_t slot = input.Below(8) == 1 ? input.Below(64) : kSlot;
        const uint64_t offset =
            slot << 15 | (input.Below(8) == 1 ? input.Below(4096) : input.Below(256));
        if (RangeFits(offset, width, 1_MiB)) {
          kind == 3 ? rig.bus.ecam().Write(offset, data) : rig.bus.ecam().Read(offset, data);
        }
        break;
      }
      default: {
        const PlacedBar& bar = rig.bus.bars().at(input.Below(2));
        const uint64_t offset = input.Below(bar.size_bytes);
        if (RangeFits(offset, width, bar.size_bytes)) {
          kind == 5 ? bar.handler->Write(offset, data) : bar.handler->Read(offset, data);
          const std::byte expected{rig.device.memory_enabled() ? uint8_t{0xb0} : uint8_t{0xff}};
          VMM_CHECK(kind == 5 || data[0] == expected);
        }
        break;
      }
    }
    rig.CheckFixedParts();
  }
}

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  minivmm::FuzzInput input(data, size);
  minivmm::Run(input);
  return 0;
}
