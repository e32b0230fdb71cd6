#include "blockcore/file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/block_graph.h"
#include "blockcore/disk_transfer.h"
#include "blockcore/failing_host.h"
#include "blockcore/io_thread.h"
#include "blockcore/null.h"
#include "blockcore/raw.h"
#include "blockcore/sync_request.h"

namespace minivmm {
namespace {

// A directory whose file system has direct I/O (a tmpfs may have none).
std::string DirectIoDirectory() {
  std::vector<std::string> candidates;
  if (const char* test_directory = std::getenv("TEST_TMPDIR")) candidates.push_back(test_directory);
  candidates.insert(candidates.end(), {"/var/tmp", "/tmp", "."});
  for (const std::string& directory : candidates) {
    std::string probe = directory + "/direct-io-XXXXXX";
    UniqueFd fd(::mkostemp(probe.data(), O_CLOEXEC));
    if (!fd) continue;
    UniqueFd direct(::open(probe.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
    ::unlink(probe.c_str());
    if (direct) return directory;
  }
  FAIL("no directory with direct I/O: set TEST_TMPDIR to one on a disk");
  return "";
}

class TestFile {
 public:
  explicit TestFile(uint64_t size_bytes) : path_(DirectIoDirectory() + "/file-test-XXXXXX") {
    UniqueFd fd(::mkostemp(path_.data(), O_CLOEXEC));
    REQUIRE(fd.get() >= 0);
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) == 0);
  }
  ~TestFile() { ::unlink(path_.c_str()); }

  const std::string& path() const { return path_; }

  void Fill(uint64_t offset, const std::vector<uint8_t>& data) const {
    UniqueFd fd(::open(path_.c_str(), O_WRONLY | O_CLOEXEC));
    REQUIRE(::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset)) ==
            static_cast<ssize_t>(data.size()));
  }
  std::vector<uint8_t> Content() const {
    UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    std::vector<uint8_t> content(Status().st_size);
    REQUIRE(::read(fd.get(), content.data(), content.size()) ==
            static_cast<ssize_t>(content.size()));
    return content;
  }
  struct stat Status() const {
    struct stat status {};
    REQUIRE(::stat(path_.c_str(), &status) == 0);
    return status;
  }

 private:
  std::string path_;
};

std::unique_ptr<IoThread> StartThread() {
  Result<std::unique_ptr<IoThread>> thread = IoThread::Start("test");
  REQUIRE_MESSAGE(thread.has_value(), (thread ? "" : thread.error().message));
  return std::move(*thread);
}

std::unique_ptr<BlockNode> Open(const FileOptions& options) {
  Result<std::unique_ptr<BlockNode>> node = OpenFile(options);
  REQUIRE_MESSAGE(node.has_value(), (node ? "" : node.error().message));
  return std::move(*node);
}

std::string OpenFailure(const FileOptions& options) {
  Result<std::unique_ptr<BlockNode>> node = OpenFile(options);
  REQUIRE_FALSE(node.has_value());
  return node.error().message;
}

BlockStatus Transfer(IoThread& thread, BlockNode& node, BlockOp op, uint64_t offset,
                     std::span<const iovec> buffers) {
  BlockRequest request;
  request.op = op;
  request.offset_bytes = offset;
  request.buffers = buffers;
  for (const iovec& buffer : buffers) request.length_bytes += buffer.iov_len;
  return SubmitAndWait(thread, node, request);
}

BlockStatus Transfer(IoThread& thread, BlockNode& node, BlockOp op, uint64_t offset, void* data,
                     size_t length) {
  iovec buffer{data, length};
  return Transfer(thread, node, op, offset, {&buffer, 1});
}

template <typename Target>
BlockStatus Command(IoThread& thread, Target& node, BlockOp op, uint64_t offset = 0,
                    uint64_t length = 0) {
  BlockRequest request;
  request.op = op;
  request.offset_bytes = offset;
  request.length_bytes = length;
  return SubmitAndWait(thread, node, request);
}

std::vector<uint8_t> RandomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

TEST_CASE("What is written is read back and stands in the file") {
  auto thread = StartThread();
  TestFile file(1_MiB);
  for (bool direct : {false, true}) {
    CAPTURE(direct);
    auto node = Open({.filename = file.path(), .cache_direct = direct});
    CHECK(node->limits().capacity_bytes == 1_MiB);
    CHECK(node->limits().zoned == ZonedModel::kNone);
    CHECK_FALSE(node->limits().read_only);
    std::vector<uint8_t> written = RandomBytes(64_KiB, 1 + direct);
    CHECK(Transfer(*thread, *node, BlockOp::kWrite, 128_KiB, written.data(), written.size()) ==
          BlockStatus::kOk);
    CHECK(Command(*thread, *node, BlockOp::kFlush) == BlockStatus::kOk);
    std::vector<uint8_t> read(written.size());
    CHECK(Transfer(*thread, *node, BlockOp::kRead, 128_KiB, read.data(), read.size()) ==
          BlockStatus::kOk);
    CHECK(read == written);
    std::vector<uint8_t> content = file.Content();
    CHECK(std::equal(written.begin(), written.end(), content.begin() + 128_KiB));
    CHECK(
        std::all_of(content.begin(), content.begin() + 128_KiB, [](uint8_t b) { return b == 0; }));
  }
}

