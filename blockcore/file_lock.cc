#include "blockcore/file_lock.h"

#include <fcntl.h>

#include <cerrno>
#include <chrono>
#include <thread>

namespace minivmm {
namespace {

constexpr std::chrono::milliseconds kPatience{500};
constexpr std::chrono::milliseconds kRetry{10};

}  // namespace

int LockWholeFile(int fd, FileUse use) {
  struct flock lock {};
  lock.l_type = use == FileUse::kShared ? F_RDLCK : F_WRLCK;
  lock.l_whence = SEEK_SET;
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (::fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    if (errno != EAGAIN && errno != EACCES) return errno;
    if (std::chrono::steady_clock::now() >= give_up) return EAGAIN;
    std::this_thread::sleep_for(kRetry);
  }
  return 0;
}

}  // namespace minivmm
