// SmallFileSystem: for tests: a file system of a few bytes that the test can fill up and empty, so
// that the host's ENOSPC is the kernel's own. A tmpfs in a mount namespace of the calling thread
// and its children, who alone see it; needs no root where user namespaces are allowed.
//
//   SmallFileSystem host(1_MiB);
//   if (!host.is_there()) return;   // says why
//   ... files of host.Path("name") ...
//   host.Fill();   // every write that needs room fails from now on
//   host.Empty();
#ifndef MINIVMM_BLOCKCORE_SMALL_FILE_SYSTEM_H_
#define MINIVMM_BLOCKCORE_SMALL_FILE_SYSTEM_H_

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "blockcore/base/unique_fd.h"

namespace minivmm {

class SmallFileSystem {
 public:
  explicit SmallFileSystem(uint64_t bytes) {
    REQUIRE(::mkdtemp(path_.data()) != nullptr);
    const std::string options = "size=" + std::to_string(bytes);
    is_there_ = EnterNamespace() &&
                ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                ::mount("small", path_.c_str(), "tmpfs", 0, options.c_str()) == 0;
    if (!is_there_) MESSAGE("skipped: no mount here: ", std::strerror(errno));
  }
  ~SmallFileSystem() {
    if (is_there_) ::umount2(path_.c_str(), MNT_DETACH);
    ::rmdir(path_.c_str());
  }
  SmallFileSystem(const SmallFileSystem&) = delete;
  SmallFileSystem& operator=(const SmallFileSystem&) = delete;

  bool is_there() const { return is_there_; }
  std::string Path(const std::string& name) const { return path_ + "/" + name; }

  void Fill() const {
    const UniqueFd filler(::open(Path("filler").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    REQUIRE(filler.get() >= 0);
    const std::array<char, 4096> page{};
    while (::write(filler.get(), page.data(), page.size()) > 0) {
    }
    REQUIRE(errno == ENOSPC);
  }
  void Empty() const { REQUIRE(::unlink(Path("filler").c_str()) == 0); }

 private:
  static bool WriteFile(const char* path, const std::string& text) {
    const UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
    return ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }

  static bool EnterNamespace() {
    if (::unshare(CLONE_NEWNS) == 0) return true;
    const std::string user = "0 " + std::to_string(::getuid()) + " 1";
    const std::string group = "0 " + std::to_string(::getgid()) + " 1";
    return ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
           WriteFile("/proc/self/setgroups", "deny") && WriteFile("/proc/self/uid_map", user) &&
           WriteFile("/proc/self/gid_map", group);
  }

  std::string path_ = "/tmp/small-XXXXXX";
  bool is_there_ = false;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_SMALL_FILE_SYSTEM_H_