// Cuts `data` into buffers of random lengths, some of them empty, at random addresses.
std::vector<iovec> Cut(std::vector<uint8_t>& data, size_t from, size_t length, std::mt19937& random,
                       size_t max_part) {
  std::vector<iovec> parts;
  while (length > 0) {
    size_t part = std::min<size_t>(length, random() % (max_part + 1));
    parts.push_back({data.data() + from, part});
    from += part;
    length -= part;
  }
  return parts;
}

TEST_CASE("Any addresses and lengths of buffers work, also under O_DIRECT") {
  auto thread = StartThread();
  constexpr size_t kSize = 3_MiB;
  TestFile file(kSize);
  std::vector<uint8_t> expected = RandomBytes(kSize, 7);
  file.Fill(0, expected);
  for (bool direct : {false, true}) {
    CAPTURE(direct);
    auto node = Open({.filename = file.path(), .cache_direct = direct});
    size_t block = node->limits().logical_block_bytes;
    std::mt19937 random(42);
    for (int round = 0; round < 120; ++round) {
      CAPTURE(round);
      bool write = round % 2 == 0;
      // Up to 1.5 MiB: several bounce pieces. Parts down to a byte: more than IOV_MAX of them.
      size_t max_length = round % 10 == 0 ? 1536_KiB : 32_KiB;
      size_t unit = write ? block : 1;
      size_t length = (random() % (max_length / unit) + 1) * unit;
      size_t offset = random() % ((kSize - length) / unit + 1) * unit;
      size_t odd = random() % 5000;
      std::vector<uint8_t> data = RandomBytes(odd + length + 64, round);
      std::vector<uint8_t> before = data;
      size_t max_part = std::vector<size_t>{9, 512, 70'000, 2_MiB}[random() % 4];
      std::vector<iovec> parts = Cut(data, odd, length, random, max_part);
      REQUIRE(Transfer(*thread, *node, write ? BlockOp::kWrite : BlockOp::kRead, offset, parts) ==
              BlockStatus::kOk);
      if (write) {
        std::copy_n(data.begin() + odd, length, expected.begin() + offset);
      } else {
        REQUIRE(
            std::equal(data.begin() + odd, data.begin() + odd + length, expected.begin() + offset));
        // And not a byte around it.
        REQUIRE(std::equal(data.begin(), data.begin() + odd, before.begin()));
        REQUIRE(std::equal(data.end() - 64, data.end(), before.end() - 64));
      }
    }
  }
  CHECK(file.Content() == expected);
}

TEST_CASE("Many requests with odd buffers at once all get their own data") {
  auto thread = StartThread();
  constexpr int kRequests = 200;  // more than there are bounce buffers
  constexpr size_t kLength = 8_KiB;
  TestFile file(kRequests * kLength);
  std::vector<uint8_t> expected = RandomBytes(kRequests * kLength, 3);
  file.Fill(0, expected);
  auto node = Open({.filename = file.path(), .cache_direct = true});
  std::vector<uint8_t> memory(kRequests * kLength + 1);
  std::vector<iovec> buffers(kRequests);
  std::vector<BlockRequest> requests(kRequests);
  std::atomic<int> done{0};
  int reads = 0;
  int most_at_once = 0;
  FailingHost host([&](const HostOperation&) {
    most_at_once = std::max(most_at_once, ++reads - done);
    return HostOutcome{};
  });
  thread->RunAndWait([&] {
    for (int i = 0; i < kRequests; ++i) {
      buffers[i] = {memory.data() + 1 + i * kLength, kLength};
      requests[i].op = BlockOp::kRead;
      requests[i].offset_bytes = i * kLength;
      requests[i].length_bytes = kLength;
      requests[i].buffers = {&buffers[i], 1};
      requests[i].PushCompletion(
          [](void* self, BlockRequest&) {
            auto& count = *static_cast<std::atomic<int>*>(self);
            ++count;
            count.notify_one();
          },
          &done);
      node->Submit(*thread, requests[i]);
    }
    CHECK(done == 0);
  });
  for (int seen = done; seen != kRequests; seen = done) done.wait(seen);
  for (const BlockRequest& request : requests) CHECK(request.status == BlockStatus::kOk);
  CHECK(std::equal(expected.begin(), expected.end(), memory.begin() + 1));
  CHECK(reads == kRequests);
  CHECK(most_at_once == 16);  // a buffer each, and no more of them
}

TEST_CASE(
    "The last, incomplete block of a file reads as its bytes and zeroes, and can be written") {
  auto thread = StartThread();
  for (bool direct : {false, true}) {
    for (size_t odd : {0, 3}) {
      CAPTURE(direct);
      CAPTURE(odd);
      constexpr size_t kSize = 8192 + 1000;
      TestFile file(kSize);
      std::vector<uint8_t> content = RandomBytes(kSize, 11);
      file.Fill(0, content);
      auto node = Open({.filename = file.path(), .cache_direct = direct});
      uint64_t capacity = node->limits().capacity_bytes;
      CHECK(capacity >= kSize);
      CHECK(capacity == AlignUp(kSize, node->limits().logical_block_bytes));
      content.resize(capacity, 0);

      // Room at an aligned or an odd address, with old bytes in it.
      std::vector<uint8_t> memory(capacity + 8192, 0xee);
      uint8_t* data = memory.data();
      data += 4096 - reinterpret_cast<uintptr_t>(data) % 4096 + odd;
      REQUIRE(Transfer(*thread, *node, BlockOp::kRead, 0, data, capacity) == BlockStatus::kOk);
      CHECK(std::equal(content.begin(), content.end(), data));
      // Only what is behind the end of the bytes that exist.
      std::memset(data, 0xee, 512);
      REQUIRE(Transfer(*thread, *node, BlockOp::kRead, kSize, data, capacity - kSize) ==
              BlockStatus::kOk);
      CHECK(std::all_of(data, data + (capacity - kSize), [](uint8_t b) { return b == 0; }));

      uint32_t block = node->limits().logical_block_bytes;
      std::memset(data, 0x5a, block);
      REQUIRE(Transfer(*thread, *node, BlockOp::kWrite, capacity - block, data, block) ==
              BlockStatus::kOk);
      CHECK(static_cast<uint64_t>(file.Status().st_size) == capacity);
    }
  }
}

TEST_CASE("A file cut short while it is in use gives zeroes, never old memory") {
  auto thread = StartThread();
  TestFile file(1_MiB);
  file.Fill(0, RandomBytes(1_MiB, 5));
  auto node = Open({.filename = file.path()});
  REQUIRE(::truncate(file.path().c_str(), 100) == 0);
  std::vector<uint8_t> data(4096, 0xee);
  CHECK(Transfer(*thread, *node, BlockOp::kRead, 512_KiB, data.data(), data.size()) ==
        BlockStatus::kOk);
  CHECK(std::all_of(data.begin(), data.end(), [](uint8_t b) { return b == 0; }));
}

TEST_CASE("A write that is no multiple of the direct block is an error and changes nothing") {
  auto thread = StartThread();
  TestFile file(64_KiB);
  auto node = Open({.filename = file.path(), .cache_direct = true});
  std::vector<uint8_t> data(4096, 1);
  CHECK(Transfer(*thread, *node, BlockOp::kWrite, 0, data.data(), 100) == BlockStatus::kIoError);
  CHECK(Transfer(*thread, *node, BlockOp::kWrite, 8, data.data(), 4096) == BlockStatus::kIoError);
  CHECK(file.Content() == std::vector<uint8_t>(64_KiB, 0));
}

TEST_CASE("A write that the host refuses is an I/O error") {
  auto thread = StartThread();
  TestFile file(64_KiB);
  // Behind the node's own check of rights, which is BlockBackend's.
  auto node = Open({.filename = file.path(), .read_only = true});
  CHECK(node->limits().read_only);
  CHECK(Command(*thread, *node, BlockOp::kWriteZeroes, 0, 4096) == BlockStatus::kIoError);
  std::vector<uint8_t> data(4096, 1);
  CHECK(Transfer(*thread, *node, BlockOp::kWrite, 0, data.data(), 4096) == BlockStatus::kIoError);
}

TEST_CASE("discard=unmap gives blocks back to the file system and keeps the size") {
  auto thread = StartThread();
  TestFile file(1_MiB);
  file.Fill(0, RandomBytes(1_MiB, 9));
  auto node = Open({.filename = file.path(), .discard = true});
  CHECK(node->limits().discard);
  CHECK(node->limits().discard_granularity_bytes >= 512);
  CHECK(Command(*thread, *node, BlockOp::kFlush) == BlockStatus::kOk);
  auto blocks_before = file.Status().st_blocks;
  CHECK(Command(*thread, *node, BlockOp::kDiscard, 256_KiB, 512_KiB) == BlockStatus::kOk);
  CHECK(file.Status().st_size == 1_MiB);
  CHECK(file.Status().st_blocks <= blocks_before - static_cast<blkcnt_t>(512_KiB / 512));
  std::vector<uint8_t> data(512_KiB, 0xee);
  CHECK(Transfer(*thread, *node, BlockOp::kRead, 256_KiB, data.data(), data.size()) ==
        BlockStatus::kOk);
  CHECK(std::all_of(data.begin(), data.end(), [](uint8_t b) { return b == 0; }));
}

BlockStatus WriteZeroes(IoThread& thread, BlockNode& node, uint64_t offset, uint64_t length,
                        bool may_unmap) {
  BlockRequest request;
  request.op = BlockOp::kWriteZeroes;
  request.offset_bytes = offset;
  request.length_bytes = length;
  request.may_unmap = may_unmap;
  return SubmitAndWait(thread, node, request);
}

TEST_CASE("Zeroes are written where they belong and nowhere else") {
  auto thread = StartThread();
  for (bool direct : {false, true}) {
    for (bool may_unmap : {false, true}) {
      CAPTURE(direct);
      CAPTURE(may_unmap);
      TestFile file(1_MiB);
      std::vector<uint8_t> expected = RandomBytes(1_MiB, 21);
      file.Fill(0, expected);
      auto node = Open({.filename = file.path(), .cache_direct = direct, .discard = true});
      CHECK(node->limits().write_zeroes);
      const size_t block = node->limits().logical_block_bytes;
      for (auto [offset, length] : {std::pair{size_t{0}, block},
                                    {5 * block, 3 * block},
                                    {256_KiB, 300_KiB},
                                    {1_MiB - block, block}}) {
        CHECK(WriteZeroes(*thread, *node, offset, length, may_unmap) == BlockStatus::kOk);
        std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(offset), length, 0);
      }
      CHECK(file.Content() == expected);
    }
  }
}

