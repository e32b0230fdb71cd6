// What minivmm-io says of itself: --help, its manual page, its completion. Its commands are those
// of the table in commands.cc. Any thread.
#ifndef MINIVMM_TOOLS_IO_IO_MANUAL_H_
#define MINIVMM_TOOLS_IO_IO_MANUAL_H_

#include "blockcore/base/manual.h"

namespace minivmm {

Manual IoManual();

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IO_IO_MANUAL_H_
