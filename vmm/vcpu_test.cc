// Runs a few instructions on the host's KVM: kvm.cc, vcpu.cc and io_bus.cc together. Skipped, with
// the reason, only where there is no /dev/kvm to use.
#include "vmm/vcpu.h"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <future>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/no_threads.h"
#include "blockcore/base/units.h"
#include "vmm/guest_ram.h"
#include "vmm/have_kvm.h"
#include "vmm/power_ports.h"

namespace minivmm {
namespace {

constexpr uint64_t kCode = 0x10'0000;
constexpr uint64_t kPageTables = 0x20'0000;
constexpr uint64_t kMmio = 0xd000'0000;

// Collects what is written; reads give 0x10, 0x11, 0x12, ….
class Recorder : public IoHandler {
 public:
  void Read(uint64_t, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = std::byte{next_++};
  }
  void Write(uint64_t offset, std::span<const std::byte> data) override {
    uint64_t value = 0;
    std::memcpy(&value, data.data(), data.size());
    writes.push_back(fmt::format("{:x}:{}={:x}", offset, data.size(), value));
  }

  std::vector<std::string> writes;

 private:
  uint8_t next_ = 0x10;
};

// A machine of RAM, one vCPU, ports 0x3f8-0x3ff and a page of MMIO. Its guest ends by writing a
// byte to port 0xf4.
class Guest {
 public:
  explicit Guest(std::initializer_list<uint8_t> code) : code_(code) {
    std::memcpy(At(kCode), code_.data(), code_.size());
    REQUIRE(ports.Add("recorder", 0x3f8, 8, port_recorder));
    REQUIRE(ports.Add("end", 0xf4, 1, end_));
    REQUIRE(mmio.Add("recorder", kMmio, 0x1000, mmio_recorder));
    uint32_t slot = 0;
    for (const GuestRegion& region : ram.regions()) {
      REQUIRE(vm.SetMemory(slot++, region.guest_address, region.host));
    }
  }

  std::byte* At(uint64_t address) { return memory.Slice(address, 4096).data(); }

  StopRequest Run(BootMode mode) {
    BootEntry entry{.mode = mode, .instruction_pointer = kCode, .boot_parameters = 0x1234};
    if (mode == BootMode::kLong64) entry.page_table_address = PlacePageTables();
    auto vcpu = Vcpu::Create(kvm, vm, 0, 1, environment);
    REQUIRE(vcpu);
    REQUIRE((*vcpu)->SetBootState(entry));
    (*vcpu)->Start();
    StopRequest request = stopped_.get_future().get();
    (*vcpu)->Stop();
    return request;
  }

  template <typename T>
  static T Take(Result<T> result) {
    if (!result) FAIL(result.error().message);
    return std::move(*result);
  }

  Kvm kvm = Take(Kvm::Open());
  GuestRam ram = Take(GuestRam::Allocate(4_MiB));
  GuestMemory memory{ram.regions()};
  KvmVm vm = Take(kvm.CreateVm());
  Recorder port_recorder;
  Recorder mmio_recorder;
  IoBus ports;
  IoBus mmio;

 private:
  class End : public IoHandler {
   public:
    explicit End(Guest& guest) : guest_(guest) {}
    void Read(uint64_t, std::span<std::byte>) override {}
    void Write(uint64_t, std::span<const std::byte> data) override {
      guest_.environment.stop_machine(
          {.kind = StopRequest::Kind::kDebugExit, .exit_status = std::to_integer<int>(data[0])});
    }

   private:
    Guest& guest_;
  };

  // The first GiB and the fourth, in one page each.
  uint64_t PlacePageTables() {
    auto store = [this](uint64_t address, uint64_t entry) {
      std::memcpy(At(address & ~uint64_t{0xfff}) + (address & 0xfff), &entry, sizeof(entry));
    };
    store(kPageTables, (kPageTables + 0x1000) | 3);
    store(kPageTables + 0x1000, (kPageTables + 0x2000) | 3);       // 0 … 1 GiB
    store(kPageTables + 0x1000 + 24, (kPageTables + 0x3000) | 3);  // 3 … 4 GiB
    for (uint64_t i = 0; i < 512; ++i) {
      store(kPageTables + 0x2000 + 8 * i, i * 2_MiB | 0x83);
      store(kPageTables + 0x3000 + 8 * i, (3_GiB + i * 2_MiB) | 0x83);
    }
    Segment gdt = BuildBootGdt();
    std::memcpy(At(gdt.guest_address), gdt.bytes.data(), gdt.bytes.size());
    return kPageTables;
  }

