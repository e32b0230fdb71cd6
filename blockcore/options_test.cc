#include "blockcore/options.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

namespace minivmm {
namespace {

Options Parsed(std::string_view text) {
  Result<Options> options = Options::Parse(text);
  REQUIRE_MESSAGE(options.has_value(), (options ? "" : options.error().message));
  return *options;
}

std::string ParseError(std::string_view text) {
  Result<Options> options = Options::Parse(text);
  REQUIRE_FALSE(options.has_value());
  return options.error().message;
}

template <typename T>
std::string Message(const Result<T>& result) {
  REQUIRE_FALSE(result.has_value());
  return result.error().message;
}

TEST_CASE("Key=value lists are taken apart, with commas in values doubled") {
  Options options = Parsed("node-name=d0,driver=file,filename=a,,b==c.img,empty=");
  CHECK(options.TakeString("node-name") == "d0");
  CHECK(options.TakeString("driver") == "file");
  CHECK(options.TakeString("filename") == "a,b==c.img");
  CHECK(options.TakeString("empty") == "");
  CHECK(options.TakeString("absent") == std::nullopt);
  CHECK(options.CheckAllTaken("driver 'file'").has_value());
}

TEST_CASE("A first word without '=' is the driver; later ones are errors") {
  Options options = Parsed("file,filename=x");
  CHECK(options.TakeString("driver") == "file");
  CHECK(ParseError("driver=file,filename") ==
        "'filename' has no '=': options have the form key=value, and a comma in a value is written "
        "',,'");
  CHECK(ParseError("file,driver=file") == "option 'driver' is given twice");
  CHECK(ParseError("") == "the description is empty; it has the form key=value,key=value");
  CHECK(ParseError(",a=b").find("'' has no '='") == 0);
  CHECK(Options::Parse("virtio-blk-pci,drive=d0", "device")->TakeString("device") ==
        "virtio-blk-pci");
  CHECK_FALSE(Options::Parse("word", "").has_value());
}

TEST_CASE("A trailing comma ends the list, three commas are a comma and an end") {
  Options options = Parsed("a=1,b=2,");
  CHECK(options.TakeString("b") == "2");
  Options three = Parsed("a=1,,,b=2");
  CHECK(three.TakeString("a") == "1,");
  CHECK(three.TakeString("b") == "2");
}

TEST_CASE("Duplicate, malformed and contradicting keys are errors") {
  CHECK(ParseError("a=1,b=2,a=3") == "option 'a' is given twice");
  CHECK(ParseError("a..b=1").find("'a..b' is no option name") == 0);
  CHECK(ParseError("=1").find("'' is no option name") == 0);
  CHECK(ParseError("a b=1").find("'a b' is no option name") == 0);
  CHECK(ParseError(".a=1").find("is no option name") != std::string::npos);
  CHECK(ParseError("a.=1").find("is no option name") != std::string::npos);
  CHECK(ParseError("file=x,file.driver=y") ==
        "options 'file' and 'file.driver' exclude each other");
  CHECK(ParseError(std::string("a=x\0y", 5)) == "option 'a' has a zero byte in its value");
  CHECK(ParseError(std::string(500, 'k') + "=1").size() < 250);
}

TEST_CASE("JSON gives the same keys as dots do") {
  Options options = Parsed(R"({"driver": "raw", "read-only": true, "size": 4096, "big":
      18446744073709551615, "file": {"driver": "file", "cache": {"direct": false}}, "a.b": "c"})");
  CHECK(options.TakeString("driver") == "raw");
  CHECK(*options.TakeBool("read-only") == true);
  CHECK(*options.TakeSize("size") == 4096);
  CHECK(*options.TakeSize("big") == UINT64_MAX);
  CHECK(options.TakeString("a.b") == "c");
  std::optional<Options> file = options.TakeNested("file");
  REQUIRE(file.has_value());
  CHECK(file->TakeString("driver") == "file");
  CHECK(*file->TakeBool("cache.direct") == false);
  CHECK(options.CheckAllTaken("x").has_value());
}

TEST_CASE("A key that stands twice in JSON is refused, wherever it stands") {
  CHECK(ParseError(R"({"driver": "file", "driver": "raw"})") == "option 'driver' is given twice");
  CHECK(ParseError(R"({"a": 1, "a": 1})") == "option 'a' is given twice");
  CHECK(ParseError(R"({"file": {"b": 1, "b": 2}})") == "option 'file.b' is given twice");
  CHECK(ParseError(R"({"file": {"b": 1}, "file": {"c": 2}})") == "option 'file' is given twice");
  CHECK(ParseError(R"({"f": {"g": {"h": 1}, "g": {"i": 1}}})") == "option 'f.g' is given twice");
  CHECK(ParseError(R"({"file": "x", "file": {"c": 2}})") ==
        "options 'file' and 'file.c' exclude each other");
  Options options = Parsed(R"({"f": {"a": 1}, "g": {"a": {"a": 2}}, "a": 3})");
  CHECK(options.TakeString("f.a") == "1");
  CHECK(options.TakeString("g.a.a") == "2");
  CHECK(options.TakeString("a") == "3");
}

TEST_CASE("JSON strings keep their bytes, valid UTF-8 or not") {
  Options options = Parsed("{\"k\\u0065y\": \"\xe9\\u00e9\\n,\"}");
  CHECK(options.TakeString("key") == "\xe9\xc3\xa9\n,");
}

TEST_CASE("Bad JSON is refused in one line") {
  CHECK(ParseError("{").find("the description is not valid JSON: ") == 0);
  CHECK(ParseError(R"({"a": "b"} c)").find("the JSON description has more after its end") == 0);
  CHECK(ParseError(R"({"a": null})") ==
        "option 'a' must be a string, an integer, a boolean or an object");
  CHECK(ParseError(R"({"a": [1]})").find("must be a string") != std::string::npos);
  CHECK(ParseError(R"({"a": 1.5})").find("must be a string") != std::string::npos);
  CHECK(ParseError(R"({"a": {}})") == "option 'a' is an empty object");
  CHECK(ParseError(R"({"a": {"b": 1}, "a.b": 2})") == "option 'a.b' is given twice");
  CHECK(ParseError(R"({"a\u0000": 1})").find("is no option name") != std::string::npos);
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += R"({"a":)";
  CHECK(ParseError(deep).find("not valid JSON") != std::string::npos);
}

TEST_CASE("Booleans are on and off, yes and no, true and false") {
  for (const char* text : {"on", "yes", "true"}) {
    CHECK(*Parsed(std::string("a=") + text).TakeBool("a") == true);
  }
  for (const char* text : {"off", "no", "false"}) {
    CHECK(*Parsed(std::string("a=") + text).TakeBool("a") == false);
  }
  CHECK(*Parsed("a=on").TakeBool("b") == std::nullopt);
  CHECK(Message(Parsed("a=On").TakeBool("a")) == "option 'a' is 'On', but must be 'on' or 'off'");
  CHECK_FALSE(Parsed("a=").TakeBool("a").has_value());
}

TEST_CASE("Sizes have suffixes for powers of 1024") {
  struct {
    const char* text;
    uint64_t bytes;
  } const good[] = {
      {"0", 0},
      {"512", 512},
      {"512b", 512},
      {"1k", 1024},
      {"1K", 1024},
      {"1KB", 1024},
      {"4M", 4 << 20},
      {"1.5M", 3 << 19},
      {"1G", 1 << 30},
      {"0.5k", 512},
      {"2T", 2ull << 40},
      {"18446744073709551615", UINT64_MAX},
      {"15E", 15ull << 60},
  };
  for (const auto& size : good) {
    CAPTURE(size.text);
    auto bytes = Parsed(std::string("a=") + size.text).TakeSize("a");
    REQUIRE(bytes.has_value());
    CHECK(*bytes == size.bytes);
  }
  for (const char* text : {"", "-1", "+1", "k", "1kk", "1x", "1 k", " 1", "0x10", "1.k", "1.5",
                           "1.5b", "16E", "18446744073709551616", "1.2345678901G", "1kBB", "1,,"}) {
    CAPTURE(text);
    CHECK_FALSE(Parsed(std::string("a=") + text).TakeSize("a").has_value());
  }
  CHECK(Message(Parsed("a=lots").TakeSize("a")) ==
        "option 'a' is 'lots', but must be a size below 16 EiB such as 512, 64k, 1.5M, 10G or 2T");
}

TEST_CASE("Numbers keep to their range, words to their list") {
  CHECK(*Parsed("n=16").TakeNumber("n", 1, 16) == 16);
  CHECK(Message(Parsed("n=17").TakeNumber("n", 1, 16)) ==
        "option 'n' is '17', but must be a number from 1 to 16");
  CHECK_FALSE(Parsed("n=1k").TakeNumber("n", 1, 16).has_value());
  CHECK_FALSE(Parsed("n=-1").TakeNumber("n", 0, 16).has_value());
  CHECK(*Parsed("w=unmap").TakeWord("w", {"ignore", "unmap"}) == "unmap");
  CHECK(Message(Parsed("w=on").TakeWord("w", {"ignore", "unmap"})) ==
        "option 'w' is 'on', but must be one of: ignore, unmap");
}

TEST_CASE("What nobody took is unknown, and the nearest known option is named") {
  Options options = Parsed("filname=x,driver=file");
  options.TakeString("driver");
  options.TakeString("filename");
  options.TakeString("read-only");
  CHECK(Message(options.CheckAllTaken("driver 'file'")) ==
        "unknown option 'filname' for driver 'file'; did you mean 'filename'?");
  Options far = Parsed("colour=red");
  far.TakeString("driver");
  far.TakeString("filename");
  CHECK(Message(far.CheckAllTaken("driver 'file'")) ==
        "unknown option 'colour' for driver 'file'; known are: driver, filename");
  Options outer = Parsed("file.filname=x");
  Options inner = *outer.TakeNested("file");
  inner.TakeString("filename");
  CHECK(Message(inner.CheckAllTaken("driver 'file'")) ==
        "unknown option 'file.filname' for driver 'file'; did you mean 'filename'?");
  CHECK(outer.CheckAllTaken("driver 'raw'").has_value());
}

TEST_CASE("Errors in nested options name the whole key") {
  Options outer = Parsed("file.file.size=x");
  Options inner = *outer.TakeNested("file")->TakeNested("file");
  CHECK(Message(inner.TakeSize("size")).find("option 'file.file.size' is 'x'") == 0);
}

TEST_CASE("Defaults give way to what was given") {
  Options options = Parsed("a=1");
  options.AddDefault("a", "2");
  options.AddDefault("b", "3");
  CHECK(options.TakeString("a") == "1");
  CHECK(options.TakeString("b") == "3");
}

TEST_CASE("NearestWord allows a third of the letters to be wrong, and swapped neighbours") {
  std::vector<std::string_view> words{"host_device", "file", "raw", "null-co"};
  CHECK(NearestWord("hostdevice", words) == "host_device");
  CHECK(NearestWord("host-device", words) == "host_device");
  CHECK(NearestWord("flie", words) == "file");
  CHECK(NearestWord("rwa", words) == "raw");
  CHECK(NearestWord("nullco", words) == "null-co");
  CHECK(NearestWord("qcow2", words) == std::nullopt);
  CHECK(NearestWord("", words) == std::nullopt);
  CHECK(NearestWord(std::string(100'000, 'x'), words) == std::nullopt);
  CHECK(SuggestionFor("x", {}) == "");
}

TEST_CASE("A description has at most 1000 options, objects in JSON counted for themselves") {
  std::string list;
  std::string json;
  std::string objects;
  auto add = [&](int i) {
    list += fmt::format("{}k{}=1", i == 0 ? "" : ",", i);
    json += fmt::format("{}\"k{}\":1", i == 0 ? "" : ",", i);
    objects += fmt::format("{}\"k{}\":{{\"a\":1}}", i == 0 ? "" : ",", i);
  };
  for (int i = 0; i < 999; ++i) add(i);
  CHECK(Options::Parse("{" + objects + "}").has_value());
  add(999);
  const std::string too_many = "the description has more than 1000 options; give fewer";
  CHECK(Options::Parse(list).has_value());
  CHECK(Options::Parse("{" + json + "}").has_value());
  CHECK(ParseError("{" + objects + "}") == too_many);
  // What follows is not looked at: a megabyte costs no more.
  while (json.size() < 1'000'000) add(static_cast<int>(json.size()));
  CHECK(ParseError(list) == too_many);
  CHECK(ParseError("{" + json + "}") == too_many);
}

TEST_CASE("No text whatsoever makes the parser crash, and no message is long or of several lines") {
  std::mt19937 random(20260101);
  const std::string alphabet = "abz019=,.-_{}[]\":\\ \n\te+kM\0\xff";
  for (int round = 0; round < 30'000; ++round) {
    std::string text = round % 3 == 0 ? "{" : "";
    size_t length = random() % 40;
    for (size_t i = 0; i < length; ++i) {
      text += round % 2 == 0 ? static_cast<char>(random()) : alphabet[random() % alphabet.size()];
    }
    Result<Options> options = Options::Parse(text);
    if (options) {
      (void)options->TakeSize("a");
      (void)options->TakeBool("a");
      (void)options->TakeNested("a");
      (void)options->CheckAllTaken("x");
      continue;
    }
    REQUIRE(options.error().message.size() < 400);
    REQUIRE(options.error().message.find('\n') == std::string::npos);
  }
}

}  // namespace
}  // namespace minivmm
