// The words for what blockcore counts by number, as programs print them and clients read them:
// "zone-append", "host-managed", "implicitly-open". Pure; any thread.
#ifndef MINIVMM_BLOCKCORE_NAMES_H_
#define MINIVMM_BLOCKCORE_NAMES_H_

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

#endif  // MINIVMM_BLOCKCORE_NAMES_H_
