// The lines that minivmm-io is given on standard input: typed at a prompt, with editing, a history
// and completion of commands' names by libedit, or read as they come when it is no terminal. Main's
// thread; one at a time.
#ifndef MINIVMM_TOOLS_IO_PROMPT_H_
#define MINIVMM_TOOLS_IO_PROMPT_H_

#include "tools/io/session.h"

namespace minivmm {

// Until the input or the session ends.
void RunPrompt(IoSession& session);
void RunLines(IoSession& session);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IO_PROMPT_H_
