#include "devices/serial_16550.h"

#include <algorithm>
#include <utility>

namespace minivmm {
namespace {

// Names as in the data sheet of National Semiconductor's PC16550D.
constexpr uint64_t kData = 0;               // RBR, THR; DLL with DLAB
constexpr uint64_t kInterruptEnable = 1;    // IER; DLM with DLAB
constexpr uint64_t kInterruptIdentity = 2;  // IIR, FCR
constexpr uint64_t kLineControl = 3;        // LCR
constexpr uint64_t kModemControl = 4;       // MCR
constexpr uint64_t kLineStatus = 5;         // LSR
constexpr uint64_t kModemStatus = 6;        // MSR
constexpr uint64_t kScratch = 7;            // SCR

constexpr uint8_t kIerReceived = 1;
constexpr uint8_t kIerTransmitterEmpty = 2;
constexpr uint8_t kIerLineStatus = 4;
constexpr uint8_t kIerModemStatus = 8;
constexpr uint8_t kIerAll = 0x0f;

constexpr uint8_t kIirModemStatus = 0x00;
constexpr uint8_t kIirNone = 0x01;
constexpr uint8_t kIirTransmitterEmpty = 0x02;
constexpr uint8_t kIirReceived = 0x04;
constexpr uint8_t kIirLineStatus = 0x06;
constexpr uint8_t kIirFifosEnabled = 0xc0;

constexpr uint8_t kFcrEnable = 1;
constexpr uint8_t kFcrClearReceiver = 2;

constexpr uint8_t kLcrDivisorAccess = 0x80;

constexpr uint8_t kMcrDtr = 0x01;
constexpr uint8_t kMcrRts = 0x02;
constexpr uint8_t kMcrOut1 = 0x04;
constexpr uint8_t kMcrOut2 = 0x08;
constexpr uint8_t kMcrLoop = 0x10;
constexpr uint8_t kMcrAll = 0x1f;

constexpr uint8_t kLsrDataReady = 0x01;
constexpr uint8_t kLsrOverrun = 0x02;
constexpr uint8_t kLsrTransmitterEmpty = 0x60;  // holding register and shift register

constexpr uint8_t kMsrRingEnded = 0x04;
constexpr uint8_t kMsrCts = 0x10;
constexpr uint8_t kMsrDsr = 0x20;
constexpr uint8_t kMsrRing = 0x40;
constexpr uint8_t kMsrCarrier = 0x80;

}  // namespace

Serial16550::Serial16550(SerialCallbacks callbacks) : callbacks_(std::move(callbacks)) {
  output_.reserve(kOutputBytes);
}

void Serial16550::Read(uint64_t offset, std::span<std::byte> data) {
  std::lock_guard lock(mutex_);
  for (std::byte& byte : data) byte = std::byte{ReadRegister(offset++)};
}

void Serial16550::Write(uint64_t offset, std::span<const std::byte> data) {
  std::unique_lock lock(mutex_);
  for (std::byte byte : data) WriteRegister(offset++, static_cast<uint8_t>(byte), lock);
}

uint8_t Serial16550::ReadRegister(uint64_t offset) {
  bool divisor_access = (lcr_ & kLcrDivisorAccess) != 0;
  uint8_t value = 0;
  switch (offset) {
    case kData:
      value = divisor_access ? static_cast<uint8_t>(divisor_) : TakeReceived();
      break;
    case kInterruptEnable:
      value = divisor_access ? static_cast<uint8_t>(divisor_ >> 8) : ier_;
      break;
    case kInterruptIdentity:
      value = IdentifyInterrupt();
      break;
    case kLineControl:
      value = lcr_;
      break;
    case kModemControl:
      value = mcr_;
      break;
    case kLineStatus:
      value = kLsrTransmitterEmpty | std::exchange(line_errors_, 0);
      if (received_count_ != 0) value |= kLsrDataReady;
      break;
    case kModemStatus:
      value = ModemStatus() | std::exchange(modem_changes_, 0);
      break;
    case kScratch:
      value = scratch_;
      break;
  }
  UpdateInterrupt();
  return value;
}

void Serial16550::WriteRegister(uint64_t offset, uint8_t value,
                                std::unique_lock<std::mutex>& lock) {
  bool divisor_access = (lcr_ & kLcrDivisorAccess) != 0;
  switch (offset) {
    case kData:
      if (divisor_access) {
        divisor_ = static_cast<uint16_t>((divisor_ & 0xff00) | value);
      } else {
        Send(value, lock);
      }
      break;
    case kInterruptEnable:
      if (divisor_access) {
        divisor_ = static_cast<uint16_t>((divisor_ & 0x00ff) | value << 8);
        break;
      }
      // The transmitter is empty at all times: asking for the interrupt brings it at once.
      if ((value & ~ier_ & kIerTransmitterEmpty) != 0) transmitter_emptied_ = true;
      ier_ = value & kIerAll;
      UpdateInterrupt();
      Flush(lock);
      break;
    case kInterruptIdentity:
      // Switching the FIFOs on or off empties them too.
      if ((value & kFcrClearReceiver) != 0 || ((value ^ fcr_) & kFcrEnable) != 0) {
        received_count_ = 0;
        if (std::exchange(input_refused_, false)) callbacks_.input_room();
      }
      fcr_ = value & kFcrEnable;
      break;
    case kLineControl:
      lcr_ = value;
      break;
    case kModemControl: {
      uint8_t before = ModemStatus();
      mcr_ = value & kMcrAll;
      uint8_t changed = before ^ ModemStatus();
      modem_changes_ |= (changed & (kMsrCts | kMsrDsr | kMsrCarrier)) >> 4;
      if ((changed & before & kMsrRing) != 0) modem_changes_ |= kMsrRingEnded;
      // Loopback refuses input.
      if ((mcr_ & kMcrLoop) == 0 && std::exchange(input_refused_, false)) callbacks_.input_room();
      break;
    }
    case kScratch:
      scratch_ = value;
      break;
  }
  UpdateInterrupt();
}

void Serial16550::Send(uint8_t byte, std::unique_lock<std::mutex>& lock) {
  transmitter_emptied_ = true;
  if ((mcr_ & kMcrLoop) != 0) {
    Receive(byte);
    return;
  }
  // The guest writes on while another thread is stuck in write_output: it must wait, or the buffer
  // would grow without bound.
  while (output_.size() >= kOutputBytes && flushing_) flushed_.wait(lock);
  output_.push_back(static_cast<char>(byte));
  if (byte == '\n' || output_.size() >= kOutputBytes) {
    // The driver need not wait for the host's console to learn that it may send more.
    UpdateInterrupt();
    Flush(lock);
  }
}

void Serial16550::Flush(std::unique_lock<std::mutex>& lock) {
  if (flushing_) return;
  flushing_ = true;
  while (!output_.empty()) {
    std::string piece;
    piece.reserve(kOutputBytes);
    piece.swap(output_);
    flushed_.notify_all();
    lock.unlock();
    const size_t taken = callbacks_.write_output(piece);
    lock.lock();
    if (taken == piece.size()) continue;
    output_.insert(0, piece, taken);
    break;
  }
  flushing_ = false;
  flushed_.notify_all();
}

void Serial16550::FlushOutput() {
  std::unique_lock lock(mutex_);
  Flush(lock);
}

size_t Serial16550::ReceiverRoom() const {
  size_t size = (fcr_ & kFcrEnable) != 0 ? kFifoBytes : 1;
  return size - received_count_;
}

size_t Serial16550::AcceptInput(std::string_view bytes) {
  std::lock_guard lock(mutex_);
  // In loopback mode the receiver is cut off from the line.
  size_t room = (mcr_ & kMcrLoop) != 0 ? 0 : ReceiverRoom();
  size_t accepted = std::min(room, bytes.size());
  for (char byte : bytes.substr(0, accepted)) Receive(static_cast<uint8_t>(byte));
  if (accepted < bytes.size()) input_refused_ = true;
  UpdateInterrupt();
  return accepted;
}

void Serial16550::Receive(uint8_t byte) {
  if (ReceiverRoom() == 0) {
    line_errors_ |= kLsrOverrun;
    return;
  }
  received_[(received_first_ + received_count_) % kFifoBytes] = byte;
  ++received_count_;
}

uint8_t Serial16550::TakeReceived() {
  if (received_count_ == 0) return 0;
  uint8_t byte = received_[received_first_];
  received_first_ = (received_first_ + 1) % kFifoBytes;
  --received_count_;
  // Once for a whole FIFO, not for each byte of it.
  if (received_count_ == 0 && std::exchange(input_refused_, false)) callbacks_.input_room();
  return byte;
}

uint8_t Serial16550::ModemStatus() const {
  // Without loopback: somebody is there and ready.
  if ((mcr_ & kMcrLoop) == 0) return kMsrCarrier | kMsrDsr | kMsrCts;
  uint8_t status = 0;
  if ((mcr_ & kMcrRts) != 0) status |= kMsrCts;
  if ((mcr_ & kMcrDtr) != 0) status |= kMsrDsr;
  if ((mcr_ & kMcrOut1) != 0) status |= kMsrRing;
  if ((mcr_ & kMcrOut2) != 0) status |= kMsrCarrier;
  return status;
}

uint8_t Serial16550::Reasons() const {
  uint8_t reasons = 0;
  if (received_count_ != 0) reasons |= kIerReceived;
  if (transmitter_emptied_) reasons |= kIerTransmitterEmpty;
  if (line_errors_ != 0) reasons |= kIerLineStatus;
  if (modem_changes_ != 0) reasons |= kIerModemStatus;
  return reasons & ier_;
}

uint8_t Serial16550::IdentifyInterrupt() {
  uint8_t fifos = (fcr_ & kFcrEnable) != 0 ? kIirFifosEnabled : 0;
  uint8_t reasons = Reasons();
  if ((reasons & kIerLineStatus) != 0) return fifos | kIirLineStatus;
  if ((reasons & kIerReceived) != 0) return fifos | kIirReceived;
  if ((reasons & kIerTransmitterEmpty) != 0) {
    // Reading is the acknowledgement, of this reason only.
    transmitter_emptied_ = false;
    return fifos | kIirTransmitterEmpty;
  }
  return fifos | ((reasons & kIerModemStatus) != 0 ? kIirModemStatus : kIirNone);
}

void Serial16550::UpdateInterrupt() {
  uint8_t reasons = Reasons();
  if ((reasons & ~signalled_reasons_) != 0) callbacks_.raise_interrupt();
  signalled_reasons_ = reasons;
}

}  // namespace minivmm