TEST_CASE("Only zeroes that may unmap give space back") {
  auto thread = StartThread();
  TestFile file(1_MiB);
  file.Fill(0, RandomBytes(1_MiB, 9));
  auto node = Open({.filename = file.path(), .discard = true});
  CHECK(Command(*thread, *node, BlockOp::kFlush) == BlockStatus::kOk);
  const auto blocks_before = file.Status().st_blocks;
  CHECK(WriteZeroes(*thread, *node, 256_KiB, 512_KiB, false) == BlockStatus::kOk);
  CHECK(file.Status().st_blocks >= blocks_before);
  CHECK(WriteZeroes(*thread, *node, 256_KiB, 512_KiB, true) == BlockStatus::kOk);
  CHECK(file.Status().st_blocks <= blocks_before - static_cast<blkcnt_t>(512_KiB / 512));
  CHECK(file.Status().st_size == 1_MiB);
}

TEST_CASE("Zeroes in the last, incomplete block make the file longer, as a write does") {
  auto thread = StartThread();
  TestFile file(8192 + 1000);
  auto node = Open({.filename = file.path()});
  CHECK(WriteZeroes(*thread, *node, 8192, 1024, false) == BlockStatus::kOk);
  CHECK(file.Status().st_size == 8192 + 1024);
}

