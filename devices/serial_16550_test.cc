#include "devices/serial_16550.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace minivmm {
namespace {

constexpr uint64_t kData = 0, kIer = 1, kIir = 2, kFcr = 2, kLcr = 3, kMcr = 4, kLsr = 5, kMsr = 6,
                   kScratch = 7;

struct Console {
  std::vector<std::string> pieces;
  size_t room = SIZE_MAX;  // for each piece
  int interrupts = 0;
  int rooms = 0;
  Serial16550 uart{{.write_output =
                        [this](std::string_view s) {
                          const size_t taken = std::min(s.size(), room);
                          pieces.emplace_back(s.substr(0, taken));
                          return taken;
                        },
                    .raise_interrupt = [this] { ++interrupts; },
                    .input_room = [this] { ++rooms; }}};

  uint8_t In(uint64_t offset) {
    std::byte value;
    uart.Read(offset, std::span(&value, 1));
    return static_cast<uint8_t>(value);
  }
  void Out(uint64_t offset, uint8_t value) {
    uart.Write(offset, std::as_bytes(std::span(&value, 1)));
  }
  void Print(std::string_view text) {
    for (char c : text) Out(kData, static_cast<uint8_t>(c));
  }
};

TEST_CASE("Linux finds a 16550A") {
  Console console;
  // Is anything there: IER keeps four bits.
  console.Out(kIer, 0);
  CHECK((console.In(kIer) & 0x0f) == 0);
  console.Out(kIer, 0xff);
  CHECK(console.In(kIer) == 0x0f);
  console.Out(kIer, 0);
  // Loopback: RTS and OUT2 come back as CTS and carrier.
  console.Out(kMcr, 0x1a);
  CHECK((console.In(kMsr) & 0xf0) == 0x90);
  console.Out(kMcr, 0x15);
  CHECK((console.In(kMsr) & 0xf0) == 0x60);
  console.Out(kMcr, 0);
  // Which one: FIFOs that say they work, no registers of later chips behind other LCR values.
  console.Out(kLcr, 0xbf);
  console.Out(kFcr, 0);
  console.Out(kLcr, 0);
  console.Out(kFcr, 0x01);
  CHECK((console.In(kIir) >> 6) == 3);
  console.Out(kLcr, 0x80);
  CHECK(console.In(kIir) != 0);
  console.Out(kLcr, 0xbf);
  CHECK(console.In(kIir) != 0);
  console.Out(kLcr, 0);
  console.Out(kFcr, 0x21);
  CHECK((console.In(kIir) & 0x20) == 0);
  console.Out(kIer, 0x40);
  CHECK((console.In(kIer) & 0x40) == 0);
}

TEST_CASE("FIFOs are off after power-on and can be switched off again") {
  Console console;
  CHECK(console.In(kIir) == 0x01);
  console.Out(kFcr, 0x07);
  CHECK(console.In(kIir) == 0xc1);
  console.Out(kFcr, 0x00);
  CHECK(console.In(kIir) == 0x01);
}

TEST_CASE("scratch, line control and divisor keep what is written") {
  Console console;
  console.Out(kScratch, 0xa5);
  CHECK(console.In(kScratch) == 0xa5);
  console.Out(kLcr, 0x83);
  CHECK(console.In(kLcr) == 0x83);
  console.Out(0, 0x01);
  console.Out(1, 0x02);
  CHECK(console.In(0) == 0x01);
  CHECK(console.In(1) == 0x02);
  console.Out(kLcr, 0x03);
  CHECK(console.In(kIer) == 0);
  CHECK(console.pieces.empty());
  console.Out(kMcr, 0xff);
  CHECK(console.In(kMcr) == 0x1f);
}

TEST_CASE("the transmitter is always empty, the line always up") {
  Console console;
  CHECK(console.In(kLsr) == 0x60);
  CHECK(console.In(kMsr) == 0xb0);
  console.Print("x");
  CHECK(console.In(kLsr) == 0x60);
}

TEST_CASE("output goes out by lines") {
  Console console;
  console.Print("hello\r\nwor");
  CHECK(console.pieces == std::vector<std::string>{"hello\r\n"});
  console.Print("ld\n");
  CHECK(console.pieces == std::vector<std::string>{"hello\r\n", "world\n"});
}

TEST_CASE("a prompt goes out when the driver is done with its burst, or on demand") {
  Console console;
  console.Out(kIer, 0x02);
  console.Print("login: ");
  CHECK(console.pieces.empty());
  console.Out(kIer, 0x00);
  CHECK(console.pieces == std::vector<std::string>{"login: "});
  console.Print("?");
  console.uart.FlushOutput();
  CHECK(console.pieces.back() == "?");
  console.uart.FlushOutput();
  CHECK(console.pieces.size() == 2);
}

TEST_CASE("what is not taken goes out first the next time") {
  Console console;
  console.room = 3;
  console.Print("hello\n");
  CHECK(console.pieces == std::vector<std::string>{"hel"});
  console.Print("a\n");
  CHECK(console.pieces == std::vector<std::string>{"hel", "lo\n"});
  console.room = SIZE_MAX;
  console.uart.FlushOutput();
  CHECK(console.pieces == std::vector<std::string>{"hel", "lo\n", "a\n"});
  console.uart.FlushOutput();
  CHECK(console.pieces.size() == 3);
}

TEST_CASE("a line without end goes out in pieces") {
  Console console;
  console.Print(std::string(2500, 'a'));
  console.uart.FlushOutput();
  REQUIRE(console.pieces.size() == 3);
  CHECK(console.pieces[0].size() == 1024);
  CHECK(console.pieces[2].size() == 2500 - 2048);
}

TEST_CASE(
    "the transmitter's interrupt comes when asked for, is acknowledged by IIR, and comes again") {
  Console console;
  console.Out(kIer, 0x02);
  CHECK(console.interrupts == 1);
  CHECK(console.In(kIir) == 0x02);
  CHECK(console.In(kIir) == 0x01);
  // Linux's test for UARTs that forget: off and on again.
  console.Out(kIer, 0x00);
  console.Out(kIer, 0x02);
  CHECK(console.interrupts == 2);
  CHECK(console.In(kIir) == 0x02);
  // One for a whole FIFO of output.
  console.Print("0123456789abcdef");
  CHECK(console.interrupts == 3);
  CHECK(console.In(kIir) == 0x02);
  CHECK(console.In(kIir) == 0x01);
  console.Out(kIer, 0x00);
  console.Print("x");
  CHECK(console.interrupts == 3);
}

TEST_CASE("input raises an interrupt, has priority, and is read in order") {
  Console console;
  console.Out(kFcr, 0x07);
  console.Out(kIer, 0x03);
  console.In(kIir);
  int before = console.interrupts;
  CHECK(console.uart.AcceptInput("ab") == 2);
  CHECK(console.interrupts == before + 1);
  console.Print("x");
  CHECK(console.In(kIir) == 0xc4);
  CHECK(console.In(kLsr) == 0x61);
  CHECK(console.In(kData) == 'a');
  CHECK(console.In(kData) == 'b');
  CHECK(console.In(kLsr) == 0x60);
  CHECK(console.In(kData) == 0);
  CHECK(console.In(kIir) == 0xc2);
  CHECK(console.In(kIir) == 0xc1);
}

TEST_CASE("input waits quietly until the driver asks for the interrupt") {
  Console console;
  console.Out(kFcr, 0x01);
  console.uart.AcceptInput("a");
  CHECK(console.interrupts == 0);
  console.Out(kIer, 0x01);
  CHECK(console.interrupts == 1);
}

TEST_CASE("input that does not fit is refused, and asked for when there is room") {
  Console console;
  console.Out(kFcr, 0x01);
  std::string text = "0123456789abcdefXYZ";
  CHECK(console.uart.AcceptInput(text) == 16);
  CHECK(console.uart.AcceptInput("X") == 0);
  for (int i = 0; i < 15; ++i) console.In(kData);
  CHECK(console.rooms == 0);
  CHECK(console.In(kData) == 'f');
  CHECK(console.rooms == 1);
  CHECK(console.uart.AcceptInput("XYZ") == 3);
  for (int i = 0; i < 3; ++i) CHECK(console.In(kData) == "XYZ"[i]);
  CHECK(console.rooms == 1);
}

TEST_CASE("without FIFOs there is room for one byte") {
  Console console;
  CHECK(console.uart.AcceptInput("ab") == 1);
  CHECK(console.In(kData) == 'a');
  CHECK(console.rooms == 1);
}

TEST_CASE("clearing the receiver drops input and makes room") {
  Console console;
  console.Out(kFcr, 0x01);
  CHECK(console.uart.AcceptInput(std::string(20, 'a')) == 16);
  console.Out(kFcr, 0x03);
  CHECK(console.rooms == 1);
  CHECK((console.In(kLsr) & 1) == 0);
}

TEST_CASE("loopback sends to the own receiver, with overrun, and cuts off the line") {
  Console console;
  console.Out(kFcr, 0x01);
  console.Out(kMcr, 0x10);
  console.Print("0123456789abcdef");
  CHECK(console.In(kLsr) == 0x61);
  console.Print("g");
  CHECK(console.In(kLsr) == 0x63);
  CHECK(console.In(kLsr) == 0x61);
  CHECK(console.In(kData) == '0');
  console.Out(kFcr, 0x03);
  CHECK(console.uart.AcceptInput("x") == 0);
  console.uart.FlushOutput();
  CHECK(console.pieces.empty());
  // Back on the line, the byte is asked for again.
  console.Out(kMcr, 0x00);
  CHECK(console.rooms == 1);
}

TEST_CASE("changes of modem lines in loopback are reported once, and interrupt when asked") {
  Console console;
  console.Out(kIer, 0x08);
  console.Out(kMcr, 0x10);
  CHECK(console.interrupts == 1);
  CHECK(console.In(kIir) == 0x00);
  CHECK(console.In(kMsr) == 0x0b);
  CHECK(console.In(kMsr) == 0x00);
  CHECK(console.In(kIir) == 0x01);
  console.Out(kMcr, 0x14);
  CHECK(console.In(kMsr) == 0x40);
  console.Out(kMcr, 0x10);
  CHECK(console.In(kMsr) == 0x04);
}

TEST_CASE("wide accesses are several registers, and random ones do no harm") {
  Console console;
  console.Out(kScratch, 0x11);
  uint16_t value = 0;
  console.uart.Read(kMsr, std::as_writable_bytes(std::span(&value, 1)));
  CHECK(value == 0x11b0);
  std::mt19937_64 random(1);
  for (int i = 0; i < 50'000; ++i) {
    std::vector<std::byte> data(size_t{1} << (random() % 4), std::byte(random()));
    uint64_t offset = random() % 8;
    switch (random() % 4) {
      case 0:
        console.uart.Read(offset, data);
        break;
      case 1:
        console.uart.AcceptInput(std::string(random() % 20, 'a'));
        break;
      default:
        console.uart.Write(offset, data);
    }
  }
}

TEST_CASE("output keeps its order and all its bytes with several writers and a slow console") {
  std::string all;
  Serial16550 uart({.write_output =
                        [&](std::string_view s) {
                          all += s;
                          std::this_thread::yield();
                          return s.size();
                        },
                    .raise_interrupt = [] {},
                    .input_room = [] {}});
  auto print = [&](char c) {
    for (int i = 0; i < 20'000; ++i) {
      uint8_t byte = static_cast<uint8_t>(i % 50 == 49 ? '\n' : c);
      uart.Write(kData, std::as_bytes(std::span(&byte, 1)));
    }
  };
  std::thread other(print, 'b');
  print('a');
  other.join();
  uart.FlushOutput();
  CHECK(all.size() == 40'000);
  CHECK(std::count(all.begin(), all.end(), 'a') == 20'000 / 50 * 49);
  CHECK(std::count(all.begin(), all.end(), 'b') == 20'000 / 50 * 49);
}

TEST_CASE("a guest that sends on while the console is stuck has to wait") {
  std::atomic<int> sent = 0;
  std::atomic<bool> stuck = false;
  std::vector<size_t> pieces;
  Serial16550 uart({.write_output =
                        [&](std::string_view s) {
                          stuck = true;
                          // Until the other thread has filled the buffer, and some more.
                          while (pieces.empty() && sent < 1024) std::this_thread::yield();
                          for (int i = 0; i < 1000; ++i) std::this_thread::yield();
                          pieces.push_back(s.size());
                          return s.size();
                        },
                    .raise_interrupt = [] {},
                    .input_room = [] {}});
  auto send = [&](uint8_t byte) { uart.Write(kData, std::as_bytes(std::span(&byte, 1))); };
  std::thread first([&] { send('\n'); });
  std::thread second([&] {
    while (!stuck) std::this_thread::yield();
    for (; sent < 4000; ++sent) send('a');
  });
  first.join();
  second.join();
  uart.FlushOutput();
  CHECK(std::accumulate(pieces.begin(), pieces.end(), size_t{0}) == 4001);
  CHECK(*std::max_element(pieces.begin(), pieces.end()) <= 1024);
}

TEST_CASE("while the console is stuck, input and registers still work") {
  std::mutex mutex;
  std::condition_variable changed;
  bool stuck = false, go_on = false;
  Serial16550 uart({.write_output =
                        [&](std::string_view s) {
                          std::unique_lock lock(mutex);
                          stuck = true;
                          changed.notify_all();
                          changed.wait(lock, [&] { return go_on; });
                          return s.size();
                        },
                    .raise_interrupt = [] {},
                    .input_room = [] {}});
  std::thread guest([&] {
    uint8_t newline = '\n';
    uart.Write(kData, std::as_bytes(std::span(&newline, 1)));
  });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return stuck; });
  }
  CHECK(uart.AcceptInput("a") == 1);
  std::byte value;
  uart.Read(kData, std::span(&value, 1));
  CHECK(value == std::byte{'a'});
  {
    std::lock_guard lock(mutex);
    go_on = true;
    changed.notify_all();
  }
  guest.join();
}

}  // namespace
}  // namespace minivmm
