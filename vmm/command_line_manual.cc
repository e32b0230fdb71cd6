#include "vmm/command_line_manual.h"

#include "vmm/command_line.h"
#include "vmm/device_option.h"
#include "vmm/drive_option.h"
#include "vmm/foreign_options.h"
#include "vmm/option_table.h"

namespace minivmm {
namespace {

ManualSection OwnOptions() {
  ManualSection section{
      .title = "OPTIONS",
      .text =
          "Options take one dash or two, and their value behind a space or a =. An argument "
          "@FILE is replaced by the words of the file, which are separated as in a shell.",
      .in_help = true};
  for (const KnownOption& option : KnownOptions()) {
    section.entries.push_back({.term = std::string(option.term),
                               .summary = std::string(option.summary),
                               .details = std::string(option.details),
                               .completions = option.completions});
  }
  return section;
}

ManualSection BlockDrivers() {
  return {
      .title = "BLOCK DRIVERS",
      .text =
          "Keys of every driver: node-name=NAME, read-only=on|off, cache.direct=on|off, "
          "cache.no-flush=on|off, discard=unmap|ignore. A node that is described inside "
          "another has these of the outer one unless it says otherwise; file=NAME names a "
          "node that was added before.",
      .entries =
          {
              {"host_device",
               "a block device of the host, with its zones",
               "Keys: filename=PATH, aio=io_uring. A zoned device is opened with O_DIRECT and "
               "O_EXCL by itself.",
               {}},
              {"file", "a regular file", "Keys: filename=PATH, aio=io_uring.", {}},
              {"raw",
               "a part of another node, with its zones",
               "Keys: file=NODE, offset=BYTES, size=BYTES.",
               {}},
              {"zoned",
               "a zoned disk in an ordinary file, as minivmm-img makes it",
               "Key: file=NODE.",
               {}},
              {"null-co",
               "drops writes, and reads nothing, or zeroes",
               "Keys: size=BYTES, read-zeroes=on|off.",
               {}},
          },
  };
}

}  // namespace

Manual BuildManual() {
  Manual manual;
  manual.name = "minivmm";
  manual.version = kVersion;
  manual.summary = "boots a Linux guest on KVM, with zoned (and other) disks as virtio-blk-pci";
  manual.usage = {"--kernel FILE [OPTION | @FILE] ..."};
  manual.help_footer =
      "Options take one dash or two. Ctrl-a x quits. All details: minivmm --help=man | man -l -";
  manual.sections = {
      {.title = "DESCRIPTION",
       .text =
           "minivmm runs one virtual machine on KVM, for zoned storage. It starts a Linux kernel "
           "directly and gives it the host's zoned block devices (SMR, ZNS, null_blk), zoned "
           "disks in ordinary files, and ordinary disks, as virtio-blk-pci devices with every zone "
           "operation. It needs no root: access to /dev/kvm and to the disks is enough.\n\n"
           "Names and forms are those of QEMU where QEMU has the same thing; what QEMU has and "
           "minivmm has not is refused by name."},
      OwnOptions(),
      BlockDrivers(),
      DriveManual(),
  };
  for (ManualSection& section : DeviceManual()) manual.sections.push_back(std::move(section));
  manual.sections.push_back(ForeignManual());
  manual.sections.push_back({
      .title = "EXIT STATUS",
      .entries =
          {{"0", "the guest powered off, or the user quit", {}, {}},
           {"1", "an error, which one line on standard error explains, or a dead guest", {}, {}},
           {"2 * V + 1", "the guest wrote V to isa-debug-exit", {}, {}}},
  });
  manual.sections.push_back({
      .title = "EXAMPLES",
      .text = "A zoned device of the host:\n\n"
              "    minivmm --kernel vmlinux --initrd initramfs --append console=ttyS0 \\\n"
              "            --drive file=/dev/nullb0,driver=host_device,if=virtio\n\n"
              "A zoned disk in an ordinary file, with properties of its own:\n\n"
              "    minivmm --kernel vmlinux --append \"console=ttyS0 root=/dev/vda\" \\\n"
              "            --drive if=none,id=d0,file=disk.zbd,format=zoned \\\n"
              "            --device virtio-blk-pci,drive=d0,serial=A1,num-queues=2\n\n"
              "The same machine as a file, and from it:\n\n"
              "    minivmm ... --dry-run --print json >machine.json\n"
              "    minivmm --config machine.json",
  });
  manual.see_also = {"minivmm-io(1)", "minivmm-img(1)"};
  return manual;
}

}  // namespace minivmm
