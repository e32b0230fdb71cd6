// DebugExit: the guest ends the machine with an exit status by writing to a port, as with QEMU's
// isa-debug-exit. The machine maps it at the ports of DebugExitPorts and turns the callback into
// the end of the program. Any vCPU thread.
#ifndef MINIVMM_DEVICES_DEBUG_EXIT_H_
#define MINIVMM_DEVICES_DEBUG_EXIT_H_

#include <cstdint>
#include <functional>
#include <span>

#include "pci/io_handler.h"

namespace minivmm {

// The device's options with QEMU's names and defaults.
struct DebugExitPorts {
  uint16_t iobase = 0x501;
  uint16_t iosize = 2;
};

class DebugExit final : public IoHandler {
 public:
  // `on_exit` is called for each write, on the vCPU thread that wrote, with the exit status 2 * v +
  // 1 for a written v, cut to the 8 bits that a process can hand on.
  explicit DebugExit(std::function<void(uint8_t exit_status)> on_exit);

  void Read(uint64_t offset, std::span<std::byte> data) override;
  void Write(uint64_t offset, std::span<const std::byte> data) override;

 private:
  std::function<void(uint8_t exit_status)> on_exit_;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_DEBUG_EXIT_H_
