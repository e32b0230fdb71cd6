// Any line, however wrong, gives a machine within its ranges or one line of explanation.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/command_line.h"
#include "vmm/config_file.h"

namespace minivmm {
namespace {

using Words = std::vector<std::string>;

const std::vector<Words> kOptions = {
    {"--initrd=i"},
    {"-append", "console=ttyS0"},
    {"-m", "1G"},
    {"-memory=size=512M"},
    {"-smp", "4"},
    {"-smp", "cpus=2"},
    {"--drive", "file=/dev/nullb0,driver=host_device,if=virtio,"},
    {"--drive", "if=none,id=d0,file=a", "--device", "virtio-blk-pci,drive=d0,num-queues=3"},
    {"-drive=file=b,if=virtio,cache=writethrough,index=3"},
    {"-drive", "driver=null-co,size=1G,if=virtio"},
    {"--blockdev", "node-name=d3,driver=raw,file.driver=file,file.filename=a"},
    {"--blockdev", R"({"node-name": "d1", "driver": "null-co", "size": 4096})"},
    {"--device",
     "virtio-blk,drive=d1,packed=on,logical_block_size=4k,write-cache=auto,werror=enospc"},
    {"--device", R"({"driver": "virtio-blk-pci", "drive": "d2", "queue-size": 64})"},
    {"--device", "virtio-blk-pci,drive=d3,addr=0x4.0,bootindex=1,serial=s"},
    {"--device", "isa-debug-exit,iobase=0xf4"},
    {"--device", "pvpanic"},
    {"--serial", "none"},
    {"--serial", "file:log"},
    {"--qmp", "unix:/q,server=on,wait=off"},
    {"--serial", "null", "--qmp", "stdio"},
    {"-S"},
    {"--no-reboot"},
    {"--dry-run"},
    {"--config", "c"},
    {"@a"},
    {"-enable-kvm", "-cpu", "host", "-nographic"},
    {"-M", "q35"},
    {"--print", "json"},
    {"--help=bash"},
    {"--device", "help"},
    {"--device", "virtio-blk-pci,help"},
    {"@b"},
    {""},
};

Result<std::string> ReadFile(const std::string& path) {
  if (path == "a") return "--smp 2 --append 'x y' # z\n--no-reboot";
  if (path == "c") {
    return R"({"kernel": "k", "memory": "64M", "device": [{"driver": "isa-debug-exit"}]})";
  }
  if (path == "b") return "@b";
  return Fail("cannot open '{}'", path);
}

// Takes out, doubles, changes or adds a letter. No zero: arguments are C strings.
void Mutate(std::string& word) {
  const auto at = *rc::gen::inRange<size_t>(0, word.size() + 1);
  const auto letter =
      *rc::gen::map(rc::gen::inRange(1, 256), [](int c) { return static_cast<char>(c); });
  switch (*rc::gen::inRange(0, 4)) {
    case 0:
      if (at < word.size()) word.erase(at, 1);
      break;
    case 1:
      word.insert(at, word.substr(at / 2, 8));
      break;
    case 2:
      if (at < word.size()) word[at] = letter;
      break;
    default:
      word.insert(at, 1, *rc::gen::elementOf(std::string_view(",=.-{}\":@'\\0 9")));
  }
  std::erase(word, '\0');
}

Words AnyWords() {
  Words words = {"--kernel", "k"};
  const size_t options = *rc::gen::inRange(0, 8);
  for (size_t i = 0; i < options; ++i) {
    // Only the last few are wrong by themselves, or end the reading.
    const auto size = *rc::gen::element(kOptions.size() - 7, kOptions.size() - 7, kOptions.size());
    const Words& option = kOptions[*rc::gen::inRange<size_t>(0, size)];
    words.insert(words.end(), option.begin(), option.end());
  }
  if (*rc::gen::arbitrary<bool>()) return words;
  for (int i = *rc::gen::inRange(1, 4); i > 0; --i) {
    Mutate(words[*rc::gen::inRange<size_t>(0, words.size())]);
  }
  return words;
}

Result<CommandLine> Parse(const Words& words) {
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  return ParseCommandLine(arguments, ReadFile);
}

bool IsPowerOfTwoOrZero(uint64_t value) { return (value & (value - 1)) == 0; }

void CheckWithinRanges(const CommandLine& line) {
  RC_ASSERT(!line.kernel.empty());
  RC_ASSERT(line.memory_bytes >= 1_MiB && line.memory_bytes <= (uint64_t{1} << 40));
  RC_ASSERT(line.memory_bytes % 1_MiB == 0);
  RC_ASSERT(line.cpu_count >= 1 && line.cpu_count <= 16);
  for (const DiskDevice& disk : line.disks) {
    RC_ASSERT(!disk.drive.empty() && !disk.id.empty());
    RC_ASSERT(disk.options.name == disk.id);
    RC_ASSERT(disk.options.serial.size() <= 20);
    RC_ASSERT(disk.options.num_queues >= 1 && disk.options.num_queues <= 64);
    RC_ASSERT(disk.options.queue_size >= 4 && disk.options.queue_size <= 1024);
    RC_ASSERT(IsPowerOfTwoOrZero(disk.options.queue_size));
    RC_ASSERT(IsPowerOfTwoOrZero(disk.options.logical_block_bytes));
    RC_ASSERT(IsPowerOfTwoOrZero(disk.options.physical_block_bytes));
    RC_ASSERT(!disk.slot || (*disk.slot >= 1 && *disk.slot <= 31));
  }
  for (const DriveOption& drive : line.drives) {
    RC_ASSERT(!drive.id.empty() && !drive.node_name.empty());
    RC_ASSERT(!drive.file.empty() || !drive.format.empty());
  }
  for (const QmpSocket& socket : line.qmp) RC_ASSERT(socket.stdio || !socket.path.empty());
}

void CheckOneLine(const std::string& message) {
  RC_ASSERT(!message.empty() && message.size() <= 1000);
  RC_ASSERT(std::ranges::none_of(
      message, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }));
}

TEST_CASE("a mutated line ends in a machine within ranges or in one line of explanation") {
  CHECK(rc::check([] {
    Result<CommandLine> line = Parse(AnyWords());
    RC_TAG(std::string(line ? "accepted" : "refused"));
    if (!line) return CheckOneLine(line.error().message);
    if (line->action == CommandLine::Action::kPrint) return RC_ASSERT(!line->text.empty());
    CheckWithinRanges(*line);
  }));
}

TEST_CASE("what is printed of a mutated line is read back as the same") {
  CHECK(rc::check([] {
    Result<CommandLine> line = Parse(AnyWords());
    if (!line || line->action == CommandLine::Action::kPrint) return;
    const std::string printed = RenderConfig(*line);
    const char* arguments[] = {"--config", "printed"};
    Result<CommandLine> again = ParseCommandLine(
        arguments, [&](const std::string&) -> Result<std::string> { return printed; });
    RC_ASSERT(again.has_value());
    RC_ASSERT(RenderConfig(*again) == printed);
  }));
}

}  // namespace
}  // namespace minivmm
