// --qmp: where a control client meets minivmm. QEMU's forms for a listening UNIX socket, and stdio.
// Pure; called by ParseCommandLine.
#ifndef MINIVMM_VMM_QMP_OPTION_H_
#define MINIVMM_VMM_QMP_OPTION_H_

#include <string_view>

#include "blockcore/base/result.h"
#include "vmm/qmp/qmp_socket.h"

namespace minivmm {

Result<QmpSocket> ParseQmpSocket(std::string_view text);

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_OPTION_H_
