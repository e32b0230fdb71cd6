#include "blockcore/base/manual.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <sstream>

#include "blockcore/base/manual_term.h"

namespace minivmm {
namespace {

// A program with everything that a manual may have.
Manual Example() {
  return {
      .name = "disk-tool",
      .version = "1.2",
      .summary = "does things to disks",
      .usage = {"COMMAND [OPTION …] FILE …", "--help"},
      .help_footer = "Read on in disk-tool(1).",
      .sections =
          {
              {.title = "DESCRIPTION", .text = "Tools.\n\nMore of `them`."},
              {.title = "OPTIONS",
               .entries = {{"-b, --blockdev LIST",
                            "a disk",
                            "",
                            {"driver=raw", "driver=file", "driver=file,filename=FILE"}},
                           {"--device LIST", "a device", "", {"blk", "exit", "blk,drive="}},
                           {"--help[=man|bash]", "this text"},
                           {"--log FILE", "where to"},
                           {"--secret", ""}},
               .in_help = true},
              {.title = "KEYS OF --log",
               .entries =
                   {{"level=low|high"}, {"path=PATH"}, {"or this=that"}, {"tag=TEXT, t=TEXT"}}},
              {.title = "PROPERTIES OF exit", .entries = {{"port=N"}}},
              {.title = "COMMANDS",
               .entries = {{.term = "create, new FILE",
                            .summary = "make one",
                            .details = "Slowly.",
                            .entries = {{"--mode fast|slow", "how"}}},
                           {"show FILE", "print one"}},
               .in_help = true},
          },
      .see_also = {"other-tool(1)", "blkzone(8)"},
  };
}

Manual WithText(std::string text) {
  return {.name = "x", .sections = {{.title = "DESCRIPTION", .text = std::move(text)}}};
}

bool Has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// What bash offers when the last of `words`, of the command line, is completed.
std::string Complete(const Manual& manual, const std::string& words, const std::string& breaks) {
  const std::string command = "COMP_WORDBREAKS=$'" + breaks + "'\nCOMP_WORDS=(" + words +
                              ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n" +
                              "_disk_tool\necho \"${COMPREPLY[*]}\"\n";
  const std::string path = std::string(std::getenv("TEST_TMPDIR")) + "/complete.bash";
  std::FILE* script = std::fopen(path.c_str(), "w");
  REQUIRE(script != nullptr);
  std::fputs((RenderBashCompletion(manual) + command).c_str(), script);
  std::fclose(script);
  std::FILE* bash = ::popen(("bash -eu " + path + " 2>&1").c_str(), "r");
  REQUIRE(bash != nullptr);
  std::string output;
  for (int c; (c = std::fgetc(bash)) != EOF;) output += static_cast<char>(c);
  CHECK(::pclose(bash) == 0);
  if (output.ends_with('\n')) output.pop_back();
  return output;
}

std::string Complete(const std::string& words) { return Complete(Example(), words, " \\t\\n=:"); }

TEST_CASE("a term is names and an operand") {
  ManualTerm term = ParseManualTerm("-m, --memory SIZE");
  CHECK(term.names == std::vector<std::string_view>{"-m", "--memory"});
  CHECK(term.operand == "SIZE");
  CHECK(term.is_option());
  term = ParseManualTerm("--help[=man|bash]");
  CHECK(term.names == std::vector<std::string_view>{"--help"});
  CHECK(term.operand == "man|bash");
  CHECK(term.operand_optional);
  term = ParseManualTerm("zone_report, zrp [-v] OFFSET NUMBER");
  CHECK(term.names == std::vector<std::string_view>{"zone_report", "zrp"});
  CHECK(term.operand == "[-v] OFFSET NUMBER");
  CHECK(!term.operand_optional);
  CHECK(!term.is_option());
  term = ParseManualTerm("-c TEXT, --cmd TEXT");
  CHECK(term.names == std::vector<std::string_view>{"-c", "--cmd"});
  CHECK(term.operand == "TEXT");
  CHECK(ParseManualTerm("").names.empty());
  CHECK(ParseManualTerm("offset=SIZE").operand == "SIZE");
}

TEST_CASE("the help has a line for each entry, in columns") {
  CHECK(RenderHelp(Example()) ==
        "disk-tool does things to disks\n"
        "\n"
        "usage: disk-tool COMMAND [OPTION …] FILE …\n"
        "       disk-tool --help\n"
        "\n"
        "options:\n"
        "  -b, --blockdev LIST  a disk\n"
        "  --device LIST        a device\n"
        "  --help[=man|bash]    this text\n"
        "  --log FILE           where to\n"
        "\n"
        "commands:\n"
        "  create, new FILE     make one\n"
        "  show FILE            print one\n"
        "\n"
        "Read on in disk-tool(1).\n");
}

TEST_CASE("the help of one section has no title, and long summaries and terms get lines") {
  Manual manual = Example();
  manual.sections.pop_back();
  manual.sections[1].entries = {{"--short …", std::string(50, 'a') + " " + std::string(60, 'b')},
                                {"--" + std::string(40, 'c'), "far"}};
  const std::string help = RenderHelp(manual);
  CHECK(Has(help, "\n  --short …  " + std::string(50, 'a') + "\n             " +
                      std::string(60, 'b') + "\n  --" + std::string(40, 'c') +
                      "\n             far\n"));
  CHECK(!Has(help, "options:"));
}

TEST_CASE("an empty manual renders") {
  CHECK(!RenderHelp({}).empty());
  CHECK(!RenderManPage({}).empty());
  CHECK(!RenderBashCompletion({.name = "x"}).empty());
}

TEST_CASE("a page escapes what troff would read as its own") {
  const std::string page =
      RenderManPage(WithText(".SH no\n'br no\na\\fBc --x \"q\" 'r' ~ ^ ` …\n\n    .EX\n    'x"));
  CHECK(Has(page, "\n\\&.SH no\n"));
  CHECK(Has(page, "\n\\(aqbr no\n"));
  CHECK(Has(page, "\na\\(rsfBc \\-\\-x \\(dqq\\(dq \\(aqr\\(aq \\(ti \\(ha \\(ga \\[u2026]\n"));
  CHECK(Has(page, "\n.EX\n\\&.EX\n\\(aqx\n.EE\n"));
}

TEST_CASE("a page survives bytes that are not UTF-8") {
  CHECK(Has(RenderManPage(WithText("a\xe2")), "a?"));
  CHECK(Has(RenderManPage(WithText("a\x80z")), "z"));
}

TEST_CASE("a page has paragraphs, examples, and bold words in backquotes") {
  const std::string page = RenderManPage(
      WithText("First\n  goes `on`.\n\nSecond:\n    make  it\n    \\run\nThird `lone."));
  CHECK(Has(page,
            ".SH \"DESCRIPTION\"\nFirst\ngoes \\fBon\\fP.\n.PP\nSecond:\n.PP\n.RS 4\n.EX\n"
            "make  it\n\\(rsrun\n.EE\n.RE\n.PP\nThird \\(galone.\n"));
}

TEST_CASE("an example in an entry is indented further than the entry's text") {
  const Manual manual{
      .name = "x",
      .sections = {{.title = "OPTIONS", .entries = {{"--a", "b", "Say:\n\n    --a\n\nc"}}}}};
  CHECK(Has(RenderManPage(manual),
            "b\n.IP\nSay:\n.IP\n.RS\n.RS 4\n.EX\n\\-\\-a\n.EE\n.RE\n.RE\n.IP\nc\n"));
}

TEST_CASE("a page has the terms with names bold and operands italic, and all entries") {
  const std::string page = RenderManPage(Example());
  CHECK(Has(page, ".TP\n\\fB\\-b\\fP, \\fB\\-\\-blockdev\\fP \\fILIST\\fP\na disk\n"));
  CHECK(Has(page, ".TP\n\\fB\\-\\-help\\fP[=\\fBman\\fP|\\fBbash\\fP]\nthis text\n"));
  CHECK(Has(page, ".TP\n\\fB\\-\\-secret\\fP\n\\&\n"));
  CHECK(Has(page, "make one\n.IP\nSlowly.\n.RS\n.TP\n\\fB\\-\\-mode\\fP"));
  CHECK(Has(page, ".SH NAME\ndisk\\-tool \\- does things to disks\n"));
  CHECK(Has(page, "\\fBother\\-tool\\fP(1),\n\\fBblkzone\\fP(8)\n"));
}

TEST_CASE("bash completes options with one dash and two") {
  CHECK(Complete("disk-tool --b") == "--blockdev");
  CHECK(Complete("disk-tool -b") == "-b -blockdev");
  CHECK(Complete("disk-tool -d") == "-device");
  CHECK(Complete("disk-tool --") == "--blockdev --device --help --log --secret");
  CHECK(Complete("disk-tool --nothing").empty());
}

TEST_CASE("bash completes commands, their options, and files") {
  CHECK(Complete("disk-tool ''") == "create new show");
  CHECK(Complete("disk-tool sh") == "show");
  CHECK(Complete("disk-tool new --m") == "--mode");
  CHECK(Complete("disk-tool show --m").empty());
  CHECK(Complete("disk-tool create --mode ''") == "fast slow");
  CHECK(Complete("disk-tool create --mode = s") == "slow");
  CHECK(Complete("disk-tool create -mode = ''") == "fast slow");
  CHECK(Complete("disk-tool --secret sh") == "show");
  CHECK(Complete("disk-tool --log x sh") == "show");
  CHECK(Complete("disk-tool --help sh") == "show");
  CHECK(Complete("disk-tool --help = ''") == "man bash");
  CHECK(Complete("disk-tool show /usr/bin/en").find("/usr/bin/env") != std::string::npos);
  CHECK(Complete("disk-tool --log /usr/bin/en").find("/usr/bin/env") != std::string::npos);
}

TEST_CASE("bash completes inside lists") {
  CHECK(Complete("disk-tool --device ''") == "blk exit");
  CHECK(Complete("disk-tool --device b") == "blk");
  CHECK(Complete("disk-tool --device blk,") == "blk,drive=");
  CHECK(Complete("disk-tool --device exit,") == "exit,port=");
  CHECK(Complete("disk-tool --log l") == "level=low level=high");
  CHECK(Complete("disk-tool --log level = low,t") == "low,tag=");
  CHECK(Complete("disk-tool -b driver = r") == "raw");
  CHECK(Complete("disk-tool -b driver =") == "raw file");
  CHECK(Complete("disk-tool -b node-name = x,dri") == "x,driver=raw x,driver=file");
  const std::string files = Complete("disk-tool -b driver = file,filename = /usr/bin/en");
  CHECK(files.starts_with("/usr/bin/en"));
  CHECK(Has(files, "/usr/bin/env"));
  CHECK(Complete("disk-tool -b driver = raw,f").empty());
}

TEST_CASE("bash completes where = breaks no words") {
  CHECK(Complete(Example(), "disk-tool -b driver=r", " ") == "driver=raw");
  CHECK(Complete(Example(), "disk-tool --help=m", " ") == "--help=man");
  CHECK(Complete(Example(), "disk-tool create --mode=", " ") == "--mode=fast --mode=slow");
}

}  // namespace
}  // namespace minivmm
