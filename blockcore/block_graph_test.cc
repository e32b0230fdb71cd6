#include "blockcore/block_graph.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/temporary.h"
#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/block_backend.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/zoned_create.h"

namespace minivmm {
namespace {

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
  TemporaryFile file(1_MiB);
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
  TemporaryFile file(1_MiB);
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
  TemporaryFile file(1_MiB);
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
  TemporaryFile file(1_MiB);
  AddGood(graph, "node-name=low,driver=raw,file.driver=file,file.filename=" + file.path());
  for (const char* option : {"cache.no-flush=on", "discard=ignore"}) {
    CHECK(AddError(graph, std::string("node-name=z,driver=zoned,file=low,") + option)
              .find("give them to node 'low'") != std::string::npos);
  }
  CHECK(AddError(graph, "node-name=z,driver=zoned,file=low,cache.no-flush=off,discard=unmap")
            .find("give them to node") == std::string::npos);
}

TEST_CASE("Drivers send each other's files on") {
  BlockGraph graph;
  TemporaryFile file(1_MiB);
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
  AddGood(graph,
          "node-name=a,driver=raw,file.driver=raw,file.file.driver=raw,file.file.file.driver=raw,"
          "file.file.file.file.driver=raw,file.file.file.file.file.driver=null-co");
  CHECK(AddError(graph, "node-name=b,driver=raw,file=a") ==
        "node 'b' has too many nodes below it: at most 6 may stand one above another");
  CHECK(AddError(graph,
                 R"({"node-name":"b","driver":"raw","file":{"driver":"raw","file":{"driver":"raw",
                     "file":{"driver":"raw","file":{"driver":"raw","file":{"driver":"raw",
                     "file":{"driver":"null-co"}}}}}}})") ==
        "node 'b' has too many nodes below it: at most 6 may stand one above another");
  CHECK(graph.Nodes().size() == 6);
}

