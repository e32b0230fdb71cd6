// The commands of the protocol, by what they are about. Each function adds some to the table; what
// it is given outlives the table. Main thread. Names and members are QEMU's; what QEMU has not
// begins with "x-", and is query-zones:
//
//   {"execute": "query-zones",
//    "arguments": {"node-name": "d0", "offset": 0, "count": 2}}   count: 1 to 1024, else 128
//   {"return": {"node-name": "d0", "model": "host-managed", "capacity": …, "zone-size": …,
//               "zone-count": …, "max-open-zones": 0, "max-active-zones": 0, "max-append": …,
//               "write-granularity": …,                        bytes and zones; 0: no limit
//               "zones": [{"start": 0, "length": …, "capacity": …, "type": "sequential-required",
//                          "condition": "empty", "write-pointer": 0}, …],
//               "next": …}}                  offset for the next question; not there at the end
#ifndef MINIVMM_VMM_QMP_COMMAND_SETS_H_
#define MINIVMM_VMM_QMP_COMMAND_SETS_H_

#include <vector>

#include "vmm/qmp/qmp_command.h"
#include "vmm/qmp/qmp_server.h"

namespace minivmm {

class ZoneQuery;

// query-commands, query-version, query-name, query-kvm, query-status, stop, cont, system_powerdown,
// system_reset, quit.
void AddMachineCommands(QmpCommands& commands, const QmpTarget& target);

// query-block, query-named-block-nodes, query-blockstats, block_resize (disks grow, and are not
// zoned), blockdev-add, blockdev-del.
void AddBlockCommands(QmpCommands& commands, const QmpTarget& target);

// query-zones. Its report is a request to the disk, and is counted with those of the guest.
void AddZoneCommands(QmpCommands& commands, const QmpTarget& target, ZoneQuery& query);

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_COMMAND_SETS_H_