TEST_CASE("With direct I/O a hole may have any length, zeroes that are written only whole blocks") {
  auto thread = StartThread();
  TestFile file(64_KiB);
  std::vector<uint8_t> content = RandomBytes(64_KiB, 4);
  file.Fill(0, content);
  UniqueFd fd(::open(file.path().c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  REQUIRE(fd.get() >= 0);
  const int number = fd.get();
  PlainDisk disk(std::move(fd),
                 {.capacity_bytes = 64_KiB, .logical_block_bytes = 4096, .write_zeroes = true},
                 {.filename = "direct",
                  .fd = number,
                  .alignment = {.block_bytes = 4096, .memory_bytes = 4096}});
  // As a zoned image does where a zone's pointer is not at a block.
  CHECK(WriteZeroes(*thread, disk, 4608, 3584, true) == BlockStatus::kOk);
  std::fill_n(content.begin() + 4608, 3584, 0);
  CHECK(file.Content() == content);
  FailingHost host([](const HostOperation& operation) {
    return operation.kind == HostOperation::Kind::kAllocate ? HostOutcome::Fail(EOPNOTSUPP)
                                                            : HostOutcome{};
  });
  CHECK(WriteZeroes(*thread, disk, 0, 512, true) == BlockStatus::kIoError);
  CHECK(WriteZeroes(*thread, disk, 16384 + 512, 8192, false) == BlockStatus::kIoError);
  CHECK(WriteZeroes(*thread, disk, 0, 0, false) == BlockStatus::kOk);
  CHECK(file.Content() == content);
  CHECK(WriteZeroes(*thread, disk, 8192, 8192, false) == BlockStatus::kOk);
  std::fill_n(content.begin() + 8192, 8192, 0);
  CHECK(file.Content() == content);
}

TEST_CASE("A read-only file takes no zeroes") {
  TestFile file(64_KiB);
  CHECK_FALSE(Open({.filename = file.path(), .read_only = true})->limits().write_zeroes);
}

TEST_CASE("Where the host cannot make zeroes they are written") {
  auto thread = StartThread();
  // A file in memory has no such operation.
  UniqueFd fd(::memfd_create("zeroes", MFD_CLOEXEC));
  REQUIRE(fd.get() >= 0);
  const int number = fd.get();
  std::vector<uint8_t> expected = RandomBytes(2_MiB, 31);
  REQUIRE(::pwrite(number, expected.data(), expected.size(), 0) ==
          static_cast<ssize_t>(expected.size()));
  PlainDisk disk(std::move(fd), {.capacity_bytes = 2_MiB, .write_zeroes = true},
                 {.filename = "memory", .fd = number, .zeroes_past_end = true});
  for (auto [offset, length] : {std::pair{size_t{512}, size_t{512}}, {4096 + 512, 1_MiB + 512}}) {
    CHECK(WriteZeroes(*thread, disk, offset, length, false) == BlockStatus::kOk);
    std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(offset), length, 0);
  }
  std::vector<uint8_t> content(2_MiB);
  REQUIRE(::pread(number, content.data(), content.size(), 0) ==
          static_cast<ssize_t>(content.size()));
  CHECK(content == expected);
}

TEST_CASE("A device discards and zeroes its whole blocks; parts of them are written, or kept") {
  auto thread = StartThread();
  TestFile file(1_MiB);
  std::vector<uint8_t> expected = RandomBytes(64_KiB, 37);
  file.Fill(0, expected);
  UniqueFd fd(::open(file.path().c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(fd.get() >= 0);
  const int number = fd.get();
  PlainDisk disk(std::move(fd), {.capacity_bytes = 1_MiB, .discard = true, .write_zeroes = true},
                 {.filename = "device", .fd = number, .command_block_bytes = 4096});
  FailingHost host([](const HostOperation& operation) {
    const bool whole_blocks = (operation.offset_bytes | operation.length_bytes) % 4096 == 0;
    return operation.kind == HostOperation::Kind::kAllocate && !whole_blocks
               ? HostOutcome::Fail(EINVAL)
               : HostOutcome{};
  });
  auto zero = [&](size_t begin, size_t end) {
    std::fill(expected.begin() + static_cast<std::ptrdiff_t>(begin),
              expected.begin() + static_cast<std::ptrdiff_t>(end), 0);
  };
  CHECK(Command(*thread, disk, BlockOp::kDiscard, 512, 8192) == BlockStatus::kOk);
  zero(4096, 8192);
  CHECK(Command(*thread, disk, BlockOp::kDiscard, 12288 + 512, 4096 - 512) == BlockStatus::kOk);
  CHECK(Command(*thread, disk, BlockOp::kDiscard, 12288 + 512, 1024) == BlockStatus::kOk);
  CHECK(WriteZeroes(*thread, disk, 16384 + 512, 1024, true) == BlockStatus::kOk);
  zero(16384 + 512, 16384 + 1536);
  CHECK(WriteZeroes(*thread, disk, 20480 + 512, 8192, false) == BlockStatus::kOk);
  zero(20480 + 512, 28672 + 512);
  CHECK(WriteZeroes(*thread, disk, 32768, 8192, true) == BlockStatus::kOk);
  zero(32768, 40960);
  std::vector<uint8_t> content = file.Content();
  CHECK(std::equal(expected.begin(), expected.end(), content.begin()));
}

TEST_CASE(
    "Once the host has failed a flush, no later one is believed until the disk is opened anew") {
  auto thread = StartThread();
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  UniqueFd other_end(ends[1]);
  // A pipe cannot be flushed.
  const int number = ends[0];
  const DiskTransferOptions options{.filename = "pipe", .fd = number};
  PlainDisk disk{UniqueFd(number), {.capacity_bytes = 64_KiB}, options};
  CHECK(Command(*thread, disk, BlockOp::kFlush) == BlockStatus::kIoError);
  // The host recovers.
  TestFile file(64_KiB);
  UniqueFd good(::open(file.path().c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(::dup2(good.get(), number) == number);
  std::vector<uint8_t> data(512, 1);
  CHECK(Transfer(*thread, disk, BlockOp::kWrite, 0, data.data(), data.size()) == BlockStatus::kOk);
  CHECK(Command(*thread, disk, BlockOp::kFlush) == BlockStatus::kIoError);
  CHECK(Transfer(*thread, disk, BlockOp::kRead, 0, data.data(), data.size()) == BlockStatus::kOk);
  CHECK(Command(*thread, disk, BlockOp::kFlush) == BlockStatus::kIoError);
  DiskTransfer reopened(options);
  CHECK(Command(*thread, reopened, BlockOp::kFlush) == BlockStatus::kOk);
}

TEST_CASE("What a description says of caches reaches the file") {
  auto thread = StartThread();
  TestFile file(64_KiB);
  auto open = [&](BlockGraph& graph, const std::string& options) {
    REQUIRE(graph.Add("node-name=n," + options + "filename=" + file.path()));
    return *graph.Claim("n", "test");
  };
  int syncs = 0;
  FailingHost host([&](const HostOperation& operation) {
    syncs += operation.kind == HostOperation::Kind::kSync ? 1 : 0;
    return HostOutcome{};
  });
  auto syncs_of_flush = [&](const std::string& options) {
    BlockGraph graph;
    BlockNode* node = open(graph, options);
    syncs = 0;
    CHECK(Command(*thread, *node, BlockOp::kFlush) == BlockStatus::kOk);
    return syncs;
  };
  CHECK(syncs_of_flush("driver=file,") == 1);
  CHECK(syncs_of_flush("driver=file,cache.no-flush=on,") == 0);
  CHECK(syncs_of_flush("driver=raw,file.driver=file,file.") == 1);
  CHECK(syncs_of_flush("driver=raw,cache.no-flush=on,file.driver=file,file.cache.no-flush=off,"
                       "file.") == 0);
  // With O_DIRECT it has to be a whole block.
  std::vector<uint8_t> data(100);
  auto write = [&](const std::string& options) {
    BlockGraph graph;
    return Transfer(*thread, *open(graph, options), BlockOp::kWrite, 0, data.data(), data.size());
  };
  CHECK(write("driver=file,") == BlockStatus::kOk);
  CHECK(write("driver=file,cache.direct=on,") == BlockStatus::kIoError);
  CHECK(write("driver=raw,cache.direct=on,file.driver=file,file.") == BlockStatus::kIoError);
}

TEST_CASE("Behind the longest file that a host can have there is nothing to discard") {
  auto thread = StartThread();
  TestFile file(64_KiB);
  auto node = Open({.filename = file.path(), .discard = true});
  FailingHost host([](const HostOperation&) { return HostOutcome::Fail(EFBIG); });
  CHECK(Command(*thread, *node, BlockOp::kDiscard, 0, 4096) == BlockStatus::kOk);
  CHECK(WriteZeroes(*thread, *node, 0, 4096, true) == BlockStatus::kIoError);
}

TEST_CASE("Nothing to transfer is done at once, and zone operations are unsupported") {
  auto thread = StartThread();
  TestFile file(64_KiB);
  auto node = Open({.filename = file.path(), .cache_no_flush = true});
  CHECK(Command(*thread, *node, BlockOp::kRead) == BlockStatus::kOk);
  CHECK(Command(*thread, *node, BlockOp::kWrite) == BlockStatus::kOk);
  CHECK(Command(*thread, *node, BlockOp::kDiscard) == BlockStatus::kOk);
  CHECK(Command(*thread, *node, BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(Command(*thread, *node, BlockOp::kZoneReset) == BlockStatus::kUnsupported);
  CHECK(Command(*thread, *node, BlockOp::kZoneReport) == BlockStatus::kUnsupported);
}

TEST_CASE("One writer or many readers may use a file") {
  TestFile file(64_KiB);
  {
    auto writer = Open({.filename = file.path()});
    CHECK(OpenFailure({.filename = file.path()}) ==
          "cannot lock '" + file.path() +
              "': it is in use by another disk or program; stop that one, or give read-only=on to "
              "all "
              "that use it");
    CHECK(OpenFailure({.filename = file.path(), .read_only = true}) ==
          "cannot lock '" + file.path() +
              "': it is in use by another disk or program; stop that one");
  }
  auto reader = Open({.filename = file.path(), .read_only = true});
  auto second_reader = Open({.filename = file.path(), .read_only = true});
  CHECK(OpenFailure({.filename = file.path()}).find("in use by another") != std::string::npos);
}

// In a child process: writes to the disk without an end.
[[noreturn]] void WriteForEver(const FileOptions& options, UniqueFd started) {
  auto thread = StartThread();
  auto node = Open(options);
  std::vector<uint8_t> data(64_KiB, 0x5a);
  for (;;) {
    Transfer(*thread, *node, BlockOp::kWrite, 0, data.data(), data.size());
    if (::write(started.get(), "", 1) != 1) ::_exit(1);
  }
}

TEST_CASE("A file can be opened as soon as the program that had it was killed") {
  TestFile file(1_MiB);
  for (int round = 0; round < 20; ++round) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    UniqueFd from_child(ends[0]);
    UniqueFd to_parent(ends[1]);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) WriteForEver({.filename = file.path()}, std::move(to_parent));
    to_parent = {};
    char byte = 0;
    REQUIRE(::read(from_child.get(), &byte, 1) == 1);
    REQUIRE(::kill(child, SIGKILL) == 0);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    Open({.filename = file.path()});
  }
}

TEST_CASE("What cannot be a file disk is refused in one line that says what to do") {
  CHECK(OpenFailure({.filename = "/nonexistent/disk.img"}) ==
        "cannot open '/nonexistent/disk.img': No such file or directory; a new disk is made with: "
        "truncate -s 10G FILE");
  CHECK(OpenFailure({.filename = "/"}) == "cannot open '/' as a disk: it is a directory");
  CHECK(OpenFailure({.filename = "/dev/null"}) ==
        "cannot open '/dev/null' as a disk: it is not a regular file");
  TestFile empty(0);
  CHECK(OpenFailure({.filename = empty.path()}) ==
        "cannot use '" + empty.path() +
            "' as a disk: it is empty; give it a size with: truncate -s 10G FILE");
}

TEST_CASE(
    "null-co succeeds at all an ordinary disk does, and leaves buffers alone or clears them") {
  auto thread = StartThread();
  std::vector<uint8_t> data(4096, 0xee);
  NullNode untouched({.size_bytes = 1_MiB});
  CHECK(untouched.limits().capacity_bytes == 1_MiB);
  CHECK(Transfer(*thread, untouched, BlockOp::kRead, 0, data.data(), 4096) == BlockStatus::kOk);
  CHECK(data == std::vector<uint8_t>(4096, 0xee));
  NullNode zeroes({.read_zeroes = true});
  CHECK(zeroes.limits().capacity_bytes == 1_GiB);
  CHECK(Transfer(*thread, zeroes, BlockOp::kRead, 0, data.data(), 4096) == BlockStatus::kOk);
  CHECK(data == std::vector<uint8_t>(4096, 0));
  CHECK(Transfer(*thread, zeroes, BlockOp::kWrite, 0, data.data(), 4096) == BlockStatus::kOk);
  CHECK(Command(*thread, zeroes, BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(Command(*thread, zeroes, BlockOp::kWriteZeroes, 0, 4096) == BlockStatus::kOk);
  CHECK(Command(*thread, zeroes, BlockOp::kDiscard) == BlockStatus::kUnsupported);
}

TEST_CASE("raw shows a part of its child") {
  auto thread = StartThread();
  TestFile file(1_MiB);
  auto child = Open({.filename = file.path()});
  auto raw = CreateRaw(*child, {.offset_bytes = 64_KiB, .size_bytes = 128_KiB});
  REQUIRE(raw.has_value());
  CHECK((*raw)->limits().capacity_bytes == 128_KiB);
  std::vector<uint8_t> written = RandomBytes(4096, 2);
  iovec buffer{written.data(), written.size()};
  BlockRequest request;
  request.op = BlockOp::kWrite;
  request.offset_bytes = 512;
  request.length_bytes = written.size();
  request.buffers = {&buffer, 1};
  CHECK(SubmitAndWait(*thread, **raw, request) == BlockStatus::kOk);
  CHECK(request.offset_bytes == 512);
  std::vector<uint8_t> content = file.Content();
  CHECK(std::equal(written.begin(), written.end(), content.begin() + 64_KiB + 512));
}

TEST_CASE("A file and what stands on all of it grow; a part of it does not") {
  auto thread = StartThread();
  TestFile file(1_MiB);
  auto child = Open({.filename = file.path()});
  auto raw = CreateRaw(*child, {});
  REQUIRE(raw.has_value());
  REQUIRE((*raw)->Grow(3_MiB).has_value());
  CHECK((*raw)->limits().capacity_bytes == 3_MiB);
  CHECK(child->limits().capacity_bytes == 3_MiB);
  CHECK(file.Content().size() == 3_MiB);
  std::vector<uint8_t> data = RandomBytes(4096, 3);
  CHECK(Transfer(*thread, **raw, BlockOp::kWrite, 3_MiB - 4096, data.data(), 4096) ==
        BlockStatus::kOk);

  auto part = CreateRaw(*child, {.offset_bytes = 64_KiB});
  REQUIRE(part.has_value());
  CHECK(part->get()->Grow(4_MiB).error().message.find("a part of another disk") !=
        std::string::npos);
  CHECK(child->limits().capacity_bytes == 3_MiB);
  NullNode null({});
  CHECK_FALSE(null.Grow(2_GiB).has_value());
}

TEST_CASE("Nothing gets out of a part that has a size") {
  auto thread = StartThread();
  TestFile file(64_KiB);
  const std::vector<uint8_t> around(64_KiB, 0xee);
  file.Fill(0, around);
  auto child = Open({.filename = file.path(), .discard = true});
  auto raw = CreateRaw(*child, {.offset_bytes = 4096, .size_bytes = 8192});
  REQUIRE(raw.has_value());
  std::vector<uint8_t> data(1024);
  for (uint64_t offset : {uint64_t{8192 - 512}, uint64_t{8192}, ~uint64_t{0} - 511,
                          ~uint64_t{0} - 4095, uint64_t{1} << 63}) {
    CAPTURE(offset);
    for (BlockOp op : {BlockOp::kRead, BlockOp::kWrite}) {
      CHECK(Transfer(*thread, **raw, op, offset, data.data(), data.size()) ==
            BlockStatus::kOutOfRange);
    }
    CHECK(Command(*thread, **raw, BlockOp::kDiscard, offset, 1024) == BlockStatus::kOutOfRange);
    CHECK(WriteZeroes(*thread, **raw, offset, 1024, true) == BlockStatus::kOutOfRange);
  }
  CHECK(file.Content() == around);
  CHECK(Transfer(*thread, **raw, BlockOp::kWrite, 8192 - 1024, data.data(), data.size()) ==
        BlockStatus::kOk);
}

TEST_CASE("raw hands zeroes to its part of the child") {
  auto thread = StartThread();
  TestFile file(64_KiB);
  file.Fill(0, std::vector<uint8_t>(64_KiB, 0xee));
  auto child = Open({.filename = file.path()});
  auto raw = CreateRaw(*child, {.offset_bytes = 4096, .size_bytes = 8192});
  REQUIRE(raw.has_value());
  CHECK((*raw)->limits().write_zeroes);
  CHECK(WriteZeroes(*thread, **raw, 512, 1024, false) == BlockStatus::kOk);
  std::vector<uint8_t> expected(64_KiB, 0xee);
  std::fill_n(expected.begin() + 4096 + 512, 1024, 0);
  CHECK(file.Content() == expected);
}

TEST_CASE("raw refuses parts that are not there") {
  NullNode child({.size_bytes = 1_MiB});
  auto failure = [&](const RawOptions& options) {
    auto raw = CreateRaw(child, options);
    REQUIRE_FALSE(raw.has_value());
    return raw.error().message;
  };
  CHECK(failure({.offset_bytes = 2_MiB}) ==
        "driver 'raw': offset=2097152 is behind the end of the disk of 1048576 bytes");
  CHECK(failure({.offset_bytes = 512_KiB, .size_bytes = 1_MiB}) ==
        "driver 'raw': offset=524288 and size=1048576 reach beyond the end of the disk of 1048576 "
        "bytes");
  CHECK(failure({.offset_bytes = 100}) ==
        "driver 'raw': offset=100 and size=1048476 must be multiples of the disk's blocks of 512 "
        "bytes");
  CHECK(failure({.offset_bytes = ~uint64_t{0}, .size_bytes = ~uint64_t{0}}).find("behind") !=
        std::string::npos);
  CHECK(failure({.offset_bytes = 1_MiB}).find("leave nothing") != std::string::npos);
}

// A node that is nothing but its limits.
class LimitsNode : public BlockNode {
 public:
  explicit LimitsNode(const BlockLimits& limits) : limits_(limits) {}
  const BlockLimits& limits() const override { return limits_; }
  void Submit(IoThread& thread, BlockRequest& request) override {
    request.status = BlockStatus::kOk;
    thread.Complete(request);
  }

 private:
  BlockLimits limits_;
};

TEST_CASE("raw hands on every limit of a zoned child, and shows no part of one") {
  BlockLimits limits{.capacity_bytes = 1_GiB,
                     .logical_block_bytes = 4096,
                     .physical_block_bytes = 8192,
                     .zoned = ZonedModel::kHostManaged,
                     .zone_size_bytes = 4_MiB,
                     .zone_count = 256,
                     .max_open_zones = 8,
                     .max_active_zones = 16,
                     .max_append_bytes = 1_MiB,
                     .write_granularity_bytes = 4096};
  LimitsNode child(limits);
  auto raw = CreateRaw(child, {});
  REQUIRE(raw.has_value());
  CHECK((*raw)->limits() == limits);
  auto part = CreateRaw(child, {.offset_bytes = 4_MiB});
  REQUIRE_FALSE(part.has_value());
  CHECK(part.error().message ==
        "driver 'raw' cannot show a part of a zoned disk: leave out 'offset' and 'size'");
}

TEST_CASE("raw takes away rights on demand and never gives any") {
  BlockLimits limits{.capacity_bytes = 1_MiB,
                     .discard = true,
                     .discard_granularity_bytes = 4096,
                     .write_zeroes = true};
  LimitsNode writable(limits);
  CHECK((*CreateRaw(writable, {}))->limits() == limits);
  auto read_only = CreateRaw(writable, {.read_only = true});
  CHECK((*read_only)->limits().read_only);
  CHECK_FALSE((*read_only)->limits().discard);
  CHECK_FALSE((*read_only)->limits().write_zeroes);
  CHECK_FALSE((*CreateRaw(writable, {.allow_discard = false}))->limits().discard);
  limits.read_only = true;
  LimitsNode protected_node(limits);
  CHECK((*CreateRaw(protected_node, {}))->limits().read_only);
}

}  // namespace
}  // namespace minivmm
