// The table of commands, and help and quit, which are about it.
#include "tools/io/commands.h"

#include "blockcore/options.h"

namespace minivmm {
namespace {

constexpr std::string_view kNoVmState = "there is no VM state in a disk";
constexpr std::string_view kNoInvalidRequests = "requests are not counted as invalid on demand";

constexpr IoCommand kCommands[] = {
    {.name = "aio_flush",
     .alias = {},
     .arguments = "",
     .summary = "waits for all aio_read and aio_write commands",
     .details = "Reports each that has not been reported yet. Nothing is brought to stable\n"
                "storage by it: that is what flush does.",
     .run = RunAioFlush},
    {.name = "aio_read",
     .alias = {},
     .arguments = "[-Cqv] [-P pattern] off len [len..]",
     .summary = "starts a read and does not wait for it",
     .details = "Like readv, but the next command does not wait. Any number may be under way;\n"
                "what became of them is printed before a later command, by aio_flush or at\n"
                "the end. One that fails counts for the exit status.\n\n"
                "    aio_read -P 0xcd 64k 4k 4k",
     .options = "CqvP:",
     .refused = "i",
     .refused_because = kNoInvalidRequests,
     .min_words = 2,
     .max_words = -1,
     .run = RunAioRead},
    {.name = "aio_write",
     .alias = {},
     .arguments = "[-Cfquz] [-P pattern | -s file] off len [len..]",
     .summary = "starts a write and does not wait for it",
     .details = "Like writev, but the next command does not wait; see aio_read. With -z there\n"
                "is one length.",
     .options = "CfquzP:s:",
     .refused = "i",
     .refused_because = kNoInvalidRequests,
     .min_words = 2,
     .max_words = -1,
     .run = RunAioWrite},
    {.name = "alloc",
     .alias = {},
     .arguments = "offset [count]",
     .summary = "counts the bytes of a range that have been written",
     .details = "Below a zone's write pointer they have. Of a disk without zones all have.",
     .min_words = 1,
     .max_words = 2,
     .run = RunAlloc},
    {.name = "bench",
     .alias = {},
     .arguments = "[-aCrw] [-b size] [-d depth] [-n count] [-P pattern] [-z zones] [off [len]]",
     .summary = "measures reads, writes or appends, many at a time",
     .details = "Reads the range (the whole disk) from its beginning on and over again, and says\n"
                "how fast that was.\n\n"
                "-w  writes; in sequential zones from their write pointers on\n"
                "-a  appends to the sequential zones\n"
                "-r  at random places instead of in order\n"
                "-b  bytes of a request (4k)\n"
                "-d  requests at a time (32)\n"
                "-n  requests in all (10000); fewer if the zones are full before\n"
                "-z  zones at a time, in turn (1)\n"
                "-P  the byte to write (0xcd)\n"
                "-C  one line with commas, for scripts\n\n"
                "    bench -a -b 16k -d 64 -z 8",
     .options = "aCrwb:d:n:P:z:",
     .min_words = 0,
     .max_words = 2,
     .run = RunBench},
    {.name = "discard",
     .alias = "d",
     .arguments = "[-Cq] off len",
     .summary = "gives up the content of a range",
     .details = "Where the disk has no discard, or was opened with --discard=ignore, this fails\n"
                "and says so.",
     .options = "Cq",
     .min_words = 2,
     .max_words = 2,
     .run = RunDiscard},
    {.name = "flush",
     .alias = "f",
     .arguments = "",
     .summary = "brings all that was written to stable storage",
     .details = "",
     .run = RunFlush},
    {.name = "help",
     .alias = "?",
     .arguments = "[command]",
     .summary = "explains a command, or lists all",
     .details = "",
     .min_words = 0,
     .max_words = 1,
     .needs_disk = false,
     .run = RunHelp},
    {.name = "info",
     .alias = "i",
     .arguments = "",
     .summary = "shows what the disk is: its driver, blocks and zones",
     .details = "",
     .run = RunInfo},
    {.name = "length",
     .alias = "l",
     .arguments = "",
     .summary = "shows the size of the disk",
     .details = "",
     .run = RunLength},
    {.name = "map",
     .alias = {},
     .arguments = "",
     .summary = "shows which parts of the disk have been written",
     .details = "A line for each run of bytes below, and each above the write pointers. A disk\n"
                "without zones counts as written.",
     .run = RunMap},
    {.name = "quit",
     .alias = "q",
     .arguments = "",
     .summary = "ends the program",
     .details = "It waits for the aio_ commands that are under way.",
     .needs_disk = false,
     .run = RunQuit},
    {.name = "read",
     .alias = "r",
     .arguments = "[-Cqv] [-P pattern [-s off] [-l len]] off len",
     .summary = "reads bytes",
     .details = "-P  fails unless all bytes are this one; -s and -l choose the part to compare\n"
                "-v  prints what was read\n"
                "-q  prints nothing but errors\n"
                "-C  one line with commas: bytes, operations, time, bytes/s, operations/s\n"
                "-p  does nothing\n\n"
                "    read -v 512 1k",
     .options = "CpqvP:s:l:",
     .refused = "b",
     .refused_because = kNoVmState,
     .min_words = 2,
     .max_words = 2,
     .run = RunRead},
    {.name = "readv",
     .alias = {},
     .arguments = "[-Cqv] [-P pattern] off len [len..]",
     .summary = "reads bytes into several buffers",
     .details = "One request with a buffer for each length. Options as for read.\n\n"
                "    readv -v 512 1k 1k",
     .options = "CqvP:",
     .min_words = 2,
     .max_words = -1,
     .run = RunReadv},
    {.name = "sleep",
     .alias = {},
     .arguments = "milliseconds",
     .summary = "waits",
     .details = "",
     .min_words = 1,
     .max_words = 1,
     .needs_disk = false,
     .run = RunSleep},
    {.name = "write",
     .alias = "w",
     .arguments = "[-Cfnquz] [-P pattern | -s file] off len",
     .summary = "writes bytes",
     .details = "Into a sequential zone only at its write pointer.\n\n"
                "-P  the byte to write (0xcd)\n"
                "-s  writes the bytes of this file, over and over\n"
                "-z  writes zeroes\n"
                "-u  with -z: their space may be given back\n"
                "-n  with -z: fails unless the disk can do it by itself\n"
                "-f  is not done before the bytes are on stable storage\n"
                "-q  prints nothing but errors\n"
                "-C  one line with commas: bytes, operations, time, bytes/s, operations/s\n"
                "-p  does nothing\n\n"
                "    write -P 0x41 1M 64k",
     .options = "CfnpquzP:s:",
     .refused = "bc",
     .refused_because = "VM state and compression are not in these disks",
     .min_words = 2,
     .max_words = 2,
     .run = RunWrite},
    {.name = "writev",
     .alias = {},
     .arguments = "[-Cfq] [-P pattern | -s file] off len [len..]",
     .summary = "writes bytes from several buffers",
     .details = "One request with a buffer for each length. Options as for write.\n\n"
                "    writev -P 0x41 1M 4k 4k 512",
     .options = "CfqP:s:",
     .min_words = 2,
     .max_words = -1,
     .run = RunWritev},
    {.name = "zone_append",
     .alias = "zap",
     .arguments = "[-p] [-P pattern | -s file] off len [len..]",
     .summary = "appends bytes to the zone that begins at an offset",
     .details = "All lengths together are one append. The disk chooses the place.\n\n"
                "-p  prints the sector where the bytes begin\n"
                "-P  the byte to write (0xcd)\n"
                "-s  writes the bytes of this file, over and over\n\n"
                "    zap -p 0x10000000 4k 8k",
     .options = "pP:s:",
     .min_words = 2,
     .max_words = -1,
     .run = RunZoneAppend},
    {.name = "zone_close",
     .alias = "zc",
     .arguments = "offset len",
     .summary = "closes open zones",
     .details = "The range is whole zones, done in turn; the first that cannot be closed ends it.\n"
                "A zone that nothing was written to is empty again.",
     .min_words = 2,
     .max_words = 2,
     .run = RunZoneClose},
    {.name = "zone_finish",
     .alias = "zf",
     .arguments = "offset len",
     .summary = "makes zones full",
     .details = "The range is whole zones, done in turn; the first that cannot be finished ends\n"
                "it. What was not written reads as zeroes.",
     .min_words = 2,
     .max_words = 2,
     .run = RunZoneFinish},
    {.name = "zone_open",
     .alias = "zo",
     .arguments = "offset len",
     .summary = "opens zones explicitly",
     .details = "The range is whole zones, done in turn; the first that cannot be opened, say\n"
                "because as many are open as may be, ends it, and the line says which are open.",
     .min_words = 2,
     .max_words = 2,
     .run = RunZoneOpen},
    {.name = "zone_report",
     .alias = "zrp",
     .arguments = "offset number",
     .summary = "lists zones, from that which holds the offset on",
     .details = "A line for each, in sectors of 512 bytes:\n\n"
                "    start: 0x8000, len 0x2000, cap 0x1800, wptr 0x8000, zcond:1, [type: 2]\n\n"
                "zcond: 0 conventional, 1 empty, 2 implicitly open, 3 explicitly open, 4 closed,\n"
                "13 read-only, 14 full, 15 offline. type: 1 conventional, 2 written in order,\n"
                "3 better written in order.",
     .min_words = 2,
     .max_words = 2,
     .run = RunZoneReport},
    {.name = "zone_reset",
     .alias = "zrs",
     .arguments = "offset len",
     .summary = "empties zones",
     .details = "The range is whole zones, done in turn; the first that cannot be reset ends it.\n"
                "The whole disk is reset in one, and its conventional zones stay as they are.",
     .min_words = 2,
     .max_words = 2,
     .run = RunZoneReset},
};

}  // namespace

std::span<const IoCommand> IoCommands() { return kCommands; }

bool RunHelp(IoSession& session, const CommandArguments& arguments) {
  if (arguments.words.empty()) {
    for (const IoCommand& command : IoCommands()) session.PrintText(CommandUsage(command));
    session.PrintText("\nUse 'help commandname' for extended help.\n");
    return true;
  }
  const IoCommand* command = FindIoCommand(arguments.words[0]);
  if (command == nullptr) return session.Fails("command {} not found", arguments.words[0]);
  session.PrintText(CommandUsage(*command));
  if (!command->alias.empty()) session.Print("\nShort: {}\n", command->alias);
  if (!command->details.empty()) session.Print("\n{}\n\n", command->details);
  return true;
}

bool RunQuit(IoSession& session, const CommandArguments&) {
  session.End();
  return true;
}

}  // namespace minivmm
