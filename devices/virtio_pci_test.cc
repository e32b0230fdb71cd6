#include "devices/virtio_pci.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <type_traits>
#include <vector>

#include "pci/recording_msi_sink.h"

namespace minivmm {
namespace {

constexpr uint64_t kCommon = 0x0000, kIsr = 0x1000, kConfig = 0x2000, kNotify = 0x3000,
                   kPending = 0x4000, kTable = 0x8000;
constexpr uint64_t kDeviceFeatureSelect = 0, kDeviceFeature = 4, kDriverFeatureSelect = 8,
                   kDriverFeature = 12, kConfigVector = 16, kNumQueues = 18, kStatus = 20,
                   kGeneration = 21, kQueueSelect = 22, kQueueSize = 24, kQueueVector = 26,
                   kQueueEnable = 28, kQueueNotifyOffset = 30, kQueueDesc = 32, kQueueDriver = 40,
                   kQueueDevice = 48, kQueueReset = 58;
constexpr uint8_t kAck = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8, kNeedsReset = 64,
                  kFailed = 128;
constexpr uint16_t kNoVector = 0xffff;
constexpr uint64_t kFeatureA = 1 << 5;
constexpr uint64_t kFeatureZoned = 1 << 17;

class FakeDevice final : public VirtioDevice {
 public:
  uint16_t device_id() const override { return id; }
  uint64_t offered_features() const override {
    return kFeatureA | kFeatureZoned | kFeatureEventIdx | kFeatureRingPacked | kFeatureRingReset;
  }
  std::span<const uint16_t> queue_max_sizes() const override { return sizes; }
  size_t config_bytes() const override { return 96; }
  bool AcceptsFeatures(uint64_t features) const override {
    return !needs_zoned || (features & kFeatureZoned) != 0;
  }
  void ReadConfig(uint64_t features, uint64_t offset, std::span<std::byte> data) const override {
    CHECK(offset + data.size() <= config_bytes());
    config_features = features;
    for (std::byte& byte : data) byte = static_cast<std::byte>(offset++ + 1);
  }
  void WriteConfig(uint64_t, uint64_t offset, std::span<const std::byte> data) override {
    CHECK(offset + data.size() <= config_bytes());
    config_writes += data.size();
  }
  void Activate(Activation new_activation) override {
    CHECK_FALSE(activation.has_value());
    activation = std::move(new_activation);
    ++activations;
  }
  void StopQueue(uint16_t index) override {
    REQUIRE(activation.has_value());
    CHECK(std::erase_if(activation->queues,
                        [&](const ActiveQueue& queue) { return queue.index == index; }) == 1);
    if (on_reset) on_reset();
    ++queue_stops;
  }
  void StartQueue(ActiveQueue queue) override {
    REQUIRE(activation.has_value());
    activation->queues.push_back(std::move(queue));
  }
  void Reset() override {
    ++forgets;
    if (!activation) return;
    if (on_reset) on_reset();
    activation.reset();
    ++resets;
  }

  uint16_t id = 2;
  std::vector<uint16_t> sizes = {256, 128};
  bool needs_zoned = false;
  std::function<void()> on_reset;
  std::optional<Activation> activation;
  int activations = 0;
  int resets = 0;   // of the active device
  int forgets = 0;  // all of them
  int queue_stops = 0;
  size_t config_writes = 0;
  mutable uint64_t config_features = ~uint64_t{0};
};

// What must not be taken for an answer.
template <typename T>
T Rubbish() {
  T value;
  std::memset(&value, 0xa5, sizeof(value));
  return value;
}

// A driver with a device: the function on nothing but its own BAR, and 1 MiB of memory.
struct Rig {
  FakeDevice device;
  std::vector<std::byte> ram = std::vector<std::byte>(1 << 20);
  GuestMemory memory{{{0, ram}}};
  RecordingMsiSink sink{3};
  std::unique_ptr<VirtioPci> pci;

