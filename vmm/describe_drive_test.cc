#include "vmm/describe_drive.h"

#include <doctest/doctest.h>

#include <string>

#include "blockcore/base/temporary.h"

namespace minivmm {
namespace {

Options Described(const std::string& text) {
  Result<DriveOption> drive = ParseDrive(text);
  if (!drive) FAIL(drive.error().message);
  drive->node_name = "n0";
  Result<Options> options = DescribeDrive(*drive);
  if (!options) FAIL(options.error().message);
  return *options;
}

TEST_CASE("a file is raw over file; how it is read is told to the node that reads it") {
  const TemporaryFile disk(4096);
  Options options = Described(
      fmt::format("file={},if=virtio,cache=none,aio=io_uring,size=512,read-only=on", disk.path()));
  CHECK(options.TakeString("node-name") == "n0");
  CHECK(options.TakeString("driver") == "raw");
  CHECK(options.TakeString("size") == "512");
  CHECK(options.TakeString("read-only") == "on");
  CHECK(options.TakeString("cache.direct") == "on");
  CHECK(options.TakeString("cache.no-flush") == "off");
  Options child = *options.TakeNested("file");
  CHECK(child.TakeString("driver") == "file");
  CHECK(child.TakeString("filename") == disk.path());
  CHECK(child.TakeString("aio") == "io_uring");
  CHECK(options.CheckAllTaken("drive").has_value());
}

TEST_CASE("the format that was asked for is the driver") {
  const TemporaryFile disk(4096);
  Options zoned = Described(fmt::format("file={},if=virtio,format=zoned", disk.path()));
  CHECK(zoned.TakeString("driver") == "zoned");
  Options file = Described(fmt::format("file={},if=virtio,driver=file,aio=io_uring", disk.path()));
  CHECK(file.TakeString("driver") == "file");
  CHECK(file.TakeString("aio") == "io_uring");
}

TEST_CASE("a drive that names no file is described by its keys") {
  Options options = Described("if=none,driver=null-co,size=1G");
  CHECK(options.TakeString("driver") == "null-co");
  CHECK(options.TakeString("node-name") == "n0");
  CHECK(options.TakeString("size") == "1G");
  CHECK(options.CheckAllTaken("drive").has_value());
}

TEST_CASE("a file that is not there, and a format that is unknown, are named") {
  Result<Options> missing = DescribeDrive(*ParseDrive("file=/no/such/file,if=virtio"));
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message.find("'/no/such/file'") != std::string::npos);
  const TemporaryFile disk(4096);
  Result<Options> qcow =
      DescribeDrive(*ParseDrive(fmt::format("file={},if=virtio,format=qcow2", disk.path())));
  REQUIRE_FALSE(qcow);
  CHECK(qcow.error().message.find("qcow2") != std::string::npos);
}

}  // namespace
}  // namespace minivmm
