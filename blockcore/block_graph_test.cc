#include "blockcore/block_graph.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

// A file of 1 MiB, removed in the end.
class TestFile {
 public:
  TestFile() {
    const char* directory = std::getenv("TEST_TMPDIR");
    path_ = std::string(directory != nullptr ? directory : "/tmp") + "/graph-test-XXXXXX";
    UniqueFd fd(::mkostemp(path_.data(), O_CLOEXEC));
    REQUIRE(fd.get() >= 0);
    REQUIRE(::ftruncate(fd.get(), 1 << 20) == 0);
  }
  ~TestFile() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void AddGood(BlockGraph& graph, const std::string& text) {
  Result<void> added = graph.Add(text);
  REQUIRE_MESSAGE(added.has_value(), (added ? "" : added.error().message));
}

std::string AddError(BlockGraph& graph, const std::string& text) {
  Result<void> added = graph.Add(text);
  REQUIRE_FALSE(added.has_value());
  return added.error().message;
}

TEST_CASE("One description makes one node, with the options given") {
  BlockGraph graph;
  TestFile file;
  AddGood(graph, "node-name=n,driver=null-co,size=4M,read-zeroes=on");
  AddGood(graph,
          "file,node-name=f,filename=" + file.path() +
              ",read-only=on,cache.direct=off,cache.no-flush=on,aio=io_uring,discard=ignore");
  REQUIRE(graph.Find("n") != nullptr);
  CHECK(graph.Find("n")->limits().capacity_bytes == 4_MiB);
  REQUIRE(graph.Find("f") != nullptr);
  CHECK(graph.Find("f")->limits().capacity_bytes == 1_MiB);
  CHECK(graph.Find("f")->limits().read_only);
  CHECK(graph.Find("g") == nullptr);
  CHECK(graph.Find("") == nullptr);
}

TEST_CASE("A child is described in place, by dots or JSON, or named") {
  BlockGraph graph;
  TestFile file;
  AddGood(graph, "node-name=a,driver=raw,file.driver=null-co,file.size=2M,offset=1M");
  CHECK(graph.Find("a")->limits().capacity_bytes == 1_MiB);
  AddGood(graph, R"({"node-name": "b", "driver": "raw", "size": 4096,
                     "file": {"driver": "null-co", "size": "64k", "node-name": "b.child"}})");
  CHECK(graph.Find("b")->limits().capacity_bytes == 4096);
  CHECK(graph.Find("b.child")->limits().capacity_bytes == 64_KiB);
  AddGood(graph, "node-name=base,driver=file,filename=" + file.path());
  AddGood(graph, "node-name=c,driver=raw,file=base,read-only=on");
  CHECK(graph.Find("c")->limits().read_only);
  CHECK_FALSE(graph.Find("base")->limits().read_only);
}

TEST_CASE("A child in place has its parent's common options unless it says otherwise") {
  BlockGraph graph;
  TestFile file;
  AddGood(graph,
          "node-name=a,driver=raw,read-only=on,discard=unmap,file.driver=null-co,"
          "file.node-name=inherits");
  CHECK(graph.Find("inherits")->limits().read_only);
  AddGood(graph,
          "node-name=b,driver=raw,read-only=on,file.driver=null-co,file.node-name=own,"
          "file.read-only=off");
  CHECK_FALSE(graph.Find("own")->limits().read_only);
  AddGood(graph,
          "node-name=c,driver=raw,discard=unmap,file.driver=file,file.filename=" + file.path());
  CHECK(graph.Find("c")->limits().discard);
}

TEST_CASE("A node has one user") {
  BlockGraph graph;
  AddGood(graph, "node-name=base,driver=null-co");
  AddGood(graph, "node-name=a,driver=raw,file=base");
  CHECK(AddError(graph, "node-name=b,driver=raw,file=base") ==
        "node 'base' is already used by node 'a'");
  auto base = graph.Claim("base", "device 'x'");
  REQUIRE_FALSE(base.has_value());
  CHECK(base.error().message == "drive 'base' is already used by node 'a'");

  auto claimed = graph.Claim("a", "device 'virtio-blk-pci'");
  REQUIRE(claimed.has_value());
  CHECK(*claimed == graph.Find("a"));
  auto again = graph.Claim("a", "device 'y'");
  REQUIRE_FALSE(again.has_value());
  CHECK(again.error().message == "drive 'a' is already used by device 'virtio-blk-pci'");
  CHECK(AddError(graph, "node-name=c,driver=raw,file=a") ==
        "node 'a' is already used by device 'virtio-blk-pci'");
  graph.Release(**claimed);
  CHECK(graph.Claim("a", "device 'y'").has_value());
}

TEST_CASE("A drive that is not there is an error that names the nearest") {
  BlockGraph graph;
  CHECK(graph.Claim("drive0", "x").error().message ==
        "drive 'drive0' not found; add it with --blockdev before");
  AddGood(graph, "node-name=drive0,driver=null-co");
  CHECK(graph.Claim("drvie0", "x").error().message ==
        "drive 'drvie0' not found; did you mean 'drive0'?");
  CHECK(AddError(graph, "node-name=r,driver=raw,file=drive1") ==
        "node 'drive1' not found; did you mean 'drive0'?");
}

