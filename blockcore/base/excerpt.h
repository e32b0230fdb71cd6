// Text that somebody gave (a command line, a file, a control client), for use in a message.
#ifndef MINIVMM_BLOCKCORE_BASE_EXCERPT_H_
#define MINIVMM_BLOCKCORE_BASE_EXCERPT_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace minivmm {

// The text on one line, at most `max_bytes` of it with the "…" that stands for a cut-off end;
// control characters become '?'. UTF-8 stays UTF-8: nothing is cut within a character. At least 3
// bytes. Any thread.
std::string Excerpt(std::string_view text, size_t max_bytes = 80);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_EXCERPT_H_
