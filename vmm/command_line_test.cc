#include "vmm/command_line.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "vmm/command_line_manual.h"

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
  CHECK(line.disks[0].options.serial == "A1");
  CHECK(line.disks[0].options.num_queues == 3);
  CHECK(line.disks[0].options.queue_size == 64);
  CHECK(line.disks[0].slot == 0x1f);
  CHECK(line.disks[0].id == "x");
  REQUIRE(line.blockdevs.size() == 1);
  CHECK(line.blockdevs[0].text == "node-name=d0,driver=null-co");
}

TEST_CASE("a disk has one queue for each vCPU and its drive's name unless told otherwise") {
  CommandLine line = Accepted({"--device", "virtio-blk-pci,drive=d0", "--smp", "5"});
  CHECK(line.disks[0].options.num_queues == 5);
  CHECK(line.disks[0].id == "d0");
  CHECK(line.disks[0].options.queue_size == 256);
  CHECK_FALSE(line.disks[0].slot);
}

TEST_CASE("devices may be given as JSON") {
  CommandLine line =
      Accepted({"--device", R"({"driver": "virtio-blk-pci", "drive": "d0", "num-queues": 2})"});
  CHECK(line.disks[0].drive == "d0");
  CHECK(line.disks[0].options.num_queues == 2);
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
  Contains(Refused({"--device", "virtio-bkl-pci,drive=d"}), "did you mean 'virtio-blk-pci'?");
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

TEST_CASE("QEMU's longer forms of -smp and -m, without what has no meaning here") {
  CHECK(Accepted({"-smp", "cpus=3"}).cpu_count == 3);
  CHECK(Accepted({"-m", "size=1G"}).memory_bytes == 1_GiB);
  Contains(Refused({"-smp", "4,sockets=1"}), "--smp: sockets is not there: processors have no");
  Contains(Refused({"-smp", "cpus=4,maxcpus=8"}), "--smp: maxcpus is not there");
  Contains(Refused({"-m", "1G,slots=2,maxmem=4G"}), "-m: slots is not there: memory cannot be");
  Contains(Refused({"-m", "size=0"}), "no memory");
}

TEST_CASE("--drive if=virtio makes a device, named as QEMU names it") {
  CommandLine line = Accepted({"--drive", "file=a,if=virtio", "-drive", "file=b,if=virtio,id=b",
                               "-drive", "file=c,if=virtio,cache=writethrough"});
  REQUIRE(line.disks.size() == 3);
  CHECK(line.drives[0].node_name == "virtio0");
  CHECK(line.disks[0].drive == "virtio0");
  CHECK(line.disks[0].options.name == "virtio0");
  CHECK(line.disks[1].drive == "b");
  CHECK(line.disks[2].drive == "virtio2");
  CHECK(line.disks[1].options.write_cache);
  CHECK_FALSE(line.disks[2].options.write_cache);
  Contains(Refused({"--drive", "file=a,if=virtio", "--drive", "file=b,if=virtio,index=0"}),
           "index=0 is in use");
  Contains(Refused({"--drive", "file=a,if=none,id=x", "--drive", "file=b,if=virtio,id=x"}),
           "id 'x' is in use by another drive");
}

TEST_CASE("a drive's id is no other node's name, for a device could mean either") {
  Contains(
      Refused({"--drive", "file=a.img,if=none,id=a,node-name=b", "--drive",
               "file=secret.img,if=none,id=b,node-name=c", "--device", "virtio-blk-pci,drive=a"}),
      "file=secret.img,if=none,id=b,node-name=c: id 'b' is the node-name of another node");
  Contains(
      Refused({"--drive", "file=a,if=none,id=a", "--drive", "file=b,if=none,id=b,node-name=a"}),
      "id 'a' is the node-name of another node");
  Contains(
      Refused({"--drive", "file=a,if=virtio", "--blockdev", "driver=null-co,node-name=virtio0"}),
      "id 'virtio0' is the node-name of another node");
  Contains(Refused({"--drive", "file=a,if=none,id=a,node-name=b", "--blockdev",
                    "driver=raw,node-name=c,file.driver=null-co,file.node-name=a"}),
           "id 'a' is the node-name of another node");
  Accepted({"--drive", "file=a,if=none,id=a,node-name=a", "--blockdev",
            "driver=raw,node-name=b,file=a"});
}

TEST_CASE("a device has its drive's werror and rerror, but for what it says itself") {
  CommandLine line = Accepted({"--drive", "file=a,if=virtio,werror=enospc", "--device",
                               "virtio-blk-pci,drive=d1,rerror=report", "--drive",
                               "if=none,id=d1,file=b,werror=stop,rerror=stop", "--device",
                               "virtio-blk-pci,drive=d2"});
  REQUIRE(line.disks.size() == 3);
  for (const DiskDevice& disk : line.disks) {
    const ErrorPolicy expected =
        disk.drive == "d1"   ? ErrorPolicy{.reads = OnError::kReport, .writes = OnError::kStop}
        : disk.drive == "d2" ? ErrorPolicy{}
                             : ErrorPolicy{.writes = OnError::kEnospc};
    CHECK(disk.errors == expected);
  }
}

TEST_CASE("--device finds a --drive by its id, wherever it stands, and has its cache mode") {
  CommandLine line =
      Accepted({"--device", "virtio-blk-pci,drive=d0", "--drive",
                "if=none,id=d0,node-name=n0,file=a,cache=directsync", "--device",
                "virtio-blk-pci,drive=d1,write-cache=on", "--drive",
                "if=none,id=d1,file=b,cache=directsync", "--device", "virtio-blk-pci,drive=d2"});
  REQUIRE(line.disks.size() == 3);
  CHECK(line.disks[0].drive == "n0");
  CHECK(line.disks[0].id == "d0");
  CHECK_FALSE(line.disks[0].options.write_cache);
  CHECK(line.disks[1].options.write_cache);
  CHECK(line.disks[2].options.write_cache);
  Contains(Refused({"--drive", "file=a,if=virtio", "--device", "virtio-blk-pci,drive=virtio0"}),
           "drive 'virtio0' is in use by another device");
}

TEST_CASE("disks with a bootindex come first, in its order; the others as given") {
  CommandLine line = Accepted(
      {"--device", "virtio-blk-pci,drive=a", "--device", "virtio-blk-pci,drive=b,bootindex=7",
       "--device", "virtio-blk-pci,drive=c,bootindex=0", "--device", "virtio-blk-pci,drive=d"});
  std::string order;
  for (const DiskDevice& disk : line.disks) order += disk.drive;
  CHECK(order == "cbad");
  Contains(Refused({"--device", "virtio-blk-pci,drive=a,bootindex=1", "--device",
                    "virtio-blk-pci,drive=b,bootindex=1"}),
           "bootindex=1 is in use");
}

TEST_CASE("options that say how it is anyway change nothing") {
  CommandLine line = Accepted({"-enable-kvm",
                               "-accel",
                               "kvm",
                               "-nodefaults",
                               "-no-user-config",
                               "-display",
                               "none",
                               "-nographic",
                               "-vga",
                               "none",
                               "-monitor=none",
                               "-net",
                               "none",
                               "-nic",
                               "none",
                               "-cpu",
                               "max",
                               "-cpu",
                               "host",
                               "-name",
                               "guest=a,debug-threads=on"});
  CHECK(line.serial.kind == SerialOutput::Kind::kStdio);
  CHECK(line.disks.empty());
}

TEST_CASE("options of QEMU that are not there are refused as they were written, with the reason") {
  for (const char* option :
       {"-machine",   "-M",          "-object",  "-netdev", "-cdrom",    "-hda",
        "-daemonize", "-snapshot",   "-chardev", "-mon",    "-bios",     "-boot",
        "-global",    "-spice",      "-rtc",     "-usb",    "-incoming", "-fsdev",
        "--virtfs",   "-readconfig", "-gdb",     "-s",      "-uuid",     "-watchdog"}) {
    INFO(std::string(option));
    std::string expected = fmt::format("QEMU's option {} is not there: ", option);
    CHECK(Refused({option}).starts_with(expected));
    CHECK(Refused({option, "x"}).starts_with(expected));
    CHECK(Refused({fmt::format("{}=x", option).c_str()}).starts_with(expected));
  }
  Contains(Refused({"-object", "iothread,id=t"}), "each disk queue has its own I/O thread anyway");
  Contains(Refused({"-accel", "tcg"}), "option -accel: 'tcg' is not there: minivmm runs on KVM");
  Contains(Refused({"-cpu", "qemu64"}), "option -cpu: 'qemu64' is not there");
  Contains(Refused({"-display", "gtk"}), "see --serial");
  Contains(Refused({"-vnc", ":1"}),
           "option -vnc: ':1' is not there: the guest has a serial console");
  Contains(Refused({"-cpu"}), "option -cpu needs a value");
  Contains(Refused({"-nographic=on"}), "option -nographic takes no value");
}

TEST_CASE("--qmp listens on a socket, or is standard input and output") {
  CommandLine line = Accepted({"--qmp", "unix:/run/a,server=on,wait=off", "-qmp",
                               "unix:path=/run/b,,c,server", "-qmp", "unix:d,server,nowait"});
  REQUIRE(line.qmp.size() == 3);
  CHECK(line.qmp[0].path == "/run/a");
  CHECK_FALSE(line.qmp[0].stdio);
  CHECK_FALSE(line.qmp[0].wait);
  CHECK(line.qmp[1].path == "/run/b,c");
  CHECK(line.qmp[1].wait);
  CHECK_FALSE(line.qmp[2].wait);
  CHECK(Accepted({"--qmp", "unix:a,,wait,server"}).qmp[0].path == "a,wait");
  CHECK(Accepted({"--qmp", "stdio", "--serial", "none"}).qmp[0].stdio);

  Contains(Refused({"--qmp", "stdio"}), "add --serial file:PATH, null or none");
  Contains(Refused({"--qmp", "stdio", "--qmp", "stdio", "--serial", "none"}), "given twice");
  Contains(Refused({"--qmp", "unix:a,server", "--qmp", "unix:a,server"}), "'a' is given twice");
  Contains(Refused({"--qmp", "unix:a,wait=off"}), "add server=on");
  Contains(Refused({"--qmp", "unix:a,server=off"}), "add server=on");
  Contains(Refused({"--qmp", "unix:server=on"}), "the socket has no path");
  Contains(Refused({"--qmp", "unix:"}), "empty");
  Contains(Refused({"--qmp", "unix:a,server=on,mode=1"}), "mode is not known");
  Contains(Refused({"--qmp", "unix:a,server=maybe"}), "server: 'maybe' is neither on nor off");
  Contains(Refused({"--qmp", "tcp:localhost:4444,server"}), "say unix:PATH");
  const std::string long_path = "unix:" + std::string(108, 'a') + ",server";
  Contains(Refused({"--qmp", long_path.c_str()}), "has 108 bytes");
}

TEST_CASE("-S, pvpanic, and what --dry-run prints") {
  CommandLine line = Accepted({"-S", "--device", "pvpanic", "--dry-run", "--print", "json"});
  CHECK(line.start_paused);
  CHECK(line.pvpanic);
  CHECK(line.action == CommandLine::Action::kDryRun);
  CHECK(line.json);
  CHECK_FALSE(Accepted({"--dry-run", "--print=text"}).json);
  Contains(Refused({"--print", "json"}), "--print goes with --dry-run");
  Contains(Refused({"--dry-run", "--print", "xml"}), "say text or json");
  Contains(Refused({"--device", "pvpanic", "--device", "pvpanic"}), "only one");
}

TEST_CASE("a message is one line, whatever the user gave") {
  std::string message = Refused({"--ker\nnel\x1b[1m"});
  CHECK(message.starts_with("unknown option '--ker?nel?[1m'"));
  CHECK(Refused({std::string(100'000, 'x').c_str()}).size() <= 1000);
  // The advice is not cut off.
  const std::string long_option = "-" + std::string(2000, 'x');
  CHECK(Refused({long_option.c_str()}).ends_with("(--help shows all)"));
}

TEST_CASE("the help fits a screen, and the manual has every option and its forms") {
  const char* arguments[] = {"--help"};
  const std::string help = ParseCommandLine(arguments)->text;
  CHECK(std::count(help.begin(), help.end(), '\n') <= 30);
  size_t width = 0;
  for (size_t begin = 0; begin < help.size();) {
    size_t end = help.find('\n', begin);
    width = std::max(width, end - begin);
    begin = end + 1;
  }
  CHECK(width <= 100);
  for (const char* option : {"--kernel", "--drive", "--blockdev", "--qmp", "--config", "--print"}) {
    Contains(help, option);
  }
  const char* man[] = {"--help=man"};
  for (const char* part : {".TH", "EXIT STATUS", "BLOCK DRIVERS", "bootindex"}) {
    Contains(ParseCommandLine(man)->text, part);
  }
  const char* bash[] = {"--help=bash"};
  Contains(ParseCommandLine(bash)->text, "complete");
  const char* wrong[] = {"--help=html"};
  Contains(ParseCommandLine(wrong).error().message, "say --help, --help=man or --help=bash");
  const Manual manual = BuildManual();
  CHECK(manual.name == "minivmm");
  for (const ManualSection& section : manual.sections) {
    CHECK_FALSE(section.title.empty());
    for (const ManualEntry& entry : section.entries) CHECK_FALSE(entry.term.empty());
  }
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
