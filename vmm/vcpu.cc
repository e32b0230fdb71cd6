#include "vmm/vcpu.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <span>
#include <string_view>
#include <system_error>

#include "blockcore/base/thread_entry.h"
#include "vmm/cpuid.h"

namespace minivmm {
namespace {

// Bits of the control registers: Intel SDM volume 3, 2.5 and 2.2.1.
constexpr uint64_t kCr0ProtectionEnable = 1;
constexpr uint64_t kCr0ExtensionType = 1 << 4;
constexpr uint64_t kCr0Paging = uint64_t{1} << 31;
constexpr uint64_t kCr4PhysicalAddressExtension = 1 << 5;
constexpr uint64_t kEferLongModeEnable = 1 << 8;
constexpr uint64_t kEferLongModeActive = 1 << 10;
constexpr uint64_t kRflagsReserved = 1 << 1;

constexpr uint32_t kMsrMiscEnable = 0x1a0;
constexpr uint64_t kMiscEnableFastStrings = 1;
constexpr uint32_t kMsrMtrrDefaultType = 0x2ff;
constexpr uint64_t kMtrrsEnabledWriteBack = 0x806;

constexpr uint64_t kBootGdtAddress = 0x5000;  // free page below the boot structures
constexpr uint16_t kCodeSelector = 0x10;
constexpr uint16_t kDataSelector = 0x18;
constexpr uint16_t kTaskSelector = 0x20;
constexpr std::array<uint64_t, 4> kBootGdt = {0, 0, 0x00af'9b00'0000'ffff, 0x00cf'9300'0000'ffff};

// Makes KVM_RUN return. Its handler does nothing; a real-time signal, so that nobody else uses it
// by chance.
int KickSignal() { return SIGRTMIN; }

void InstallKickHandler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(KickSignal(), &action, nullptr);
  });
}

kvm_segment FlatSegment(uint16_t selector, uint8_t type, bool long_mode) {
  kvm_segment segment{};
  segment.limit = 0xffff'ffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.s = 1;
  segment.g = 1;
  segment.l = long_mode;
  segment.db = !long_mode;
  return segment;
}

kvm_segment TaskSegment() {
  kvm_segment segment{};
  segment.limit = 0x67;
  segment.selector = kTaskSelector;
  segment.type = 11;  // busy 32-bit (64-bit) TSS
  segment.present = 1;
  return segment;
}

std::string DescribeSegment(std::string_view name, const kvm_segment& segment) {
  return fmt::format("{}={:04x} base={:016x} limit={:08x} type={:x}{}", name, segment.selector,
                     segment.base, segment.limit, segment.type,
                     segment.l ? " 64-bit" : (segment.db ? " 32-bit" : " 16-bit"));
}

std::string HexBytes(std::span<const uint8_t> bytes) {
  return fmt::format("{:02x}", fmt::join(bytes, " "));
}

}  // namespace

Result<std::unique_ptr<Vcpu>> Vcpu::Create(const Kvm& kvm, KvmVm& vm, uint32_t index,
                                           uint32_t count, const VcpuEnvironment& environment) {
  TRY(KvmVcpu vcpu, vm.CreateVcpu(index));
  TRY_VOID(vcpu.SetCpuid(
      BuildCpuid(kvm.supported_cpuid(), {.cpu_count = count,
                                         .cpu_index = index,
                                         .tsc_deadline_timer = kvm.has_tsc_deadline_timer()})));
  const kvm_msr_entry msrs[] = {
      {.index = kMsrMiscEnable, .reserved = 0, .data = kMiscEnableFastStrings},
      {.index = kMsrMtrrDefaultType, .reserved = 0, .data = kMtrrsEnabledWriteBack},
  };
  TRY_VOID(vcpu.SetMsrs(msrs));
  return std::unique_ptr<Vcpu>(new Vcpu(std::move(vcpu), index, environment));
}

Vcpu::~Vcpu() { Stop(); }

Result<void> Vcpu::SetBootState(const BootEntry& entry) {
  const bool long_mode = entry.mode == BootMode::kLong64;
  TRY(kvm_sregs special, vcpu_.GetSpecialRegisters());
  special.cs = FlatSegment(kCodeSelector, 11, long_mode);
  special.ds = special.es = special.fs = special.gs = special.ss =
      FlatSegment(kDataSelector, 3, false);
  special.tr = TaskSegment();
  special.cr0 = kCr0ProtectionEnable | kCr0ExtensionType;
  special.cr4 = 0;
  special.efer = 0;
  if (long_mode) {
    special.gdt.base = kBootGdtAddress;
    special.gdt.limit = sizeof(kBootGdt) - 1;
    special.cr3 = entry.page_table_address;
    special.cr4 = kCr4PhysicalAddressExtension;
    special.cr0 |= kCr0Paging;
    special.efer = kEferLongModeEnable | kEferLongModeActive;
  }
  TRY_VOID(vcpu_.SetSpecialRegisters(special));

  kvm_regs registers{};
  registers.rip = entry.instruction_pointer;
  registers.rflags = kRflagsReserved;
  if (long_mode) {
    registers.rsi = entry.boot_parameters;
  } else {
    registers.rbx = entry.boot_parameters;
  }
  TRY_VOID(vcpu_.SetRegisters(registers));

  // As FNINIT and a reset of MXCSR leave it; a vCPU is born as after RESET, with other precision
  // and masks.
  kvm_fpu fpu{};
  fpu.fcw = 0x37f;
  fpu.mxcsr = 0x1f80;
  return vcpu_.SetFpu(fpu);
}

