#include "vmm/kvm.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "firmware/memory_layout.h"

namespace minivmm {
namespace {

struct Capability {
  int number;
  std::string_view name;
};

constexpr Capability kNeededCapabilities[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
    {KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_PIT2, "KVM_CAP_PIT2"},
    {KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
    {KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

// KVM's structures that end in an array: kvm_cpuid2, kvm_msrs and kvm_irq_routing all are a count,
// 32 bits more, and the elements. <linux/kvm.h> declares them such that C++ sees a wrong size, in
// the structure and so in the number of the ioctl.
template <typename Element>
class CountedArray {
 public:
  explicit CountedArray(size_t count)
      : storage_((kHeaderBytes + count * sizeof(Element) + 7) / sizeof(uint64_t)) {
    set_count(static_cast<uint32_t>(count));
  }
  explicit CountedArray(std::span<const Element> elements) : CountedArray(elements.size()) {
    std::memcpy(this->elements(), elements.data(), elements.size_bytes());
  }

  uint32_t count() const {
    uint32_t count;
    std::memcpy(&count, storage_.data(), sizeof(count));
    return count;
  }
  Element* elements() {
    return reinterpret_cast<Element*>(storage_.data() + kHeaderBytes / sizeof(uint64_t));
  }

  // `request`: as the header defines it.
  int Ioctl(int fd, unsigned long request) {
    unsigned long size_mask = static_cast<unsigned long>(_IOC_SIZEMASK) << _IOC_SIZESHIFT;
    return ::ioctl(fd, (request & ~size_mask) | kHeaderBytes << _IOC_SIZESHIFT, storage_.data());
  }

 private:
  static constexpr size_t kHeaderBytes = 8;

  void set_count(uint32_t count) { std::memcpy(storage_.data(), &count, sizeof(count)); }

  std::vector<uint64_t> storage_;
};

Unexpected FailIoctl(std::string_view what) {
  return Fail("KVM refuses to {}: {}", what, ErrnoText(errno));
}

Unexpected FailToOpen() {
  switch (errno) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return Fail(
          "cannot open /dev/kvm: {}: load KVM (modprobe kvm_amd or kvm_intel) and, if that fails, "
          "turn on virtualization in the firmware or, in a virtual machine, nested virtualization",
          ErrnoText(errno));
    case EACCES:
    case EPERM: {
      const int error = errno;
      struct stat status {};
      constexpr mode_t kGroupMayUse = S_IRGRP | S_IWGRP;
      if (::stat("/dev/kvm", &status) == 0 && (status.st_mode & kGroupMayUse) == kGroupMayUse) {
        return Fail(
            "cannot open /dev/kvm: {}: add your user to its group, usually kvm (sudo usermod -aG "
            "kvm $USER), and log in again",
            ErrnoText(error));
      }
      return Fail(
          "cannot open /dev/kvm: {}: it is for its owner alone; run as root, or open it to a group "
          "(sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm)",
          ErrnoText(error));
    }
    default:
      return Fail("cannot open /dev/kvm: {}", ErrnoText(errno));
  }
}

Result<std::vector<kvm_cpuid_entry2>> QuerySupportedCpuid(int kvm_fd) {
  for (uint32_t room = 128; room <= 4096; room *= 2) {
    CountedArray<kvm_cpuid_entry2> list(room);
    if (list.Ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID) == 0) {
      return std::vector<kvm_cpuid_entry2>(list.elements(), list.elements() + list.count());
    }
    if (errno != E2BIG) break;
  }
  return FailIoctl("list the CPU features it supports (KVM_GET_SUPPORTED_CPUID)");
}

}  // namespace

Result<Kvm> Kvm::Open() {
  UniqueFd fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!fd) return FailToOpen();
  int version = ::ioctl(fd.get(), KVM_GET_API_VERSION, 0);
  if (version != KVM_API_VERSION) {
    return Fail("/dev/kvm speaks API version {}, minivmm needs {}: update the host's kernel",
                version, KVM_API_VERSION);
  }
  for (const Capability& capability : kNeededCapabilities) {
    if (::ioctl(fd.get(), KVM_CHECK_EXTENSION, capability.number) <= 0) {
      return Fail("this host's KVM lacks {}, which minivmm needs: update the host's kernel",
                  capability.name);
    }
  }
  int run_bytes = ::ioctl(fd.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_bytes < static_cast<int>(sizeof(kvm_run))) {
    return FailIoctl("say how large a vCPU's shared memory is (KVM_GET_VCPU_MMAP_SIZE)");
  }
  TRY(auto supported_cpuid, QuerySupportedCpuid(fd.get()));
  Kvm kvm(std::move(fd), static_cast<size_t>(run_bytes));
  kvm.supported_cpuid_ = std::move(supported_cpuid);
  kvm.has_tsc_deadline_timer_ =
      ::ioctl(kvm.fd_.get(), KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  return kvm;
}

Result<KvmVm> Kvm::CreateVm() const {
  int fd;
  do {
    fd = ::ioctl(fd_.get(), KVM_CREATE_VM, 0);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0 && errno == EBUSY) {
    return Fail(
        "KVM refuses to create a virtual machine (KVM_CREATE_VM): another hypervisor holds the "
        "processor's "
        "virtualization: stop it first");
  }
  if (fd < 0) return FailIoctl("create a virtual machine (KVM_CREATE_VM)");
  KvmVm vm(UniqueFd(fd), run_bytes_);
  // The pages in which Intel's VMX keeps a real-mode guest alive; unused elsewhere.
  if (::ioctl(fd, KVM_SET_TSS_ADDR, kKvmTssAddress) < 0) {
    return FailIoctl("place its task state (KVM_SET_TSS_ADDR)");
  }
  uint64_t identity_map_address = kKvmIdentityMapAddress;
  if (::ioctl(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map_address) < 0) {
    return FailIoctl("place its page table (KVM_SET_IDENTITY_MAP_ADDR)");
  }
  if (::ioctl(fd, KVM_CREATE_IRQCHIP, 0) < 0) {
    return FailIoctl("create interrupt controllers (KVM_CREATE_IRQCHIP)");
  }
  // With the speaker's port 0x61, whose bits some guests use to time PIT channel 2.
  kvm_pit_config pit{};
  pit.flags = KVM_PIT_SPEAKER_DUMMY;
  if (::ioctl(fd, KVM_CREATE_PIT2, &pit) < 0) return FailIoctl("create a timer (KVM_CREATE_PIT2)");
  return vm;
}

Result<void> KvmVm::SetMemory(uint32_t slot, uint64_t guest_address, std::span<std::byte> memory) {
  kvm_userspace_memory_region region{};
  region.slot = slot;
  region.guest_phys_addr = guest_address;
  region.memory_size = memory.size();
  region.userspace_addr = reinterpret_cast<uint64_t>(memory.data());
  if (::ioctl(fd_.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0) {
    return Fail("KVM refuses {} MiB of guest memory at {:#x} (KVM_SET_USER_MEMORY_REGION): {}",
                memory.size() >> 20, guest_address, ErrnoText(errno));
  }
  return {};
}

Result<void> KvmVm::RegisterDoorbell(uint64_t guest_address, const EventFd& doorbell) {
  kvm_ioeventfd request{};
  request.addr = guest_address;
  request.len = 0;  // any length: what is written is not looked at
  request.fd = doorbell.fd();
  if (::ioctl(fd_.get(), KVM_IOEVENTFD, &request) < 0) {
    return Fail("KVM refuses a doorbell at {:#x} (KVM_IOEVENTFD): {}", guest_address,
                ErrnoText(errno));
  }
  return {};
}

Result<void> KvmVm::AssignIrqfd(const EventFd& event, uint32_t gsi) {
  kvm_irqfd request{};
  request.fd = static_cast<uint32_t>(event.fd());
  request.gsi = gsi;
  if (::ioctl(fd_.get(), KVM_IRQFD, &request) < 0) {
    return Fail("KVM refuses to connect interrupt {} (KVM_IRQFD): {}", gsi, ErrnoText(errno));
  }
  return {};
}

Result<void> KvmVm::DeassignIrqfd(const EventFd& event, uint32_t gsi) {
  kvm_irqfd request{};
  request.fd = static_cast<uint32_t>(event.fd());
  request.gsi = gsi;
  request.flags = KVM_IRQFD_FLAG_DEASSIGN;
  if (::ioctl(fd_.get(), KVM_IRQFD, &request) < 0) {
    return Fail("KVM refuses to disconnect interrupt {} (KVM_IRQFD): {}", gsi, ErrnoText(errno));
  }
  return {};
}

Result<void> KvmVm::SetGsiRouting(std::span<const kvm_irq_routing_entry> entries) {
  CountedArray<kvm_irq_routing_entry> table(entries);
  if (table.Ioctl(fd_.get(), KVM_SET_GSI_ROUTING) < 0) {
    return FailIoctl("route interrupts (KVM_SET_GSI_ROUTING)");
  }
  return {};
}

Result<KvmVcpu> KvmVm::CreateVcpu(uint32_t index) {
  UniqueFd fd(::ioctl(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(index)));
  if (!fd) {
    return Fail("KVM refuses to create vCPU {} (KVM_CREATE_VCPU): {}", index, ErrnoText(errno));
  }
  void* run = ::mmap(nullptr, run_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (run == MAP_FAILED) {
    return Fail("cannot map the shared page of vCPU {}: {}", index, ErrnoText(errno));
  }
  return KvmVcpu(std::move(fd), static_cast<kvm_run*>(run), run_bytes_);
}

KvmVcpu::KvmVcpu(KvmVcpu&& other) noexcept
    : fd_(std::move(other.fd_)),
      run_(std::exchange(other.run_, nullptr)),
      run_bytes_(other.run_bytes_) {}

KvmVcpu::~KvmVcpu() {
  if (run_ != nullptr) ::munmap(run_, run_bytes_);
}

Result<void> KvmVcpu::SetCpuid(std::span<const kvm_cpuid_entry2> entries) {
  CountedArray<kvm_cpuid_entry2> list(entries);
  if (list.Ioctl(fd_.get(), KVM_SET_CPUID2) < 0) {
    return FailIoctl("set the CPU's features (KVM_SET_CPUID2)");
  }
  return {};
}

Result<void> KvmVcpu::SetMsrs(std::span<const kvm_msr_entry> entries) {
  CountedArray<kvm_msr_entry> list(entries);
  int count = list.Ioctl(fd_.get(), KVM_SET_MSRS);
  if (count < 0) return FailIoctl("set model-specific registers (KVM_SET_MSRS)");
  if (static_cast<size_t>(count) < entries.size()) {
    return Fail("KVM refuses to set the model-specific register {:#x} (KVM_SET_MSRS)",
                entries[static_cast<size_t>(count)].index);
  }
  return {};
}

Result<kvm_regs> KvmVcpu::GetRegisters() const {
  kvm_regs registers{};
  if (::ioctl(fd_.get(), KVM_GET_REGS, &registers) < 0) {
    return FailIoctl("tell the registers (KVM_GET_REGS)");
  }
  return registers;
}

Result<void> KvmVcpu::SetRegisters(const kvm_regs& registers) {
  if (::ioctl(fd_.get(), KVM_SET_REGS, &registers) < 0) {
    return FailIoctl("set the registers (KVM_SET_REGS)");
  }
  return {};
}

Result<kvm_sregs> KvmVcpu::GetSpecialRegisters() const {
  kvm_sregs registers{};
  if (::ioctl(fd_.get(), KVM_GET_SREGS, &registers) < 0) {
    return FailIoctl("tell the special registers (KVM_GET_SREGS)");
  }
  return registers;
}

Result<void> KvmVcpu::SetSpecialRegisters(const kvm_sregs& registers) {
  if (::ioctl(fd_.get(), KVM_SET_SREGS, &registers) < 0) {
    return FailIoctl("set the special registers (KVM_SET_SREGS)");
  }
  return {};
}

Result<void> KvmVcpu::SetFpu(const kvm_fpu& fpu) {
  if (::ioctl(fd_.get(), KVM_SET_FPU, &fpu) < 0) {
    return FailIoctl("set the floating-point unit (KVM_SET_FPU)");
  }
  return {};
}

Result<uint64_t> KvmVcpu::TranslateAddress(uint64_t linear_address) const {
  kvm_translation translation{};
  translation.linear_address = linear_address;
  if (::ioctl(fd_.get(), KVM_TRANSLATE, &translation) < 0) {
    return FailIoctl("translate an address (KVM_TRANSLATE)");
  }
  if (translation.valid == 0) return Fail("linear address {:#x} is not mapped", linear_address);
  return translation.physical_address;
}

void KvmVcpu::TellGuestOfPause() { ::ioctl(fd_.get(), KVM_KVMCLOCK_CTRL, 0); }

int KvmVcpu::Run() { return ::ioctl(fd_.get(), KVM_RUN, 0) == 0 ? 0 : errno; }

}  // namespace minivmm
