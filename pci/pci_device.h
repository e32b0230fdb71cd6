// PciDevice: one PCI function: its configuration space, and handlers for what lies behind its BARs.
// A plain function (a host bridge) is a PciDevice as it is; others override the four hooks. One
// mutex for the whole function, taken here: the public functions may be called on any vCPU thread,
// the hooks run with the lock held. Knows neither its slot nor who maps its BARs.
#ifndef MINIVMM_PCI_PCI_DEVICE_H_
#define MINIVMM_PCI_PCI_DEVICE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

#include "pci/config_space.h"
#include "pci/io_handler.h"

namespace minivmm {

class PciDevice {
 public:
  explicit PciDevice(const PciIdentity& identity);
  virtual ~PciDevice() = default;
  PciDevice(const PciDevice&) = delete;
  PciDevice& operator=(const PciDevice&) = delete;

  // Configuration space; any offset and length.
  void ReadConfig(uint64_t offset, std::span<std::byte> data);
  void WriteConfig(uint64_t offset, std::span<const std::byte> data);

  // Size of the BAR, 0 when there is none; its address and the handler to map there. While the
  // guest has memory decoding off the handler reads as all ones and drops writes. Size and address
  // are constant once vCPUs run.
  uint64_t bar_size_bytes(int index) const { return config_.bar_size_bytes(index); }
  uint64_t bar_address(int index) const { return config_.bar_address(index); }
  void PlaceBar(int index, uint64_t address) { config_.PlaceBar(index, address); }
  IoHandler& bar_handler(int index) { return bar_handlers_[index]; }

 protected:
  // Lock held. As they stand, they pass on to config_, and BARs read as zeroes. Offset and length
  // of BAR accesses may lie anywhere.
  virtual void OnReadConfig(uint64_t offset, std::span<std::byte> data);
  virtual void OnWriteConfig(uint64_t offset, std::span<const std::byte> data);
  virtual void OnReadBar(int index, uint64_t offset, std::span<std::byte> data);
  virtual void OnWriteBar(int index, uint64_t offset, std::span<const std::byte> data);

  std::mutex mutex_;
  ConfigSpace config_;  // guarded by mutex_ but for the BARs' sizes and addresses

 private:
  class BarHandler final : public IoHandler {
   public:
    BarHandler(PciDevice& device, int index) : device_(device), index_(index) {}
    void Read(uint64_t offset, std::span<std::byte> data) override;
    void Write(uint64_t offset, std::span<const std::byte> data) override;

   private:
    PciDevice& device_;
    int index_;
  };

  std::array<BarHandler, kPciBars> bar_handlers_;
};

}  // namespace minivmm

#endif  // MINIVMM_PCI_PCI_DEVICE_H_
