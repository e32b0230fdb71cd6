#include "pci/pci_bus.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace minivmm {
namespace {

class TestDevice final : public PciDevice {
 public:
  explicit TestDevice(uint16_t device_id, uint64_t bar_bytes = 0)
      : PciDevice({.vendor_id = 0x1af4, .device_id = device_id, .class_code = 0xff'00'00}) {
    if (bar_bytes != 0) config_.AddMemoryBar(0, bar_bytes);
  }
};

template <typename T>
T Read(IoHandler& handler, uint64_t offset) {
  T value;
  std::memset(&value, 0xa5, sizeof(value));  // not what a read that does nothing leaves
  handler.Read(offset, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

template <typename T>
void Write(IoHandler& handler, uint64_t offset, T value) {
  handler.Write(offset, std::as_bytes(std::span(&value, 1)));
}

uint32_t PortAddress(uint32_t bus, uint32_t slot, uint32_t function, uint32_t offset) {
  return 0x8000'0000 | bus << 16 | slot << 11 | function << 8 | offset;
}

uint64_t EcamAddress(uint64_t slot, uint64_t function, uint64_t offset) {
  return slot << 15 | function << 12 | offset;
}

TEST_CASE("slot 0 holds a host bridge") {
  PciBus bus(0xc000'0000, 0xe000'0000);
  CHECK(Read<uint16_t>(bus.ecam(), EcamAddress(0, 0, 0x0a)) == 0x0600);
  CHECK(Read<uint8_t>(bus.ecam(), EcamAddress(0, 0, 0x0e)) == 0);
}

TEST_CASE("both ways lead to the same function") {
  PciBus bus(0xc000'0000, 0xe000'0000);
  TestDevice device(0x1042);
  REQUIRE(bus.Add(3, device).has_value());
  CHECK(Read<uint32_t>(bus.ecam(), EcamAddress(3, 0, 0)) == 0x1042'1af4);
  IoHandler& ports = bus.config_ports();
  Write<uint32_t>(ports, 0, PortAddress(0, 3, 0, 0));
  CHECK(Read<uint32_t>(ports, 0) == PortAddress(0, 3, 0, 0));
  CHECK(Read<uint32_t>(ports, 4) == 0x1042'1af4);
  CHECK(Read<uint16_t>(ports, 6) == 0x1042);
  CHECK(Read<uint8_t>(ports, 5) == 0x1a);

  Write<uint32_t>(ports, 0, PortAddress(0, 3, 0, 0x3c));
  Write<uint8_t>(ports, 4, 11);
  CHECK(Read<uint8_t>(bus.ecam(), EcamAddress(3, 0, 0x3c)) == 11);
  Write<uint16_t>(bus.ecam(), EcamAddress(3, 0, 0x04), 6);
  Write<uint32_t>(ports, 0, PortAddress(0, 3, 0, 0x04));
  CHECK(Read<uint16_t>(ports, 4) == 6);
}

TEST_CASE("what is absent reads as all ones and swallows writes") {
  PciBus bus(0xc000'0000, 0xe000'0000);
  TestDevice device(0x1042);
  REQUIRE(bus.Add(3, device).has_value());
  CHECK(Read<uint32_t>(bus.ecam(), EcamAddress(4, 0, 0)) == 0xffff'ffff);
  CHECK(Read<uint32_t>(bus.ecam(), EcamAddress(3, 1, 0)) == 0xffff'ffff);
  CHECK(Read<uint32_t>(bus.ecam(), EcamAddress(3, 0, 0x100)) == 0);
  Write<uint32_t>(bus.ecam(), EcamAddress(4, 0, 0), 0);
  IoHandler& ports = bus.config_ports();
  for (uint32_t address : {PortAddress(1, 3, 0, 0), PortAddress(0, 3, 1, 0),
                           PortAddress(0, 31, 0, 0), PortAddress(0, 3, 0, 0) & 0x7fff'ffff}) {
    Write<uint32_t>(ports, 0, address);
    CHECK(Read<uint32_t>(ports, 4) == 0xffff'ffff);
    Write<uint32_t>(ports, 4, 0);
  }
}

TEST_CASE("the probe for configuration mechanism 1 succeeds") {
  PciBus bus(0xc000'0000, 0xe000'0000);
  IoHandler& ports = bus.config_ports();
  Write<uint8_t>(ports, 3, 0x01);
  CHECK(Read<uint32_t>(ports, 0) == 0);
  Write<uint32_t>(ports, 0, 0x8000'0000);
  CHECK(Read<uint32_t>(ports, 0) == 0x8000'0000);
  Write<uint32_t>(ports, 0, PortAddress(0, 0, 0, 0x08));
  CHECK(Read<uint16_t>(ports, 6) == 0x0600);
}

TEST_CASE("bytes and words at the address port change nothing") {
  PciBus bus(0xc000'0000, 0xe000'0000);
  IoHandler& ports = bus.config_ports();
  Write<uint32_t>(ports, 0, PortAddress(0, 0, 0, 0));
  Write<uint8_t>(ports, 1, 0x06);  // 0xcf9, a reset on other machines
  Write<uint16_t>(ports, 0, 0xffff);
  Write<uint32_t>(ports, 1, 0xffff'ffff);
  CHECK(Read<uint32_t>(ports, 0) == PortAddress(0, 0, 0, 0));
  CHECK(Read<uint8_t>(ports, 3) == 0x80);
}

TEST_CASE("BARs are placed one after the other, aligned, inside the window") {
  PciBus bus(0xc000'1000, 0xc010'0000);
  TestDevice small(1, 0x1000);
  TestDevice large(2, 0x8'0000);
  REQUIRE(bus.Add(1, small).has_value());
  REQUIRE(bus.Add(2, large).has_value());
  REQUIRE(bus.bars().size() == 2);
  CHECK(bus.bars()[0].address == 0xc000'1000);
  CHECK(bus.bars()[0].size_bytes == 0x1000);
  CHECK(bus.bars()[0].handler == &small.bar_handler(0));
  CHECK(bus.bars()[1].address == 0xc008'0000);
  CHECK(Read<uint64_t>(bus.ecam(), EcamAddress(2, 0, 0x10)) == 0xc008'0004);

  TestDevice too_large(3, 0x1000);
  auto added = bus.Add(3, too_large);
  REQUIRE_FALSE(added.has_value());
  CHECK(added.error().message.find("window") != std::string::npos);
  CHECK(bus.bars().size() == 2);
  CHECK(Read<uint32_t>(bus.ecam(), EcamAddress(3, 0, 0)) == 0xffff'ffff);
}

TEST_CASE("slots are taken once, and the next free one is found") {
  PciBus bus(0xc000'0000, 0xe000'0000);
  std::vector<std::unique_ptr<TestDevice>> devices;
  for (uint16_t i = 0; i < 32; ++i) devices.push_back(std::make_unique<TestDevice>(i));
  CHECK_FALSE(bus.Add(0, *devices[0]).has_value());
  CHECK_FALSE(bus.Add(32, *devices[0]).has_value());
  CHECK_FALSE(bus.Add(-1, *devices[0]).has_value());
  REQUIRE(bus.Add(2, *devices[2]).has_value());
  CHECK_FALSE(bus.Add(2, *devices[3]).has_value());
  REQUIRE(bus.Add(*devices[1]).has_value());
  REQUIRE(bus.Add(*devices[3]).has_value());
  CHECK(Read<uint16_t>(bus.ecam(), EcamAddress(1, 0, 2)) == 1);
  CHECK(Read<uint16_t>(bus.ecam(), EcamAddress(3, 0, 2)) == 3);
  for (uint16_t i = 4; i < 32; ++i) REQUIRE(bus.Add(*devices[i]).has_value());
  CHECK_FALSE(bus.Add(*devices[0]).has_value());
}

TEST_CASE("P-02: an access may cross from one function into the next") {
  PciBus bus(0xc000'0000, 0xe000'0000);
  CHECK(Read<uint32_t>(bus.ecam(), EcamAddress(0, 0, 0xffe)) == 0xffff'0000);
  Write<uint32_t>(bus.ecam(), EcamAddress(0, 0, 0xffe), 0);
  CHECK(Read<uint32_t>(bus.ecam(), EcamAddress(0, 7, 0xffe)) == 0xffff'ffff);
}

TEST_CASE("P-02: several threads with random accesses of any width do no harm") {
  PciBus bus(0xc000'0000, 0xe000'0000);
  TestDevice device(0x1042, 0x1000);
  REQUIRE(bus.Add(1, device).has_value());
  auto attack = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 20'000; ++i) {
      std::vector<std::byte> data(size_t{1} << (random() % 4), std::byte(random()));
      IoHandler& handler = random() % 2 == 0 ? bus.config_ports() : bus.ecam();
      uint64_t size = &handler == &bus.ecam() ? (random() % 2 == 0 ? 0x1'0000 : 0x10'0000) : 8;
      uint64_t offset = random() % (size - data.size() + 1);
      if (random() % 2 == 0) {
        handler.Write(offset, data);
      } else {
        handler.Read(offset, data);
      }
    }
  };
  std::thread other(attack, 1);
  attack(2);
  other.join();
  CHECK(Read<uint32_t>(bus.ecam(), EcamAddress(1, 0, 0)) == 0x1042'1af4);
  CHECK(device.bar_address(0) == 0xc000'0000);
}

}  // namespace
}  // namespace minivmm
