#include "guest-tests/load/options.h"

#include "guest-tests/bare-metal/command_line.h"

namespace minivmm {
namespace {

using Op = LoadOptions::Op;

bool ParseWord(const char* word, LoadOptions* options) {
  if (const char* value = ValueOf(word, "op=")) {
    if (IsWord(value, "read")) return options->op = Op::kRead, true;
    if (IsWord(value, "write")) return options->op = Op::kWrite, true;
    if (IsWord(value, "exit")) return options->op = Op::kExit, true;
    return false;
  }
  if (const char* value = ValueOf(word, "size=")) return ParseNumber(value, &options->size);
  if (const char* value = ValueOf(word, "depth=")) return ParseNumber(value, &options->depth);
  if (const char* value = ValueOf(word, "queues=")) return ParseNumber(value, &options->queues);
  if (const char* value = ValueOf(word, "requests=")) return ParseNumber(value, &options->requests);
  if (const char* value = ValueOf(word, "ms=")) return ParseNumber(value, &options->ms);
  if (const char* value = ValueOf(word, "pause=")) return options->pauses = IsWord(value, "yes");
  return false;
}

}  // namespace

bool ParseOptions(const char* command_line, LoadOptions* options) {
  return ParseWords(command_line, [&](const char* word) { return ParseWord(word, options); });
}

}  // namespace minivmm
