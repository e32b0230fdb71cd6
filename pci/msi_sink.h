// MsiSink: where a function's MSI-X messages go. vmm implements it with one eventfd per vector and
// KVM's irqfd; tests record calls. A vector is signalled by writing its eventfd, from any thread,
// without a lock; masking disconnects the eventfd from KVM, so that it becomes the pending bit.
#ifndef MINIVMM_PCI_MSI_SINK_H_
#define MINIVMM_PCI_MSI_SINK_H_

#include <cstdint>

#include "blockcore/base/event_fd.h"
#include "blockcore/base/result.h"

namespace minivmm {

struct MsiMessage {
  uint64_t address = 0;
  uint32_t data = 0;

  bool operator==(const MsiMessage&) const = default;
};

class MsiSink {
 public:
  virtual ~MsiSink() = default;

  // The eventfd of a vector, constant for the sink's life. `vector` < the number of vectors the
  // sink was made for.
  virtual const EventFd& interrupt(uint16_t vector) const = 0;

  // Routes the vector's eventfd to `message`; what was signalled while disconnected is delivered
  // now. Connecting again with another message replaces the route.
  virtual Result<void> Connect(uint16_t vector, MsiMessage message) = 0;
  // From now on signals stay in the eventfd. No effect when not connected.
  virtual void Disconnect(uint16_t vector) = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_PCI_MSI_SINK_H_
