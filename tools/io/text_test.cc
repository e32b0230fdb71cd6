#include "tools/io/text.h"

#include <doctest/doctest.h>

#include <array>

#include "tools/io/command.h"

namespace minivmm {
namespace {

std::string ErrorOf(const Result<uint64_t>& result) {
  return result ? "no error" : result.error().message;
}

std::string ArgumentsError(std::string_view name, const std::vector<std::string>& words) {
  const auto parsed = ParseCommandArguments(*FindIoCommand(name), name, words);
  return parsed ? "no error" : parsed.error().message;
}

std::string CountError(std::string_view name, size_t count) {
  const auto counted = CheckWordCount(*FindIoCommand(name), name, count);
  return counted ? "no error" : counted.error().message;
}

TEST_CASE("a number of bytes is decimal or hexadecimal, with a unit and with it a fraction") {
  CHECK(ParseBytes("0").value() == 0);
  CHECK(ParseBytes("268435456").value() == 268435456);
  CHECK(ParseBytes("0x3e70000000").value() == 0x3e70000000);
  CHECK(ParseBytes("0X1F").value() == 31);
  CHECK(ParseBytes("4k").value() == 4096);
  CHECK(ParseBytes("4K").value() == 4096);
  CHECK(ParseBytes("3M").value() == 3 << 20);
  CHECK(ParseBytes("1g").value() == 1 << 30);
  CHECK(ParseBytes("2T").value() == uint64_t{2} << 40);
  CHECK(ParseBytes("1P").value() == uint64_t{1} << 50);
  CHECK(ParseBytes("7E").value() == uint64_t{7} << 60);
  CHECK(ParseBytes("512b").value() == 512);
  CHECK(ParseBytes("1.5k").value() == 1536);
  CHECK(ParseBytes("0.5M").value() == 512 << 10);
  CHECK(ParseBytes("9223372036854775807").value() == INT64_MAX);
}

TEST_CASE("what is no number of bytes is named as qemu-io names it") {
  for (const char* text : {"abc", "", "1e3", "4kB", "4q", "1.1", "1.", "0x", "0xg", "k", "--1", "-",
                           "-x", "1 2", "0x1.8k", "1..5k", "\"0\"", "4kk"}) {
    CAPTURE(text);
    CHECK(
        ErrorOf(ParseBytes(text)) ==
        std::string("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ") +
            text);
  }
  for (const char* text :
       {"-1", "-4k", "8E", "20E", "9223372036854775808", "0x8000000000000000", "0xffffffffffffffff",
        "0xfffffffffffffffff", "99999999999999999999999"}) {
    CAPTURE(text);
    CHECK(ErrorOf(ParseBytes(text)) == std::string("Parsing error: argument too large -- ") + text);
  }
}

TEST_CASE("a pattern is one byte, octal behind a zero") {
  CHECK(ParsePattern("0").value() == 0);
  CHECK(ParsePattern("205").value() == 205);
  CHECK(ParsePattern("0xcd").value() == 0xcd);
  CHECK(ParsePattern("010").value() == 8);
  for (const char* text : {"256", "-1", "0x1ff", "abc", "", "08", "1k", "0x"}) {
    CAPTURE(text);
    REQUIRE(!ParsePattern(text));
    CHECK(ParsePattern(text).error().message == std::string(text) + " is not a valid pattern byte");
  }
}

TEST_CASE("sizes and rates have at most three decimals, and none where they are whole") {
  CHECK(FormatBytes(0) == "0 bytes");
  CHECK(FormatBytes(512) == "512 bytes");
  CHECK(FormatBytes(4096) == "4 KiB");
  CHECK(FormatBytes(1536) == "1.500 KiB");
  CHECK(FormatBytes(4097) == "4.001 KiB");
  CHECK(FormatBytes(8 << 20) == "8 MiB");
  CHECK(FormatBytes(268435456000.0) == "250 GiB");
  CHECK(FormatBytes(61.070474) == "61.070474 bytes");
}

TEST_CASE("a report has the two lines of qemu-io, or its one line for machines") {
  TransferReport report{.verb = "wrote",
                        .offset_bytes = 512,
                        .done_bytes = 4096,
                        .asked_bytes = 4096,
                        .elapsed_ns = 1'000'000};
  CHECK(FormatTransfer(report, false) ==
        "wrote 4096/4096 bytes at offset 512\n"
        "4 KiB, 1 ops; 00.00 sec (3.906 MiB/sec and 1000.0000 ops/sec)\n");
  CHECK(FormatTransfer(report, true) == "4096,1,0:00:00.00,4096000.000,1000.000\n");
  CHECK(FormatElapsed(950'000'000) == "00.95 sec");
  CHECK(FormatElapsed(1'050'000'000) == "0:00:01.05");
  CHECK(FormatElapsed(67'070'000'000) == "0:01:07.07");
  CHECK(FormatElapsed(3'600'000'000'000) == "1:00:00.00");
}

TEST_CASE("a dump has sixteen bytes a line with letters and digits beside them") {
  std::array<std::byte, 20> data{};
  data[0] = std::byte{'A'};
  data[1] = std::byte{'9'};
  data[2] = std::byte{':'};
  CHECK(FormatDump(0x1000, data) ==
        "00001000:  41 39 3a 00 00 00 00 00 00 00 00 00 00 00 00 00  A9..............\n"
        "00001010:  00 00 00 00  ....\n");
}

TEST_CASE("a zone is shown in sectors") {
  ZoneDescriptor zone;
  zone.start_bytes = 0x1000000;
  zone.length_bytes = 0x400000;
  zone.capacity_bytes = 0x300000;
  zone.write_pointer_bytes = 0x1000000;
  CHECK(FormatZone(zone) ==
        "start: 0x8000, len 0x2000, cap 0x1800, wptr 0x8000, zcond:1, [type: 2]\n");
}

TEST_CASE("words are separated by spaces and tabs, without quotes") {
  CHECK(SplitWords("").empty());
  CHECK(SplitWords(" \t \n").empty());
  CHECK(SplitWords("read  0\t4k\n") == std::vector<std::string>{"read", "0", "4k"});
  CHECK(SplitWords("\"a b\"") == std::vector<std::string>{"\"a", "b\""});
}

TEST_CASE("options stand at any place, together or apart, until --") {
  const IoCommand& read = *FindIoCommand("r");
  const std::vector<std::string> words{"0", "-qvP", "7", "4k", "-s5"};
  const auto parsed = ParseCommandArguments(read, "r", words);
  REQUIRE(parsed);
  CHECK(parsed->words == std::vector<std::string>{"0", "4k"});
  CHECK((parsed->Has('q') && parsed->Has('v') && !parsed->Has('C')));
  CHECK(*parsed->Value('P') == "7");
  CHECK(*parsed->Value('s') == "5");
  const std::vector<std::string> ended{"-q", "--", "-1", "-v"};
  CHECK(ParseCommandArguments(read, "r", ended)->words == std::vector<std::string>{"-1", "-v"});
}

TEST_CASE("wrong options are named") {
  CHECK(ArgumentsError("read", {"-Z", "0", "4k"}) == "read: invalid option -- 'Z'");
  CHECK(ArgumentsError("read", {"0", "-1"}) == "read: invalid option -- '1'");
  CHECK(ArgumentsError("read", {"-:", "0"}) == "read: invalid option -- ':'");
  CHECK(ArgumentsError("read", {"0", "-P"}) == "read: option requires an argument -- 'P'");
  CHECK(ArgumentsError("read", {"-b", "0"}) == "read: -b: there is no VM state in a disk");
  CHECK(ArgumentsError("zone_report", {"0", "-1"}) == "no error");
}

TEST_CASE("a wrong number of arguments is counted as qemu-io counts it") {
  CHECK(CountError("zrp", 1) == "bad argument count 1 to zrp, expected 2 arguments");
  CHECK(CountError("zo", 3) == "bad argument count 3 to zo, expected 2 arguments");
  CHECK(CountError("read", 1) == "bad argument count 1 to read, expected at least 2 arguments");
  CHECK(CountError("read", 9) == "no error");
  CHECK(CountError("zap", 1) == "bad argument count 1 to zap, expected at least 2 arguments");
  CHECK(CountError("zap", 2) == "no error");
  CHECK(CountError("zap", 200) == "no error");
  CHECK(CountError("alloc", 3) ==
        "bad argument count 3 to alloc, expected between 1 and 2 arguments");
  CHECK(CountError("sleep", 0) == "bad argument count 0 to sleep, expected 1 arguments");
}

TEST_CASE("each zone command has its long and its short name") {
  for (auto [name, alias] :
       std::initializer_list<std::pair<const char*, const char*>>{{"zone_report", "zrp"},
                                                                  {"zone_open", "zo"},
                                                                  {"zone_close", "zc"},
                                                                  {"zone_finish", "zf"},
                                                                  {"zone_reset", "zrs"},
                                                                  {"zone_append", "zap"}}) {
    CAPTURE(name);
    REQUIRE(FindIoCommand(name) != nullptr);
    CHECK(FindIoCommand(name) == FindIoCommand(alias));
  }
  CHECK(FindIoCommand("") == nullptr);
  CHECK(FindIoCommand("zoned") == nullptr);
}

}  // namespace
}  // namespace minivmm
