// The commands of minivmm-io, each in the file that its comment names, and what they share. On the
// session's thread.
#ifndef MINIVMM_TOOLS_IO_COMMANDS_H_
#define MINIVMM_TOOLS_IO_COMMANDS_H_

#include <string>

#include "blockcore/base/result.h"
#include "tools/io/command.h"
#include "tools/io/session.h"
#include "tools/io/transfer.h"

namespace minivmm {

// commands_zone.cc
bool RunZoneReport(IoSession& session, const CommandArguments& arguments);
bool RunZoneOpen(IoSession& session, const CommandArguments& arguments);
bool RunZoneClose(IoSession& session, const CommandArguments& arguments);
bool RunZoneFinish(IoSession& session, const CommandArguments& arguments);
bool RunZoneReset(IoSession& session, const CommandArguments& arguments);
bool RunZoneAppend(IoSession& session, const CommandArguments& arguments);

// commands_data.cc
bool RunRead(IoSession& session, const CommandArguments& arguments);
bool RunReadv(IoSession& session, const CommandArguments& arguments);
bool RunAioRead(IoSession& session, const CommandArguments& arguments);
bool RunWrite(IoSession& session, const CommandArguments& arguments);
bool RunWritev(IoSession& session, const CommandArguments& arguments);
bool RunAioWrite(IoSession& session, const CommandArguments& arguments);
bool RunAioFlush(IoSession& session, const CommandArguments& arguments);
bool RunDiscard(IoSession& session, const CommandArguments& arguments);
bool RunFlush(IoSession& session, const CommandArguments& arguments);

// commands_disk.cc
bool RunAlloc(IoSession& session, const CommandArguments& arguments);
bool RunInfo(IoSession& session, const CommandArguments& arguments);
bool RunLength(IoSession& session, const CommandArguments& arguments);
bool RunMap(IoSession& session, const CommandArguments& arguments);
bool RunSleep(IoSession& session, const CommandArguments& arguments);

// commands.cc
bool RunHelp(IoSession& session, const CommandArguments& arguments);
bool RunQuit(IoSession& session, const CommandArguments& arguments);

// commands_bench.cc
bool RunBench(IoSession& session, const CommandArguments& arguments);

// Offset and lengths of a command `off len [len..]`; checks nothing but that they are numbers, and
// that what moves data has at most as many bytes as one request can.
enum class Buffers { kOne, kMany };
Result<TransferPlan> ParseTransfer(BlockOp op, Buffers buffers, const CommandArguments& arguments);

// Its memory, filled as -P or -s say. False after it has printed why not.
bool FillBuffer(IoSession& session, const CommandArguments& arguments, TransferPlan& plan);

// Why it failed.
std::string ExplainTransfer(IoSession& session, const Transfer& transfer);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IO_COMMANDS_H_
