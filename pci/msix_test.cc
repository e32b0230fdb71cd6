#include "pci/msix.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "pci/recording_msi_sink.h"

namespace minivmm {
namespace {

using Calls = std::vector<std::string>;

template <typename T>
void Write(Msix& msix, uint64_t offset, T value) {
  msix.WriteTable(offset, std::as_bytes(std::span(&value, 1)));
}

template <typename T>
T ReadTable(const Msix& msix, uint64_t offset) {
  T value;
  std::memset(&value, 0xa5, sizeof(value));  // not what a read that does nothing leaves
  msix.ReadTable(offset, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

template <typename T>
T ReadPending(const Msix& msix, uint64_t offset) {
  T value;
  std::memset(&value, 0xa5, sizeof(value));  // not what a read that does nothing leaves
  msix.ReadPending(offset, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

void WriteEntry(Msix& msix, uint64_t vector, uint64_t address, uint32_t data, bool masked) {
  Write<uint32_t>(msix, vector * 16, static_cast<uint32_t>(address));
  Write<uint32_t>(msix, vector * 16 + 4, static_cast<uint32_t>(address >> 32));
  Write<uint32_t>(msix, vector * 16 + 8, data);
  Write<uint32_t>(msix, vector * 16 + 12, masked);
}

TEST_CASE("the capability has the number of vectors, and two bits that the guest may write") {
  RecordingMsiSink sink(5);
  Msix msix(5, sink);
  MsixCapability capability = msix.Capability(2, 0x8000, 0x4000);
  CHECK(capability.header.id == 0x11);
  CHECK(capability.control == 4);
  CHECK(capability.table == 0x8002);
  CHECK(capability.pending == 0x4002);
  CHECK(Msix::WritableBits().control == 0xc000);
}

TEST_CASE("P-36: a vector is connected while enabled and masked nowhere") {
  RecordingMsiSink sink(2);
  Msix msix(2, sink);
  CHECK(ReadTable<uint32_t>(msix, 12) == 1);
  WriteEntry(msix, 0, 0xfee0'1000, 0x4041, false);
  CHECK(sink.TakeCalls().empty());
  msix.SetControl(true, true);
  CHECK(sink.TakeCalls().empty());
  msix.SetControl(true, false);
  CHECK(sink.TakeCalls() == Calls{"connect 0 0xfee01000 0x4041"});
  msix.SetControl(true, false);
  CHECK(sink.TakeCalls().empty());
  Write<uint32_t>(msix, 12, 1);
  CHECK(sink.TakeCalls() == Calls{"disconnect 0"});
  Write<uint32_t>(msix, 12, 0);
  CHECK(sink.TakeCalls() == Calls{"connect 0 0xfee01000 0x4041"});
  msix.SetControl(true, true);
  CHECK(sink.TakeCalls() == Calls{"disconnect 0"});
  msix.SetControl(true, false);
  CHECK(sink.TakeCalls() == Calls{"connect 0 0xfee01000 0x4041"});
  msix.SetControl(false, false);
  CHECK(sink.TakeCalls() == Calls{"disconnect 0"});
}

TEST_CASE(
    "P-36: a message changed while masked takes effect on unmask, and while unmasked at once") {
  RecordingMsiSink sink(1);
  Msix msix(1, sink);
  msix.SetControl(true, false);
  WriteEntry(msix, 0, 0xfee0'0000, 1, true);
  WriteEntry(msix, 0, 0xfee0'0000, 2, true);
  CHECK(sink.TakeCalls().empty());
  Write<uint32_t>(msix, 12, 0);
  CHECK(sink.TakeCalls() == Calls{"connect 0 0xfee00000 0x2"});
  Write<uint32_t>(msix, 8, 3);
  CHECK(sink.TakeCalls() == Calls{"connect 0 0xfee00000 0x3"});
  Write<uint32_t>(msix, 8, 3);
  CHECK(sink.TakeCalls().empty());
}

TEST_CASE("P-36: the pending bit is the eventfd while disconnected") {
  RecordingMsiSink sink(70);
  Msix msix(70, sink);
  CHECK(ReadPending<uint64_t>(msix, 0) == 0);
  sink.interrupt(0).Notify();
  sink.interrupt(9).Notify();
  sink.interrupt(69).Notify();
  CHECK(ReadPending<uint64_t>(msix, 0) == 0x201);
  CHECK(ReadPending<uint8_t>(msix, 1) == 0x02);
  CHECK(ReadPending<uint64_t>(msix, 8) == 0x20);
  CHECK(ReadPending<uint32_t>(msix, 16) == 0);

  WriteEntry(msix, 9, 0xfee0'0000, 1, false);
  msix.SetControl(true, false);
  CHECK(ReadPending<uint64_t>(msix, 0) == 0x001);
  // Reading never takes a signal away.
  CHECK(sink.interrupt(0).IsSet());
}

TEST_CASE("pending signals survive disabling, not a reset of the device") {
  RecordingMsiSink sink(2);
  Msix msix(2, sink);
  msix.SetControl(true, false);
  sink.interrupt(1).Notify();
  msix.SetControl(false, false);
  CHECK(ReadPending<uint8_t>(msix, 0) == 2);
  msix.ClearPending();
  CHECK(ReadPending<uint8_t>(msix, 0) == 0);
  CHECK_FALSE(sink.interrupt(1).IsSet());
}

TEST_CASE("a vector whose route fails stays pending and connects at the next change") {
  RecordingMsiSink sink(1);
  Msix msix(1, sink);
  msix.SetControl(true, false);
  sink.fail_next_connect = true;
  WriteEntry(msix, 0, 0xfee0'0000, 1, false);
  CHECK_FALSE(sink.route(0).has_value());
  sink.interrupt(0).Notify();
  CHECK(ReadPending<uint8_t>(msix, 0) == 1);
  Write<uint32_t>(msix, 12, 0);
  CHECK(sink.route(0) == MsiMessage{0xfee0'0000, 1});

  sink.fail_next_connect = true;
  Write<uint32_t>(msix, 8, 2);
  CHECK_FALSE(sink.route(0).has_value());
}

TEST_CASE("H-25: accesses of odd width are merged, reserved bits stay zero") {
  RecordingMsiSink sink(2);
  Msix msix(2, sink);
  Write<uint8_t>(msix, 1, 0x10);
  Write<uint16_t>(msix, 2, 0xfee0);
  CHECK(ReadTable<uint64_t>(msix, 0) == 0xfee0'1000);
  Write<uint64_t>(msix, 0, 0xfee0'2003);
  CHECK(ReadTable<uint64_t>(msix, 0) == 0xfee0'2000);
  Write<uint64_t>(msix, 8, 0xffff'fffe'0000'0007);
  CHECK(ReadTable<uint64_t>(msix, 8) == 7);
  // Across two entries.
  Write<uint64_t>(msix, 12, 0xfee0'3000'0000'0001);
  CHECK(ReadTable<uint32_t>(msix, 12) == 1);
  CHECK(ReadTable<uint32_t>(msix, 16) == 0xfee0'3000);
  CHECK(ReadTable<uint64_t>(msix, 12) == 0xfee0'3000'0000'0001);
}

TEST_CASE("H-25: random accesses behind and across the end do no harm") {
  RecordingMsiSink sink(3);
  Msix msix(3, sink);
  msix.SetControl(true, false);
  CHECK(ReadTable<uint64_t>(msix, 44) == 1);
  CHECK(ReadTable<uint64_t>(msix, 48) == 0);
  CHECK(ReadTable<uint64_t>(msix, ~uint64_t{0} - 3) == 0);
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> data(size_t{1} << (random() % 4), std::byte(random()));
    uint64_t offset = random() % 16 == 0 ? random() : random() % 0x60;
    switch (random() % 4) {
      case 0:
        msix.ReadTable(offset, data);
        break;
      case 1:
        msix.ReadPending(offset, data);
        break;
      case 2:
        msix.SetControl(random() % 4 != 0, random() % 4 == 0);
        break;
      default:
        msix.WriteTable(offset, data);
    }
    sink.interrupt(static_cast<uint16_t>(random() % 3)).Notify();
  }
  msix.SetControl(false, false);
  for (uint16_t vector = 0; vector < 3; ++vector) CHECK_FALSE(sink.route(vector).has_value());
}

}  // namespace
}  // namespace minivmm
