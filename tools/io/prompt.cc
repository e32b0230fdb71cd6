#include "tools/io/prompt.h"

#include <editline/readline.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

namespace minivmm {
namespace {

struct Free {
  void operator()(char* text) const { std::free(text); }
};
using Line = std::unique_ptr<char, Free>;

// One name after the other that begins with `text`; libedit asks until null.
char* NextCompletion(const char* text, int state) {
  static size_t next = 0;
  if (state == 0) next = 0;
  const auto commands = IoCommands();
  while (next < commands.size()) {
    const std::string name(commands[next++].name);
    if (name.starts_with(text)) return ::strdup(name.c_str());
  }
  return nullptr;
}

// Names of commands stand at the beginning and behind `help`; elsewhere nothing is completed.
char** CompleteWord(const char* text, int start, int) {
  ::rl_attempted_completion_over = 1;
  const std::string before(::rl_line_buffer, static_cast<size_t>(start));
  if (start != 0 && before != "help ") return nullptr;
  return ::rl_completion_matches(text, NextCompletion);
}

}  // namespace

void RunPrompt(IoSession& session) {
  static char name[] = "minivmm-io";
  ::rl_readline_name = name;
  ::rl_attempted_completion_function = CompleteWord;
  ::using_history();
  while (!session.ended()) {
    std::fflush(stdout);
    const Line line(::readline("minivmm-io> "));
    if (line == nullptr) {
      std::puts("");
      break;
    }
    if (line.get()[0] != '\0') ::add_history(line.get());
    session.Run(line.get());
  }
}

void RunLines(IoSession& session) {
  char* memory = nullptr;
  size_t size = 0;
  while (!session.ended()) {
    const ssize_t length = ::getline(&memory, &size, stdin);
    if (length < 0) break;
    session.Run({memory, static_cast<size_t>(length)});
    std::fflush(stdout);
  }
  std::free(memory);
}

}  // namespace minivmm
