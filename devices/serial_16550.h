// Serial16550: a 16550A UART as guests know it at 0x3f8, with the host's console at its other end.
// vCPU threads access the eight registers, the main thread feeds input. Transmission takes no time:
// the transmitter is always empty.
//
//   offset  read             write            with DLAB (LCR bit 7)
//     0     received byte    byte to send     divisor, low
//     1     IER              IER              divisor, high
//     2     IIR              FCR
//     3, 4  LCR, MCR         LCR, MCR
//     5, 6  LSR, MSR         -
//     7     scratch          scratch
//
// Output is collected and handed over in pieces: at each newline, when 1 KiB is waiting, and when
// the driver writes IER (Linux does so at the end of each burst, so that a prompt shows); whoever
// owns the console calls FlushOutput at the end, and when it can take again what it did not. Input
// that finds the receiver's FIFO full is refused; input_room says when to offer it again.
//
// Baud rate, parity and modem lines mean nothing here.
#ifndef MINIVMM_DEVICES_SERIAL_16550_H_
#define MINIVMM_DEVICES_SERIAL_16550_H_

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "pci/io_handler.h"

namespace minivmm {

// What the UART needs from the machine. None of them may call back into it.
struct SerialCallbacks {
  // Writes bytes out; one call at a time, in order, on a thread that completed a piece or called
  // FlushOutput. No lock is held: it may block, and then blocks the guest that sends more. Returns
  // how many it took, from the front; the rest waits for the next piece or FlushOutput.
  std::function<size_t(std::string_view bytes)> write_output;
  // An edge on the interrupt line: each time that a reason to interrupt arises. Any thread, lock
  // held: an eventfd's Notify.
  std::function<void()> raise_interrupt;
  // After AcceptInput has refused bytes: there is room again. vCPU thread, lock held: it must not
  // wait for anything that the main thread does.
  std::function<void()> input_room;
};

class Serial16550 final : public IoHandler {
 public:
  static constexpr uint64_t kPorts = 8;

  explicit Serial16550(SerialCallbacks callbacks);

  // Accesses of several bytes are accesses to several registers, in rising order.
  void Read(uint64_t offset, std::span<std::byte> data) override;
  void Write(uint64_t offset, std::span<const std::byte> data) override;

  // How many of `bytes`, from the front, went into the receiver; the caller keeps the rest until
  // input_room. Main thread.
  size_t AcceptInput(std::string_view bytes);
  // Hands over what waits for its newline, or was not taken; if another thread is in write_output,
  // that one does. Any thread.
  void FlushOutput();

 private:
  static constexpr size_t kFifoBytes = 16;
  static constexpr size_t kOutputBytes = 1024;

  // All below: lock held.
  uint8_t ReadRegister(uint64_t offset);
  void WriteRegister(uint64_t offset, uint8_t value, std::unique_lock<std::mutex>& lock);
  void Send(uint8_t byte, std::unique_lock<std::mutex>& lock);
  void Flush(std::unique_lock<std::mutex>& lock);
  size_t ReceiverRoom() const;
  void Receive(uint8_t byte);
  uint8_t TakeReceived();
  uint8_t ModemStatus() const;
  // The reasons to interrupt, as bits of IER.
  uint8_t Reasons() const;
  uint8_t IdentifyInterrupt();
  // Signals the reasons that have come up since the last time.
  void UpdateInterrupt();

  const SerialCallbacks callbacks_;
  std::mutex mutex_;

  uint16_t divisor_ = 12;  // 9600 baud
  uint8_t ier_ = 0;
  uint8_t fcr_ = 0;
  uint8_t lcr_ = 0;
  uint8_t mcr_ = 0;
  uint8_t scratch_ = 0;
  uint8_t line_errors_ = 0;
  uint8_t modem_changes_ = 0;
  bool transmitter_emptied_ = false;  // the interrupt for it was not yet acknowledged
  uint8_t signalled_reasons_ = 0;

  std::array<uint8_t, kFifoBytes> received_;
  size_t received_first_ = 0;
  size_t received_count_ = 0;
  bool input_refused_ = false;

  std::string output_;
  bool flushing_ =
      false;  // some thread is in write_output, and will take along what comes meanwhile
  std::condition_variable flushed_;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_SERIAL_16550_H_