Result<void> Vcpu::Start() {
  InstallKickHandler();
  out_of_guest_ = false;
  try {
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), fmt::format("vcpu/{}", index_).c_str());
      ThreadEntered(ThreadKind::kVcpu);
      Loop();
      std::lock_guard lock(mutex_);
      out_of_guest_ = true;
      changed_.notify_all();
    });
  } catch (const std::system_error& error) {
    out_of_guest_ = true;
    return CannotStartThread(error);
  }
  return {};
}

void Vcpu::Want(Wanted wanted) {
  std::lock_guard lock(mutex_);
  wanted_ = wanted;
  changed_.notify_all();
  if (wanted == Wanted::kRun || !thread_.joinable()) return;
  // The signal ends a KVM_RUN that is under way, the flag one that is about to begin; the flag
  // first.
  __atomic_store_n(&vcpu_.shared().immediate_exit, uint8_t{1}, __ATOMIC_SEQ_CST);
  pthread_kill(thread_.native_handle(), KickSignal());
}

void Vcpu::RequestPause() { Want(Wanted::kPause); }

void Vcpu::WaitUntilPaused() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return out_of_guest_; });
}

void Vcpu::Resume() { Want(Wanted::kRun); }

void Vcpu::Stop() {
  if (!thread_.joinable()) return;
  Want(Wanted::kStop);
  thread_.join();
}

// The lock makes one step of looking at what is wanted and clearing the flag that ends KVM_RUN: a
// request that comes later sets it again.
bool Vcpu::MayRun() {
  std::unique_lock lock(mutex_);
  const bool was_paused = wanted_ == Wanted::kPause;
  if (was_paused) {
    out_of_guest_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return wanted_ != Wanted::kPause; });
    out_of_guest_ = false;
    vcpu_.TellGuestOfPause();
  }
  if (wanted_ == Wanted::kStop) return false;
  __atomic_store_n(&vcpu_.shared().immediate_exit, uint8_t{0}, __ATOMIC_SEQ_CST);
  lock.unlock();
  if (was_paused) environment_.resumed();
  return true;
}

void Vcpu::Loop() {
  bool interrupted = true;  // a pause may have been wanted before the thread began
  for (;;) {
    if (interrupted && !MayRun()) return;
    int error = vcpu_.Run();
    // Exits that are the guest's own doing need no look at the lock: whoever wants the thread has
    // set the flag that makes the next KVM_RUN come back at once with EINTR.
    interrupted = error == EINTR || error == EAGAIN;
    if (interrupted) continue;
    if (error != 0) {
      ReportDeath(fmt::format("KVM cannot run it: {}", ErrnoText(error)));
      return;
    }
    if (!HandleExit()) return;
  }
}

bool Vcpu::HandleExit() {
  kvm_run& run = vcpu_.shared();
  switch (run.exit_reason) {
    case KVM_EXIT_IO:
      HandlePorts();
      return true;
    case KVM_EXIT_MMIO:
      HandleMmio();
      return true;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return true;
    case KVM_EXIT_SHUTDOWN:
      ReportDeath("triple fault: the guest met an exception it could not handle");
      return false;
    case KVM_EXIT_SYSTEM_EVENT:
      if (run.system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN) {
        environment_.stop_machine({.kind = StopRequest::Kind::kPowerOff});
      } else if (run.system_event.type == KVM_SYSTEM_EVENT_RESET) {
        environment_.stop_machine({.kind = StopRequest::Kind::kReset});
      } else {
        ReportDeath(
            fmt::format("the guest crashed (system event {})", uint32_t{run.system_event.type}));
      }
      return false;
    case KVM_EXIT_FAIL_ENTRY:
      ReportDeath(fmt::format("the processor refuses to enter the guest (hardware reason {:#x})",
                              uint64_t{run.fail_entry.hardware_entry_failure_reason}));
      return false;
    case KVM_EXIT_INTERNAL_ERROR:
      if (run.internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
        const std::string instruction = DescribeInstruction();
        ReportDeath(
            instruction.starts_with("bytes")
                ? fmt::format("KVM's instruction emulator lacks an instruction of the guest "
                              "({}): a KVM that emulates privileged code cannot run such a "
                              "guest; use a host whose processor virtualizes (svm or vmx in "
                              "/proc/cpuinfo)",
                              instruction)
                : fmt::format("it has no instruction to execute: {}", instruction));
      } else {
        ReportDeath(fmt::format("KVM internal error {}", uint32_t{run.internal.suberror}));
      }
      return false;
    default:
      ReportDeath(fmt::format("unexpected KVM exit {}", uint32_t{run.exit_reason}));
      return false;
  }
}

