// UniqueFd owns one file descriptor and closes it. Move-only; any thread, one at a time.
#ifndef MINIVMM_BLOCKCORE_BASE_UNIQUE_FD_H_
#define MINIVMM_BLOCKCORE_BASE_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace minivmm {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~UniqueFd() { Close(); }

  // -1 when nothing is owned.
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  void Close() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd_ = -1;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_UNIQUE_FD_H_
