// What KVM is asked for when vectors are connected, and what becomes of it when KVM refuses: the
// ioctls of the real KVM, watched. That interrupts arrive is for control_test and the bare-metal
// guest.
#include "vmm/irq_router.h"

#include <doctest/doctest.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "vmm/have_kvm.h"

extern "C" {
int __real_ioctl(int fd, unsigned long command, ...);
int __wrap_ioctl(int fd, unsigned long command, ...);
}

namespace minivmm {
namespace {

constexpr MsiMessage kMessage{.address = 0xfee0'0000, .data = 0x41};
constexpr MsiMessage kOther{.address = 0xfee0'0000, .data = 0x42};
constexpr MsiMessage kRefused{.address = 0xfee0'0000, .data = 0x66};

// KVM's side, as far as it is looked at. Refuses tables with kRefused in them.
struct Watched {
  std::vector<std::vector<kvm_irq_routing_entry>> tables;
  std::vector<uint32_t> connected;  // interrupts, in their order
  std::vector<uint32_t> disconnected;
  bool refuse_irqfds = false;
} watched;

// An error's number, or 0 to go on to KVM.
int Watch(unsigned long command, const void* argument) {
  if (_IOC_NR(command) == _IOC_NR(KVM_SET_GSI_ROUTING)) {
    // struct kvm_irq_routing, whose size is another in C++ than in C.
    constexpr size_t kHeaderBytes = 8;
    uint32_t count;
    std::memcpy(&count, argument, sizeof(count));
    std::vector<kvm_irq_routing_entry> table(count);
    std::memcpy(table.data(), static_cast<const std::byte*>(argument) + kHeaderBytes,
                table.size() * sizeof(table[0]));
    watched.tables.push_back(table);
    const bool refused = std::ranges::any_of(table, [](const kvm_irq_routing_entry& entry) {
      return entry.type == KVM_IRQ_ROUTING_MSI && entry.u.msi.data == kRefused.data;
    });
    return refused ? EINVAL : 0;
  }
  if (_IOC_NR(command) == _IOC_NR(KVM_IRQFD)) {
    kvm_irqfd request;
    std::memcpy(&request, argument, sizeof(request));
    const bool ends = (request.flags & KVM_IRQFD_FLAG_DEASSIGN) != 0;
    if (!ends && watched.refuse_irqfds) return EBUSY;
    (ends ? watched.disconnected : watched.connected).push_back(request.gsi);
  }
  return 0;
}

struct Vm {
  Vm() {
    auto opened = Kvm::Open();
    REQUIRE(opened.has_value());
    auto created = opened->CreateVm();
    REQUIRE(created.has_value());
    kvm_vm.emplace(std::move(*created));
    auto made = IrqRouter::Create(*kvm_vm);
    REQUIRE(made.has_value());
    router = std::move(*made);
    watched = {};
  }

  std::unique_ptr<MsiSink> MakeSink(uint16_t vectors) {
    auto sink = router->CreateMsiSink(vectors);
    REQUIRE(sink.has_value());
    return std::move(*sink);
  }

  std::optional<KvmVm> kvm_vm;
  std::unique_ptr<IrqRouter> router;
};

// Of the table that KVM got last.
std::vector<uint32_t> MessagesRouted() {
  std::vector<uint32_t> messages;
  for (const kvm_irq_routing_entry& entry : watched.tables.back()) {
    if (entry.type == KVM_IRQ_ROUTING_MSI) messages.push_back(entry.u.msi.data);
  }
  return messages;
}

using Messages = std::vector<uint32_t>;

TEST_CASE("a vector that is masked keeps its route: to unmask it is one ioctl") {
  if (!HaveKvm()) return;
  Vm vm;
  auto sink = vm.MakeSink(2);
  REQUIRE(sink->Connect(0, kMessage));
  REQUIRE(watched.tables.size() == 1);
  CHECK(MessagesRouted() == Messages{kMessage.data});
  for (int i = 0; i < 3; ++i) {
    sink->Disconnect(0);
    REQUIRE(sink->Connect(0, kMessage));
  }
  CHECK(watched.tables.size() == 1);
  CHECK(watched.connected.size() == 4);
  CHECK(watched.disconnected.size() == 3);
}

TEST_CASE("what is signalled while a vector is disconnected stays in its eventfd") {
  if (!HaveKvm()) return;
  Vm vm;
  auto sink = vm.MakeSink(2);
  REQUIRE(sink->Connect(1, kMessage));
  sink->Disconnect(1);
  sink->Disconnect(1);
  sink->interrupt(1).Notify();
  CHECK(sink->interrupt(1).IsSet());
  CHECK_FALSE(sink->interrupt(0).IsSet());
  CHECK(watched.disconnected.size() == 1);
  REQUIRE(sink->Connect(1, kMessage));
}

TEST_CASE("another message replaces the route of its vector and leaves the others alone") {
  if (!HaveKvm()) return;
  Vm vm;
  auto sink = vm.MakeSink(2);
  REQUIRE(sink->Connect(0, kMessage));
  REQUIRE(sink->Connect(1, kMessage));
  REQUIRE(sink->Connect(0, kOther));
  CHECK(MessagesRouted() == Messages{kOther.data, kMessage.data});
  CHECK(watched.connected.size() == 2);  // it was connected all along
}

TEST_CASE("a route that KVM refuses is not asked for again with those of other vectors") {
  if (!HaveKvm()) return;
  Vm vm;
  auto sink = vm.MakeSink(2);
  auto other_sink = vm.MakeSink(1);
  CHECK_FALSE(sink->Connect(0, kRefused));
  CHECK(watched.connected.empty());
  CHECK(other_sink->Connect(0, kMessage));
  CHECK(sink->Connect(1, kOther));
  CHECK(MessagesRouted() == Messages{kMessage.data, kOther.data});
  // Nor does the vector itself keep it: what it had before, it still has.
  CHECK_FALSE(sink->Connect(1, kRefused));
  CHECK(sink->Connect(0, kMessage));
  CHECK(MessagesRouted() == Messages{kMessage.data, kOther.data, kMessage.data});
}

TEST_CASE("a vector whose eventfd KVM refuses is not connected, and can be later") {
  if (!HaveKvm()) return;
  Vm vm;
  auto sink = vm.MakeSink(1);
  watched.refuse_irqfds = true;
  CHECK_FALSE(sink->Connect(0, kMessage));
  sink->Disconnect(0);
  CHECK(watched.disconnected.empty());
  watched.refuse_irqfds = false;
  CHECK(sink->Connect(0, kMessage));
  CHECK(watched.tables.size() == 1);
}

TEST_CASE("vectors of all devices have interrupts of their own, and end with their device") {
  if (!HaveKvm()) return;
  Vm vm;
  auto first = vm.MakeSink(2);
  auto second = vm.MakeSink(2);
  for (uint16_t vector : {0, 1}) {
    REQUIRE(first->Connect(vector, kMessage));
    REQUIRE(second->Connect(vector, kMessage));
  }
  std::vector<uint32_t> all = watched.connected;
  std::ranges::sort(all);
  CHECK(std::ranges::adjacent_find(all) == all.end());
  const std::vector<uint32_t> of_first = {watched.connected[0], watched.connected[2]};
  first.reset();
  CHECK(watched.disconnected == of_first);
}

}  // namespace
}  // namespace minivmm

int __wrap_ioctl(int fd, unsigned long command, ...) {
  va_list list;
  va_start(list, command);
  void* argument = va_arg(list, void*);
  va_end(list);
  if (const int error = minivmm::Watch(command, argument); error != 0) {
    errno = error;
    return -1;
  }
  return __real_ioctl(fd, command, argument);
}
