// Msix against a model of a few lines: after any accesses to the table and the control word, the
// routes in the sink are those that PCI asks for.
#include <array>
#include <cstring>

#include "blockcore/base/check.h"
#include "pci/msix.h"
#include "pci/recording_msi_sink.h"
#include "tools/bazel/fuzz/fuzz_input.h"

namespace minivmm {
namespace {

constexpr uint16_t kVectors = 3;
constexpr size_t kTableBytes = kVectors * kMsixEntryBytes;

// The table as bytes, with the bits that cannot be set left out.
struct Model {
  std::array<std::byte, kTableBytes> table{};
  bool enabled = false;
  bool function_masked = false;

  Model() {
    for (uint16_t vector = 0; vector < kVectors; ++vector) {
      table[vector * kMsixEntryBytes + 12] = std::byte{1};
    }
  }
  void Write(uint64_t offset, std::span<const std::byte> data) {
    for (std::byte byte : data) {
      if (offset >= kTableBytes) return;
      const size_t field = offset % kMsixEntryBytes;
      uint8_t mask = 0xff;
      if (field == 0) mask = 0xfc;
      if (field == 12) mask = 0x01;
      if (field > 12) mask = 0x00;
      table[offset++] = byte & std::byte{mask};
    }
  }
  std::optional<MsiMessage> Route(uint16_t vector) const {
    const std::byte* entry = &table[vector * kMsixEntryBytes];
    if (!enabled || function_masked || entry[12] != std::byte{0}) return std::nullopt;
    MsiMessage message;
    std::memcpy(&message.address, entry, 8);
    std::memcpy(&message.data, entry + 8, 4);
    return message;
  }
};

void Run(FuzzInput& input) {
  RecordingMsiSink sink(kVectors);
  Msix msix(kVectors, sink);
  Model model;
  // A route that could not be made is the one thing that the model does not follow.
  bool connect_failed = false;
  while (!input.empty()) {
    const uint64_t kind = input.Below(8);
    const size_t width = input.Pick<size_t>({4, 8, 1, 2});
    const uint64_t offset = input.Below(8) == 1 ? input.Number() : input.Below(kTableBytes + 8);
    std::array<std::byte, 8> storage{};
    const std::span<std::byte> data = std::span(storage).first(width);
    switch (kind) {
      case 0:
      case 1:
      case 2: {
        const uint64_t value = input.TakeBool() ? input.Number() : input.Below(2);
        std::memcpy(storage.data(), &value, sizeof(value));
        msix.WriteTable(offset, data);
        model.Write(offset, data);
        break;
      }
      case 3:
        model.enabled = input.Below(4) != 1;
        model.function_masked = input.Below(4) == 1;
        msix.SetControl(model.enabled, model.function_masked);
        break;
      case 4:
        sink.interrupt(static_cast<uint16_t>(input.Below(kVectors))).Notify();
        break;
      case 5:
        msix.ReadPending(offset, data);
        break;
      case 6:
        msix.ClearPending();
        break;
      default:
        sink.fail_next_connect = true;
        connect_failed = true;
        break;
    }
    sink.TakeCalls();
    std::array<std::byte, kTableBytes> table;
    msix.ReadTable(0, table);
    VMM_CHECK(table == model.table);
    uint8_t pending = 0;
    msix.ReadPending(0, std::as_writable_bytes(std::span(&pending, 1)));
    VMM_CHECK(pending >> kVectors == 0);
    for (uint16_t vector = 0; vector < kVectors; ++vector) {
      const auto route = sink.route(vector);
      VMM_CHECK(route == model.Route(vector) || (connect_failed && !route));
      if (!route && !connect_failed) {
        VMM_CHECK(sink.interrupt(vector).IsSet() == ((pending >> vector & 1) != 0));
      }
    }
  }
}

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  minivmm::FuzzInput input(data, size);
  minivmm::Run(input);
  return 0;
}
