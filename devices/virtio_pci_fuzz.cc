// VirtioPci: a driver that reads and writes registers, configuration space and its own memory in
// any order, with values that are mostly near to what a driver would write.
#include <array>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "devices/virtio_pci.h"
#include "pci/recording_msi_sink.h"
#include "tools/bazel/fuzz/fuzz_input.h"

namespace minivmm {
namespace {

constexpr uint64_t kRamBase = 0x1'0000;
constexpr uint64_t kBarAddress = 0xc000'0000;
constexpr uint64_t kBarBytes = 64_KiB;

// Registers of the common configuration that the sequence of a real driver needs.
constexpr uint64_t kStatus = 20, kQueueSelect = 22, kQueueEnable = 28, kQueueDesc = 32;
constexpr uint64_t kDriverFeatureSelect = 8, kDriverFeature = 12;
constexpr uint8_t kStatusFeaturesOk = 8, kStatusDriverOk = 4;

// A device of two queues that checks what the transport owes it, and pops what it is notified of.
class PoppingDevice final : public VirtioDevice {
 public:
  uint16_t device_id() const override { return 2; }
  uint64_t offered_features() const override {
    return kFeatureIndirectDesc | kFeatureEventIdx | kFeatureRingPacked | kFeatureRingReset;
  }
  std::span<const uint16_t> queue_max_sizes() const override { return sizes_; }
  size_t config_bytes() const override { return 96; }
  bool AcceptsFeatures(uint64_t) const override { return true; }
  void ReadConfig(uint64_t, uint64_t offset, std::span<std::byte> data) const override {
    VMM_CHECK(RangeFits(offset, data.size(), config_bytes()));
    std::ranges::fill(data, std::byte{0xc5});
  }
  void WriteConfig(uint64_t, uint64_t offset, std::span<const std::byte> data) override {
    VMM_CHECK(RangeFits(offset, data.size(), config_bytes()));
  }
  void Activate(Activation activation) override {
    VMM_CHECK(!activation_.has_value());
    VMM_CHECK((activation.features & kFeatureVersion1) != 0);
    uint64_t offered = offered_features() | kFeatureVersion1 | kFeatureNotificationData;
    VMM_CHECK((activation.features & ~offered) == 0);
    for (const ActiveQueue& queue : activation.queues) {
      VMM_CHECK(queue.index < sizes_.size() && queue.ring.size() <= sizes_[queue.index]);
    }
    activation_ = std::move(activation);
  }
  void StopQueue(uint16_t index) override {
    VMM_CHECK(activation_.has_value() && index < sizes_.size());
    std::erase_if(activation_->queues,
                  [&](const ActiveQueue& queue) { return queue.index == index; });
  }
  void StartQueue(ActiveQueue queue) override {
    VMM_CHECK(activation_.has_value() && queue.index < sizes_.size());
    VMM_CHECK(queue.ring.size() <= sizes_[queue.index]);
    for (const ActiveQueue& other : activation_->queues) VMM_CHECK(other.index != queue.index);
    activation_->queues.push_back(std::move(queue));
  }
  void Reset() override { activation_.reset(); }

  bool active() const { return activation_.has_value(); }

  // What I/O threads would do.
  void Serve() {
    if (!activation_) return;
    for (ActiveQueue& queue : activation_->queues) {
      for (;;) {
        auto chain = queue.ring.Pop();
        if (!chain) {
          CheckErrorText(chain.error().message);
          activation_->needs_reset->Raise();
          break;
        }
        if (!*chain) break;
        queue.ring.Push(std::move(**chain), 0);
      }
      const EventFd* interrupt = queue.interrupt->load();
      if (queue.ring.NeedsInterrupt() && interrupt != nullptr) interrupt->Notify();
    }
  }

 private:
  std::array<uint16_t, 2> sizes_ = {64, 8};
  std::optional<Activation> activation_;
};

class Rig {
 public:
  explicit Rig(FuzzInput& input) : input_(input) {
    auto made = VirtioPci::Create(device_, memory_, sink_);
    VMM_CHECK(made.has_value());
    pci_ = std::move(*made);
    pci_->PlaceBar(VirtioPci::kBar, kBarAddress);
    WriteConfig(4, 6, 2);  // memory decoding and bus mastering
  }

  void Run() {
    // Half of all inputs begin with a device that runs.
    if (input_.TakeBool()) StartDriver();
    while (!input_.empty()) Step();
    VMM_CHECK(pci_->bar_address(VirtioPci::kBar) == kBarAddress);
    WriteConfig(4, 6, 2);
    WriteBar(kStatus, 0, 1);
    // A reset is complete when it returns.
    VMM_CHECK(!device_.active());
  }

