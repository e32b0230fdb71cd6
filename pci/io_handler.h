// IoHandler: something that answers reads and writes of a byte range. I/O ports, MMIO windows, BARs
// and configuration space all have this interface; `offset` counts from the start of the range.
// Data are little-endian bytes as the guest moved them: 1, 2, 4 or 8 of them, at any offset,
// aligned or not, wholly within the range. Called on vCPU threads, several at once: a handler
// guards its own state.
#ifndef MINIVMM_PCI_IO_HANDLER_H_
#define MINIVMM_PCI_IO_HANDLER_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace minivmm {

class IoHandler {
 public:
  virtual ~IoHandler() = default;

  // Fills all of `data`. What is not implemented reads as zeroes.
  virtual void Read(uint64_t offset, std::span<std::byte> data) = 0;
  virtual void Write(uint64_t offset, std::span<const std::byte> data) = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_PCI_IO_HANDLER_H_