TEST_CASE("After an error the graph is as it was before") {
  BlockGraph graph;
  AddGood(graph, "node-name=base,driver=null-co");
  CHECK(AddError(graph, "node-name=a,driver=raw,offset=1T,file=base").find("behind the end") !=
        std::string::npos);
  CHECK(graph.Find("a") == nullptr);
  CHECK(AddError(graph, "node-name=a,driver=raw,offset=1T,file.driver=null-co,file.node-name=kid")
            .find("behind the end") != std::string::npos);
  CHECK(graph.Find("kid") == nullptr);
  // A node below an unnamed one is free again, too.
  CHECK(AddError(graph, "node-name=a,driver=raw,offset=1T,file.driver=raw,file.file=base")
            .find("behind the end") != std::string::npos);
  AddGood(graph, "node-name=a,driver=raw,file=base");
  // And nobody else is.
  CHECK(AddError(graph, "node-name=a,driver=null-co") == "node-name 'a' is given twice");
  CHECK_FALSE(graph.Claim("base", "x").has_value());
}

TEST_CASE("Node names follow QEMU's rule and are unique") {
  BlockGraph graph;
  AddGood(graph, "driver=null-co,node-name=A-1_b.c");
  AddGood(graph, "driver=null-co,node-name=" + std::string(31, 'x'));
  for (std::string name : {std::string(), std::string("1a"), std::string("#block1"),
                           std::string("a b"), std::string(32, 'x')}) {
    CAPTURE(name);
    CHECK(AddError(graph, "driver=null-co,node-name=" + name).find("is not possible") !=
          std::string::npos);
  }
  CHECK(AddError(graph, "driver=null-co,node-name=A-1_b.c") ==
        "node-name 'A-1_b.c' is given twice");
  CHECK(AddError(graph, "driver=raw,node-name=r,file.driver=null-co,file.node-name=r") ==
        "node-name 'r' is given twice");
  CHECK(AddError(graph, "driver=null-co") ==
        "the description needs a node-name: add node-name=NAME");
}

TEST_CASE("Unknown drivers and options name the nearest known one") {
  BlockGraph graph;
  CHECK(AddError(graph, "node-name=a,driver=hostdevice,filename=/dev/null") ==
        "unknown block driver 'hostdevice'; did you mean 'host_device'?");
  CHECK(AddError(graph, "node-name=a,driver=qcow2") ==
        "unknown block driver 'qcow2'; known are: file, host_device, null-co, raw, zoned");
  CHECK(AddError(graph, "node-name=a") == "node 'a' has no 'driver'");
  CHECK(AddError(graph, "node-name=a,driver=null-co,szie=1G") ==
        "unknown option 'szie' for driver 'null-co'; did you mean 'size'?");
  CHECK(AddError(graph, "node-name=a,driver=raw,file.driver=null-co,file.sise=1G") ==
        "unknown option 'file.sise' for driver 'null-co'; did you mean 'size'?");
  CHECK(AddError(graph, "node-name=a,driver=file,filname=x") ==
        "unknown option 'filname' for driver 'file'; did you mean 'filename'?");
  CHECK(AddError(graph, "node-name=a,driver=file") == "driver 'file' needs 'filename'");
  CHECK(AddError(graph, "node-name=a,driver=file,filename=/x,cache.drect=on") ==
        "unknown option 'cache.drect' for driver 'file'; did you mean 'cache.direct'?");
}

TEST_CASE("Bad values say what is allowed") {
  BlockGraph graph;
  CHECK(AddError(graph, "node-name=a,driver=null-co,read-only=maybe") ==
        "option 'read-only' is 'maybe', but must be 'on' or 'off'");
  CHECK(AddError(graph, "node-name=a,driver=null-co,discard=on") ==
        "option 'discard' is 'on', but must be one of: ignore, unmap");
  CHECK(AddError(graph, "node-name=a,driver=null-co,size=100") ==
        "driver 'null-co': size=100 must be a multiple of 512 and not 0");
  CHECK(
      AddError(graph, "node-name=a,driver=file,filename=/x,aio=threads") ==
      "aio=threads is not there: minivmm does all disk I/O with io_uring; leave the option out, or "
      "write aio=io_uring");
  CHECK(AddError(graph, "node-name=a,driver=host_device,filename=/x,aio=uring") ==
        "option 'aio' is 'uring', but must be 'io_uring'");
  CHECK(AddError(graph, "node-name=a,driver=raw").find("driver 'raw' needs 'file'") == 0);
  AddGood(graph, "node-name=base,driver=null-co");
  CHECK(AddError(graph, "node-name=a,driver=raw,file=base,cache.direct=on") ==
        "driver 'raw' has no cache of its own: give cache.direct to node 'base'");
}

TEST_CASE("Drivers send each other's files on") {
  BlockGraph graph;
  TestFile file;
  CHECK(AddError(graph, "node-name=a,driver=host_device,filename=" + file.path()) ==
        "cannot open '" + file.path() + "' as a device: it is a regular file: use driver=file");
  CHECK(
      AddError(graph, "node-name=a,driver=host_device,filename=/dev/null") ==
      "cannot open '/dev/null' as a device: it is not a block device; lsblk shows those there are");
  CHECK(AddError(graph, "node-name=a,driver=host_device,filename=/dev/nonexistent0") ==
        "cannot open '/dev/nonexistent0': there is no such device; lsblk shows those there are");
}

TEST_CASE("Towers of nodes are bounded, in place and by name") {
  BlockGraph graph;
  AddGood(graph, "node-name=a,driver=raw,file.driver=raw,file.file.driver=null-co");
  CHECK(AddError(graph,
                 "node-name=b,driver=raw,file.driver=raw,file.file.driver=raw,"
                 "file.file.file.driver=null-co") ==
        "node 'b' has too many nodes below it: at most 3 may stand one above another");
  CHECK(AddError(graph, "node-name=b,driver=raw,file=a") ==
        "node 'b' has too many nodes below it: at most 3 may stand one above another");
}

}  // namespace
}  // namespace minivmm
