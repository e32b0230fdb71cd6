// Pvpanic: the port through which a guest's kernel says that it has panicked, as with QEMU's
// pvpanic. The machine maps it where firmware/acpi.h announces it and turns the callback into the
// end of the program. Any vCPU thread; keeps no state.
#ifndef MINIVMM_DEVICES_PVPANIC_H_
#define MINIVMM_DEVICES_PVPANIC_H_

#include <cstdint>
#include <functional>
#include <span>

#include "pci/io_handler.h"

namespace minivmm {

class Pvpanic final : public IoHandler {
 public:
  // `on_panic` is called for each panic, on the vCPU thread that wrote. Other events (a crash
  // kernel was loaded, a shutdown) are not announced as supported, and nothing happens when they
  // are written.
  explicit Pvpanic(std::function<void()> on_panic);

  // Which events are supported, in the first byte.
  void Read(uint64_t offset, std::span<std::byte> data) override;
  void Write(uint64_t offset, std::span<const std::byte> data) override;

 private:
  std::function<void()> on_panic_;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_PVPANIC_H_
