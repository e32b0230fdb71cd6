// Words and numbers as minivmm-img prints them. Pure; any thread.
#ifndef MINIVMM_TOOLS_IMG_TEXT_H_
#define MINIVMM_TOOLS_IMG_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "blockcore/zone.h"

namespace minivmm {

// "256 MiB"; at most two decimals.
std::string FormatSize(uint64_t bytes);

std::string_view ConditionShort(ZoneCondition condition);  // "oi", as blkzone has it
std::string_view TypeName(ZoneType type);                  // "SEQ_WRITE_REQUIRED"

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_TEXT_H_
