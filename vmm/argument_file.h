// @FILE arguments: each is replaced by the words of the file, before anything is made of them.
// Words are separated as a shell does it: blanks and line ends separate, '…' keeps everything, "…"
// keeps blanks, a backslash keeps what follows, # begins a comment. A file may name further ones.
// Pure but for the reader.
#ifndef MINIVMM_VMM_ARGUMENT_FILE_H_
#define MINIVMM_VMM_ARGUMENT_FILE_H_

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/result.h"

namespace minivmm {

// The whole content of a text file. The error says which file, and why not.
using FileReader = std::function<Result<std::string>(const std::string& path)>;

// The FileReader for real files, of at most 1 MiB.
Result<std::string> ReadTextFile(const std::string& path);

Result<std::vector<std::string>> SplitWords(std::string_view text);

// Fails when there are more than 64 files or 10,000 words in all, so that files that name each
// other come to an end.
Result<std::vector<std::string>> ExpandArgumentFiles(std::span<const char* const> arguments,
                                                     const FileReader& read);

}  // namespace minivmm

#endif  // MINIVMM_VMM_ARGUMENT_FILE_H_
