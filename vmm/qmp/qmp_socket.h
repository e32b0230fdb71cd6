// QmpSocket: one --qmp of the command line: where a control client is served. Filled by the command
// line, read by QmpServer. A value; any thread.
#ifndef MINIVMM_VMM_QMP_QMP_SOCKET_H_
#define MINIVMM_VMM_QMP_QMP_SOCKET_H_

#include <string>

namespace minivmm {

struct QmpSocket {
  bool stdio = false;  // standard input and output; `path` and `wait` mean nothing then
  std::string path;    // of the unix socket, which minivmm makes
  bool wait = true;    // the guest does not start before a client has come
  std::string text;    // as the user wrote it, for messages
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_QMP_SOCKET_H_
