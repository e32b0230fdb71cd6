#include "vmm/irq_router.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "blockcore/base/check.h"
#include "blockcore/base/log.h"

namespace minivmm {
namespace {

constexpr uint32_t kIoApicPins = 24;
constexpr uint32_t kPicPins = 8;  // of each of the two

kvm_irq_routing_entry PinRoute(uint32_t gsi, uint32_t chip, uint32_t pin) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  entry.u.irqchip.irqchip = chip;
  entry.u.irqchip.pin = pin;
  return entry;
}

kvm_irq_routing_entry MsiRoute(uint32_t gsi, const MsiMessage& message) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_MSI;
  entry.u.msi.address_lo = static_cast<uint32_t>(message.address);
  entry.u.msi.address_hi = static_cast<uint32_t>(message.address >> 32);
  entry.u.msi.data = message.data;
  return entry;
}

}  // namespace

// The lock of the device that owns the sink serializes Connect and Disconnect. A route stays when
// its vector is masked, so that masking and unmasking costs one ioctl and not the replacement of
// the whole table.
class IrqRouter::Sink : public MsiSink {
 public:
  struct Vector {
    EventFd event;
    uint32_t gsi;
    std::optional<MsiMessage> route;
    bool connected = false;
  };

  Sink(IrqRouter& router, std::vector<Vector> vectors)
      : router_(router), vectors_(std::move(vectors)) {}

  ~Sink() override {
    for (size_t i = 0; i < vectors_.size(); ++i) Disconnect(static_cast<uint16_t>(i));
  }

  const EventFd& interrupt(uint16_t vector) const override { return At(vector).event; }

  Result<void> Connect(uint16_t vector, MsiMessage message) override {
    VMM_CHECK(vector < vectors_.size());
    Vector& target = vectors_[vector];
    if (target.route != message) {
      TRY_VOID(router_.Route(target.gsi, message));
      target.route = message;
    }
    if (!target.connected) {
      TRY_VOID(router_.vm_.AssignIrqfd(target.event, target.gsi));
      target.connected = true;
    }
    return {};
  }

  void Disconnect(uint16_t vector) override {
    VMM_CHECK(vector < vectors_.size());
    Vector& target = vectors_[vector];
    if (!std::exchange(target.connected, false)) return;
    if (Result<void> done = router_.vm_.DeassignIrqfd(target.event, target.gsi); !done) {
      LOG_RATE_LIMITED("{}", done.error().message);
    }
  }

 private:
  const Vector& At(uint16_t vector) const {
    VMM_CHECK(vector < vectors_.size());
    return vectors_[vector];
  }

  IrqRouter& router_;
  std::vector<Vector> vectors_;
};

Result<std::unique_ptr<IrqRouter>> IrqRouter::Create(KvmVm& vm) {
  std::unique_ptr<IrqRouter> router(new IrqRouter(vm));
  for (uint32_t pin = 0; pin < kIoApicPins; ++pin) {
    if (pin < kPicPins) {
      router->routes_.push_back(PinRoute(pin, KVM_IRQCHIP_PIC_MASTER, pin));
    } else if (pin < 2 * kPicPins) {
      router->routes_.push_back(PinRoute(pin, KVM_IRQCHIP_PIC_SLAVE, pin - kPicPins));
    }
    router->routes_.push_back(PinRoute(pin, KVM_IRQCHIP_IOAPIC, pin));
  }
  router->next_gsi_ = kIoApicPins;
  TRY_VOID(vm.SetGsiRouting(router->routes_));
  return router;
}

Result<void> IrqRouter::ConnectLine(const EventFd& event, uint32_t line) {
  VMM_CHECK(line < kIoApicPins);
  return vm_.AssignIrqfd(event, line);
}

Result<std::unique_ptr<MsiSink>> IrqRouter::CreateMsiSink(uint16_t vector_count) {
  std::vector<Sink::Vector> vectors;
  std::lock_guard lock(mutex_);
  for (uint16_t i = 0; i < vector_count; ++i) {
    TRY(EventFd event, EventFd::Create());
    vectors.push_back({std::move(event), next_gsi_++, std::nullopt});
  }
  return std::make_unique<Sink>(*this, std::move(vectors));
}

Result<void> IrqRouter::Route(uint32_t gsi, const MsiMessage& message) {
  std::lock_guard lock(mutex_);
  std::vector<kvm_irq_routing_entry> routes = routes_;
  auto known = std::ranges::find_if(routes, [gsi](const kvm_irq_routing_entry& entry) {
    return entry.type == KVM_IRQ_ROUTING_MSI && entry.gsi == gsi;
  });
  if (known != routes.end()) {
    *known = MsiRoute(gsi, message);
  } else {
    routes.push_back(MsiRoute(gsi, message));
  }
  TRY_VOID(vm_.SetGsiRouting(routes));
  // Not before: a route that was refused must not come with the next table.
  routes_ = std::move(routes);
  return {};
}

}  // namespace minivmm
