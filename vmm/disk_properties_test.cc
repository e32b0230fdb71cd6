#include "vmm/disk_properties.h"

#include <doctest/doctest.h>

#include <string>
#include <variant>

#include "blockcore/base/units.h"
#include "vmm/device_option.h"

namespace minivmm {
namespace {

DiskRequest Accepted(const std::string& properties) {
  Result<DeviceRequest> device = ParseDevice("virtio-blk-pci,drive=d0," + properties);
  if (!device) FAIL(device.error().message);
  REQUIRE(std::holds_alternative<DiskRequest>(*device));
  return std::get<DiskRequest>(*device);
}

std::string Refused(const std::string& properties) {
  Result<DeviceRequest> device = ParseDevice("virtio-blk-pci,drive=d0," + properties);
  REQUIRE_FALSE(device);
  return device.error().message;
}

TEST_CASE("without properties a disk is as QEMU's") {
  DiskRequest disk = Accepted("");
  const VirtioBlkOptions& options = disk.device.options;
  CHECK(disk.device.id == "d0");
  CHECK(options.name == "d0");
  CHECK_FALSE(disk.num_queues);
  CHECK_FALSE(disk.write_cache);
  CHECK(options.queue_size == 256);
  CHECK(options.poll_max_ns == 32'768);
  CHECK(options.logical_block_bytes == 0);
  CHECK(options.physical_block_bytes == 0);
  CHECK(options.config_wce);
  CHECK(options.discard);
  CHECK(options.write_zeroes);
  CHECK(options.seg_max_adjust);
  CHECK_FALSE(options.packed);
  CHECK(options.queue_reset);
  CHECK(options.event_idx);
  CHECK(options.indirect_desc);
}

TEST_CASE("QEMU's names of the device") {
  for (const char* name : {"virtio-blk", "virtio-blk-pci", "virtio-blk-pci-non-transitional"}) {
    CHECK(ParseDevice(fmt::format("{},drive=d", name)).has_value());
    CHECK(ParseDevice(fmt::format("driver={},drive=d,", name)).has_value());
  }
}

TEST_CASE("poll-max-ns is up to a millisecond, and 0 is never") {
  CHECK(Accepted("poll-max-ns=0").device.options.poll_max_ns == 0);
  CHECK(Accepted("poll-max-ns=1000000").device.options.poll_max_ns == 1'000'000);
  CHECK(Refused("poll-max-ns=1000001").find("poll-max-ns") != std::string::npos);
  CHECK(Refused("poll-max-ns=-1").find("poll-max-ns") != std::string::npos);
}

TEST_CASE("each switch is turned by its name, and by no other") {
  struct Switch {
    const char* name;
    bool VirtioBlkOptions::*member;
  };
  const Switch switches[] = {{"config-wce", &VirtioBlkOptions::config_wce},
                             {"discard", &VirtioBlkOptions::discard},
                             {"write-zeroes", &VirtioBlkOptions::write_zeroes},
                             {"seg-max-adjust", &VirtioBlkOptions::seg_max_adjust},
                             {"packed", &VirtioBlkOptions::packed},
                             {"queue_reset", &VirtioBlkOptions::queue_reset},
                             {"event_idx", &VirtioBlkOptions::event_idx},
                             {"indirect_desc", &VirtioBlkOptions::indirect_desc}};
  const VirtioBlkOptions defaults;
  for (const Switch& given : switches) {
    INFO(std::string(given.name));
    for (bool value : {false, true}) {
      DiskRequest disk = Accepted(fmt::format("{}={}", given.name, value ? "on" : "off"));
      for (const Switch& other : switches) {
        bool expected = other.member == given.member ? value : defaults.*other.member;
        CHECK(disk.device.options.*other.member == expected);
      }
    }
    CHECK(Refused(fmt::format("{}=maybe", given.name)) ==
          fmt::format("--device virtio-blk-pci: {}: 'maybe' is neither on nor off", given.name));
  }
}

TEST_CASE("block sizes are powers of two from 512 to 2 MiB, the logical not above the physical") {
  DiskRequest disk = Accepted("logical_block_size=4096,physical_block_size=64k");
  CHECK(disk.device.options.logical_block_bytes == 4096);
  CHECK(disk.device.options.physical_block_bytes == 65536);
  CHECK(Accepted("physical_block_size=2M").device.options.physical_block_bytes == 2_MiB);
  CHECK(Accepted("logical_block_size=0").device.options.logical_block_bytes == 0);
  for (const char* wrong :
       {"256", "1000", "4M", "4194304", "4g", "-1", "", "1x", "18014398509481985k"}) {
    INFO(std::string(wrong));
    CHECK(Refused(fmt::format("logical_block_size={}", wrong)).find("is not a power of two") !=
          std::string::npos);
  }
  CHECK(Refused("logical_block_size=4096,physical_block_size=512") ==
        "--device virtio-blk-pci: logical_block_size=4096 is above physical_block_size=512");
}

TEST_CASE("write-cache is on, off, or left to the drive") {
  CHECK(Accepted("write-cache=on").write_cache == true);
  CHECK(Accepted("write-cache=off").write_cache == false);
  CHECK_FALSE(Accepted("write-cache=auto").write_cache);
  CHECK(Refused("write-cache=back").find("write-cache") != std::string::npos);
}

TEST_CASE("werror and rerror are QEMU's words, or left to the drive") {
  CHECK_FALSE(Accepted("").write_errors);
  CHECK_FALSE(Accepted("werror=stop,rerror=auto").read_errors);
  CHECK_FALSE(Accepted("werror=auto").write_errors);
  CHECK(Accepted("werror=enospc").write_errors == OnError::kEnospc);
  CHECK(Accepted("werror=ignore,rerror=stop").write_errors == OnError::kIgnore);
  CHECK(Accepted("werror=ignore,rerror=stop").read_errors == OnError::kStop);
  CHECK(
      Refused("werror=pause") ==
      "--device virtio-blk-pci: werror: 'pause' is not known: say report, ignore, enospc or stop");
  CHECK(Refused("rerror=enospc") ==
        "--device virtio-blk-pci: rerror: a read needs no space: say report, ignore or stop");
}

TEST_CASE("addr is a hexadecimal slot, with function 0 or none") {
  for (auto [text, slot] :
       {std::pair{"4", 4}, {"04.0", 4}, {"0x4.0", 4}, {"1f", 31}, {"0x1F", 31}, {"10", 16}}) {
    CHECK(Accepted(fmt::format("addr={}", text)).device.slot == slot);
  }
  for (const char* wrong : {"0", "20", "0x", "", "-1", "4:0", "g", "99999999999", "4.", "4.00"}) {
    INFO(std::string(wrong));
    CHECK(Refused(fmt::format("addr={}", wrong)).find("addr: '") != std::string::npos);
  }
  CHECK(Refused("addr=4.1") == "--device virtio-blk-pci: addr: '4.1': a slot has function 0 only");
}

TEST_CASE("what cannot be chosen is refused by name with the reason") {
  for (const char* property : {"iothread=t0",
                               "iothread-vq-mapping.0.iothread=t0",
                               "romfile=x",
                               "rombar=1",
                               "multifunction=on",
                               "disable-legacy=off",
                               "disable-modern=on",
                               "share-rw=on",
                               "min_io_size=4096",
                               "opt_io_size=4096",
                               "discard_granularity=512",
                               "request-merging=off",
                               "scsi=on",
                               "ats=on",
                               "iommu_platform=on",
                               "in_order=on",
                               "vectors=3",
                               "ioeventfd=off",
                               "x-disable-pcie=on",
                               "bus=pci.1",
                               "cyls=3",
                               "max-discard-sectors=8",
                               "page-per-vq=on"}) {
    INFO(std::string(property));
    CHECK(Refused(property).starts_with(
        fmt::format("--device virtio-blk-pci: {} is not there: ", property)));
  }
}

TEST_CASE("what says how it is anyway is accepted") {
  Accepted("disable-legacy=on,disable-modern=off,ioeventfd=on,multifunction=off,scsi=off");
  Accepted("share-rw=off,iommu_platform=off,rombar=0,bus=pci.0");
}

TEST_CASE("devices that are not there") {
  CHECK(ParseDevice("virtio-scsi-pci").error().message ==
        "--device: there is no 'virtio-scsi-pci': disks are virtio-blk-pci");
  CHECK(ParseDevice("pvpanik").error().message ==
        "--device: unknown device 'pvpanik'; did you mean 'pvpanic'?");
  CHECK(ParseDevice("drive=d0").error().message ==
        "--device 'drive=d0': it does not begin with a device");
  CHECK(ParseDevice("").error().message.find("empty") != std::string::npos);
  CHECK(ParseDevice("pvpanic,ioport=0x300").error().message.find("the port is 0x505") !=
        std::string::npos);
}

TEST_CASE("as JSON a disk says all that it is") {
  DiskRequest disk = Accepted(
      "id=x,serial=007,addr=1f,bootindex=3,packed=on,discard=off,write-zeroes=off,config-wce=off,"
      "seg-max-adjust=off,queue_reset=off,event_idx=off,indirect_desc=off,poll-max-ns=7,"
      "logical_block_size=4k,physical_block_size=8k,queue-size=64");
  disk.device.options.num_queues = 7;
  disk.device.options.write_cache = false;
  disk.device.errors = {.reads = OnError::kIgnore, .writes = OnError::kEnospc};
  std::string json = DiskToJson(disk.device);
  DeviceRequest again = *ParseDevice(json);
  DiskRequest& read = std::get<DiskRequest>(again);
  CHECK(read.num_queues == 7);
  CHECK(read.write_cache == false);
  CHECK(read.read_errors == OnError::kIgnore);
  CHECK(read.write_errors == OnError::kEnospc);
  CHECK(read.device.options.serial == "007");
  CHECK(read.device.slot == 31);
  CHECK(read.device.bootindex == 3);
  read.device.options.num_queues = 7;
  read.device.options.write_cache = false;
  read.device.errors = disk.device.errors;
  CHECK(read.device.id == disk.device.id);
  CHECK(read.device.options == disk.device.options);
  CHECK(DiskToJson(read.device) == json);
}

}  // namespace
}  // namespace minivmm