TEST_CASE("A request finds its way through the highest tower and back") {
  BlockGraph graph;
  TemporaryFile file(1_MiB);
  // Each raw has an offset, so that each wants to see the completion.
  AddGood(graph, "node-name=n0,driver=file,filename=" + file.path());
  for (int i = 1; i < 6; ++i) {
    AddGood(graph, fmt::format("node-name=n{},driver=raw,offset=4k,file=n{}", i, i - 1));
  }
  auto backend = std::move(*BlockBackend::Create(graph, "n5", "device 'test'"));
  auto thread = std::move(*IoThread::Start("test"));
  SyncIo io(*thread, *backend);
  std::vector<std::byte> data(4096, std::byte{0x5a});
  REQUIRE(io.Write(8_KiB, data).has_value());
  std::vector<std::byte> read(4096);
  REQUIRE(io.Read(8_KiB, read).has_value());
  CHECK(read == data);
  UniqueFd fd(::open(file.path().c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(::pread(fd.get(), read.data(), read.size(), 28_KiB) == 4096);
  CHECK(read == data);
}

TEST_CASE("raw over raw over raw over zoned over file is a zoned disk") {
  BlockGraph graph;
  TemporaryFile file(1_MiB);
  REQUIRE(CreateZonedImage(file.path(),
                           {.capacity_bytes = 8_MiB,
                            .zone_size_bytes = 1_MiB,
                            .zone_capacity_bytes = 1_MiB,
                            .max_append_bytes = 64_KiB,
                            .conventional_zones = 1},
                           /*overwrite=*/true)
              .has_value());
  AddGood(graph,
          "node-name=z,driver=raw,file.driver=raw,file.file.driver=raw,"
          "file.file.file.driver=zoned,file.file.file.file.driver=file,"
          "file.file.file.file.filename=" +
              file.path());
  auto backend = std::move(*BlockBackend::Create(graph, "z", "device 'test'"));
  CHECK(backend->limits().zoned == ZonedModel::kHostManaged);
  auto thread = std::move(*IoThread::Start("test"));
  SyncIo io(*thread, *backend);
  std::vector<std::byte> data(4096, std::byte{0x5a});
  std::vector<std::byte> read(4096);
  for (uint64_t offset : {uint64_t{0}, uint64_t{2_MiB}}) {
    REQUIRE(io.Write(offset, data).has_value());
    REQUIRE(io.Read(offset, read).has_value());
    CHECK(read == data);
  }
  REQUIRE(io.Flush().has_value());
  CHECK(io.ReportZones()->at(2).write_pointer_bytes == 2_MiB + 4096);
}

TEST_CASE("A name given twice within one description is refused") {
  BlockGraph graph;
  CHECK(AddError(graph,
                 "node-name=a,driver=raw,file.driver=raw,file.node-name=x,"
                 "file.file.driver=null-co,file.file.node-name=x") ==
        "node-name 'x' is given twice");
  CHECK(graph.Nodes().empty());
}

TEST_CASE("Nodes describes each node, its user and its children") {
  BlockGraph graph;
  TemporaryFile file(1_MiB);
  CHECK(graph.Nodes().empty());
  AddGood(graph, "node-name=base,driver=file,filename=" + file.path() + ",cache.no-flush=on");
  AddGood(graph, "node-name=top,driver=raw,file=base,read-only=on");
  AddGood(graph, "node-name=own,driver=raw,file.driver=null-co");
  auto backend = std::move(*BlockBackend::Create(graph, "top", "device 'd0'"));

  const std::vector<BlockNodeInfo> nodes = graph.Nodes();
  REQUIRE(nodes.size() == 4);
  CHECK(nodes[0].name == "base");
  CHECK(nodes[0].driver == "file");
  CHECK(nodes[0].filename == file.path());
  CHECK(nodes[0].user == "node 'top'");
  CHECK_FALSE(nodes[0].read_only);
  CHECK_FALSE(nodes[0].cache_direct);
  CHECK(nodes[0].cache_no_flush);
  CHECK(nodes[0].node == graph.Find("base"));
  CHECK(nodes[0].children.empty());

  CHECK(nodes[1].name == "top");
  CHECK(nodes[1].driver == "raw");
  CHECK(nodes[1].filename == file.path());
  CHECK(nodes[1].user == "device 'd0'");
  CHECK(nodes[1].read_only);
  CHECK_FALSE(nodes[1].cache_no_flush);
  REQUIRE(nodes[1].children.size() == 1);
  CHECK(nodes[1].children[0].first == "file");
  CHECK(nodes[1].children[0].second == nodes[0].node);

  CHECK(nodes[2].name.empty());
  CHECK(nodes[2].filename == "null-co://");
  CHECK(nodes[2].user == "node 'own'");
  CHECK(nodes[3].children[0].second == nodes[2].node);
  backend.reset();
  CHECK(graph.Nodes()[1].user.empty());
}

TEST_CASE("Removing a node closes what was described with it and frees what was named") {
  BlockGraph graph;
  TemporaryFile file(1_MiB);
  AddGood(graph, "node-name=base,driver=null-co");
  AddGood(graph, "node-name=a,driver=raw,file.driver=raw,file.node-name=mid,file.file=base");
  AddGood(graph, "node-name=f,driver=raw,file.driver=file,file.filename=" + file.path());
  REQUIRE(graph.Remove("a").has_value());
  CHECK(graph.Find("a") == nullptr);
  CHECK(graph.Find("mid") == nullptr);
  CHECK(graph.Find("base") != nullptr);
  CHECK(graph.Nodes().size() == 3);
  AddGood(graph, "node-name=a,driver=raw,file=base");
  // The file is locked no longer.
  const std::string again = "node-name=g,driver=file,filename=" + file.path();
  CHECK(AddError(graph, again).find("in use by another") != std::string::npos);
  REQUIRE(graph.Remove("f").has_value());
  AddGood(graph, again);
}

TEST_CASE("A node that has a user, or is not there, is not removed") {
  BlockGraph graph;
  CHECK(graph.Remove("a").error().message == "cannot remove node 'a': there is none of this name");
  AddGood(graph, "node-name=base,driver=null-co");
  AddGood(graph, "node-name=top,driver=raw,file=base");
  CHECK(graph.Remove("basse").error().message ==
        "cannot remove node 'basse': there is none of this name; did you mean 'base'?");
  CHECK(graph.Remove("").has_value() == false);
  CHECK(graph.Remove("base").error().message ==
        "cannot remove node 'base': it is used by node 'top'; remove that first");
  auto backend = std::move(*BlockBackend::Create(graph, "top", "device 'd0'"));
  CHECK(graph.Remove("top").error().message ==
        "cannot remove node 'top': it is used by device 'd0'; remove that first");
  CHECK(graph.Nodes().size() == 2);
  backend.reset();
  CHECK(graph.Remove("top").has_value());
  CHECK(graph.Remove("base").has_value());
  CHECK(graph.Nodes().empty());
}

TEST_CASE("A client that adds nodes for ever is refused one day, until it removes some") {
  BlockGraph graph;
  auto add = [&](int number) {
    return graph.Add(fmt::format("driver=null-co,size=1M,node-name=n{}", number));
  };
  for (int i = 0; i < 1000; ++i) REQUIRE(add(i).has_value());
  REQUIRE_FALSE(add(1000).has_value());
  CHECK(add(1000).error().message == "there are 1000 nodes already: remove some");
  REQUIRE(graph.Remove("n7").has_value());
  CHECK(add(1000).has_value());
}

TEST_CASE("Nodes come and go while another one serves its I/O thread") {
  BlockGraph graph;
  TemporaryFile busy_file(1_MiB);
  TemporaryFile other_file(1_MiB);
  AddGood(graph, "node-name=busy,driver=raw,file.driver=file,file.filename=" + busy_file.path());
  auto backend = std::move(*BlockBackend::Create(graph, "busy", "device 'busy'"));
  auto thread = std::move(*IoThread::Start("busy"));
  std::atomic<bool> stop = false;
  std::atomic<bool> failed = false;
  std::thread user([&] {
    SyncIo io(*thread, *backend);
    std::vector<std::byte> data(4096);
    while (!stop) {
      if (!io.Write(0, data) || !io.Read(0, data)) failed = true;
    }
  });
  for (int round = 0; round < 50; ++round) {
    AddGood(graph,
            "node-name=other,driver=raw,file.driver=file,file.filename=" + other_file.path());
    auto other = std::move(*BlockBackend::Create(graph, "other", "device 'other'"));
    SyncIo io(*thread, *other);
    std::vector<std::byte> data(512);
    CHECK(io.Write(0, data).has_value());
    other.reset();
    CHECK(graph.Remove("other").has_value());
  }
  stop = true;
  user.join();
  CHECK_FALSE(failed);
}

}  // namespace
}  // namespace minivmm