  Rig() {
    auto made = VirtioPci::Create(device, memory, sink);
    REQUIRE(made.has_value());
    pci = std::move(*made);
    pci->PlaceBar(0, 0xc000'0000);
    WriteConfig<uint16_t>(4, 6);
  }

  template <typename T>
  T Read(uint64_t offset) {
    T value = Rubbish<T>();
    pci->bar_handler(0).Read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void Write(uint64_t offset, std::type_identity_t<T> value) {
    pci->bar_handler(0).Write(offset, std::as_bytes(std::span(&value, 1)));
  }
  template <typename T>
  T ReadConfig(uint64_t offset) {
    T value = Rubbish<T>();
    pci->ReadConfig(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void WriteConfig(uint64_t offset, std::type_identity_t<T> value) {
    pci->WriteConfig(offset, std::as_bytes(std::span(&value, 1)));
  }
  uint8_t status() { return Read<uint8_t>(kStatus); }
  void SetStatus(uint8_t value) { Write<uint8_t>(kStatus, value); }

  void WriteFeatures(uint64_t features) {
    Write<uint32_t>(kDriverFeatureSelect, 0);
    Write<uint32_t>(kDriverFeature, static_cast<uint32_t>(features));
    Write<uint32_t>(kDriverFeatureSelect, 1);
    Write<uint32_t>(kDriverFeature, static_cast<uint32_t>(features >> 32));
  }
  bool Negotiate(uint64_t features) {
    SetStatus(0);
    SetStatus(kAck);
    SetStatus(kAck | kDriver);
    WriteFeatures(features);
    SetStatus(kAck | kDriver | kFeaturesOk);
    return (status() & kFeaturesOk) != 0;
  }
  void SetUpQueue(uint16_t queue, uint16_t vector) {
    Write<uint16_t>(kQueueSelect, queue);
    uint64_t base = 0x1'0000 * (queue + 1u);
    Write<uint64_t>(kQueueDesc, base);
    Write<uint64_t>(kQueueDriver, base + 0x4000);
    Write<uint64_t>(kQueueDevice, base + 0x8000);
    Write<uint16_t>(kQueueVector, vector);
    Write<uint16_t>(kQueueEnable, 1);
  }
  // As Linux does it, up to DRIVER_OK.
  void Start() {
    REQUIRE(Negotiate(kFeatureVersion1 | kFeatureZoned));
    Write<uint16_t>(kConfigVector, 0);
    SetUpQueue(0, 1);
    SetUpQueue(1, 2);
    SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
    REQUIRE(device.activation.has_value());
  }

  uint8_t FindCapability(uint8_t id, uint8_t type) {
    for (uint8_t at = ReadConfig<uint8_t>(0x34); at != 0; at = ReadConfig<uint8_t>(at + 1)) {
      if (ReadConfig<uint8_t>(at) != id) continue;
      if (id != 0x09 || ReadConfig<uint8_t>(at + 3) == type) return at;
    }
    return 0;
  }
  // All vectors stay masked.
  void EnableMsix(bool enable = true) {
    WriteConfig<uint16_t>(FindCapability(0x11, 0) + 2, enable ? 0x8000 : 0);
  }
  void EnableMsix(uint16_t vector, uint64_t address, uint32_t data) {
    EnableMsix();
    Write<uint64_t>(kTable + vector * 16u, address);
    Write<uint32_t>(kTable + vector * 16u + 8, data);
    Write<uint32_t>(kTable + vector * 16u + 12, 0);
  }
};

TEST_CASE("Z-02: the function is a modern virtio block device without an interrupt pin") {
  Rig rig;
  CHECK(rig.ReadConfig<uint32_t>(0x00) == 0x1042'1af4);
  CHECK(rig.ReadConfig<uint8_t>(0x08) >= 1);
  CHECK(rig.ReadConfig<uint8_t>(0x0b) == 0x01);
  CHECK(rig.ReadConfig<uint16_t>(0x2e) >= 0x40);
  CHECK(rig.ReadConfig<uint8_t>(0x3d) == 0);
}

TEST_CASE("P-03, P-20, P-21, P-22: capabilities have their lengths and regions") {
  Rig rig;
  struct Row {
    uint8_t type, length;
    uint32_t offset, bytes, alignment;
  };
  for (Row row : {Row{1, 16, kCommon, 60, 4}, Row{2, 20, kNotify, 8, 4}, Row{3, 16, kIsr, 1, 1},
                  Row{4, 16, kConfig, 96, 4}}) {
    CAPTURE(row.type);
    uint8_t at = rig.FindCapability(0x09, row.type);
    REQUIRE(at != 0);
    CHECK(at % 4 == 0);
    CHECK(rig.ReadConfig<uint8_t>(at + 2) == row.length);
    CHECK(rig.ReadConfig<uint8_t>(at + 4) == 0);
    CHECK(rig.ReadConfig<uint16_t>(at + 6) == 0);
    CHECK(rig.ReadConfig<uint32_t>(at + 8) == row.offset);
    CHECK(rig.ReadConfig<uint32_t>(at + 12) == row.bytes);
    CHECK(row.offset % row.alignment == 0);
  }
  CHECK(rig.ReadConfig<uint32_t>(rig.FindCapability(0x09, 2) + 16) == 4);
  uint8_t window = rig.FindCapability(0x09, 5);
  REQUIRE(window != 0);
  CHECK(rig.ReadConfig<uint8_t>(window + 2) == 20);

  rig.Write<uint16_t>(kQueueSelect, 1);
  CHECK(rig.Read<uint16_t>(kQueueNotifyOffset) * 4u + 2 <= 8);
  CHECK(rig.pci->doorbell_address(1) == 0xc000'0000 + kNotify + 4);
}

TEST_CASE("P-30: there is one MSI-X vector for the configuration and one for each queue") {
  Rig rig;
  CHECK(VirtioPci::VectorCount(rig.device) == 3);
  uint8_t at = rig.FindCapability(0x11, 0);
  CHECK(rig.ReadConfig<uint16_t>(at + 2) == 2);
  CHECK(rig.ReadConfig<uint32_t>(at + 4) == kTable);
  CHECK(rig.ReadConfig<uint32_t>(at + 8) == kPending);
}

TEST_CASE("a device without queues, or with too many, is refused") {
  Rig rig;
  FakeDevice device;
  device.sizes = {};
  CHECK_FALSE(VirtioPci::Create(device, rig.memory, rig.sink).has_value());
  device.sizes = std::vector<uint16_t>(VirtioPci::kMaxQueues + 1, 8);
  CHECK_FALSE(VirtioPci::Create(device, rig.memory, rig.sink).has_value());
}

TEST_CASE("P-04, P-19: features show for each select, VERSION_1 always among them") {
  Rig rig;
  rig.Write<uint32_t>(kDeviceFeatureSelect, 0);
  CHECK(rig.Read<uint32_t>(kDeviceFeature) == (kFeatureA | kFeatureZoned | kFeatureEventIdx));
  rig.Write<uint32_t>(kDeviceFeatureSelect, 1);
  // VERSION_1, RING_PACKED, NOTIFICATION_DATA, RING_RESET.
  CHECK(rig.Read<uint32_t>(kDeviceFeature) == (1u | 1u << 2 | 1u << 6 | 1u << 8));
  for (uint32_t select : {2u, 3u, 32u, 0x8000'0000u, ~0u}) {
    rig.Write<uint32_t>(kDeviceFeatureSelect, select);
    CHECK(rig.Read<uint32_t>(kDeviceFeatureSelect) == select);
    CHECK(rig.Read<uint32_t>(kDeviceFeature) == 0);
  }
  rig.Write<uint32_t>(kDeviceFeature, 0xffff'ffff);
  CHECK(rig.Read<uint32_t>(kDeviceFeature) == 0);
}

TEST_CASE("P-12, P-38, P-39: nothing is offered that is not there") {
  Rig rig;
  rig.Write<uint32_t>(kDeviceFeatureSelect, 1);
  const uint32_t offered = rig.Read<uint32_t>(kDeviceFeature);
  // ACCESS_PLATFORM, IN_ORDER, ORDER_PLATFORM, SR_IOV, NOTIF_CONFIG_DATA, ADMIN_VQ, SUSPEND.
  for (int bit : {33, 35, 36, 37, 39, 41, 43}) CHECK((offered & 1u << (bit - 32)) == 0);
}

TEST_CASE("P-11, Q-13: a queue is reset by itself and may be enabled again, set up anew") {
  Rig rig;
  REQUIRE(rig.Negotiate(kFeatureVersion1 | kFeatureZoned | kFeatureRingReset));
  rig.Write<uint16_t>(kQueueSelect, 0);
  rig.Write<uint16_t>(kQueueSize, 16);
  rig.SetUpQueue(0, 1);
  rig.SetUpQueue(1, 2);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  REQUIRE(rig.device.activation->queues.size() == 2);
  rig.pci->doorbell(0).Notify();

  rig.Write<uint16_t>(kQueueSelect, 0);
  rig.Write<uint16_t>(kQueueReset, 0);
  CHECK(rig.device.queue_stops == 0);
  rig.Write<uint16_t>(kQueueReset, 1);
  CHECK(rig.device.queue_stops == 1);
  CHECK(rig.Read<uint16_t>(kQueueReset) == 0);
  CHECK(rig.Read<uint16_t>(kQueueEnable) == 0);
  CHECK(rig.Read<uint16_t>(kQueueSize) == 256);
  CHECK(rig.Read<uint16_t>(kQueueVector) == kNoVector);
  CHECK(rig.Read<uint64_t>(kQueueDesc) == 0);
  CHECK(!rig.pci->doorbell(0).IsSet());
  REQUIRE(rig.device.activation->queues.size() == 1);
  CHECK(rig.device.activation->queues[0].index == 1);
  rig.Write<uint16_t>(kQueueReset, 1);  // it is off already
  CHECK(rig.device.queue_stops == 1);

  rig.Write<uint16_t>(kQueueSize, 16);
  rig.SetUpQueue(0, 2);
  CHECK(rig.Read<uint16_t>(kQueueEnable) == 1);
  CHECK(rig.Read<uint16_t>(kQueueReset) == 0);
  REQUIRE(rig.device.activation->queues.size() == 2);
  CHECK(rig.device.activation->queues[1].index == 0);
  CHECK(rig.device.activation->queues[1].ring.size() == 16);
  CHECK(rig.device.activations == 1);
  CHECK(rig.status() == (kAck | kDriver | kFeaturesOk | kDriverOk));
  rig.SetStatus(0);
  CHECK(rig.device.resets == 1);
}

TEST_CASE("P-11: queue_reset does nothing unless negotiated; before DRIVER_OK it disables") {
  Rig rig;
  rig.Start();
  rig.Write<uint16_t>(kQueueSelect, 0);
  rig.Write<uint16_t>(kQueueReset, 1);
  CHECK(rig.device.queue_stops == 0);
  CHECK(rig.Read<uint16_t>(kQueueEnable) == 1);

  REQUIRE(rig.Negotiate(kFeatureVersion1 | kFeatureZoned | kFeatureRingReset));
  rig.SetUpQueue(0, 1);
  rig.Write<uint16_t>(kQueueReset, 1);
  CHECK(rig.Read<uint16_t>(kQueueEnable) == 0);
  rig.SetUpQueue(1, 2);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  REQUIRE(rig.device.activation->queues.size() == 1);
  CHECK(rig.device.queue_stops == 0);
  // A queue that does not exist.
  rig.Write<uint16_t>(kQueueSelect, 9);
  rig.Write<uint16_t>(kQueueReset, 1);
  CHECK(rig.device.queue_stops == 0);
}

TEST_CASE("H-12: a queue that comes back with a ring that cannot be made needs a reset") {
  Rig rig;
  REQUIRE(rig.Negotiate(kFeatureVersion1 | kFeatureZoned | kFeatureRingReset));
  rig.SetUpQueue(0, 1);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  rig.Write<uint16_t>(kQueueReset, 1);
  rig.Write<uint64_t>(kQueueDesc, 0x8000'0000);
  rig.Write<uint16_t>(kQueueEnable, 1);
  CHECK((rig.status() & kNeedsReset) != 0);
  CHECK(rig.device.activation->queues.empty());
  rig.SetStatus(0);
  CHECK(rig.status() == 0);
}

TEST_CASE("P-22, K-08: the data of NOTIFICATION_DATA goes unread") {
  Rig rig;
  REQUIRE(rig.Negotiate(kFeatureVersion1 | kFeatureZoned | kFeatureNotificationData));
  rig.SetUpQueue(1, 1);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  rig.Write<uint32_t>(kNotify + 4, 0x1234'0001);
  CHECK(rig.pci->doorbell(1).IsSet());
  CHECK(!rig.pci->doorbell(0).IsSet());
}

TEST_CASE("P-05: driver features read back for each select") {
  Rig rig;
  rig.WriteFeatures(kFeatureVersion1 | kFeatureA);
  CHECK(rig.Read<uint32_t>(kDriverFeature) == 1);
  rig.Write<uint32_t>(kDriverFeatureSelect, 0);
  CHECK(rig.Read<uint32_t>(kDriverFeature) == kFeatureA);
  rig.Write<uint32_t>(kDriverFeatureSelect, 2);
  CHECK(rig.Read<uint32_t>(kDriverFeature) == 0);
}

TEST_CASE("P-18: FEATURES_OK is given for valid subsets only, again after reset") {
  Rig rig;
  CHECK(rig.Negotiate(kFeatureVersion1));
  CHECK(rig.Negotiate(kFeatureVersion1 | kFeatureA | kFeatureZoned | kFeatureEventIdx));
  CHECK(rig.Negotiate(kFeatureVersion1));
  CHECK_FALSE(rig.Negotiate(kFeatureVersion1 | 1 << 7));
  CHECK(rig.status() == (kAck | kDriver));
  CHECK_FALSE(rig.Negotiate(kFeatureVersion1 | uint64_t{1} << 35));
  // The driver may think again.
  rig.WriteFeatures(kFeatureVersion1);
  rig.SetStatus(kAck | kDriver | kFeaturesOk);
  CHECK((rig.status() & kFeaturesOk) != 0);
}

TEST_CASE("P-18, Z-03: the device may refuse a subset") {
  Rig rig;
  rig.device.needs_zoned = true;
  CHECK_FALSE(rig.Negotiate(kFeatureVersion1));
  CHECK(rig.Negotiate(kFeatureVersion1 | kFeatureZoned));
}

TEST_CASE("P-19: FEATURES_OK is refused without VERSION_1") {
  Rig rig;
  CHECK_FALSE(rig.Negotiate(kFeatureA));
}

TEST_CASE("P-05: bits beyond 63 are caught at FEATURES_OK") {
  Rig rig;
  rig.Write<uint32_t>(kDriverFeatureSelect, 3);
  rig.Write<uint32_t>(kDriverFeature, 0);
  rig.WriteFeatures(kFeatureVersion1);
  rig.Write<uint32_t>(kDriverFeatureSelect, 2);
  rig.Write<uint32_t>(kDriverFeature, 1);
  rig.SetStatus(kAck | kDriver | kFeaturesOk);
  CHECK((rig.status() & kFeaturesOk) == 0);
  CHECK(rig.Negotiate(kFeatureVersion1));
}

TEST_CASE("features are frozen once FEATURES_OK is set") {
  Rig rig;
  REQUIRE(rig.Negotiate(kFeatureVersion1 | kFeatureA));
  rig.WriteFeatures(kFeatureVersion1 | kFeatureZoned);
  rig.Write<uint32_t>(kDriverFeatureSelect, 0);
  CHECK(rig.Read<uint32_t>(kDriverFeature) == kFeatureA);
}

TEST_CASE("status bits are cleared by a reset only") {
  Rig rig;
  rig.SetStatus(kAck | kDriver);
  rig.SetStatus(kDriver);
  CHECK(rig.status() == (kAck | kDriver));
  rig.SetStatus(0);
  CHECK(rig.status() == 0);
}

TEST_CASE("P-39: status bits that are the device's or unknown are ignored") {
  Rig rig;
  rig.SetStatus(kAck | 16 | 32 | kNeedsReset);
  CHECK(rig.status() == kAck);
}

TEST_CASE("DRIVER_OK without FEATURES_OK is ignored") {
  Rig rig;
  rig.SetUpQueue(0, 1);
  rig.SetStatus(kAck | kDriver | kDriverOk);
  CHECK(rig.status() == (kAck | kDriver));
  CHECK(rig.device.activations == 0);
}

TEST_CASE("P-14: the device gets its rings at DRIVER_OK, not before, and once") {
  Rig rig;
  rig.EnableMsix(2, 0xfee0'0000, 0x41);
  REQUIRE(rig.Negotiate(kFeatureVersion1 | kFeatureZoned));
  rig.SetUpQueue(1, 2);
  rig.Write<uint16_t>(kNotify + 4, 1);
  CHECK(rig.device.activations == 0);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  REQUIRE(rig.device.activations == 1);
  Activation& activation = *rig.device.activation;
  CHECK(activation.features == (kFeatureVersion1 | kFeatureZoned));
  REQUIRE(activation.queues.size() == 1);
  CHECK(activation.queues[0].index == 1);
  CHECK(activation.queues[0].ring.size() == 128);
  CHECK(activation.queues[0].doorbell == &rig.pci->doorbell(1));
  CHECK(activation.queues[0].interrupt->load() == &rig.sink.interrupt(2));
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  CHECK(rig.device.activations == 1);
}

TEST_CASE("P-08, P-33: reset puts every register back") {
  Rig rig;
  rig.Start();
  rig.Write<uint32_t>(kDeviceFeatureSelect, 1);
  rig.SetStatus(0);
  CHECK(rig.status() == 0);
  CHECK(rig.device.resets == 1);
  CHECK(rig.Read<uint32_t>(kDeviceFeatureSelect) == 0);
  CHECK(rig.Read<uint32_t>(kDriverFeatureSelect) == 0);
  CHECK(rig.Read<uint32_t>(kDriverFeature) == 0);
  rig.Write<uint32_t>(kDriverFeatureSelect, 1);
  CHECK(rig.Read<uint32_t>(kDriverFeature) == 0);
  CHECK(rig.Read<uint16_t>(kConfigVector) == kNoVector);
  CHECK(rig.Read<uint16_t>(kQueueSelect) == 0);
  for (uint16_t queue : {0, 1}) {
    rig.Write<uint16_t>(kQueueSelect, queue);
    CHECK(rig.Read<uint16_t>(kQueueSize) == rig.device.sizes[queue]);
    CHECK(rig.Read<uint16_t>(kQueueVector) == kNoVector);
    CHECK(rig.Read<uint16_t>(kQueueEnable) == 0);
    CHECK(rig.Read<uint64_t>(kQueueDesc) == 0);
    CHECK(rig.Read<uint64_t>(kQueueDriver) == 0);
    CHECK(rig.Read<uint64_t>(kQueueDevice) == 0);
  }
  rig.Start();
  CHECK(rig.device.activations == 2);
}

TEST_CASE("a reset before DRIVER_OK is the device's, too: it may have fields that were written") {
  Rig rig;
  REQUIRE(rig.Negotiate(kFeatureVersion1));
  const int before = rig.device.forgets;
  rig.SetStatus(0);
  CHECK(rig.device.forgets == before + 1);
  CHECK(rig.device.resets == 0);
}

TEST_CASE("P-07, P-29: reset waits for the device, and drops doorbells and pending interrupts") {
  Rig rig;
  rig.EnableMsix();
  rig.Start();
  std::atomic<bool> is_reading = false;
  std::atomic<bool> status_read = false;
  std::thread reader;
  rig.device.on_reset = [&] {
    // Another vCPU polls the status meanwhile; a last request completes.
    reader = std::thread([&] {
      is_reading = true;
      CHECK(rig.status() == 0);
      status_read = true;
    });
    while (!is_reading) std::this_thread::yield();
    std::this_thread::sleep_for(
        std::chrono::milliseconds(20));  // time enough for a status that does not wait
    rig.device.activation->queues[0].interrupt->load()->Notify();
    CHECK(rig.sink.interrupt(1).IsSet());
    CHECK_FALSE(status_read);
  };
  rig.pci->doorbell(1).Notify();
  rig.SetStatus(0);
  reader.join();
  CHECK(rig.device.resets == 1);
  CHECK_FALSE(rig.sink.interrupt(1).IsSet());
  CHECK_FALSE(rig.pci->doorbell(1).IsSet());
}

TEST_CASE("P-07: a ring found broken during reset does not deadlock, nor outlive it") {
  Rig rig;
  rig.EnableMsix();
  rig.Start();
  rig.device.on_reset = [&] {
    std::thread io_thread([&] { rig.device.activation->needs_reset->Raise(); });
    io_thread.join();
    CHECK(rig.sink.interrupt(0).IsSet());
  };
  rig.SetStatus(0);
  CHECK(rig.status() == 0);
  CHECK(rig.Read<uint8_t>(kIsr) == 0);
  CHECK_FALSE(rig.sink.interrupt(0).IsSet());
}

TEST_CASE("P-09: a queue that does not exist has size 0 and swallows writes") {
  Rig rig;
  rig.Write<uint16_t>(kQueueSelect, 2);
  CHECK(rig.Read<uint16_t>(kNumQueues) == 2);
  rig.Write<uint16_t>(kQueueSize, 16);
  rig.Write<uint64_t>(kQueueDesc, 0x1000);
  rig.Write<uint16_t>(kQueueVector, 0);
  rig.Write<uint16_t>(kQueueEnable, 1);
  CHECK(rig.Read<uint16_t>(kQueueSize) == 0);
  CHECK(rig.Read<uint64_t>(kQueueDesc) == 0);
  CHECK(rig.Read<uint16_t>(kQueueVector) == kNoVector);
  CHECK(rig.Read<uint16_t>(kQueueEnable) == 0);
  rig.Write<uint16_t>(kQueueSelect, 0xffff);
  CHECK(rig.Read<uint16_t>(kQueueSize) == 0);
}

TEST_CASE("P-10: queue_size takes powers of two up to the maximum only") {
  Rig rig;
  for (uint16_t size : {3, 0, 512, 0xffff, 255}) {
    rig.Write<uint16_t>(kQueueSize, size);
    CHECK(rig.Read<uint16_t>(kQueueSize) == 256);
  }
  rig.Write<uint16_t>(kQueueSize, 1);
  CHECK(rig.Read<uint16_t>(kQueueSize) == 1);
  rig.Write<uint16_t>(kQueueSize, 64);
  CHECK(rig.Read<uint16_t>(kQueueSize) == 64);
  rig.Write<uint16_t>(kQueueSelect, 1);
  CHECK(rig.Read<uint16_t>(kQueueSize) == 128);
}

TEST_CASE("P-10, K-07: with RING_PACKED queue_size takes any size up to the maximum") {
  Rig rig;
  REQUIRE(rig.Negotiate(kFeatureVersion1 | kFeatureZoned | kFeatureRingPacked));
  for (uint16_t size : {3, 255, 1}) {
    rig.Write<uint16_t>(kQueueSize, size);
    CHECK(rig.Read<uint16_t>(kQueueSize) == size);
  }
  for (uint16_t size : {0, 257, 0xffff}) {
    rig.Write<uint16_t>(kQueueSize, size);
    CHECK(rig.Read<uint16_t>(kQueueSize) == 1);
  }
  rig.Write<uint16_t>(kQueueSize, 7);
  rig.SetUpQueue(0, 1);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  REQUIRE(rig.device.activation.has_value());
  CHECK(rig.device.activation->queues[0].ring.size() == 7);
}

TEST_CASE("P-13: enabling latches a queue, and cannot be taken back") {
  Rig rig;
  rig.Write<uint16_t>(kQueueSize, 32);
  rig.SetUpQueue(0, 1);
  rig.Write<uint16_t>(kQueueSize, 64);
  rig.Write<uint64_t>(kQueueDesc, 0x5000);
  rig.Write<uint32_t>(kQueueDriver + 4, 1);
  rig.Write<uint64_t>(kQueueDevice, 0);
  rig.Write<uint16_t>(kQueueEnable, 0);
  CHECK(rig.Read<uint16_t>(kQueueSize) == 32);
  CHECK(rig.Read<uint64_t>(kQueueDesc) == 0x1'0000);
  CHECK(rig.Read<uint64_t>(kQueueDriver) == 0x1'4000);
  CHECK(rig.Read<uint64_t>(kQueueDevice) == 0x1'8000);
  CHECK(rig.Read<uint16_t>(kQueueEnable) == 1);
  rig.Write<uint16_t>(kQueueSelect, 1);
  for (uint16_t value : {0, 2, 0x101}) rig.Write<uint16_t>(kQueueEnable, value);
  CHECK(rig.Read<uint16_t>(kQueueEnable) == 0);
}

TEST_CASE("a queue enabled after DRIVER_OK stays off") {
  Rig rig;
  REQUIRE(rig.Negotiate(kFeatureVersion1));
  rig.SetUpQueue(0, 1);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  rig.SetUpQueue(1, 2);
  CHECK(rig.Read<uint16_t>(kQueueEnable) == 0);
}

TEST_CASE("P-01, P-02: registers may be accessed in halves, in bytes and several at once") {
  Rig rig;
  rig.Write<uint32_t>(kQueueDesc, 0x1234'5000);
  rig.Write<uint32_t>(kQueueDesc + 4, 7);
  CHECK(rig.Read<uint64_t>(kQueueDesc) == 0x7'1234'5000);
  CHECK(rig.Read<uint32_t>(kQueueDesc + 4) == 7);
  for (uint64_t i = 0; i < 8; ++i)
    rig.Write<uint8_t>(kQueueDriver + i, static_cast<uint8_t>(i + 1));
  CHECK(rig.Read<uint64_t>(kQueueDriver) == 0x0807'0605'0403'0201);
  CHECK(rig.Read<uint32_t>(kQueueDriver + 2) == 0x0605'0403);
  rig.Write<uint64_t>(kQueueDevice, 0x9'8765'4000);
  CHECK(rig.Read<uint64_t>(kQueueDevice) == 0x9'8765'4000);
  rig.Write<uint64_t>(kQueueDevice, 0);
  // queue_select 1, queue_size 64: the size goes to the queue selected by the same access.
  rig.Write<uint32_t>(kQueueSelect, 64u << 16 | 1);
  CHECK(rig.Read<uint16_t>(kQueueSize) == 64);
  rig.Write<uint16_t>(kQueueSelect, 0);
  CHECK(rig.Read<uint16_t>(kQueueSize) == 256);
  // Across the end, and behind it.
  CHECK(rig.Read<uint64_t>(52) == 0);
  CHECK(rig.Read<uint64_t>(56) == 0);
  CHECK(rig.Read<uint64_t>(0xfff8) == 0);
}

TEST_CASE("P-01, P-06, P-28: device configuration is readable early, in any pieces") {
  Rig rig;
  CHECK(rig.Read<uint64_t>(kConfig) == 0x0807'0605'0403'0201);
  CHECK(rig.device.config_features == 0);
  CHECK(rig.Read<uint32_t>(kConfig + 4) == 0x0807'0605);
  CHECK(rig.Read<uint8_t>(kConfig + 92) == 93);
  CHECK(rig.Read<uint8_t>(kGeneration) == rig.Read<uint8_t>(kGeneration));
  // Across the end.
  CHECK(rig.Read<uint64_t>(kConfig + 92) == 0x0000'0000'605f'5e5d);
  CHECK(rig.Read<uint32_t>(kConfig + 96) == 0);
  rig.Write<uint64_t>(kConfig + 92, 0);
  CHECK(rig.device.config_writes == 4);
  REQUIRE(rig.Negotiate(kFeatureVersion1 | kFeatureA));
  rig.Read<uint8_t>(kConfig);
  CHECK(rig.device.config_features == (kFeatureVersion1 | kFeatureA));
}

TEST_CASE("H-12, P-15: a ring that cannot be made needs a reset, and the driver hears of it") {
  Rig rig;
  rig.EnableMsix(0, 0xfee0'0000, 0x41);
  REQUIRE(rig.Negotiate(kFeatureVersion1));
  rig.Write<uint16_t>(kConfigVector, 0);
  rig.Write<uint16_t>(kQueueSelect, 0);
  rig.Write<uint64_t>(kQueueDesc, 0xffff'ffff'ffff'fff0);
  rig.Write<uint16_t>(kQueueEnable, 1);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  CHECK(rig.device.activations == 0);
  CHECK((rig.status() & (kNeedsReset | kDriverOk)) == (kNeedsReset | kDriverOk));
  CHECK(rig.sink.interrupt(0).IsSet());
  CHECK(rig.Read<uint8_t>(kIsr) == 2);
  // It stays so until a reset.
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  CHECK((rig.status() & kNeedsReset) != 0);
  rig.SetStatus(0);
  CHECK(rig.status() == 0);
  rig.Start();
}

TEST_CASE("P-15, P-24: a broken ring sets status and ISR, and interrupts by the config vector") {
  Rig rig;
  rig.EnableMsix(0, 0xfee0'0000, 0x41);
  rig.Start();
  std::thread io_thread([&] { rig.device.activation->needs_reset->Raise(); });
  io_thread.join();
  CHECK((rig.status() & kNeedsReset) != 0);
  CHECK(rig.sink.interrupt(0).IsSet());
  CHECK(rig.Read<uint8_t>(kIsr) == 2);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  CHECK((rig.status() & kNeedsReset) != 0);
}

TEST_CASE(
    "P-24: with MSI-X off a used buffer shows in the ISR, and all of the ISR in PCI's status") {
  constexpr uint16_t kInterruptStatus = 1 << 3;
  Rig rig;
  rig.Start();
  auto pci_status = [&] { return rig.ReadConfig<uint16_t>(6) & kInterruptStatus; };
  auto use_buffer = [&] {
    if (const EventFd* event = rig.device.activation->queues[1].interrupt->load()) event->Notify();
  };
  CHECK(pci_status() == 0);
  use_buffer();
  CHECK(pci_status() != 0);
  CHECK(rig.Read<uint8_t>(kIsr) == 1);
  CHECK(pci_status() == 0);
  CHECK(rig.Read<uint8_t>(kIsr) == 0);
  use_buffer();
  rig.device.activation->needs_reset->Raise();
  CHECK(rig.Read<uint8_t>(kIsr) == 3);

  const uint8_t msix = rig.FindCapability(0x11, 0);
  rig.WriteConfig<uint16_t>(msix + 2, 0x8000);
  use_buffer();
  CHECK(rig.Read<uint8_t>(kIsr) == 0);
  CHECK(rig.sink.interrupt(2).IsSet());
  rig.device.activation->needs_reset->Raise();
  CHECK(pci_status() != 0);
  CHECK(rig.Read<uint8_t>(kIsr) == 2);

  rig.WriteConfig<uint16_t>(msix + 2, 0);
  use_buffer();
  rig.SetStatus(0);
  CHECK(pci_status() == 0);
  CHECK(rig.Read<uint8_t>(kIsr) == 0);
}

TEST_CASE("P-31: any vector can be that of the configuration") {
  Rig rig;
  rig.EnableMsix(2, 0xfee0'0000, 0x41);
  rig.Start();
  rig.Write<uint16_t>(kConfigVector, 2);
  rig.device.activation->needs_reset->Raise();
  CHECK(rig.sink.interrupt(2).Drain() == 1);
  CHECK_FALSE(rig.sink.interrupt(0).IsSet());
}

TEST_CASE("P-36: with MSI-X off a configuration change is told by the ISR alone, and not twice") {
  Rig rig;
  rig.Start();
  rig.device.activation->needs_reset->Raise();
  CHECK(rig.Read<uint8_t>(kIsr) == 2);
  CHECK_FALSE(rig.sink.interrupt(0).IsSet());
  rig.EnableMsix(0, 0xfee0'0000, 0x41);
  CHECK_FALSE(rig.sink.interrupt(0).IsSet());
  rig.device.activation->needs_reset->Raise();
  CHECK(rig.sink.interrupt(0).IsSet());
  rig.sink.interrupt(0).Drain();
  rig.Read<uint8_t>(kIsr);
  rig.EnableMsix(false);
  rig.device.activation->needs_reset->Raise();
  CHECK(rig.Read<uint8_t>(kIsr) == 2);
  CHECK_FALSE(rig.sink.interrupt(0).IsSet());
}

TEST_CASE("P-1.1, P-1.2: of the capabilities only the window and MSI-X control can be written") {
  Rig rig;
  const uint8_t window = rig.FindCapability(0x09, 5);
  const uint8_t msix = rig.FindCapability(0x11, 0);
  std::array<uint8_t, 256> before;
  for (size_t i = 0; i < before.size(); ++i) before[i] = rig.ReadConfig<uint8_t>(i);
  for (uint64_t at = 0x40; at < 0x100; at += 4) rig.WriteConfig<uint32_t>(at, ~0u);
  for (size_t i = 0x40; i < before.size(); ++i) {
    CAPTURE(i);
    const bool in_window = i == window + 4u || (i >= window + 8u && i < window + 20u);
    if (in_window) continue;
    const uint8_t writable = i == msix + 3u ? 0xc0 : 0;
    CHECK((rig.ReadConfig<uint8_t>(i) & ~writable) == (before[i] & ~writable));
  }
}

TEST_CASE("P-25: reading ISR clears it") {
  Rig rig;
  rig.Start();
  rig.device.activation->needs_reset->Raise();
  CHECK(rig.Read<uint32_t>(kIsr) == 2);
  CHECK(rig.Read<uint32_t>(kIsr) == 0);
}

TEST_CASE("P-35: without a config vector there is no config interrupt") {
  Rig rig;
  rig.EnableMsix();
  rig.Start();
  rig.Write<uint16_t>(kConfigVector, kNoVector);
  rig.device.activation->needs_reset->Raise();
  for (uint16_t vector : {0, 1, 2}) CHECK_FALSE(rig.sink.interrupt(vector).IsSet());
  CHECK(rig.Read<uint8_t>(kIsr) == 2);
}

TEST_CASE(
    "P-06, P-37, B-20: a change of the configuration shows in the generation, and interrupts") {
  Rig rig;
  rig.EnableMsix(0, 0xfee0'0000, 0x41);
  rig.Start();
  const EventFd& interrupt = rig.sink.interrupt(0);
  rig.Read<uint32_t>(kConfig);
  const uint8_t before = rig.Read<uint8_t>(kGeneration);
  int changes = 0;
  rig.pci->ChangeConfig([&] { ++changes; });
  CHECK(changes == 1);
  CHECK(rig.Read<uint8_t>(kGeneration) != before);
  CHECK(interrupt.Drain() == 1);
  CHECK(rig.Read<uint8_t>(kIsr) == 2);
  CHECK((rig.status() & kNeedsReset) == 0);
  // However often it changes, what was read before is never taken for new.
  rig.Read<uint32_t>(kConfig);
  const uint8_t read_at = rig.Read<uint8_t>(kGeneration);
  for (int i = 0; i < 600; ++i) {
    rig.pci->ChangeConfig([] {});
    REQUIRE(rig.Read<uint8_t>(kGeneration) != read_at);
  }
  // Not to a driver that is not running.
  rig.SetStatus(0);
  interrupt.Drain();
  rig.Read<uint32_t>(kConfig);
  const uint8_t early = rig.Read<uint8_t>(kGeneration);
  rig.pci->ChangeConfig([] {});
  CHECK(!interrupt.IsSet());
  CHECK(rig.Read<uint8_t>(kIsr) == 0);
  CHECK(rig.Read<uint8_t>(kGeneration) != early);
}

TEST_CASE("P-06: what was negotiated changes fields, and so does a reset: another generation") {
  Rig rig;
  rig.SetStatus(kAck | kDriver);
  rig.WriteFeatures(kFeatureVersion1);
  rig.Read<uint32_t>(kConfig);
  const uint8_t at_first = rig.Read<uint8_t>(kGeneration);
  rig.SetStatus(kAck | kDriver | kFeaturesOk);
  REQUIRE((rig.status() & kFeaturesOk) != 0);
  const uint8_t negotiated = rig.Read<uint8_t>(kGeneration);
  CHECK(negotiated != at_first);
  rig.Read<uint32_t>(kConfig);
  rig.SetStatus(0);
  CHECK(rig.Read<uint8_t>(kGeneration) != negotiated);
}

TEST_CASE("P-18: features that nobody offers can be taken back before they are accepted") {
  Rig rig;
  rig.SetStatus(kAck | kDriver);
  rig.WriteFeatures(kFeatureVersion1);
  for (uint32_t select : {2u, 3u, 200u}) {
    rig.Write<uint32_t>(kDriverFeatureSelect, select);
    rig.Write<uint32_t>(kDriverFeature, 1);
    rig.SetStatus(kAck | kDriver | kFeaturesOk);
    CHECK((rig.status() & kFeaturesOk) == 0);
    rig.Write<uint32_t>(kDriverFeature, 0);
  }
  rig.SetStatus(kAck | kDriver | kFeaturesOk);
  CHECK((rig.status() & kFeaturesOk) != 0);
}

TEST_CASE("P-18: a 0 in one word takes back nothing in another") {
  Rig rig;
  rig.SetStatus(kAck | kDriver);
  rig.WriteFeatures(kFeatureVersion1);
  auto write_word = [&](uint32_t select, uint32_t bits) {
    rig.Write<uint32_t>(kDriverFeatureSelect, select);
    rig.Write<uint32_t>(kDriverFeature, bits);
  };
  for (uint32_t select : {2u, 62u, 63u, 200u}) {
    CAPTURE(select);
    write_word(select, 1);
    for (uint32_t other : {3u, 61u, 64u, 300u}) write_word(other, 0);
    rig.SetStatus(kAck | kDriver | kFeaturesOk);
    CHECK((rig.status() & kFeaturesOk) == 0);
    write_word(select, 0);
  }
  rig.SetStatus(kAck | kDriver | kFeaturesOk);
  CHECK((rig.status() & kFeaturesOk) != 0);

  rig.SetStatus(0);
  rig.SetStatus(kAck | kDriver);
  rig.WriteFeatures(kFeatureVersion1);
  write_word(63, 1);
  write_word(64, 1);
  write_word(64, 0);
  rig.SetStatus(kAck | kDriver | kFeaturesOk);
  CHECK((rig.status() & kFeaturesOk) == 0);
}

TEST_CASE("FAILED stops the device until a reset") {
  Rig rig;
  rig.Start();
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk | kFailed);
  CHECK(rig.device.resets == 1);
  CHECK((rig.status() & kFailed) != 0);
  rig.SetStatus(0);
  CHECK(rig.device.resets == 1);

  REQUIRE(rig.Negotiate(kFeatureVersion1));
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kFailed);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kFailed | kDriverOk);
  CHECK(rig.device.activations == 1);
}

TEST_CASE("H-15: clearing bus mastering stops the device; DRIVER_OK without it starts nothing") {
  Rig rig;
  rig.Start();
  rig.WriteConfig<uint16_t>(4, 2);
  CHECK(rig.device.resets == 1);
  CHECK((rig.status() & kNeedsReset) != 0);
  CHECK(rig.Read<uint8_t>(kIsr) == 2);
  rig.SetStatus(0);

  REQUIRE(rig.Negotiate(kFeatureVersion1));
  rig.SetUpQueue(0, 1);
  rig.SetStatus(kAck | kDriver | kFeaturesOk | kDriverOk);
  CHECK(rig.device.activations == 1);
  CHECK((rig.status() & kNeedsReset) != 0);
  CHECK(rig.Read<uint8_t>(kIsr) == 2);
  rig.SetStatus(0);
  rig.WriteConfig<uint16_t>(4, 6);
  rig.Start();
  CHECK(rig.device.activations == 2);
}

TEST_CASE("MSI-X messages are sent only while the function is bus master") {
  Rig rig;
  rig.EnableMsix(1, 0xfee0'0000, 0x41);
  CHECK(rig.sink.route(1) == MsiMessage{0xfee0'0000, 0x41});
  rig.WriteConfig<uint16_t>(4, 2);
  CHECK_FALSE(rig.sink.route(1).has_value());
  rig.WriteConfig<uint16_t>(4, 6);
  CHECK(rig.sink.route(1) == MsiMessage{0xfee0'0000, 0x41});
}

TEST_CASE("a BAR that is not decoded reads as ones and changes nothing") {
  Rig rig;
  rig.WriteConfig<uint16_t>(4, 4);
  rig.SetStatus(kAck);
  CHECK(rig.status() == 0xff);
  rig.WriteConfig<uint16_t>(4, 6);
  CHECK(rig.status() == 0);
}

TEST_CASE("P-23, H-14: the offset of a notification selects the doorbell, value and width do not") {
  Rig rig;
  rig.Write<uint16_t>(kNotify, 0);
  CHECK(rig.pci->doorbell(0).Drain() == 1);
  CHECK_FALSE(rig.pci->doorbell(1).IsSet());
  rig.Write<uint32_t>(kNotify + 4, 0xffff'0000);
  CHECK(rig.pci->doorbell(1).Drain() == 1);
  rig.Write<uint8_t>(kNotify + 6, 0);
  CHECK(rig.pci->doorbell(1).Drain() == 1);
  rig.Write<uint16_t>(kNotify + 8, 0);
  rig.Write<uint16_t>(kNotify + 0xffc, 1);
  CHECK_FALSE(rig.pci->doorbell(0).IsSet());
  CHECK_FALSE(rig.pci->doorbell(1).IsSet());
  CHECK(rig.Read<uint32_t>(kNotify) == 0);
}

TEST_CASE("P-31, P-32: any event maps to any vector; one that does not exist reads as none") {
  Rig rig;
  for (uint16_t vector : {0, 1, 2}) {
    rig.Write<uint16_t>(kConfigVector, vector);
    CHECK(rig.Read<uint16_t>(kConfigVector) == vector);
    for (uint16_t queue : {0, 1}) {
      rig.Write<uint16_t>(kQueueSelect, queue);
      rig.Write<uint16_t>(kQueueVector, vector);
      CHECK(rig.Read<uint16_t>(kQueueVector) == vector);
    }
  }
  for (uint16_t vector : {3, 0x7ff, 0xfffe}) {
    rig.Write<uint16_t>(kConfigVector, vector);
    CHECK(rig.Read<uint16_t>(kConfigVector) == kNoVector);
    rig.Write<uint16_t>(kQueueVector, vector);
    CHECK(rig.Read<uint16_t>(kQueueVector) == kNoVector);
  }
}

TEST_CASE("P-33, P-34: a queue's vector may change and go away while it runs") {
  Rig rig;
  rig.Start();
  rig.EnableMsix(1, 0xfee0'0000, 0x41);
  const auto* interrupt = rig.device.activation->queues[0].interrupt;
  CHECK(interrupt->load() == &rig.sink.interrupt(1));
  rig.Write<uint16_t>(kQueueSelect, 0);
  rig.Write<uint16_t>(kQueueVector, 2);
  CHECK(interrupt->load() == &rig.sink.interrupt(2));
  rig.Write<uint16_t>(kQueueVector, kNoVector);
  CHECK(interrupt->load() == nullptr);
}

TEST_CASE("P-36: the MSI-X table, control and pending bits work through BAR and configuration") {
  Rig rig;
  rig.Start();
  uint8_t at = rig.FindCapability(0x11, 0);
  rig.EnableMsix(1, 0xfee0'1000, 0x4041);
  CHECK(rig.Read<uint64_t>(kTable + 16) == 0xfee0'1000);
  CHECK(rig.sink.route(1) == MsiMessage{0xfee0'1000, 0x4041});
  CHECK(rig.ReadConfig<uint16_t>(at + 2) == 0x8002);
  rig.WriteConfig<uint16_t>(at + 2, 0xc000);
  CHECK_FALSE(rig.sink.route(1).has_value());
  rig.device.activation->queues[0].interrupt->load()->Notify();
  CHECK(rig.Read<uint64_t>(kPending) == 2);
  rig.Write<uint64_t>(kPending, 0);
  CHECK(rig.Read<uint64_t>(kPending) == 2);
  rig.WriteConfig<uint8_t>(at + 3, 0x80);
  CHECK(rig.sink.route(1).has_value());
  // A reset of the device is not a reset of PCI.
  rig.SetStatus(0);
  CHECK(rig.sink.route(1).has_value());
  CHECK(rig.Read<uint32_t>(kTable + 24) == 0x4041);
}

struct Window {
  Rig& rig;
  uint8_t at = rig.FindCapability(0x09, 5);

  void Aim(uint8_t bar, uint32_t offset, uint32_t length) {
    rig.WriteConfig<uint8_t>(at + 4, bar);
    rig.WriteConfig<uint32_t>(at + 8, offset);
    rig.WriteConfig<uint32_t>(at + 12, length);
  }
};

TEST_CASE("P-26: the configuration window reads and writes the BAR in the given width") {
  Rig rig;
  Window window{rig};
  window.Aim(0, kStatus, 1);
  rig.WriteConfig<uint8_t>(window.at + 16, kAck);
  CHECK(rig.status() == kAck);
  CHECK(rig.ReadConfig<uint8_t>(window.at + 16) == kAck);
  window.Aim(0, kNumQueues, 2);
  CHECK(rig.ReadConfig<uint16_t>(window.at + 16) == 2);
  window.Aim(0, kConfig + 4, 4);
  CHECK(rig.ReadConfig<uint32_t>(window.at + 16) == 0x0807'0605);
  window.Aim(0, kNotify + 4, 2);
  rig.WriteConfig<uint16_t>(window.at + 16, 1);
  CHECK(rig.pci->doorbell(1).Drain() == 1);

  rig.Start();
  rig.device.activation->needs_reset->Raise();
  window.Aim(0, kIsr, 1);
  CHECK(rig.ReadConfig<uint8_t>(window.at + 16) == 2);
  CHECK(rig.ReadConfig<uint8_t>(window.at + 16) == 0);
}

TEST_CASE("P-26: the window writes as many bytes as it is wide") {
  Rig rig;
  Window window{rig};
  window.Aim(0, kStatus, 1);
  rig.WriteConfig<uint32_t>(window.at + 16, 0x0001'0000 | kAck);
  CHECK(rig.status() == kAck);
  CHECK(rig.Read<uint16_t>(kQueueSelect) == 0);
}

TEST_CASE("P-26: the window works before memory decoding is on") {
  Rig rig;
  rig.WriteConfig<uint16_t>(4, 0);
  Window window{rig};
  window.Aim(0, kNumQueues, 2);
  CHECK(rig.ReadConfig<uint16_t>(window.at + 16) == 2);
}

TEST_CASE("P-27: a window without meaning has no effect") {
  Rig rig;
  Window window{rig};
  struct Row {
    uint8_t bar;
    uint32_t offset, length;
  };
  for (Row row : {Row{1, kStatus, 1}, Row{5, kStatus, 1}, Row{255, kStatus, 1}, Row{0, kStatus, 0},
                  Row{0, kStatus, 3}, Row{0, kStatus, 8}, Row{0, kStatus, 0xffff'ffff},
                  Row{0, kStatus - 1, 2}, Row{0, kStatus - 2, 4}, Row{0, 0x1'0000, 4},
                  Row{0, 0xffff'fffc, 4}}) {
    CAPTURE(row.bar);
    CAPTURE(row.offset);
    CAPTURE(row.length);
    window.Aim(row.bar, row.offset, row.length);
    rig.WriteConfig<uint32_t>(window.at + 16, 0x0101'0101);
    rig.ReadConfig<uint32_t>(window.at + 16);
    CHECK(rig.status() == 0);
  }
}

TEST_CASE("the device is reset when its transport goes away") {
  Rig rig;
  rig.Start();
  rig.pci.reset();
  CHECK(rig.device.resets == 1);
}

TEST_CASE("P-02, H-23, H-25: random accesses of any width do no harm") {
  Rig rig;
  std::mt19937_64 random(1);
  for (int i = 0; i < 60'000; ++i) {
    std::vector<std::byte> data(size_t{1} << (random() % 4));
    for (std::byte& byte : data) byte = std::byte(random());
    if (random() % 4 == 0) std::ranges::fill(data, std::byte(random() % 16));
    uint64_t offset = random() % 64;
    switch (random() % 8) {
      case 0:
        offset = kConfig + random() % 0x70;
        break;
      case 1:
        offset = kNotify + random() % 0x10;
        break;
      case 2:
        offset = kTable + random() % 0x40;
        break;
      case 3:
        offset = random() % (0x1'0000 - data.size());
        break;
    }
    switch (random() % 4) {
      case 0:
        rig.pci->bar_handler(0).Read(offset, data);
        break;
      case 1:
        rig.pci->ReadConfig(random() % 0x100, data);
        break;
      case 2:
        rig.pci->WriteConfig(random() % 0x100, data);
        break;
      default:
        rig.pci->bar_handler(0).Write(offset, data);
    }
    if (random() % 64 == 0) rig.Negotiate(kFeatureVersion1 | kFeatureRingReset);
    if (random() % 256 == 0) rig.WriteConfig<uint16_t>(4, 6);
  }
  // And it still works.
  rig.WriteConfig<uint16_t>(4, 6);
  rig.Start();
  rig.SetStatus(0);
  CHECK(rig.status() == 0);
}

TEST_CASE("several vCPUs and an I/O thread at once do no harm") {
  Rig rig;
  rig.EnableMsix();
  std::atomic<bool> done = false;
  rig.device.on_reset = [&] { rig.device.activation->needs_reset->Raise(); };
  std::thread vcpu([&] {
    std::mt19937_64 random(2);
    while (!done) {
      rig.Write<uint16_t>(kQueueVector, static_cast<uint16_t>(random() % 4));
      if (random() % 8 == 0) rig.EnableMsix(random() % 4 != 0);
      rig.Write<uint32_t>(kTable + (random() % 12) * 4, static_cast<uint32_t>(random() % 3));
      rig.Read<uint64_t>(kPending);
      rig.ReadConfig<uint32_t>(random() % 0x100);
    }
  });
  for (int i = 0; i < 300; ++i) {
    rig.Start();
    const auto* interrupt = rig.device.activation->queues[0].interrupt;
    NeedsReset* needs_reset = rig.device.activation->needs_reset;
    std::thread io_thread([&] {
      for (int turn = 0; turn < 20; ++turn) {
        if (const EventFd* event = interrupt->load()) event->Notify();
        needs_reset->Raise();
      }
    });
    rig.Read<uint8_t>(kIsr);
    io_thread.join();
    rig.SetStatus(0);
  }
  done = true;
  vcpu.join();
  CHECK(rig.device.activations == 300);
  CHECK(rig.device.resets == 300);
}

}  // namespace
}  // namespace minivmm
