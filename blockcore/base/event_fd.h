// EventFd: one eventfd(2), the only way in which threads and KVM wake each other here. Doorbells
// (KVM's ioeventfd writes, an I/O thread reads) and interrupts (an I/O thread writes, KVM's irqfd
// reads) are of this type.
#ifndef MINIVMM_BLOCKCORE_BASE_EVENT_FD_H_
#define MINIVMM_BLOCKCORE_BASE_EVENT_FD_H_

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>

#include "blockcore/base/result.h"
#include "blockcore/base/unique_fd.h"

namespace minivmm {

class EventFd {
 public:
  // Non-blocking and close-on-exec. Fails when the process is out of descriptors.
  static Result<EventFd> Create() {
    int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return Fail("cannot create an eventfd: {}", ErrnoText(errno));
    return EventFd(UniqueFd(fd));
  }

  int fd() const { return fd_.get(); }

  // Any thread. Adds one to the count; a full counter is as good as a signal and is ignored.
  void Notify() const {
    uint64_t one = 1;
    [[maybe_unused]] ssize_t written = ::write(fd_.get(), &one, sizeof(one));
  }

  // Takes the whole count; returns it, 0 when nothing was signalled.
  uint64_t Drain() const {
    uint64_t count = 0;
    return ::read(fd_.get(), &count, sizeof(count)) == sizeof(count) ? count : 0;
  }

  bool IsSet() const {
    pollfd poll_fd{fd_.get(), POLLIN, 0};
    return ::poll(&poll_fd, 1, 0) == 1;
  }

 private:
  explicit EventFd(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_EVENT_FD_H_
