// Files and directories of one test, in Bazel's directory for them, removed with the object.
#ifndef MINIVMM_BLOCKCORE_BASE_TEMPORARY_H_
#define MINIVMM_BLOCKCORE_BASE_TEMPORARY_H_

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "blockcore/base/unique_fd.h"

namespace minivmm {

// Where a temporary thing whose name begins so may be made, as mkostemp and mkdtemp want it.
inline std::string TemporaryTemplate(const std::string& name) {
  const char* directory = std::getenv("TEST_TMPDIR");
  return std::string(directory != nullptr ? directory : "/tmp") + "/" + name + "-XXXXXX";
}

// A file full of zeroes.
class TemporaryFile {
 public:
  explicit TemporaryFile(uint64_t bytes, const std::string& name = "file")
      : path_(TemporaryTemplate(name)) {
    const UniqueFd fd(::mkostemp(path_.data(), O_CLOEXEC));
    REQUIRE(fd.get() >= 0);
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(bytes)) == 0);
  }
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() { REQUIRE(::mkdtemp(path_.data()) != nullptr); }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = TemporaryTemplate("directory");
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_TEMPORARY_H_
