#include "vmm/command_line.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <vector>

namespace minivmm {
namespace {

// With a kernel, which every start needs, before the others.
Result<CommandLine> Parse(std::initializer_list<const char*> arguments) {
  std::vector<const char*> all = {"--kernel", "vmlinux"};
  all.insert(all.end(), arguments);
  return ParseCommandLine(all);
}

CommandLine Accepted(std::initializer_list<const char*> arguments) {
  Result<CommandLine> line = Parse(arguments);
  if (!line) FAIL(line.error().message);
  return *line;
}

std::string Refused(std::initializer_list<const char*> arguments) {
  Result<CommandLine> line = Parse(arguments);
  REQUIRE_FALSE(line);
  return line.error().message;
}

bool Contains(const std::string& text, const std::string& part) {
  INFO(text);
  bool found = text.find(part) != std::string::npos;
  CHECK(found);
  return found;
}

TEST_CASE("without further options: 512 MiB, one vCPU, console on stdio, restart on reset") {
  CommandLine line = Accepted({});
  CHECK(line.action == CommandLine::Action::kRun);
  CHECK(line.kernel == "vmlinux");
  CHECK(line.memory_bytes == 512_MiB);
  CHECK(line.cpu_count == 1);
  CHECK(line.serial.kind == SerialOutput::Kind::kStdio);
  CHECK_FALSE(line.no_reboot);
  CHECK(line.disks.empty());
  CHECK_FALSE(line.debug_exit);
}

TEST_CASE("an option takes one dash or two, and its value behind a space or an equals sign") {
  for (auto arguments : {std::initializer_list<const char*>{"-smp", "4"},
                         {"--smp", "4"},
                         {"-smp=4"},
                         {"--smp=4"},
                         {"--smp", "cpus=4"}}) {
    CHECK(Accepted(arguments).cpu_count == 4);
  }
  CHECK(Accepted({"-append", "console=ttyS0 root=/dev/vda"}).command_line ==
        "console=ttyS0 root=/dev/vda");
  CHECK(Accepted({"--append=console=ttyS0 quiet"}).command_line == "console=ttyS0 quiet");
  CHECK(Accepted({"--append", "-x"}).command_line == "-x");
}

TEST_CASE("sizes of memory are MiB unless they have a suffix") {
  CHECK(Accepted({"-m", "300"}).memory_bytes == 300_MiB);
  CHECK(Accepted({"-m", "300M"}).memory_bytes == 300_MiB);
  CHECK(Accepted({"--memory", "6G"}).memory_bytes == 6_GiB);
  CHECK(Accepted({"--m=2g"}).memory_bytes == 2_GiB);
  for (const char* wrong : {"", "x", "12k", "1.5G", "-1", "512 ", "99999999999999999999"}) {
    Contains(Refused({"-m", wrong}), "is not a size of memory");
  }
  Contains(Refused({"-m", "0"}), "no memory");
  Contains(Refused({"-m", "0G"}), "no memory");
  Contains(Refused({"-m", "2000000"}), "more than 1 TiB");
  Contains(Refused({"-m", "18014398509481984G"}), "more than 1 TiB");
}

TEST_CASE("the number of vCPUs is 1 to 16") {
  CHECK(Accepted({"--smp", "16"}).cpu_count == 16);
  for (const char* wrong : {"0", "17", "", "two", "1,2"}) {
    Contains(Refused({"--smp", wrong}), "is not a number from 1 to 16");
  }
}

TEST_CASE("where the serial port goes") {
  using Kind = SerialOutput::Kind;
  CHECK(Accepted({"--serial", "none"}).serial.kind == Kind::kNone);
  CHECK(Accepted({"--serial", "null"}).serial.kind == Kind::kNull);
  CHECK(Accepted({"--serial", "file:/tmp/a:b"}).serial.path == "/tmp/a:b");
  for (const char* wrong : {"pty", "file:", "file"})
    Contains(Refused({"--serial", wrong}), "stdio");
}

TEST_CASE("a disk has its drive and QEMU's properties") {
  CommandLine line =
      Accepted({"--blockdev", "node-name=d0,driver=null-co", "--device",
                "virtio-blk-pci,drive=d0,serial=A1,num-queues=3,queue-size=64,addr=0x1f,id=x"});
  REQUIRE(line.disks.size() == 1);
  CHECK(line.disks[0].drive == "d0");
  CHECK(line.disks[0].serial == "A1");
  CHECK(line.disks[0].num_queues == 3);
  CHECK(line.disks[0].queue_size == 64);
  CHECK(line.disks[0].slot == 0x1f);
  CHECK(line.disks[0].id == "x");
  CHECK(line.blockdevs == std::vector<std::string>{"node-name=d0,driver=null-co"});
}

TEST_CASE("a disk has one queue for each vCPU and its drive's name unless told otherwise") {
  CommandLine line = Accepted({"--device", "virtio-blk-pci,drive=d0", "--smp", "5"});
  CHECK(line.disks[0].num_queues == 5);
  CHECK(line.disks[0].id == "d0");
  CHECK(line.disks[0].queue_size == 256);
  CHECK_FALSE(line.disks[0].slot);
}

TEST_CASE("devices may be given as JSON") {
  CommandLine line =
      Accepted({"--device", R"({"driver": "virtio-blk-pci", "drive": "d0", "num-queues": 2})"});
  CHECK(line.disks[0].drive == "d0");
  CHECK(line.disks[0].num_queues == 2);
}

TEST_CASE("properties out of range are refused, each with its name") {
  for (auto [property, message] :
       {std::pair{"num-queues=0", "num-queues: '0' is not a number from 1 to 64"},
        {"num-queues=65", "num-queues"},
        {"queue-size=2", "queue-size"},
        {"queue-size=100", "queue-size: 100 is not a power of two"},
        {"queue-size=2048", "queue-size"},
        {"addr=0", "addr"},
        {"addr=32", "addr"},
        {"serial=123456789012345678901", "serial: '123456789012345678901' has 21 bytes"}}) {
    std::string text = fmt::format("virtio-blk-pci,drive=d0,{}", property);
    Contains(Refused({"--device", text.c_str()}), message);
  }
}

TEST_CASE("isa-debug-exit has QEMU's defaults and takes hexadecimal ports") {
  CommandLine defaults = Accepted({"--device", "isa-debug-exit"});
  CHECK(defaults.debug_exit->iobase == 0x501);
  CHECK(defaults.debug_exit->iosize == 2);
  CommandLine given = Accepted({"--device", "isa-debug-exit,iobase=0xf4,iosize=4"});
  CHECK(given.debug_exit->iobase == 0xf4);
  CHECK(given.debug_exit->iosize == 4);
  Contains(Refused({"--device", "isa-debug-exit,iobase=0xffff,iosize=4"}), "over the last port");
  Contains(Refused({"--device", "isa-debug-exit,iosize=0"}), "iosize");
  Contains(Refused({"--device", "isa-debug-exit", "--device", "isa-debug-exit"}), "only one");
}

TEST_CASE("what is unknown is named with the nearest that is known") {
  Contains(Refused({"--kernal", "x"}), "unknown option '--kernal'; did you mean 'kernel'?");
  Contains(Refused({"--device", "virtio-blk,drive=d"}), "did you mean 'virtio-blk-pci'?");
  Contains(Refused({"--device", "virtio-blk-pci,drvie=d"}), "did you mean 'drive'?");
  Contains(Refused({"vmlinux"}), "'vmlinux' is not an option");
  Contains(Refused({"--"}), "is not an option");
}

TEST_CASE("missing values, values too many, and devices that clash are refused") {
  Contains(Refused({"--append"}), "--append needs a value");
  Contains(Refused({"--no-reboot=1"}), "--no-reboot takes no value");
  Contains(Refused({"--device", "virtio-blk-pci"}), "no drive: add drive=NAME");
  Contains(Refused({"--device", "virtio-blk-pci,drive=a", "--device", "virtio-blk-pci,drive=a"}),
           "drive 'a' is in use by another device");
  Contains(Refused({"--device", "virtio-blk-pci,drive=a,id=x", "--device",
                    "virtio-blk-pci,drive=b,id=x"}),
           "id 'x' is in use by another device");
  Contains(ParseCommandLine({}).error().message, "no kernel");
}

TEST_CASE("help and version need no kernel and end the reading") {
  for (const char* argument : {"--help", "-h", "-help"}) {
    const char* arguments[] = {argument, "--nonsense"};
    Result<CommandLine> line = ParseCommandLine(arguments);
    REQUIRE(line);
    CHECK(line->action == CommandLine::Action::kPrint);
    Contains(line->text, "usage: minivmm");
  }
  const char* version[] = {"--version"};
  CHECK(ParseCommandLine(version)->text == fmt::format("minivmm {}\n", kVersion));
}

TEST_CASE("help on devices lists the devices and each one's properties") {
  const char* all[] = {"--device", "help"};
  Contains(ParseCommandLine(all)->text, "isa-debug-exit");
  const char* disk[] = {"--device", "virtio-blk-pci,help"};
  for (const char* property : {"drive=", "serial=", "num-queues=", "queue-size=", "addr=", "id="}) {
    Contains(ParseCommandLine(disk)->text, property);
  }
  const char* exit[] = {"--device", "isa-debug-exit,help"};
  Contains(ParseCommandLine(exit)->text, "iobase=");
}

}  // namespace
}  // namespace minivmm
