#include "guest-tests/bare-metal/interrupts.h"

#include "guest-tests/bare-metal/console.h"

extern "C" {
extern const char interrupt_entries[];  // 256 entry points of 16 bytes each, in boot.S

struct InterruptFrame {
  uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
  uint64_t vector;
  uint64_t error_code;
  uint64_t rip, cs, rflags, rsp, ss;
};

void HandleInterrupt(InterruptFrame* frame);
}

namespace minivmm {
namespace {

constexpr uint64_t kLocalApic = 0xfee0'0000;
constexpr uint64_t kApicId = 0x20;
constexpr uint64_t kApicTaskPriority = 0x80;
constexpr uint64_t kApicEndOfInterrupt = 0xb0;
constexpr uint64_t kApicSpurious = 0xf0;
constexpr uint64_t kApicTimer = 0x320;
constexpr uint64_t kApicLint0 = 0x350;
constexpr uint64_t kApicTimerInitialCount = 0x380;
constexpr uint64_t kApicTimerDivider = 0x3e0;
constexpr uint32_t kApicMasked = 1u << 16;
constexpr uint32_t kApicPeriodic = 1u << 17;
constexpr uint8_t kTickVector = 0x20;
constexpr uint8_t kSpuriousVector = 0xff;
constexpr uint32_t kTimerHz = 1'000'000'000;  // KVM's APIC timer, undivided

struct [[gnu::packed]] IdtEntry {
  uint16_t offset_low;
  uint16_t selector;
  uint8_t stack_table;
  uint8_t type;
  uint16_t offset_middle;
  uint32_t offset_high;
  uint32_t reserved;
};
static_assert(sizeof(IdtEntry) == 16);

struct [[gnu::packed]] IdtPointer {
  uint16_t limit;
  uint64_t base;
};

alignas(16) IdtEntry idt[256];
volatile uint64_t counts[256];

}  // namespace

void StartInterrupts() {
  for (unsigned vector = 0; vector < 256; ++vector) {
    SetInterruptEntry(static_cast<uint8_t>(vector), interrupt_entries + vector * 16);
  }
  const IdtPointer pointer{sizeof(idt) - 1, reinterpret_cast<uint64_t>(idt)};
  asm volatile("lidt %0" : : "m"(pointer));

  // The old interrupt controllers stay silent: firmware may have left them running.
  Out8(0x21, 0xff);
  Out8(0xa1, 0xff);

  MmioWrite<uint32_t>(kLocalApic + kApicSpurious, 0x100 | kSpuriousVector);
  MmioWrite<uint32_t>(kLocalApic + kApicTaskPriority, 0);
  MmioWrite<uint32_t>(kLocalApic + kApicLint0, kApicMasked);
  MmioWrite<uint32_t>(kLocalApic + kApicTimerDivider, 0xb);  // divide by 1
  MmioWrite<uint32_t>(kLocalApic + kApicTimer, kApicPeriodic | kTickVector);
  MmioWrite<uint32_t>(kLocalApic + kApicTimerInitialCount, kTimerHz / 1000 * kTickMs);
}

void SetInterruptEntry(uint8_t vector, const char* entry) {
  const auto address = reinterpret_cast<uint64_t>(entry);
  idt[vector] = IdtEntry{static_cast<uint16_t>(address),       0x08, 0, 0x8e,
                         static_cast<uint16_t>(address >> 16), 0,    0};
}

uint64_t InterruptCount(uint8_t vector) { return counts[vector]; }

uint64_t Ticks() { return counts[kTickVector]; }

uint64_t MsiAddress() {
  const uint32_t id = MmioRead<uint32_t>(kLocalApic + kApicId) >> 24;
  return kLocalApic | id << 12;
}

}  // namespace minivmm

void HandleInterrupt(InterruptFrame* frame) {
  using minivmm::Hex;
  if (frame->vector < 32) {
    uint64_t fault_address;
    asm volatile("mov %%cr2, %0" : "=r"(fault_address));
    minivmm::Print("\nbaremetal: exception ", frame->vector, " at rip ", Hex{frame->rip}, " error ",
                   Hex{frame->error_code}, " cr2 ", Hex{fault_address}, " rsp ", Hex{frame->rsp},
                   "\n");
    minivmm::ExitGuest(false);
  }
  minivmm::counts[frame->vector] = minivmm::counts[frame->vector] + 1;
  if (frame->vector != minivmm::kSpuriousVector) {
    minivmm::MmioWrite<uint32_t>(minivmm::kLocalApic + minivmm::kApicEndOfInterrupt, 0);
  }
}
