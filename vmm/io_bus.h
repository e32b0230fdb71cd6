// IoBus: which handler answers an address. A machine has two, one of I/O ports and one of
// memory-mapped I/O. Filled on the main thread while the machine is built; from the first vCPU on
// it is only read, by all vCPU threads at once, hence without a lock.
//
//   address ──▶ sorted ranges, binary search ──▶ handler.Read/Write(address - start of its range)
//
// An access that no single range contains reads all ones and is lost when written, as on a real
// bus.
#ifndef MINIVMM_VMM_IO_BUS_H_
#define MINIVMM_VMM_IO_BUS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "blockcore/base/result.h"
#include "pci/io_handler.h"

namespace minivmm {

class IoBus {
 public:
  // [address, address + length) belongs to `handler`, which must outlive the bus. `name` is for
  // messages. Fails when the range is empty, wraps, or overlaps another.
  Result<void> Add(std::string name, uint64_t address, uint64_t length, IoHandler& handler);

  // `data` holds 1 to 8 bytes.
  void Read(uint64_t address, std::span<std::byte> data) const;
  void Write(uint64_t address, std::span<const std::byte> data) const;

 private:
  struct Range {
    uint64_t first;
    uint64_t last;  // included, so that a range may end at the top of the address space
    IoHandler* handler;
    std::string name;
  };

  const Range* Find(uint64_t address, size_t length) const;

  std::vector<Range> ranges_;  // in rising order
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_IO_BUS_H_
