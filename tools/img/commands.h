// The commands of minivmm-img. Each stands in the file that its comment names.
#ifndef MINIVMM_TOOLS_IMG_COMMANDS_H_
#define MINIVMM_TOOLS_IMG_COMMANDS_H_

#include "tools/img/arguments.h"

namespace minivmm {

extern const Command kCreateCommand;   // create.cc
extern const Command kInfoCommand;     // info.cc
extern const Command kReportCommand;   // report.cc
extern const Command kMapCommand;      // report.cc
extern const Command kCheckCommand;    // info.cc
extern const Command kSetZoneCommand;  // change.cc
extern const Command kResizeCommand;   // change.cc
extern const Command kDumpCommand;     // dump.cc
extern const Command kRestoreCommand;  // dump.cc
extern const Command kConvertCommand;  // convert.cc

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_COMMANDS_H_