void Vcpu::HandlePorts() {
  kvm_run& run = vcpu_.shared();
  auto* data = reinterpret_cast<std::byte*>(&run) + run.io.data_offset;
  // A string instruction moves `count` items, one after the other, through the same port.
  for (uint32_t i = 0; i < run.io.count; ++i, data += run.io.size) {
    if (run.io.direction == KVM_EXIT_IO_OUT) {
      environment_.ports.Write(run.io.port, std::span<const std::byte>(data, run.io.size));
    } else {
      environment_.ports.Read(run.io.port, std::span<std::byte>(data, run.io.size));
    }
  }
}

void Vcpu::HandleMmio() {
  kvm_run& run = vcpu_.shared();
  auto* data = reinterpret_cast<std::byte*>(run.mmio.data);
  size_t length = std::min<size_t>(run.mmio.len, sizeof(run.mmio.data));
  if (run.mmio.is_write) {
    environment_.mmio.Write(run.mmio.phys_addr, std::span<const std::byte>(data, length));
  } else {
    environment_.mmio.Read(run.mmio.phys_addr, std::span<std::byte>(data, length));
  }
}

void Vcpu::ReportDeath(const std::string& what) {
  environment_.stop_machine({
      .kind = StopRequest::Kind::kFailure,
      .message =
          fmt::format("the guest died on vCPU {}: {}\n{}", index_, what, DescribeRegisters()),
  });
}

std::string Vcpu::DescribeRegisters() const {
  Result<kvm_regs> regs = vcpu_.GetRegisters();
  Result<kvm_sregs> sregs = vcpu_.GetSpecialRegisters();
  if (!regs || !sregs) return "  (registers not readable)";
  const kvm_regs& r = *regs;
  const kvm_sregs& s = *sregs;
  std::string text;
  auto line = [&text](std::string_view content) { text += fmt::format("  {}\n", content); };
  line(fmt::format("rip={:016x} rflags={:016x}", r.rip, r.rflags));
  line(fmt::format("rax={:016x} rbx={:016x} rcx={:016x} rdx={:016x}", r.rax, r.rbx, r.rcx, r.rdx));
  line(fmt::format("rsi={:016x} rdi={:016x} rsp={:016x} rbp={:016x}", r.rsi, r.rdi, r.rsp, r.rbp));
  line(fmt::format("r8 ={:016x} r9 ={:016x} r10={:016x} r11={:016x}", r.r8, r.r9, r.r10, r.r11));
  line(fmt::format("r12={:016x} r13={:016x} r14={:016x} r15={:016x}", r.r12, r.r13, r.r14, r.r15));
  line(fmt::format("cr0={:016x} cr2={:016x} cr3={:016x} cr4={:016x}", s.cr0, s.cr2, s.cr3, s.cr4));
  line(fmt::format("efer={:016x} apic_base={:016x}", s.efer, s.apic_base));
  line(DescribeSegment("cs", s.cs));
  line(DescribeSegment("ss", s.ss));
  line(fmt::format("gdt={:016x}:{:04x} idt={:016x}:{:04x}", s.gdt.base, s.gdt.limit, s.idt.base,
                   s.idt.limit));
  text += fmt::format("  code at rip: {}", DescribeInstruction());
  return text;
}

std::string Vcpu::DescribeInstruction() const {
  constexpr uint64_t kMaxInstructionBytes = 15;
  constexpr uint64_t kPageBytes = 4096;
  Result<kvm_regs> regs = vcpu_.GetRegisters();
  Result<kvm_sregs> sregs = vcpu_.GetSpecialRegisters();
  if (!regs || !sregs) return "not readable";
  uint64_t linear = regs->rip + (sregs->cs.l ? 0 : sregs->cs.base);
  Result<uint64_t> address = vcpu_.TranslateAddress(linear);
  if (!address) return "not mapped";
  // Not beyond the page: the next one may be mapped elsewhere.
  uint64_t length = std::min(kMaxInstructionBytes, kPageBytes - *address % kPageBytes);
  std::span<std::byte> code = environment_.memory.Slice(*address, length);
  if (code.data() == nullptr) return fmt::format("outside RAM, at {:#x}", *address);
  std::array<uint8_t, kMaxInstructionBytes> copy{};
  std::memcpy(copy.data(), code.data(), length);
  return fmt::format("bytes {} at {:#x}", HexBytes(std::span(copy).first(length)), linear);
}

Segment BuildBootGdt() {
  std::vector<std::byte> bytes(sizeof(kBootGdt));
  std::memcpy(bytes.data(), kBootGdt.data(), sizeof(kBootGdt));
  return Segment::Own(kBootGdtAddress, std::move(bytes));
}

}  // namespace minivmm
