// The words that the protocol has for blockcore's enums. Pure; any thread.
#ifndef MINIVMM_VMM_QMP_BLOCK_NAMES_H_
#define MINIVMM_VMM_QMP_BLOCK_NAMES_H_

#include <string_view>

#include "blockcore/block_request.h"
#include "blockcore/zone.h"

namespace minivmm {

std::string_view NameOf(BlockOp op);
std::string_view NameOf(BlockStatus status);
std::string_view NameOf(ZonedModel model);
std::string_view NameOf(ZoneType type);
std::string_view NameOf(ZoneCondition condition);

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_BLOCK_NAMES_H_
