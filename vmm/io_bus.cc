#include "vmm/io_bus.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace minivmm {

Result<void> IoBus::Add(std::string name, uint64_t address, uint64_t length, IoHandler& handler) {
  if (length == 0 || length - 1 > UINT64_MAX - address) {
    return Fail("{}: {} bytes from address {:#x} on are not a range", name, length, address);
  }
  Range range{address, address + (length - 1), &handler, std::move(name)};
  auto next = std::ranges::lower_bound(ranges_, range.first, {}, &Range::first);
  const Range* clash = nullptr;
  if (next != ranges_.end() && next->first <= range.last) clash = &*next;
  if (next != ranges_.begin() && std::prev(next)->last >= range.first) clash = &*std::prev(next);
  if (clash != nullptr) {
    return Fail("{} at {:#x}-{:#x} overlaps {} at {:#x}-{:#x}: choose another address", range.name,
                range.first, range.last, clash->name, clash->first, clash->last);
  }
  ranges_.insert(next, std::move(range));
  return {};
}

const IoBus::Range* IoBus::Find(uint64_t address, size_t length) const {
  auto next = std::ranges::upper_bound(ranges_, address, {}, &Range::first);
  if (next == ranges_.begin()) return nullptr;
  const Range& range = *std::prev(next);
  bool contained = address <= range.last && length - 1 <= range.last - address;
  return contained ? &range : nullptr;
}

void IoBus::Read(uint64_t address, std::span<std::byte> data) const {
  if (const Range* range = Find(address, data.size())) {
    range->handler->Read(address - range->first, data);
  } else {
    std::ranges::fill(data, std::byte{0xff});
  }
}

void IoBus::Write(uint64_t address, std::span<const std::byte> data) const {
  if (const Range* range = Find(address, data.size())) {
    range->handler->Write(address - range->first, data);
  }
}

}  // namespace minivmm
