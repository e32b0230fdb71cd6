// What minivmm-img says of itself, made of the tables that its command line is parsed with. Pure;
// main's thread. The forms (screen, page, completion) are made by blockcore/base/manual.h.
#ifndef MINIVMM_TOOLS_IMG_MANUALS_H_
#define MINIVMM_TOOLS_IMG_MANUALS_H_

#include <span>
#include <string_view>

#include "blockcore/base/manual.h"
#include "tools/img/arguments.h"

namespace minivmm {

constexpr std::string_view kToolVersion = "0.1";

// Of the whole tool.
Manual ManualOf(std::span<const Command* const> commands);
// Of one command, for the screen.
Manual ManualOf(const Command& command);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_MANUALS_H_