 private:
  void StartDriver() {
    WriteBar(kStatus, 3, 1);
    const uint64_t features =
        kFeatureVersion1 | kFeatureRingReset |
        input_.Pick<uint64_t>({0, kFeatureRingPacked, kFeatureEventIdx | kFeatureIndirectDesc});
    WriteBar(kDriverFeature, features & 0xffff'ffff, 4);
    WriteBar(kDriverFeatureSelect, 1, 4);
    WriteBar(kDriverFeature, features >> 32, 4);
    WriteBar(kStatus, 3 | kStatusFeaturesOk, 1);
    for (uint64_t queue = 0; queue < 2; ++queue) {
      WriteBar(kQueueSelect, queue, 2);
      for (uint64_t part = 0; part < 3; ++part) {
        WriteBar(kQueueDesc + 8 * part, kRamBase + 8_KiB * queue + 2_KiB * part, 8);
      }
      WriteBar(kQueueEnable, 1, 2);
    }
    WriteBar(kStatus, 3 | kStatusFeaturesOk | kStatusDriverOk, 1);
    VMM_CHECK(device_.active());
  }

  void Step() {
    const uint64_t choice = input_.Below(9);
    const size_t width = input_.Pick<size_t>({1, 2, 4, 8});
    switch (choice) {
      case 0:
      case 1:
        return WriteBar(input_.Below(60), SomeValue(), width);
      case 2: {
        const uint64_t offset = SomeBarOffset();
        return WriteBar(offset, SomeValue(), width);
      }
      case 3:
        return ReadBar(SomeBarOffset(), width);
      case 4: {
        const uint64_t offset = SomeConfigOffset();
        return WriteConfig(offset, SomeValue(), width);
      }
      case 5:
        return ReadConfig(SomeConfigOffset(), width);
      case 6:
        return device_.Serve();
      case 7: {
        // The first bytes of each part of the rings, above all.
        const uint64_t offset =
            input_.Below(8) * 2_KiB + (input_.TakeBool() ? input_.Below(64) : 2);
        const uint16_t value = input_.TakeBool() ? input_.Take<uint8_t>() : input_.Take<uint16_t>();
        const auto place = memory_.Slice(kRamBase + offset, sizeof(value));
        std::ranges::copy(std::as_bytes(std::span(&value, 1)), place.begin());
        return;
      }
      default: {
        const uint8_t host = input_.Take<uint8_t>();
        sink_.fail_next_connect = (host & 1) != 0;
        if ((host & 2) != 0) pci_->ChangeConfig([] {});
        sink_.TakeCalls();
        return;
      }
    }
  }

  uint64_t SomeValue() { return input_.TakeBool() ? input_.Below(16) : input_.Number(); }
  uint64_t SomeBarOffset() {
    const uint64_t region = input_.Pick<uint64_t>({0, 0x1000, 0x2000, 0x3000, 0x4000, 0x8000});
    if (input_.Below(16) == 1) return input_.Number();
    return region + input_.Below(128);
  }
  uint64_t SomeConfigOffset() {
    if (input_.Below(16) == 1) return input_.Number();
    return input_.Below(256);
  }

  void WriteBar(uint64_t offset, uint64_t value, size_t width) {
    if (!RangeFits(offset, width, kBarBytes)) return;  // the machine splits no access
    pci_->bar_handler(VirtioPci::kBar).Write(offset, Bytes(value).first(width));
    CheckStatus();
  }
  void ReadBar(uint64_t offset, size_t width) {
    if (!RangeFits(offset, width, kBarBytes)) return;
    uint64_t value = 0;
    pci_->bar_handler(VirtioPci::kBar).Read(offset, WritableBytes(value).first(width));
  }
  void WriteConfig(uint64_t offset, uint64_t value, size_t width) {
    pci_->WriteConfig(offset, Bytes(value).first(width));
    CheckStatus();
  }
  void ReadConfig(uint64_t offset, size_t width) {
    uint64_t value = 0;
    pci_->ReadConfig(offset, WritableBytes(value).first(width));
  }

  static std::span<const std::byte> Bytes(const uint64_t& value) {
    return std::as_bytes(std::span(&value, 1));
  }
  static std::span<std::byte> WritableBytes(uint64_t& value) {
    return std::as_writable_bytes(std::span(&value, 1));
  }

  // The device runs only while the driver is told so.
  void CheckStatus() {
    uint16_t command = 0;
    pci_->ReadConfig(4, std::as_writable_bytes(std::span(&command, 1)));
    if (!device_.active()) return;
    VMM_CHECK((command & 4) != 0);
    if ((command & 2) == 0) return;
    uint8_t status = 0;
    pci_->bar_handler(VirtioPci::kBar).Read(kStatus, std::as_writable_bytes(std::span(&status, 1)));
    VMM_CHECK((status & kStatusFeaturesOk) != 0 && (status & kStatusDriverOk) != 0);
  }

  struct alignas(4096) Page {
    std::byte bytes[4_KiB] = {};
  };

  FuzzInput& input_;
  std::vector<Page> ram_ = std::vector<Page>(4);
  GuestMemory memory_{{{kRamBase, std::as_writable_bytes(std::span(ram_))}}};
  PoppingDevice device_;
  RecordingMsiSink sink_{3};
  std::unique_ptr<VirtioPci> pci_;
};

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  minivmm::FuzzInput input(data, size);
  minivmm::Rig(input).Run();
  return 0;
}
