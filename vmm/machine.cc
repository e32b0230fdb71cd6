#include "vmm/machine.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ranges>
#include <string_view>
#include <utility>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "firmware/memory_layout.h"

namespace minivmm {
namespace {

std::string SizeText(uint64_t bytes) {
  if (bytes % 1_GiB == 0 && bytes != 0) return fmt::format("{} GiB", bytes >> 30);
  if (bytes % 1_MiB == 0 && bytes != 0) return fmt::format("{} MiB", bytes >> 20);
  return fmt::format("{} bytes", bytes);
}

std::string ZonesText(const BlockLimits& limits) {
  if (limits.zoned == ZonedModel::kNone) return "not zoned";
  auto limit = [](uint32_t zones) {
    return zones == 0 ? "any number" : fmt::format("at most {}", zones);
  };
  return fmt::format("{}, {} zones of {}, {} open, {} active",
                     limits.zoned == ZonedModel::kHostManaged ? "host-managed" : "host-aware",
                     limits.zone_count, SizeText(limits.zone_size_bytes),
                     limit(limits.max_open_zones), limit(limits.max_active_zones));
}

// KVM answers accesses to these itself: what lay there would never hear of them.
Result<void> CheckKernelPorts(const DebugExitPorts& ports) {
  struct Range {
    uint32_t first;
    uint32_t last;
    std::string_view what;
  };
  constexpr Range kRanges[] = {{0x20, 0x21, "an interrupt controller"},
                               {0x40, 0x43, "the timer"},
                               {0x61, 0x61, "the speaker"},
                               {0xa0, 0xa1, "an interrupt controller"},
                               {0x4d0, 0x4d1, "an interrupt controller"}};
  for (const Range& range : kRanges) {
    if (ports.iobase <= range.last && ports.iobase + ports.iosize > range.first) {
      return Fail("--device isa-debug-exit: port {:#x} is {}'s: choose another iobase",
                  std::max<uint32_t>(range.first, ports.iobase), range.what);
    }
  }
  return {};
}

}  // namespace

Machine::Machine(const MachineParts& parts, uint32_t power_cycle, GuestRam ram, KvmVm vm)
    : parts_(parts),
      stop_machine_([this, power_cycle](StopRequest request) {
        // vCPUs may all fail at once, and a guest may go on after it asked to stop: one request for
        // each machine.
        if (stop_requested_.exchange(true)) return;
        request.power_cycle = power_cycle;
        parts_.loop.RequestStop(std::move(request));
      }),
      power_cycle_(power_cycle),
      ram_(std::move(ram)),
      memory_(ram_.regions()),
      vm_(std::move(vm)),
      pci_(kPciMmioStart, kPciMmioEnd),
      power_ports_(stop_machine_),
      vcpu_environment_{ports_, mmio_, memory_, stop_machine_, [this] { FinishCutOutput(); }} {}

Machine::~Machine() = default;

Result<std::unique_ptr<Machine>> Machine::Create(const MachineParts& parts, uint32_t power_cycle) {
  TRY(GuestRam ram, GuestRam::Allocate(parts.options.memory_bytes));
  TRY(KvmVm vm, parts.kvm.CreateVm());
  std::unique_ptr<Machine> machine(new Machine(parts, power_cycle, std::move(ram), std::move(vm)));
  TRY_VOID(machine->AddMemory());
  TRY(machine->irq_router_, IrqRouter::Create(machine->vm_));
  TRY_VOID(machine->AddPowerButton());
  TRY_VOID(machine->AddDisks());
  TRY_VOID(machine->AddSerialPort());
  TRY_VOID(machine->FillBuses());
  TRY_VOID(machine->RegisterDoorbells());
  TRY_VOID(machine->AddVcpus());
  return machine;
}

Result<void> Machine::AddMemory() {
  for (const Segment& segment : parts_.image.segments) {
    std::span<std::byte> target = memory_.Slice(segment.guest_address, segment.bytes.size());
    VMM_CHECK(target.data() != nullptr);  // the loader has checked
    std::memcpy(target.data(), segment.bytes.data(), segment.bytes.size());
  }
  uint32_t slot = 0;
  for (const GuestRegion& region : memory_.regions()) {
    TRY_VOID(vm_.SetMemory(slot++, region.guest_address, region.host));
  }
  return {};
}

Result<void> Machine::AddPowerButton() {
  TRY(EventFd button, EventFd::Create());
  power_button_.emplace(std::move(button));
  return irq_router_->ConnectLine(*power_button_, kPowerButtonIrq);
}

Result<void> Machine::AddDisks() {
  const std::vector<DiskDevice>& devices = parts_.options.disks;
  for (size_t i = 0; i < devices.size(); ++i) {
    const DiskDevice& device = devices[i];
    Disk disk;
    TRY(disk.device, VirtioBlk::Create(device.options, *parts_.drives[i],
                                       [this, &device] { RequestPause(device.id); }));
    TRY(disk.interrupts, irq_router_->CreateMsiSink(VirtioPci::VectorCount(*disk.device)));
    TRY(disk.function, VirtioPci::Create(*disk.device, memory_, *disk.interrupts));
    disks_.push_back(std::move(disk));
  }
  // Devices with a slot of their own first, so that the others do not take it.
  for (bool with_slot : {true, false}) {
    for (size_t i = 0; i < devices.size(); ++i) {
      if (devices[i].slot.has_value() != with_slot) continue;
      PciDevice& function = *disks_[i].function;
      Result<void> added = with_slot ? pci_.Add(*devices[i].slot, function) : pci_.Add(function);
      if (!added)
        return Fail("--device virtio-blk-pci,id={}: {}", devices[i].id, added.error().message);
    }
  }
  return {};
}

void Machine::RequestPause(const std::string& disk) {
  const std::string_view how = parts_.options.qmp.empty()
                                   ? "there is no --qmp to say 'cont': end it with a signal"
                                   : "put the host in order and say 'cont' to --qmp";
  parts_.loop.RequestStop(
      {.kind = StopRequest::Kind::kDiskError,
       .message =
           fmt::format("disk '{}': the host failed requests: the guest is paused; {}", disk, how),
       .power_cycle = power_cycle_});
}

Result<void> Machine::AddSerialPort() {
  if (parts_.options.serial.kind == SerialOutput::Kind::kNone) return {};
  TRY(EventFd interrupt, EventFd::Create());
  serial_interrupt_.emplace(std::move(interrupt));
  TRY_VOID(irq_router_->ConnectLine(*serial_interrupt_, kSerialIrq));
  serial_.emplace(SerialCallbacks{
      .write_output = [this](std::string_view bytes) { return WriteSerialOutput(bytes); },
      .raise_interrupt = [this] { serial_interrupt_->Notify(); },
      .input_room = [this] { parts_.loop.ResumeConsole(); },
  });
  return {};
}

// Pieces are short enough that a pipe or terminal that says it is writable takes them without
// blocking. So a reader that does not read holds up the guest, but neither a pause nor the end of
// the machine. The serial port calls this from one thread at a time.
size_t Machine::WriteSerialOutput(std::string_view bytes) {
  constexpr int kLookAgainMs = 100;
  constexpr size_t kPieceBytes = 512;
  size_t done_bytes = 0;
  while (done_bytes != bytes.size()) {
    pollfd output{parts_.serial_fd, POLLOUT, 0};
    if (::poll(&output, 1, stopping_ || pausing_ ? 0 : kLookAgainMs) <= 0) {
      if (stopping_) break;
      if (pausing_) {
        cut_writer_ = std::this_thread::get_id();
        return done_bytes;
      }
      continue;
    }
    ssize_t written = ::write(parts_.serial_fd, bytes.data() + done_bytes,
                              std::min(bytes.size() - done_bytes, kPieceBytes));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (written <= 0) break;  // the reader is gone; the guest need not know
    done_bytes += static_cast<size_t>(written);
  }
  return bytes.size();
}

// On the thread whose output a pause has cut off: it goes on with that before its guest does, as if
// there had been no pause. Others that print have to wait for it then, and nobody else.
void Machine::FinishCutOutput() {
  std::thread::id self = std::this_thread::get_id();
  if (cut_writer_.compare_exchange_strong(self, std::thread::id())) serial_->FlushOutput();
}

Result<void> Machine::FillBuses() {
  TRY_VOID(ports_.Add("PCI", kPciConfigPort, kPciConfigPortBytes, pci_.config_ports()));
  TRY_VOID(mmio_.Add("PCI configuration space", kPciEcamAddress, kPciEcamBytes, pci_.ecam()));
  for (const PlacedBar& bar : pci_.bars()) {
    TRY_VOID(mmio_.Add("PCI BAR", bar.address, bar.size_bytes, *bar.handler));
  }
  if (serial_) TRY_VOID(ports_.Add("serial port", kSerialPort, Serial16550::kPorts, *serial_));
  TRY_VOID(power_ports_.AddTo(ports_));
  if (const auto& ports = parts_.options.debug_exit) {
    debug_exit_.emplace([this](uint8_t exit_status) {
      stop_machine_({.kind = StopRequest::Kind::kDebugExit, .exit_status = exit_status});
    });
    TRY_VOID(CheckKernelPorts(*ports));
    TRY_VOID(ports_.Add("--device isa-debug-exit", ports->iobase, ports->iosize, *debug_exit_));
  }
  if (parts_.options.pvpanic) {
    pvpanic_.emplace([this] {
      stop_machine_({.kind = StopRequest::Kind::kPanic,
                     .message = "the guest panicked and said so through pvpanic"});
    });
    TRY_VOID(ports_.Add("--device pvpanic", kPvpanicPort, 1, *pvpanic_));
  }
  return {};
}

Result<void> Machine::RegisterDoorbells() {
  for (const Disk& disk : disks_) {
    for (uint16_t queue = 0; queue < disk.function->queue_count(); ++queue) {
      TRY_VOID(vm_.RegisterDoorbell(disk.function->doorbell_address(queue),
                                    disk.function->doorbell(queue)));
    }
  }
  return {};
}

Result<void> Machine::AddVcpus() {
  for (uint32_t index = 0; index < parts_.options.cpu_count; ++index) {
    TRY(std::unique_ptr<Vcpu> vcpu,
        Vcpu::Create(parts_.kvm, vm_, index, parts_.options.cpu_count, vcpu_environment_));
    vcpus_.push_back(std::move(vcpu));
  }
  return vcpus_[0]->SetBootState(parts_.image.entry);
}

void Machine::Resume() {
  pausing_ = false;
  for (const auto& drive : parts_.drives) drive->ResetIoStatus();
  for (Disk& disk : disks_) disk.device->RetryHeld();
  if (started_) {
    for (auto& vcpu : vcpus_) vcpu->Resume();
    return;
  }
  started_ = true;
  if (serial_) {
    parts_.loop.SetConsoleSink(
        [this](std::string_view typed) { return serial_->AcceptInput(typed); });
  }
  // The first vCPU last: it is the one that wakes the others.
  for (auto& vcpu : std::views::reverse(vcpus_)) {
    if (Result<void> started = vcpu->Start(); !started) {
      stop_machine_({.kind = StopRequest::Kind::kHostError, .message = started.error().message});
      return;
    }
  }
}

void Machine::Pause() {
  pausing_ = true;
  for (auto& vcpu : vcpus_) vcpu->RequestPause();
  for (auto& vcpu : vcpus_) vcpu->WaitUntilPaused();
}

bool Machine::HoldsRequests() const {
  return std::ranges::any_of(disks_, [](const Disk& disk) { return disk.device->HoldsRequests(); });
}

void Machine::ShowDiskSize(size_t disk) {
  const uint64_t sectors = parts_.drives.at(disk)->limits().capacity_bytes / kSectorBytes;
  disks_.at(disk).function->ChangeConfig([&] { disks_[disk].device->SetCapacity(sectors); });
}

void Machine::PressPowerButton() { power_button_->Notify(); }

void Machine::Stop() {
  stopping_ = true;
  // All are asked before one is waited for: it may wait itself for what another one does.
  for (auto& vcpu : vcpus_) vcpu->RequestPause();
  for (auto& vcpu : vcpus_) vcpu->Stop();
  parts_.loop.SetConsoleSink({});
  if (serial_) serial_->FlushOutput();
  for (Disk& disk : disks_) disk.device->Reset();
}

std::string Machine::Describe() const {
  const CommandLine& options = parts_.options;
  std::string text;
  auto line = [&text](std::string_view what, const std::string& value) {
    text += fmt::format("  {:<9} {}\n", what, value);
  };
  for (const GuestRegion& region : memory_.regions()) {
    line("memory", fmt::format("{} at {:#x}", SizeText(region.host.size()), region.guest_address));
  }
  line("cpus", fmt::format("{}", options.cpu_count));
  line("kernel",
       fmt::format("{}, starts {} at {:#x}", options.kernel,
                   parts_.image.entry.mode == BootMode::kPvh ? "by PVH" : "in 64-bit mode",
                   parts_.image.entry.instruction_pointer));
  if (!options.initrd.empty()) line("initrd", options.initrd);
  line("append", options.command_line);
  for (size_t i = 0; i < disks_.size(); ++i) {
    const DiskDevice& device = options.disks[i];
    const BlockLimits& limits = parts_.drives[i]->limits();
    line("disk",
         fmt::format(
             "{} on drive {}: {}, blocks of {} bytes{}, {}; {} queue{} of {}, registers at {:#x}",
             device.id, device.drive, SizeText(limits.capacity_bytes), limits.logical_block_bytes,
             limits.read_only ? ", read-only" : "", ZonesText(limits), device.options.num_queues,
             device.options.num_queues == 1 ? "" : "s", device.options.queue_size,
             disks_[i].function->bar_address(VirtioPci::kBar)));
  }
  if (serial_)
    line("serial", fmt::format("{}, ports {:#x}-{:#x}, IRQ {}", options.serial.text, kSerialPort,
                               kSerialPort + Serial16550::kPorts - 1, kSerialIrq));
  if (const auto& ports = options.debug_exit) {
    line("exit", fmt::format("isa-debug-exit, ports {:#x}-{:#x}", ports->iobase,
                             ports->iobase + ports->iosize - 1));
  }
  if (options.pvpanic) line("panic", fmt::format("pvpanic, port {:#x}", kPvpanicPort));
  return text;
}

}  // namespace minivmm
