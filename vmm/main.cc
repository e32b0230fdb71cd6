// minivmm's main: command line ─▶ what outlives a power cycle (disks, kernel, KVM) ─▶ machines, one
// for each power cycle ─▶ exit status.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "blockcore/base/excerpt.h"
#include "blockcore/base/log.h"
#include "blockcore/base/result.h"
#include "blockcore/base/standard_files.h"
#include "blockcore/base/unique_fd.h"
#include "blockcore/block_backend.h"
#include "blockcore/block_graph.h"
#include "blockcore/block_request.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_request.h"
#include "firmware/acpi.h"
#include "firmware/linux_loader.h"
#include "vmm/command_line.h"
#include "vmm/config_file.h"
#include "vmm/describe_drive.h"
#include "vmm/guest_ram.h"
#include "vmm/kvm.h"
#include "vmm/machine.h"
#include "vmm/main_loop.h"
#include "vmm/power_ports.h"
#include "vmm/qmp/qmp_server.h"
#include "vmm/sandbox.h"
#include "vmm/stop_request.h"
#include "vmm/supervisor.h"
#include "vmm/vcpu.h"

namespace minivmm {
namespace {

// What the guest boots. The image borrows from the files.
struct BootFiles {
  MappedFile kernel;
  MappedFile initrd;
  BootImage image;
};

Result<BootFiles> LoadBootFiles(const CommandLine& line) {
  BootFiles files;
  TRY(files.kernel, MappedFile::Open("kernel", line.kernel));
  if (!line.initrd.empty()) {
    TRY(files.initrd, MappedFile::Open("initrd", line.initrd));
  }
  AcpiTables acpi = BuildAcpiTables({.cpu_count = line.cpu_count, .pvpanic = line.pvpanic});
  TRY(files.image, LoadLinux({
                       .kernel = files.kernel.bytes(),
                       .kernel_name = line.kernel,
                       .initrd = files.initrd.bytes(),
                       .initrd_name = line.initrd,
                       .command_line = line.command_line,
                       .ram_bytes = line.memory_bytes,
                       .rsdp_address = acpi.rsdp_address,
                   }));
  files.image.segments.push_back(std::move(acpi.segment));
  files.image.segments.push_back(BuildResetVector());
  if (files.image.entry.mode == BootMode::kLong64) files.image.segments.push_back(BuildBootGdt());
  return files;
}

// All that --blockdev and --drive describe, also what no device uses; returns those of the disks.
Result<Drives> OpenDrives(const CommandLine& line, BlockGraph& graph) {
  for (const BlockDevice& blockdev : line.blockdevs) {
    if (Result<void> added = graph.Add(blockdev.options); !added) {
      return Fail("--blockdev {}: {}", blockdev.text, added.error().message);
    }
  }
  for (const DriveOption& drive : line.drives) {
    Result<void> added = DescribeDrive(drive).and_then(
        [&graph](Options options) { return graph.Add(std::move(options)); });
    if (!added) return Fail("--drive {}: {}", drive.text, added.error().message);
  }
  Drives drives;
  for (const DiskDevice& disk : line.disks) {
    Result<std::unique_ptr<BlockBackend>> drive =
        BlockBackend::Create(graph, disk.drive, fmt::format("device '{}'", disk.id));
    if (!drive) return Fail("--device virtio-blk-pci: {}", drive.error().message);
    (*drive)->SetErrorPolicy(disk.errors);
    drives.push_back(std::move(*drive));
  }
  return drives;
}

// Standard output or a file; the machine never writes to it in a dry run.
Result<UniqueFd> OpenSerialOutput(const CommandLine& line) {
  std::string path = "/dev/null";
  int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY;
  if (line.serial.kind == SerialOutput::Kind::kStdio) {
    UniqueFd output(::dup(STDOUT_FILENO));
    if (!output) return Fail("--serial: cannot use standard output: {}", ErrnoText(errno));
    return output;
  }
  if (line.serial.kind == SerialOutput::Kind::kFile && line.action == CommandLine::Action::kRun) {
    path = line.serial.path;
    flags |= O_CREAT;  // emptied once nothing is refused any more
  }
  UniqueFd fd(::open(path.c_str(), flags, 0666));
  if (!fd) return Fail("--serial: cannot open '{}': {}", path, ErrnoText(errno));
  return fd;
}

// The guest's last writes reach the medium, also of a guest that was not allowed to end in order.
void FlushDrives(const Drives& drives, const CommandLine& line) {
  for (size_t i = 0; i < drives.size(); ++i) {
    if (drives[i]->limits().read_only) continue;
    Result<std::unique_ptr<IoThread>> thread = IoThread::Start("io/flush");
    BlockRequest flush;
    flush.op = BlockOp::kFlush;
    if (!thread || SubmitAndWait(**thread, *drives[i], flush) != BlockStatus::kOk) {
      LOG("drive '{}': the final flush failed: the last writes may be lost if the host goes down",
          line.disks[i].drive);
    }
  }
}

// None without --qmp.
Result<std::unique_ptr<QmpServer>> CreateQmpServer(const CommandLine& line, MainLoop& loop,
                                                   Supervisor& supervisor, BlockGraph& graph,
                                                   const Drives& drives) {
  if (line.qmp.empty()) return nullptr;
  QmpTarget target{.control = supervisor, .graph = graph, .disks = {}};
  for (size_t i = 0; i < drives.size(); ++i) {
    target.disks.push_back({.id = line.disks[i].id,
                            .backend = drives[i].get(),
                            .logical_block_bytes = line.disks[i].options.logical_block_bytes});
  }
  return QmpServer::Create(loop.context(), line.qmp, std::move(target));
}

int ExitStatus(const StopRequest& stop) {
  switch (stop.kind) {
    case StopRequest::Kind::kPanic:
    case StopRequest::Kind::kFailure:
    case StopRequest::Kind::kHostError:
      return 1;
    default:
      return stop.exit_status;
  }
}

void SetSignals() {
  // Errors of the calls that meet them, and no reason to end the guest: a console or a client that
  // has gone, and a file beyond RLIMIT_FSIZE.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  // Whoever started us may have blocked signals, those among them that call vCPUs out of the guest.
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

// A queue takes four descriptors. As many as we may have, instead of the usual 1,024; the sandbox
// leaves a few more than are open then.
void RaiseOpenFiles() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<int> PrintText(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return 0;
  return Fail("cannot write to standard output: {}", ErrnoText(errno));
}

Result<int> Run(const CommandLine& line) {
  SetSignals();
  RaiseOpenFiles();
  const bool sandbox = line.sandbox && line.action == CommandLine::Action::kRun;
  if (sandbox) TRY_VOID(PrepareSandbox());
  TRY(BootFiles files, LoadBootFiles(line));
  TRY(Kvm kvm, Kvm::Open());
  BlockGraph graph;
  TRY(Drives drives, OpenDrives(line, graph));
  TRY(std::unique_ptr<MainLoop> loop, MainLoop::Create());
  TRY(UniqueFd serial, OpenSerialOutput(line));
  const MachineParts parts{line, kvm, *loop, files.image, drives, serial.get()};

  if (line.action == CommandLine::Action::kDryRun) {
    TRY(std::unique_ptr<Machine> machine, Machine::Create(parts, 1));
    return PrintText(line.json ? RenderConfig(line)
                               : "minivmm would start this machine:\n" + machine->Describe());
  }
  auto build = [&parts, &files](uint32_t number) -> Result<std::unique_ptr<PowerCycle>> {
    TRY_VOID(files.kernel.CheckUnchanged());
    TRY_VOID(files.initrd.CheckUnchanged());
    Result<std::unique_ptr<Machine>> machine = Machine::Create(parts, number);
    // The guest has its copy.
    files.kernel.Evict();
    files.initrd.Evict();
    return machine;
  };
  Supervisor supervisor(*loop, build, line.no_reboot);
  TRY(std::unique_ptr<QmpServer> qmp, CreateQmpServer(line, *loop, supervisor, graph, drives));
  if (sandbox) TRY_VOID(DropCapabilities());
  TRY_VOID(supervisor.Prepare());
  // EINVAL: a pipe or a terminal.
  if (line.serial.kind == SerialOutput::Kind::kFile && ::ftruncate(serial.get(), 0) != 0 &&
      errno != EINVAL) {
    return Fail("--serial: cannot empty '{}': {}", line.serial.path, ErrnoText(errno));
  }
  if (line.serial.kind == SerialOutput::Kind::kStdio) TRY_VOID(loop->OpenConsole());

  if (line.start_paused && !qmp) {
    LOG("-S: the guest waits for 'cont', but there is no --qmp to say it: end it with a signal");
  }
  if (qmp) qmp->Serve([&loop] { return loop->HasStopRequest(); });
  if (sandbox) TRY_VOID(EnterSandbox({.opens_files = qmp != nullptr}));
  Result<StopRequest> stop = supervisor.Run(!line.start_paused && !loop->HasStopRequest());
  FlushDrives(drives, line);
  qmp.reset();
  loop.reset();  // the terminal is itself again when the last line is printed
  if (!stop) return tl::unexpected(stop.error());
  if (!stop->message.empty()) LOG("{}", stop->message);
  return ExitStatus(*stop);
}

Result<int> Main(std::span<const char* const> arguments) {
  TRY(const CommandLine line, ParseCommandLine(arguments));
  return line.action == CommandLine::Action::kPrint ? PrintText(line.text) : Run(line);
}

}  // namespace
}  // namespace minivmm

int main(int argc, char** argv) {
  minivmm::OpenMissingStandardFiles();
  // Set-up may run out of memory, and Asio reports its failures like this; nothing throws once a
  // guest runs.
  try {
    minivmm::Result<int> exit_status =
        minivmm::Main(std::span<const char* const>(argv, static_cast<size_t>(argc)).subspan(1));
    if (exit_status) return *exit_status;
    LOG("{}", minivmm::Excerpt(exit_status.error().message, /*max_bytes=*/10'000));
  } catch (const std::exception& exception) {
    LOG("cannot go on: {}", exception.what());
  }
  return 1;
}
