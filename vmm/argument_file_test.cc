#include "vmm/argument_file.h"

#include <doctest/doctest.h>

#include <map>

namespace minivmm {
namespace {

using Words = std::vector<std::string>;

Words Split(std::string_view text) {
  Result<Words> words = SplitWords(text);
  if (!words) FAIL(words.error().message);
  return *words;
}

TEST_CASE("words are separated as a shell does it") {
  CHECK(Split("") == Words{});
  CHECK(Split(" a\tb\nc\r\n") == Words{"a", "b", "c"});
  CHECK(Split("--append 'console=ttyS0 quiet'") == Words{"--append", "console=ttyS0 quiet"});
  CHECK(Split(R"(a"b c"d'e f'g)") == Words{"ab cde fg"});
  CHECK(Split(R"('{"driver": "raw"}')") == Words{R"({"driver": "raw"})"});
  CHECK(Split(R"("it's" 'say "x"')") == Words{"it's", "say \"x\""});
  CHECK(Split(R"(a\ b "\"\\\n" '\')") == Words{"a b", R"("\\n)", "\\"});
  CHECK(Split("a \\\n b\\\nc") == Words{"a", "bc"});
  CHECK(Split("'' \"\"") == Words{"", ""});
  CHECK(Split("# all\na # rest\nb#c '#'") == Words{"a", "b#c", "#"});
}

TEST_CASE("texts that no shell would take are refused") {
  CHECK(SplitWords("a 'b").error().message == "a quotation mark ' is never closed");
  CHECK(SplitWords("\"").error().message == "a quotation mark \" is never closed");
  CHECK(SplitWords("a\\").error().message == "the last line ends in a backslash");
  CHECK(SplitWords(std::string_view("a\0b", 3)).error().message ==
        "a zero byte at offset 1: it is no text file");
}

Result<Words> Expand(std::vector<const char*> arguments, std::map<std::string, std::string> files) {
  return ExpandArgumentFiles(arguments, [&](const std::string& path) -> Result<std::string> {
    if (!files.contains(path)) return Fail("cannot open '{}'", path);
    return files[path];
  });
}

TEST_CASE("a file stands for its words, where it is named, and may name others") {
  CHECK(*Expand({"-S", "@a", "--smp", "2"}, {{"a", "-m 1G @b"}, {"b", "--no-reboot"}}) ==
        Words{"-S", "-m", "1G", "--no-reboot", "--smp", "2"});
  CHECK(*Expand({"--append=@a"}, {}) == Words{"--append=@a"});
}

TEST_CASE("files that are missing, wrong or without end are named") {
  CHECK(Expand({"@a"}, {}).error().message == "@a: cannot open 'a'");
  CHECK(Expand({"@"}, {}).error().message == "'@': the name of a file must follow at once");
  CHECK(Expand({"@a"}, {{"a", "'"}}).error().message == "@a: a quotation mark ' is never closed");
  CHECK(Expand({"@a"}, {{"a", "x @a @a"}}).error().message ==
        "@a: more than 64 files of arguments: do they name each other?");
  std::string many;
  for (int i = 0; i < 10'001; ++i) many += "x ";
  CHECK(Expand({"@a"}, {{"a", many}}).error().message == "there are more than 10000 arguments");
}

}  // namespace
}  // namespace minivmm