  std::vector<uint8_t> code_;
  End end_{*this};
  std::promise<StopRequest> stopped_;
  bool once_ = false;

 public:
  VcpuEnvironment environment{ports, mmio, memory, [this](StopRequest request) {
                                if (!std::exchange(once_, true)) {
                                  stopped_.set_value(std::move(request));
                                }
                              }};
};

TEST_CASE("a guest in 32-bit protected mode gets its parameter in ebx and reaches ports") {
  if (!HaveKvm()) return;
  Guest guest({
      0x66, 0xba, 0xf8, 0x03,  // mov $0x3f8, %dx
      0xb0, 'K',               // mov $'K', %al
      0xee,                    // out %al, (%dx)
      0x89, 0xd8,              // mov %ebx, %eax
      0xef,                    // out %eax, (%dx)
      0xb0, 0x2a,              // mov $42, %al
      0xe6, 0xf4,              // out %al, $0xf4
      0xf4,                    // hlt
  });
  StopRequest end = guest.Run(BootMode::kPvh);
  CHECK(end.kind == StopRequest::Kind::kDebugExit);
  CHECK(end.exit_status == 42);
  CHECK(guest.port_recorder.writes == std::vector<std::string>{"0:1=4b", "0:4=1234"});
}

TEST_CASE("a guest in 64-bit mode gets its parameter in rsi and reaches MMIO") {
  if (!HaveKvm()) return;
  Guest guest({
      0xbf, 0x10, 0x00, 0x00, 0xd0,  // mov $0xd0000010, %edi
      0x48, 0x89, 0x37,              // mov %rsi, (%rdi)
      0x8b, 0x07,                    // mov (%rdi), %eax
      0x89, 0x47, 0x04,              // mov %eax, 4(%rdi)
      0xe6, 0xf4,                    // out %al, $0xf4
      0xf4,                          // hlt
  });
  StopRequest end = guest.Run(BootMode::kLong64);
  CHECK(end.kind == StopRequest::Kind::kDebugExit);
  CHECK(end.exit_status == 0x10);
  CHECK(guest.mmio_recorder.writes == std::vector<std::string>{"10:8=1234", "14:4=13121110"});
}

TEST_CASE("a string instruction moves all its items through the port") {
  if (!HaveKvm()) return;
  Guest guest({
      0xfc,                          // cld
      0xbe, 0x00, 0x00, 0x30, 0x00,  // mov $0x300000, %esi
      0xb9, 0x03, 0x00, 0x00, 0x00,  // mov $3, %ecx
      0x66, 0xba, 0xf9, 0x03,        // mov $0x3f9, %dx
      0xf3, 0x6e,                    // rep outsb
      0xb9, 0x02, 0x00, 0x00, 0x00,  // mov $2, %ecx
      0xbf, 0x00, 0x10, 0x30, 0x00,  // mov $0x301000, %edi
      0xf3, 0x66, 0x6d,              // rep insw
      0xb0, 0x01,                    // mov $1, %al
      0xe6, 0xf4,                    // out %al, $0xf4
      0xf4,                          // hlt
  });
  std::memcpy(guest.At(0x30'0000), "abc", 3);
  guest.Run(BootMode::kPvh);
  CHECK(guest.port_recorder.writes == std::vector<std::string>{"1:1=61", "1:1=62", "1:1=63"});
  CHECK(std::memcmp(guest.At(0x30'1000), "\x10\x11\x12\x13", 4) == 0);
}

TEST_CASE("a doorbell signals its eventfd, whatever the length, and does not reach the bus") {
  if (!HaveKvm()) return;
  Guest guest({
      0xbf, 0x00, 0x00, 0x00, 0xd0,  // mov $0xd0000000, %edi
      0x66, 0x89, 0x47, 0x20,        // mov %ax, 0x20(%edi)
      0x89, 0x47, 0x20,              // mov %eax, 0x20(%edi)
      0x88, 0x47, 0x21,              // mov %al, 0x21(%edi)
      0xe6, 0xf4,                    // out %al, $0xf4
      0xf4,                          // hlt
  });
  EventFd doorbell = Guest::Take(EventFd::Create());
  REQUIRE(guest.vm.RegisterDoorbell(kMmio + 0x20, doorbell));
  guest.Run(BootMode::kPvh);
  CHECK(doorbell.Drain() == 2);
  CHECK(guest.mmio_recorder.writes == std::vector<std::string>{"21:1=0"});
}

TEST_CASE("a guest that dies of a triple fault is reported with its registers") {
  if (!HaveKvm()) return;
  Guest guest({
      0xb8, 0xef, 0xbe, 0xad, 0xde,  // mov $0xdeadbeef, %eax
      0x0f, 0x0b,                    // ud2, and there is no IDT
  });
  StopRequest end = guest.Run(BootMode::kPvh);
  CHECK(end.kind == StopRequest::Kind::kFailure);
  CHECK(end.message.find("vCPU 0: triple fault") != std::string::npos);
  CHECK(end.message.find("rip=") != std::string::npos);
}

TEST_CASE("a guest that jumps where there is no memory dies of that, not of KVM") {
  if (!HaveKvm()) return;
  Guest guest({
      0xb8, 0x00, 0x00, 0x00, 0xd0,  // mov $0xd0000000, %eax
      0xff, 0xe0,                    // jmp *%eax
  });
  StopRequest end = guest.Run(BootMode::kPvh);
  CHECK(end.kind == StopRequest::Kind::kFailure);
  CHECK(end.message.find("outside RAM, at 0xd0000000") != std::string::npos);
  CHECK(end.message.find("lacks") == std::string::npos);
}

TEST_CASE(
    "a jump to the BIOS entry in real mode, as Linux reboots, writes the ACPI reset register") {
  if (!HaveKvm()) return;
  Guest guest({0xf4});
  Segment vector = BuildResetVector();
  std::memcpy(guest.memory.Slice(vector.guest_address, vector.bytes.size()).data(),
              vector.bytes.data(), vector.bytes.size());
  KvmVcpu vcpu = Guest::Take(guest.vm.CreateVcpu(0));
  kvm_sregs special = Guest::Take(vcpu.GetSpecialRegisters());  // real mode, as after RESET
  special.cs.selector = 0xffff;
  special.cs.base = 0xf'fff0;
  REQUIRE(vcpu.SetSpecialRegisters(special));
  kvm_regs registers{};
  registers.rflags = 2;
  REQUIRE(vcpu.SetRegisters(registers));
  REQUIRE(vcpu.Run() == 0);
  const kvm_run& run = vcpu.shared();
  REQUIRE(run.exit_reason == KVM_EXIT_IO);
  CHECK(run.io.port == 0x602);
  CHECK(run.io.direction == KVM_EXIT_IO_OUT);
  CHECK(reinterpret_cast<const uint8_t*>(&run)[run.io.data_offset] == 1);
}

TEST_CASE("a vCPU that never leaves the guest by itself can be stopped") {
  if (!HaveKvm()) return;
  Guest guest({0xeb, 0xfe});  // jmp .
  auto vcpu = Vcpu::Create(guest.kvm, guest.vm, 0, 1, guest.environment);
  REQUIRE(vcpu);
  REQUIRE((*vcpu)->SetBootState({.mode = BootMode::kPvh, .instruction_pointer = kCode}));
  (*vcpu)->Start();
  (*vcpu)->Stop();
}

// A guest that never ends by itself, and a count in its memory by which its progress shows.
class EndlessGuest {
 public:
  explicit EndlessGuest(std::initializer_list<uint8_t> code) : guest(code) {
    auto created = Vcpu::Create(guest.kvm, guest.vm, 0, 1, guest.environment);
    REQUIRE(created);
    vcpu = std::move(*created);
    REQUIRE(vcpu->SetBootState({.mode = BootMode::kPvh, .instruction_pointer = kCode}));
  }

  uint32_t count() {
    return __atomic_load_n(reinterpret_cast<uint32_t*>(guest.At(kCount)), __ATOMIC_SEQ_CST);
  }
  void Pause() {
    vcpu->RequestPause();
    vcpu->WaitUntilPaused();
  }
  void AwaitProgress() {
    for (uint32_t before = count(); count() == before;) std::this_thread::yield();
  }

  static constexpr uint64_t kCount = 0x30'0000;
  Guest guest;
  std::unique_ptr<Vcpu> vcpu;
};

constexpr auto kLoop = {
    uint8_t{0xff}, uint8_t{0x05}, uint8_t{0x00},
    uint8_t{0x00}, uint8_t{0x30}, uint8_t{0x00},  // incl 0x300000
    uint8_t{0xeb}, uint8_t{0xf8},                 // jmp back
};
constexpr auto kMmioLoop = {
    uint8_t{0xff}, uint8_t{0x05}, uint8_t{0x00},
    uint8_t{0x00}, uint8_t{0x30}, uint8_t{0x00},  // incl 0x300000
    uint8_t{0xa1}, uint8_t{0x00}, uint8_t{0x00},
    uint8_t{0x00}, uint8_t{0xd0},  // mov 0xd0000000, %eax
    uint8_t{0xeb}, uint8_t{0xf3},  // jmp back
};

TEST_CASE("a paused vCPU stands still and goes on where it was, in a loop and in MMIO exits") {
  if (!HaveKvm()) return;
  for (const auto& code : {kLoop, kMmioLoop}) {
    EndlessGuest endless(code);
    endless.vcpu->Start();
    for (int round = 0; round < 100; ++round) {
      endless.AwaitProgress();
      endless.Pause();
      const uint32_t paused_at = endless.count();
      for (int look = 0; look < 200; ++look) std::this_thread::yield();
      REQUIRE(endless.count() == paused_at);
      endless.vcpu->Resume();
    }
    endless.AwaitProgress();
    endless.vcpu->Stop();
  }
}

TEST_CASE("no wake-up is lost when pauses and resumes follow at once") {
  if (!HaveKvm()) return;
  EndlessGuest endless(kLoop);
  endless.vcpu->Start();
  for (int round = 0; round < 500; ++round) {
    endless.vcpu->RequestPause();
    if (round % 3 == 0) endless.vcpu->WaitUntilPaused();
    endless.vcpu->Resume();
    if (round % 7 == 0) endless.AwaitProgress();
  }
  endless.AwaitProgress();
  endless.vcpu->Stop();
}

TEST_CASE("a halted vCPU can be paused, resumed and stopped") {
  if (!HaveKvm()) return;
  EndlessGuest endless({
      0xff, 0x05, 0x00, 0x00, 0x30, 0x00,  // incl 0x300000
      0xf4,                                // hlt, and no interrupt ever comes
  });
  endless.vcpu->Start();
  while (endless.count() == 0) std::this_thread::yield();
  for (int round = 0; round < 20; ++round) {
    endless.Pause();
    endless.vcpu->Resume();
  }
  CHECK(endless.count() == 1);
  endless.vcpu->Stop();
}

TEST_CASE("a vCPU that is paused before it starts runs nothing until it is resumed") {
  if (!HaveKvm()) return;
  EndlessGuest endless(kLoop);
  endless.vcpu->RequestPause();
  endless.vcpu->Start();
  endless.vcpu->WaitUntilPaused();
  CHECK(endless.count() == 0);
  endless.vcpu->Resume();
  endless.AwaitProgress();
}

TEST_CASE("a paused vCPU can be stopped") {
  if (!HaveKvm()) return;
  EndlessGuest endless(kLoop);
  endless.vcpu->Start();
  endless.Pause();
  endless.vcpu->Stop();
}

TEST_CASE("pausing a vCPU whose guest has died returns") {
  if (!HaveKvm()) return;
  EndlessGuest endless({0x0f, 0x0b});  // ud2, and there is no IDT
  endless.vcpu->Start();
  endless.Pause();
  endless.vcpu->Resume();
  endless.vcpu->Stop();
}

TEST_CASE("a vCPU whose thread cannot be started says so, and nobody waits for it") {
  if (!HaveKvm()) return;
  Guest guest({0xf4});
  auto vcpu = Vcpu::Create(guest.kvm, guest.vm, 0, 1, guest.environment);
  REQUIRE(vcpu);
  const NoThreads no_threads;
  Result<void> started = (*vcpu)->Start();
  REQUIRE_FALSE(started.has_value());
  CHECK(started.error().message.find("cannot start a thread: ") == 0);
  (*vcpu)->RequestPause();
  (*vcpu)->WaitUntilPaused();
  (*vcpu)->Stop();
}

}  // namespace
}  // namespace minivmm
