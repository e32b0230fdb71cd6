// The manual of minivmm: --help, its page in section 1, and completion come from here, and this in
// turn from the tables that the command line is parsed with. Pure.
#ifndef MINIVMM_VMM_COMMAND_LINE_MANUAL_H_
#define MINIVMM_VMM_COMMAND_LINE_MANUAL_H_

#include "blockcore/base/manual.h"

namespace minivmm {

Manual BuildManual();

}  // namespace minivmm

#endif  // MINIVMM_VMM_COMMAND_LINE_MANUAL_H_
