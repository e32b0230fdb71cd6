#include "pci/config_space.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <vector>

#include "pci/pci_device.h"

namespace minivmm {
namespace {

constexpr PciIdentity kIdentity = {.vendor_id = 0x1af4,
                                   .device_id = 0x1042,
                                   .revision = 1,
                                   .class_code = 0x01'80'02,
                                   .subsystem_vendor_id = 0x1af4,
                                   .subsystem_id = 0x1100};

template <typename T>
T Read(const ConfigSpace& config, uint64_t offset) {
  T value;
  std::memset(&value, 0xa5, sizeof(value));  // not what a read that does nothing leaves
  config.Read(offset, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

template <typename T>
void Write(ConfigSpace& config, uint64_t offset, T value) {
  config.Write(offset, std::as_bytes(std::span(&value, 1)));
}

struct TestCapability {
  PciCapabilityHeader header;
  uint16_t control;
  uint32_t word;
};

TEST_CASE("the header shows who the function is and cannot be written") {
  ConfigSpace config(kIdentity);
  for (int pass = 0; pass < 2; ++pass) {
    CHECK(Read<uint32_t>(config, 0x00) == 0x1042'1af4);
    CHECK(Read<uint32_t>(config, 0x08) == 0x01'80'02'01);
    CHECK(Read<uint8_t>(config, 0x0e) == 0);
    CHECK(Read<uint32_t>(config, 0x2c) == 0x1100'1af4);
    CHECK(Read<uint8_t>(config, 0x3d) == 0);
    Write<uint32_t>(config, 0x00, 0xffff'ffff);
    Write<uint32_t>(config, 0x08, 0xffff'ffff);
    Write<uint8_t>(config, 0x0e, 0xff);
    Write<uint32_t>(config, 0x2c, 0xffff'ffff);
    Write<uint8_t>(config, 0x3d, 0xff);
  }
}

TEST_CASE("the command register keeps memory, bus master and INTx disable, and nothing else") {
  ConfigSpace config(kIdentity);
  CHECK(Read<uint16_t>(config, 0x04) == 0);
  CHECK_FALSE(config.memory_enabled());
  CHECK_FALSE(config.bus_master_enabled());
  Write<uint32_t>(config, 0x04, 0xffff'ffff);
  CHECK(Read<uint16_t>(config, 0x04) == 0x0406);
  CHECK(Read<uint16_t>(config, 0x06) == 0);
  CHECK(config.memory_enabled());
  CHECK(config.bus_master_enabled());
  Write<uint8_t>(config, 0x04, 0x02);
  CHECK(config.memory_enabled());
  CHECK_FALSE(config.bus_master_enabled());
  CHECK(Read<uint16_t>(config, 0x04) == 0x0402);
}

TEST_CASE("capabilities form a list, aligned to dwords, with their writable bits only writable") {
  ConfigSpace config(kIdentity);
  CHECK(Read<uint8_t>(config, 0x34) == 0);
  TestCapability first = {.header = {.id = 0x09, .next = 0x77}, .control = 0x1234, .word = 0};
  TestCapability mask = {.header = {.id = 0xff, .next = 0xff}, .control = 0xc000, .word = 0};
  uint8_t first_offset = config.AddCapability(first, mask);
  uint8_t second_offset =
      config.AddCapability(TestCapability{.header = {.id = 0x11}, .control = 7, .word = 9});
  CHECK((Read<uint16_t>(config, 0x06) & 0x10) != 0);
  CHECK(Read<uint8_t>(config, 0x34) == first_offset);
  CHECK(Read<uint8_t>(config, first_offset) == 0x09);
  CHECK(Read<uint8_t>(config, first_offset + 1) == second_offset);
  CHECK(Read<uint8_t>(config, second_offset + 1) == 0);
  CHECK(first_offset % 4 == 0);
  CHECK(second_offset % 4 == 0);

  Write<uint64_t>(config, first_offset, ~uint64_t{0});
  CHECK(Read<uint8_t>(config, first_offset) == 0x09);
  CHECK(Read<uint8_t>(config, first_offset + 1) == second_offset);
  CHECK(Read<uint16_t>(config, first_offset + 2) == 0xd234);
  CHECK(Read<uint32_t>(config, first_offset + 4) == 0);
}

TEST_CASE("a BAR sizes in both dwords and is content with its own address afterwards") {
  ConfigSpace config(kIdentity);
  config.AddMemoryBar(0, 0x1'0000);
  config.PlaceBar(0, 0xc012'0000);
  CHECK(config.bar_size_bytes(0) == 0x1'0000);
  CHECK(config.bar_size_bytes(1) == 0);
  CHECK(Read<uint32_t>(config, 0x10) == 0xc012'0004);
  CHECK(Read<uint32_t>(config, 0x14) == 0);

  Write<uint32_t>(config, 0x10, 0xffff'ffff);
  CHECK(Read<uint32_t>(config, 0x10) == 0xffff'0004);
  CHECK(Read<uint32_t>(config, 0x14) == 0);
  Write<uint32_t>(config, 0x14, 0xffff'ffff);
  CHECK(Read<uint32_t>(config, 0x14) == 0xffff'ffff);
  Write<uint32_t>(config, 0x10, 0xc012'0004);
  Write<uint32_t>(config, 0x14, 0);
  CHECK(Read<uint64_t>(config, 0x10) == 0xc012'0004);

  // A mask of address bits without the flag bits, as some firmware writes it, and one access of 64
  // bits.
  Write<uint32_t>(config, 0x10, 0xffff'fff0);
  CHECK(Read<uint32_t>(config, 0x10) == 0xffff'0004);
  Write<uint64_t>(config, 0x10, ~uint64_t{0});
  CHECK(Read<uint64_t>(config, 0x10) == 0xffff'ffff'ffff'0004);
  Write<uint64_t>(config, 0x10, 0xc012'0000);
  CHECK(Read<uint64_t>(config, 0x10) == 0xc012'0004);
}

TEST_CASE("a BAR sizes byte by byte too") {
  ConfigSpace config(kIdentity);
  config.AddMemoryBar(2, 0x1000, true);
  config.PlaceBar(2, 0x10'0000'1000);
  CHECK(Read<uint64_t>(config, 0x18) == 0x10'0000'100c);
  for (int i = 0; i < 4; ++i) Write<uint8_t>(config, 0x18 + i, 0xff);
  CHECK(Read<uint32_t>(config, 0x18) == 0xffff'f00c);
  CHECK(Read<uint8_t>(config, 0x19) == 0xf0);
  CHECK(Read<uint32_t>(config, 0x1c) == 0x10);
}

TEST_CASE("a BAR never moves") {
  ConfigSpace config(kIdentity);
  config.AddMemoryBar(0, 0x1'0000);
  config.PlaceBar(0, 0xc012'0000);
  Write<uint64_t>(config, 0x10, 0x1234'5678'0000);
  CHECK(Read<uint64_t>(config, 0x10) == 0xc012'0004);
  CHECK(config.bar_address(0) == 0xc012'0000);
}

TEST_CASE("a BAR of more than 4 GiB has a mask in its upper dword only") {
  ConfigSpace config(kIdentity);
  config.AddMemoryBar(0, uint64_t{1} << 33);
  config.PlaceBar(0, uint64_t{1} << 40);
  Write<uint64_t>(config, 0x10, ~uint64_t{0});
  CHECK(Read<uint64_t>(config, 0x10) == 0xffff'fffe'0000'0004);
  Write<uint64_t>(config, 0x10, uint64_t{1} << 40);
  CHECK(Read<uint64_t>(config, 0x10) == ((uint64_t{1} << 40) | 4));
}

TEST_CASE("slots without a BAR read as zeroes and swallow writes") {
  ConfigSpace config(kIdentity);
  config.AddMemoryBar(0, 0x1000);
  for (uint64_t offset = 0x18; offset < 0x28; offset += 4) {
    Write<uint32_t>(config, offset, 0xffff'ffff);
    CHECK(Read<uint32_t>(config, offset) == 0);
  }
  // The expansion ROM's as well.
  Write<uint32_t>(config, 0x30, 0xffff'f800);
  CHECK(Read<uint32_t>(config, 0x30) == 0);
}

TEST_CASE("P-02: what lies behind the 256 bytes reads as zeroes") {
  ConfigSpace config(kIdentity);
  CHECK(Read<uint32_t>(config, 0x100) == 0);
  CHECK(Read<uint64_t>(config, 0xffc) == 0);
  CHECK(Read<uint64_t>(config, ~uint64_t{0} - 2) == 0);
  config.Set<uint8_t>(0xff, 0x5a);
  CHECK(Read<uint64_t>(config, 0xff) == 0x5a);
  Write<uint64_t>(config, 0x100, ~uint64_t{0});
  Write<uint64_t>(config, ~uint64_t{0} - 2, ~uint64_t{0});
  CHECK(Read<uint64_t>(config, 0x00) == 0x1042'1af4);
}

TEST_CASE("P-02: accesses may cross registers") {
  ConfigSpace config(kIdentity);
  CHECK(Read<uint32_t>(config, 0x02) == 0x0000'1042);
  CHECK(Read<uint16_t>(config, 0x01) == 0x421a);
  Write<uint32_t>(config, 0x3a, 0x00'5a'00'00);
  CHECK(Read<uint8_t>(config, 0x3c) == 0x5a);
}

TEST_CASE("P-02: random accesses leave what the guest may not write as it was") {
  ConfigSpace config(kIdentity);
  config.AddMemoryBar(0, 0x1'0000);
  config.PlaceBar(0, 0xc001'0000);
  uint8_t capability =
      config.AddCapability(TestCapability{.header = {.id = 0x09}, .control = 0, .word = 3});
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> data(size_t{1} << (random() % 4), std::byte(random()));
    uint64_t offset = random() % 0x110;
    config.Write(offset, data);
    config.Read(random() % 0x1100, data);
    REQUIRE(config.bar_address(0) == 0xc001'0000);
    REQUIRE(Read<uint32_t>(config, 0) == 0x1042'1af4);
    REQUIRE(Read<uint8_t>(config, 0x34) == capability);
    REQUIRE(Read<uint32_t>(config, capability + 4) == 3);
    REQUIRE((Read<uint32_t>(config, 0x10) & 0xffff) == 4);
  }
}

class EchoDevice final : public PciDevice {
 public:
  EchoDevice() : PciDevice(kIdentity) { config_.AddMemoryBar(0, 0x1000); }
  uint8_t last = 0;

 protected:
  void OnReadBar(int, uint64_t offset, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = static_cast<std::byte>(offset++);
  }
  void OnWriteBar(int, uint64_t, std::span<const std::byte> data) override {
    last = static_cast<uint8_t>(data[0]);
  }
};

TEST_CASE("a BAR is decoded only while the guest has memory decoding on") {
  EchoDevice device;
  std::byte data[2] = {std::byte{7}, std::byte{7}};
  device.bar_handler(0).Write(0, data);
  CHECK(device.last == 0);
  device.bar_handler(0).Read(0x10, data);
  CHECK(data[0] == std::byte{0xff});
  CHECK(data[1] == std::byte{0xff});

  std::byte memory_on[] = {std::byte{2}};
  device.WriteConfig(0x04, memory_on);
  device.bar_handler(0).Read(0x10, data);
  CHECK(data[0] == std::byte{0x10});
  CHECK(data[1] == std::byte{0x11});
  device.bar_handler(0).Write(0, data);
  CHECK(device.last == 0x10);
}

}  // namespace
}  // namespace minivmm
