#include "vmm/qmp/json_framer.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace minivmm {
namespace {

using Kind = JsonFramer::Frame::Kind;

// All frames of `bytes`, given in pieces of `piece_bytes`: a text as it is, others in angle
// brackets.
std::vector<std::string> FramesOf(std::string_view bytes, size_t piece_bytes) {
  JsonFramer framer;
  std::vector<std::string> frames;
  for (size_t at = 0; at < bytes.size(); at += piece_bytes) {
    std::string_view piece = bytes.substr(at, piece_bytes);
    while (!piece.empty()) {
      JsonFramer::Frame frame = framer.Take(piece);
      switch (frame.kind) {
        case Kind::kNone:
          CHECK(piece.empty());
          break;
        case Kind::kText:
          frames.push_back(frame.text);
          break;
        case Kind::kStrayByte:
          frames.push_back("<stray " + frame.text + ">");
          break;
        case Kind::kTooLong:
          frames.push_back("<too long>");
          break;
        case Kind::kTooDeep:
          frames.push_back("<too deep>");
          break;
      }
    }
  }
  return frames;
}

using Frames = std::vector<std::string>;

TEST_CASE("values are found whatever pieces the bytes come in") {
  const std::string bytes =
      "{\"execute\": \"a\"}{\"b\":[1,{\"c\":\"}\"}]}\r\n\t {\"d\":\"\\\"{\"}[1, 2] 17 true \"x "
      "y\" ";
  const Frames expected = {R"({"execute": "a"})",
                           R"({"b":[1,{"c":"}"}]})",
                           R"({"d":"\"{"})",
                           "[1, 2]",
                           "17",
                           "true",
                           R"("x y")"};
  for (size_t piece_bytes : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, bytes.size()}) {
    CAPTURE(piece_bytes);
    CHECK(FramesOf(bytes, piece_bytes) == expected);
  }
}

TEST_CASE("a closing bracket that nothing opened is a value of its own") {
  CHECK(FramesOf("}{}", 1) == Frames{"}", "{}"});
  CHECK(FramesOf("{]{}", 1) == Frames{"{]", "{}"});
  CHECK(FramesOf(",:", 1) == Frames{",", ":"});
}

TEST_CASE("after a byte that JSON has not, the next byte begins a new value") {
  CHECK(FramesOf("{\xff{}", 1) == Frames{"<stray \xff>", "{}"});
  CHECK(FramesOf("{\x01{}", 1) == Frames{"<stray \x01>", "{}"});
  CHECK(FramesOf("{\"bad \xff{}", 1) == Frames{"<stray \xff>", "{}"});
  CHECK(FramesOf("{\"a\":\"\n{}", 1) == Frames{"<stray \n>", "{}"});
  CHECK(FramesOf(std::string_view("\0{}", 3), 1) == Frames{std::string("<stray \0>", 9), "{}"});
}

TEST_CASE("single quotes become double quotes") {
  CHECK(FramesOf("{'a': 'b'}", 1) == Frames{R"({"a": "b"})"});
  CHECK(FramesOf(R"({'a "b" \' c': "it's \'"})", 1) == Frames{R"({"a \"b\" ' c": "it's '"})"});
  CHECK(FramesOf(R"('\\' '\"' )", 1) == Frames{R"("\\")", R"("\"")"});
}

TEST_CASE("depth is bounded") {
  const std::string deepest(JsonFramer::kMaxDepth, '[');
  CHECK(FramesOf(deepest + std::string(JsonFramer::kMaxDepth, ']'), 1).size() == 1);
  CHECK(FramesOf(deepest + "[{}", 1) == Frames{"<too deep>", "{}"});
}

TEST_CASE("length is bounded, of strings, of white space in a value, and of numbers") {
  const std::string much(JsonFramer::kMaxBytes, '1');
  CHECK(FramesOf("{\"" + much, 4096) == Frames{"<too long>"});
  CHECK(FramesOf(much + "1", 4096) == Frames{"<too long>"});
  CHECK(FramesOf("{" + std::string(JsonFramer::kMaxBytes, ' ') + "{}", 4096) ==
        Frames{"<too long>", "{}"});
  CHECK(FramesOf(std::string(2 * JsonFramer::kMaxBytes, ' ') + "{}", 4096) == Frames{"{}"});
}

}  // namespace
}  // namespace minivmm
