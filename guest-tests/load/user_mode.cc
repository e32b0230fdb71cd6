#include "guest-tests/load/user_mode.h"

#include <cstdint>

#include "guest-tests/bare-metal/interrupts.h"

extern "C" {
extern uint64_t page_map_level4[512];       // boot.S
extern const char undefined_instruction[];  // user_mode_switch.S
}

namespace minivmm {
namespace {

constexpr uint64_t kPagePresent = 1;
constexpr uint64_t kPageUser = 4;
constexpr uint64_t kPageLarge = 1 << 7;
constexpr uint64_t kPageAddressMask = 0x000f'ffff'ffff'f000;

constexpr uint8_t kUndefinedInstruction = 6;
constexpr uint16_t kTaskSelector = 0x28;

// Where the CPU finds its stack when an interrupt or exception leaves user mode.
struct [[gnu::packed]] TaskState {
  uint32_t reserved;
  uint64_t stack;
  uint8_t others[92];
};
static_assert(sizeof(TaskState) == 104);

struct [[gnu::packed]] TablePointer {
  uint16_t limit;
  uint64_t base;
};

TaskState task_state;
alignas(16) uint8_t interrupt_stack[4096];
uint64_t segments[] = {
    0,
    0x00af'9b00'0000'ffff,  // 0x08: code, as in boot.S
    0x00cf'9300'0000'ffff,  // 0x10: data
    0x00cf'f300'0000'ffff,  // 0x18: user data
    0x00af'fb00'0000'ffff,  // 0x20: user code
    0,                      // 0x28: the task state, two entries long
    0,
};

void OpenPages(uint64_t* table, int level) {
  for (int i = 0; i < 512; ++i) {
    if ((table[i] & kPagePresent) == 0) continue;
    table[i] |= kPageUser;
    if (level > 1 && (table[i] & kPageLarge) == 0) {
      OpenPages(reinterpret_cast<uint64_t*>(table[i] & kPageAddressMask), level - 1);
    }
  }
}

}  // namespace

void PrepareUserMode() {
  OpenPages(page_map_level4, 4);
  asm volatile("mov %0, %%cr3" : : "r"(page_map_level4) : "memory");  // forgets cached translations

  task_state.stack = reinterpret_cast<uint64_t>(interrupt_stack + sizeof(interrupt_stack));
  const auto task = reinterpret_cast<uint64_t>(&task_state);
  segments[kTaskSelector / 8] = (sizeof(TaskState) - 1) | (task & 0xff'ffff) << 16 |
                                uint64_t{0x89} << 40 | (task >> 24 & 0xff) << 56;
  segments[kTaskSelector / 8 + 1] = task >> 32;
  const TablePointer pointer{sizeof(segments) - 1, reinterpret_cast<uint64_t>(segments)};
  asm volatile("lgdt %0" : : "m"(pointer));
  asm volatile("ltr %0" : : "r"(kTaskSelector));

  SetInterruptEntry(kUndefinedInstruction, undefined_instruction);
}

}  // namespace minivmm
