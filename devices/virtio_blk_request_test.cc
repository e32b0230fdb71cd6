#include "devices/virtio_blk_request.h"

#include <doctest/doctest.h>

#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "blockcore/base/units.h"
#include "devices/virtqueue.h"
#include "devices/virtqueue_driver.h"

namespace minivmm {
namespace {

using Bytes = std::vector<uint8_t>;
using Kind = VirtioBlkRequest::Kind;

constexpr uint64_t kCapacitySectors = 81920;
constexpr uint8_t kPoison = 0xee;

VirtioBlkRules Rules() {
  VirtioBlkRules rules;
  rules.features = kBlkFeatureZoned | kBlkFeatureFlush;
  rules.capacity_sectors = kCapacitySectors;
  rules.max_append_sectors = 2048;
  rules.max_discard_sectors = 4096;
  rules.max_write_zeroes_sectors = 2000;
  rules.serial = {'n', 'u', 'l', 'l', 'b', '0'};
  return rules;
}

// One request on a ring of its own: readable bytes, writable room, each in pieces of a chosen size.
// Owns the chain.
class Framed {
 public:
  Framed(const Bytes& readable, size_t writable_bytes, const VirtioBlkRules& rules_in = Rules(),
         uint32_t piece = 1u << 20)
      : rules(rules_in),
        guest_(1_MiB),
        driver_(guest_, 4, kFeatureIndirectDesc),
        ring_(*Virtqueue::Create(guest_.memory(), driver_.config(), kFeatureIndirectDesc)),
        writable_bytes_(writable_bytes) {
    const uint64_t source = guest_.Allocate(readable.size() + 1);
    guest_.Fill(source, readable);
    writable_ = guest_.Allocate(writable_bytes + 1);
    std::memset(guest_.Host(writable_), kPoison, writable_bytes + 1);
    ChainBuilder builder(driver_);
    builder.Indirect()
        .ReadablePieces(source, static_cast<uint32_t>(readable.size()), piece)
        .WritablePieces(writable_, static_cast<uint32_t>(writable_bytes), piece)
        .Raw({0, 0, RingDescriptor::kWrite, 0});
    builder.Offer();
    auto chain = ring_.Pop();
    REQUIRE((chain.has_value() && chain->has_value()));
    chain_.emplace(std::move(**chain));
    request = ParseRequest(*chain_, rules);
  }
  ~Framed() {
    ring_.Push(std::move(*chain_), 0);
    // Nothing ever goes behind the writable bytes.
    CHECK(guest_.Load<uint8_t>(writable_ + writable_bytes_) == kPoison);
  }

  Bytes Written() {
    Bytes bytes(writable_bytes_);
    guest_.Read(writable_, bytes);
    return bytes;
  }
  // The status byte is the last one.
  uint8_t Status() { return Written().back(); }
  size_t DataBytes() const {
    size_t total = 0;
    for (const iovec& element : request.data) total += element.iov_len;
    return total;
  }
  // Whether all but the status byte is as it was.
  bool NothingElseWritten() {
    Bytes bytes = Written();
    bytes.pop_back();
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == kPoison; });
  }

  VirtioBlkRules rules;
  VirtioBlkRequest request;

 private:
  FakeGuest guest_;
  VirtqueueDriver driver_;
  Virtqueue ring_;
  size_t writable_bytes_;
  uint64_t writable_ = 0;
  std::optional<DescriptorChain> chain_;
};

Bytes Header(uint32_t type, uint64_t sector, uint32_t reserved = 0x00abcdef) {
  const VirtioBlkHeader header{type, reserved, sector};
  Bytes bytes(sizeof(header));
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes Zeroes(size_t count) { return Bytes(count, 0); }
Bytes Poison(size_t count) { return Bytes(count, kPoison); }

Bytes Segment(uint64_t sector, uint32_t num_sectors, uint32_t flags) {
  const VirtioBlkSegment segment{sector, num_sectors, flags};
  Bytes bytes(sizeof(segment));
  std::memcpy(bytes.data(), &segment, sizeof(segment));
  return bytes;
}

// A request that is answered at once: encodes and returns the status.
uint8_t AnswerOf(Framed& framed) {
  REQUIRE(framed.request.kind == Kind::kAnswered);
  EncodeAnswer(framed.request, framed.rules);
  return framed.Status();
}

uint8_t AnswerTo(const Bytes& readable, size_t writable_bytes,
                 const VirtioBlkRules& rules = Rules()) {
  Framed framed(readable, writable_bytes, rules);
  return AnswerOf(framed);
}

ZoneDescriptor Zone(uint64_t start_sector, uint64_t written_sectors, ZoneCondition condition) {
  return {.start_bytes = start_sector * 512,
          .length_bytes = 8192 * 512,
          .capacity_bytes = 6144 * 512,
          .write_pointer_bytes = (start_sector + written_sectors) * 512,
          .type = ZoneType::kSequentialRequired,
          .condition = condition};
}

// --- The bytes of the specification's structures, by example ---

TEST_CASE("Z-26: an append as Linux sends it, 16 bytes of tail: sector first, status last") {
  const Bytes header = {0x0f, 0, 0, 0, 0xaa, 0xbb, 0xcc, 0xdd, 0x00, 0x40, 0, 0, 0, 0, 0, 0};
  Framed framed(header + Bytes(4096, 0x5a), 16);
  REQUIRE(framed.request.kind == Kind::kDisk);
  CHECK(framed.request.op == BlockOp::kZoneAppend);
  CHECK(framed.request.offset_bytes == 16384 * 512);
  CHECK(framed.request.length_bytes == 4096);
  CHECK(framed.DataBytes() == 4096);
  CHECK(*static_cast<const uint8_t*>(framed.request.data[0].iov_base) == 0x5a);
  CHECK(EncodeResult(framed.request, BlockStatus::kOk, 16392 * 512) == 8);
  CHECK(framed.Written() == Bytes{0x08, 0x40, 0, 0, 0, 0, 0, 0} + Poison(7) + Bytes{0});
}

TEST_CASE("Z-26: an append with the specification's 9 bytes of tail") {
  Framed framed(Header(kBlkTypeZoneAppend, 16384) + Zeroes(4096), 9);
  REQUIRE(framed.request.kind == Kind::kDisk);
  CHECK(EncodeResult(framed.request, BlockStatus::kOk, 16392 * 512) == 9);
  CHECK(framed.Written() == Bytes{0x08, 0x40, 0, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("a failed append tells the sector that was asked for") {
  Framed framed(Header(kBlkTypeZoneAppend, 16384) + Zeroes(512), 16);
  CHECK(EncodeResult(framed.request, BlockStatus::kZoneUnaligned, 99 * 512) == 8);
  CHECK(framed.Written() == Bytes{0x00, 0x40, 0, 0, 0, 0, 0, 0} + Poison(7) + Bytes{4});
}

TEST_CASE("an append whose tail is shorter than 9 bytes fails with the status only") {
  for (size_t tail = 1; tail < 9; ++tail) {
    Framed framed(Header(kBlkTypeZoneAppend, 16384) + Zeroes(512), tail);
    CHECK(AnswerOf(framed) == kBlkStatusIoError);
    CHECK(framed.NothingElseWritten());
  }
}

TEST_CASE("Z-14: without ZONED all seven zone types are unsupported, whatever the tail") {
  VirtioBlkRules rules = Rules();
  rules.features = 0;
  for (uint32_t type : {15, 16, 18, 20, 22, 24, 26}) {
    for (size_t tail : {1, 9, 16, 192}) {
      Framed framed(Header(type, 16384) + Zeroes(type == 15 ? 512 : 0), tail, rules);
      REQUIRE(framed.request.kind == Kind::kAnswered);
      CHECK(EncodeAnswer(framed.request, rules) == (tail == 1 ? 1 : 0));
      CHECK(framed.Status() == kBlkStatusUnsupported);
      CHECK(framed.NothingElseWritten());
    }
  }
}

const Bytes kTwoZones =
    Bytes{0x02, 0, 0, 0, 0, 0, 0, 0} + Zeroes(56) +                      // header
    Bytes{0x00, 0x18, 0, 0, 0, 0, 0, 0, 0x00, 0x40, 0, 0, 0, 0, 0, 0} +  // zone 2: capacity, start
    Bytes{0x08, 0x40, 0, 0, 0, 0, 0, 0, 0x02, 0x02} + Zeroes(38) +       // pointer, type, state
    Bytes{0x00, 0x18, 0, 0, 0, 0, 0, 0, 0x00, 0x60, 0, 0, 0, 0, 0, 0} +  // zone 3
    Bytes{0x00, 0x60, 0, 0, 0, 0, 0, 0, 0x02, 0x01} + Zeroes(38);
const ZoneDescriptor kZone2 = Zone(16384, 8, ZoneCondition::kImplicitlyOpen);
const ZoneDescriptor kZone3 = Zone(24576, 0, ZoneCondition::kEmpty);

TEST_CASE("Z-45, Z-47: a report of two zones, byte by byte") {
  Framed framed(Header(kBlkTypeZoneReport, 16400), 193);
  REQUIRE(framed.request.kind == Kind::kZoneReport);
  CHECK(framed.request.op == BlockOp::kZoneReport);
  CHECK(framed.request.offset_bytes == 16400 * 512);
  ZoneReportEncoder encoder(framed.request);
  CHECK(encoder.room() == 2);
  encoder.Add(std::array{kZone2});
  CHECK(encoder.room() == 1);
  encoder.Add(std::array{kZone3});
  CHECK(encoder.room() == 0);
  CHECK(encoder.Finish(BlockStatus::kOk) == 193);
  CHECK(framed.Written() == kTwoZones + Bytes{0});
}

TEST_CASE("Z-49: a conventional zone has no write pointer, even when it is offline") {
  ZoneDescriptor zone = kZone2;
  zone.type = ZoneType::kConventional;
  for (ZoneCondition condition :
       {ZoneCondition::kNotWritePointer, ZoneCondition::kReadOnly, ZoneCondition::kOffline}) {
    zone.condition = condition;
    Framed framed(Header(kBlkTypeZoneReport, 16400), 129);
    ZoneReportEncoder encoder(framed.request);
    encoder.Add(std::array{zone});
    CHECK(encoder.Finish(BlockStatus::kOk) == 129);
    constexpr size_t kType = 64 + 24;
    CHECK(framed.Written()[kType] == 1);
    CHECK(framed.Written()[kType + 1] == 0);
  }
}

TEST_CASE("Z-48: a report over pieces of any size is the same bytes") {
  for (uint32_t piece : {1, 3, 7, 63, 64, 65, 100, 192}) {
    CAPTURE(piece);
    Framed framed(Header(kBlkTypeZoneReport, 16400), 193, Rules(), piece);
    ZoneReportEncoder encoder(framed.request);
    encoder.Add(std::array{kZone2, kZone3});
    CHECK(encoder.Finish(BlockStatus::kOk) == 193);
    CHECK(framed.Written() == kTwoZones + Bytes{0});
  }
}

TEST_CASE(
    "Z-45, H-20: a report says how many descriptors it placed, not how many zones there are") {
  struct Row {
    size_t reply_bytes;
    uint64_t room;
  } rows[] = {{64, 0}, {65, 0}, {127, 0}, {128, 1}, {64 + 64 * 5 + 63, 5}};
  for (const Row& row : rows) {
    CAPTURE(row.reply_bytes);
    Framed framed(Header(kBlkTypeZoneReport, 0), row.reply_bytes + 1);
    REQUIRE(framed.request.kind == Kind::kZoneReport);
    ZoneReportEncoder encoder(framed.request);
    CHECK(encoder.room() == row.room);
    encoder.Add(std::vector<ZoneDescriptor>(row.room, kZone2));
    const uint32_t used_bytes = encoder.Finish(BlockStatus::kOk);
    const uint32_t exact = static_cast<uint32_t>(64 + 64 * row.room);
    CHECK(used_bytes == (exact == row.reply_bytes ? exact + 1 : exact));
    CHECK(framed.Status() == kBlkStatusOk);
    Bytes written = framed.Written();
    CHECK(written[0] == row.room);
    // What lies between the last descriptor and the status stays as it was.
    for (size_t i = exact; i < row.reply_bytes; ++i) CHECK(written[i] == kPoison);
  }
}

TEST_CASE("Z-46: a report of the last zones leaves the rest of its room alone") {
  Framed framed(Header(kBlkTypeZoneReport, 0), 64 + 10 * 64 + 1);
  ZoneReportEncoder encoder(framed.request);
  encoder.Add(std::array{kZone2, kZone3});
  CHECK(encoder.Finish(BlockStatus::kOk) == 192);
  CHECK(framed.Written() == kTwoZones + Poison(8 * 64) + Bytes{0});
}

TEST_CASE("Q-10: a report that failed has written nothing that counts") {
  Framed framed(Header(kBlkTypeZoneReport, 0), 193);
  ZoneReportEncoder encoder(framed.request);
  CHECK(encoder.Finish(BlockStatus::kIoError) == 0);
  CHECK(framed.Status() == kBlkStatusIoError);
}

TEST_CASE("H-20: a report with no room for its header, or from beyond the end, is invalid") {
  CHECK(AnswerTo(Header(kBlkTypeZoneReport, 0), 1) == kBlkStatusZoneInvalid);
  CHECK(AnswerTo(Header(kBlkTypeZoneReport, 0), 64) == kBlkStatusZoneInvalid);
  CHECK(AnswerTo(Header(kBlkTypeZoneReport, kCapacitySectors), 193) == kBlkStatusZoneInvalid);
  CHECK(AnswerTo(Header(kBlkTypeZoneReport, ~uint64_t{0}), 193) == kBlkStatusZoneInvalid);
  Framed last(Header(kBlkTypeZoneReport, kCapacitySectors - 1), 193);
  CHECK(last.request.kind == Kind::kZoneReport);
}

TEST_CASE("zone operations by number, status only") {
  struct Row {
    uint32_t type;
    BlockOp op;
  } rows[] = {{0x12, BlockOp::kZoneOpen},
              {0x14, BlockOp::kZoneClose},
              {0x16, BlockOp::kZoneFinish},
              {0x18, BlockOp::kZoneReset}};
  for (const Row& row : rows) {
    Framed framed(Header(row.type, 16384), 1);
    REQUIRE(framed.request.kind == Kind::kDisk);
    CHECK(framed.request.op == row.op);
    CHECK(framed.request.offset_bytes == 16384 * 512);
    CHECK(framed.request.data.empty());
    CHECK(EncodeResult(framed.request, BlockStatus::kOk, 0) == 1);
    CHECK(framed.Written() == Bytes{0});
  }
}

TEST_CASE("Z-51: zone operations at or beyond the capacity are invalid, and cannot wrap") {
  for (uint32_t type : {18, 20, 22, 24, 15}) {
    for (uint64_t sector : {kCapacitySectors, uint64_t{1} << 55, uint64_t{1} << 63, ~uint64_t{0}}) {
      CHECK(AnswerTo(Header(type, sector) + Zeroes(type == 15 ? 512 : 0), 16) ==
            kBlkStatusZoneInvalid);
    }
  }
}

TEST_CASE("Z-22: RESET_ALL ignores the sector") {
  for (uint64_t sector : {uint64_t{0}, uint64_t{17}, ~uint64_t{0}}) {
    Framed framed(Header(0x1a, sector), 1);
    REQUIRE(framed.request.kind == Kind::kDisk);
    CHECK(framed.request.op == BlockOp::kZoneResetAll);
    CHECK(framed.request.offset_bytes == 0);
  }
}

TEST_CASE(
    "Z-27: an append beyond the limit is invalid, any append unsupported where the limit is 0") {
  VirtioBlkRules rules = Rules();
  rules.max_append_sectors = 8;
  Framed exact(Header(kBlkTypeZoneAppend, 8192) + Zeroes(8 * 512), 16, rules);
  CHECK(exact.request.kind == Kind::kDisk);
  CHECK(AnswerTo(Header(kBlkTypeZoneAppend, 8192) + Zeroes(9 * 512), 16, rules) ==
        kBlkStatusZoneInvalid);
  rules.max_append_sectors = 0;
  for (size_t length : {0, 1, 512}) {
    CHECK(AnswerTo(Header(kBlkTypeZoneAppend, 8192) + Zeroes(length), 16, rules) ==
          kBlkStatusUnsupported);
  }
}

TEST_CASE("an append of nothing, or of broken sectors, is invalid") {
  for (size_t length : {0, 1, 511, 513}) {
    CHECK(AnswerTo(Header(kBlkTypeZoneAppend, 8192) + Zeroes(length), 16) == kBlkStatusZoneInvalid);
  }
}

// --- Reads and writes ---

TEST_CASE("a read fills the writable bytes and counts them") {
  Framed framed(Header(kBlkTypeIn, 100), 1025);
  REQUIRE(framed.request.kind == Kind::kDisk);
  CHECK(framed.request.op == BlockOp::kRead);
  CHECK(framed.request.offset_bytes == 51200);
  CHECK(framed.request.length_bytes == 1024);
  CHECK(framed.DataBytes() == 1024);
  CHECK(EncodeResult(framed.request, BlockStatus::kOk, 0) == 1025);
  CHECK(framed.Status() == kBlkStatusOk);
}

TEST_CASE("Q-10: a failed read claims nothing, a write claims its status") {
  Framed read(Header(kBlkTypeIn, 100), 1025);
  CHECK(EncodeResult(read.request, BlockStatus::kIoError, 0) == 0);
  CHECK(read.Status() == kBlkStatusIoError);
  Framed write(Header(kBlkTypeOut, 100) + Zeroes(512), 1);
  CHECK(EncodeResult(write.request, BlockStatus::kIoError, 0) == 1);
  CHECK(write.Status() == kBlkStatusIoError);
  // Room before the status byte that a write has no use for is not written, so nothing may be
  // claimed.
  Framed roomy(Header(kBlkTypeOut, 100) + Zeroes(512), 5);
  CHECK(EncodeResult(roomy.request, BlockStatus::kOk, 0) == 0);
  CHECK(roomy.Written() == Poison(4) + Bytes{0});
}

TEST_CASE("Q-01: how the bytes are cut into descriptors means nothing") {
  for (uint32_t piece : {1, 2, 5, 8, 15, 16, 17, 511, 512, 513, 100000}) {
    CAPTURE(piece);
    Bytes data(512);
    std::iota(data.begin(), data.end(), 0);
    Framed write(Header(kBlkTypeOut, 7) + data, 1, Rules(), piece);
    REQUIRE(write.request.kind == Kind::kDisk);
    CHECK(write.request.offset_bytes == 7 * 512);
    CHECK(write.request.length_bytes == 512);
    Bytes seen;
    for (const iovec& element : write.request.data) {
      CHECK(element.iov_len != 0);
      const auto* bytes = static_cast<const uint8_t*>(element.iov_base);
      seen.insert(seen.end(), bytes, bytes + element.iov_len);
    }
    CHECK(seen == data);

    Framed read(Header(kBlkTypeIn, 7), 513, Rules(), piece);
    REQUIRE(read.request.kind == Kind::kDisk);
    size_t position = 0;
    for (const iovec& element : read.request.data) {
      std::memcpy(element.iov_base, data.data() + position, element.iov_len);
      position += element.iov_len;
    }
    CHECK(position == 512);
    CHECK(EncodeResult(read.request, BlockStatus::kOk, 0) == 513);
    CHECK(read.Written() == data + Bytes{0});
  }
}

TEST_CASE("Q-01: append_sector over pieces of every size") {
  for (uint32_t piece = 1; piece <= 16; ++piece) {
    Framed append(Header(kBlkTypeZoneAppend, 8192) + Zeroes(512), 16, Rules(), piece);
    CHECK(EncodeResult(append.request, BlockStatus::kOk, 0x01020304050607 * 512) == 8);
    CHECK(append.Written() == Bytes{7, 6, 5, 4, 3, 2, 1, 0} + Poison(7) + Bytes{0});
  }
}

TEST_CASE(
    "B-11, H-19: lengths that are no sectors and ranges beyond the end fail without wrapping") {
  constexpr uint64_t kMax = ~uint64_t{0};
  for (uint32_t type : {kBlkTypeIn, kBlkTypeOut}) {
    auto answer = [&](uint64_t sector, size_t length) {
      return type == kBlkTypeIn ? AnswerTo(Header(type, sector), length + 1)
                                : AnswerTo(Header(type, sector) + Zeroes(length), 1);
    };
    CHECK(answer(0, 1) == kBlkStatusIoError);
    CHECK(answer(0, 511) == kBlkStatusIoError);
    CHECK(answer(0, 513) == kBlkStatusIoError);
    CHECK(answer(kCapacitySectors, 512) == kBlkStatusIoError);
    CHECK(answer(kCapacitySectors - 1, 1024) == kBlkStatusIoError);
    CHECK(answer(kMax, 512) == kBlkStatusIoError);
    CHECK(answer(kMax, 1024) == kBlkStatusIoError);
    CHECK(answer(kMax / 512, 1024) == kBlkStatusIoError);
    CHECK(answer(kMax / 512 + 1, 512) == kBlkStatusIoError);  // times 512: 0
    CHECK(answer(uint64_t{1} << 63, 512) == kBlkStatusIoError);
  }
  Framed last(Header(kBlkTypeIn, kCapacitySectors - 1), 513);
  CHECK(last.request.kind == Kind::kDisk);
}

TEST_CASE("B-22, Z-37: reads and writes of nothing succeed and reach no disk") {
  CHECK(AnswerTo(Header(kBlkTypeIn, 3), 1) == kBlkStatusOk);
  CHECK(AnswerTo(Header(kBlkTypeOut, 3), 1) == kBlkStatusOk);
  // Nothing lies nowhere: not beyond the disk, either.
  for (uint64_t sector : {kCapacitySectors + 1, ~uint64_t{0}}) {
    CHECK(AnswerTo(Header(kBlkTypeIn, sector), 1) == kBlkStatusOk);
    CHECK(AnswerTo(Header(kBlkTypeOut, sector), 1) == kBlkStatusOk);
  }
}

TEST_CASE("B-04: on a read-only disk all that changes it fails") {
  VirtioBlkRules rules = Rules();
  rules.read_only = true;
  rules.features |= kBlkFeatureDiscard;
  CHECK(AnswerTo(Header(kBlkTypeOut, 0) + Zeroes(512), 1, rules) == kBlkStatusIoError);
  CHECK(AnswerTo(Header(kBlkTypeOut, 0), 1, rules) == kBlkStatusIoError);
  CHECK(AnswerTo(Header(kBlkTypeDiscard, 0) + Segment(0, 8, 0), 1, rules) == kBlkStatusIoError);
  CHECK(AnswerTo(Header(kBlkTypeZoneAppend, 0) + Zeroes(512), 16, rules) == kBlkStatusIoError);
  for (uint32_t type : {18, 20, 22, 24, 26}) {
    CHECK(AnswerTo(Header(type, 0), 1, rules) == kBlkStatusIoError);
  }
  CHECK(Framed(Header(kBlkTypeIn, 0), 513, rules).request.kind == Kind::kDisk);
  CHECK(Framed(Header(kBlkTypeFlush, 0), 1, rules).request.kind == Kind::kDisk);
  CHECK(Framed(Header(kBlkTypeZoneReport, 0), 193, rules).request.kind == Kind::kZoneReport);
}

TEST_CASE("B-15: a flush needs its feature and ignores the sector") {
  Framed framed(Header(kBlkTypeFlush, ~uint64_t{0}), 1);
  REQUIRE(framed.request.kind == Kind::kDisk);
  CHECK(framed.request.op == BlockOp::kFlush);
  CHECK(EncodeResult(framed.request, BlockStatus::kOk, 0) == 1);
  VirtioBlkRules rules = Rules();
  rules.features = kBlkFeatureZoned;
  CHECK(AnswerTo(Header(kBlkTypeFlush, 0), 1, rules) == kBlkStatusUnsupported);
}

TEST_CASE("H-17: all 32 bits of the type count; what is not offered is unsupported") {
  for (uint32_t type :
       {2u,  3u,     5u,          6u,          7u,          9u,          10u,        12u,
        13u, 14u,    17u,         19u,         21u,         23u,         25u,        27u,
        28u, 0x100u, 0x80000000u, 0x80000001u, 0x80000004u, 0x8000000fu, 0xffffffffu}) {
    CAPTURE(type);
    Framed framed(Header(type, 0) + Zeroes(512), 513);
    CHECK(AnswerOf(framed) == kBlkStatusUnsupported);
    CHECK(framed.NothingElseWritten());
  }
}

TEST_CASE("H-18: `reserved` may hold anything") {
  Framed framed(Header(kBlkTypeIn, 0, 0xffffffff), 513);
  CHECK(framed.request.kind == Kind::kDisk);
}

// --- GET_ID and DISCARD ---

TEST_CASE("B-14: GET_ID gives 20 bytes with NULs, cut to the room there is") {
  const Bytes id = Bytes{'n', 'u', 'l', 'l', 'b', '0'} + Zeroes(14);
  struct Row {
    size_t reply_bytes;
    uint32_t used_bytes;
  } rows[] = {{20, 21}, {4, 5}, {0, 1}, {19, 20}, {21, 20}, {512, 20}};
  for (const Row& row : rows) {
    CAPTURE(row.reply_bytes);
    for (uint32_t piece : {3, 1000}) {
      Framed framed(Header(kBlkTypeGetId, 0), row.reply_bytes + 1, Rules(), piece);
      REQUIRE(framed.request.kind == Kind::kAnswered);
      CHECK(EncodeAnswer(framed.request, framed.rules) == row.used_bytes);
      Bytes expected = id + Poison(512);
      expected.resize(row.reply_bytes);
      CHECK(framed.Written() == expected + Bytes{0});
    }
  }
}

TEST_CASE("a discard of one range") {
  VirtioBlkRules rules = Rules();
  rules.features = kBlkFeatureDiscard;
  Framed framed(Header(kBlkTypeDiscard, 0) + Segment(16, 4096, 0), 1, rules, 5);
  REQUIRE(framed.request.kind == Kind::kDisk);
  CHECK(framed.request.op == BlockOp::kDiscard);
  CHECK(framed.request.offset_bytes == 16 * 512);
  CHECK(framed.request.length_bytes == 4096 * 512);
  CHECK(framed.request.data.empty());
  CHECK(EncodeResult(framed.request, BlockStatus::kOk, 0) == 1);
}

TEST_CASE("B-05, B-15, B-17, H-21: discards that break a rule") {
  VirtioBlkRules rules = Rules();
  rules.features = kBlkFeatureDiscard;
  auto answer = [&](const Bytes& segments) {
    return AnswerTo(Header(kBlkTypeDiscard, 0) + segments, 1, rules);
  };
  CHECK(answer({}) == kBlkStatusIoError);
  CHECK(answer(Zeroes(15)) == kBlkStatusIoError);
  CHECK(answer(Segment(0, 8, 0) + Zeroes(1)) == kBlkStatusIoError);
  CHECK(answer(Segment(0, 8, 0) + Segment(8, 8, 0)) == kBlkStatusIoError);
  CHECK(answer(Segment(0, 0, 0)) == kBlkStatusIoError);
  CHECK(answer(Segment(0, 4097, 0)) == kBlkStatusIoError);
  CHECK(answer(Segment(kCapacitySectors - 1, 2, 0)) == kBlkStatusIoError);
  CHECK(answer(Segment(~uint64_t{0}, 2, 0)) == kBlkStatusIoError);
  CHECK(answer(Segment(uint64_t{1} << 55, 1, 0)) == kBlkStatusIoError);
  CHECK(answer(Segment(0, 8, 1)) == kBlkStatusUnsupported);  // unmap
  CHECK(answer(Segment(0, 8, 0x80000000)) == kBlkStatusUnsupported);
  // The flags are judged first.
  CHECK(answer(Segment(0, 0, 0x80000000)) == kBlkStatusUnsupported);
  CHECK(answer(Segment(~uint64_t{0}, 2, 1)) == kBlkStatusUnsupported);
  rules.features = 0;
  CHECK(answer(Segment(0, 8, 0)) == kBlkStatusUnsupported);
}

TEST_CASE("a write-zeroes of one range, with unmap and without") {
  VirtioBlkRules rules = Rules();
  rules.features = kBlkFeatureWriteZeroes;
  for (uint32_t flags : {0u, 1u}) {
    Framed framed(Header(kBlkTypeWriteZeroes, 0) + Segment(16, 2000, flags), 1, rules, 5);
    REQUIRE(framed.request.kind == Kind::kDisk);
    CHECK(framed.request.op == BlockOp::kWriteZeroes);
    CHECK(framed.request.offset_bytes == 16 * 512);
    CHECK(framed.request.length_bytes == 2000 * 512);
    CHECK(framed.request.may_unmap == (flags == 1));
    CHECK(framed.request.data.empty());
    CHECK(EncodeResult(framed.request, BlockStatus::kOk, 0) == 1);
  }
}

TEST_CASE("B-05, B-15, B-17, H-21: write-zeroes that break a rule") {
  VirtioBlkRules rules = Rules();
  rules.features = kBlkFeatureWriteZeroes;
  auto answer = [&](const Bytes& segments) {
    return AnswerTo(Header(kBlkTypeWriteZeroes, 0) + segments, 1, rules);
  };
  CHECK(answer({}) == kBlkStatusIoError);
  CHECK(answer(Zeroes(15)) == kBlkStatusIoError);
  CHECK(answer(Segment(0, 8, 1) + Segment(8, 8, 1)) == kBlkStatusIoError);
  CHECK(answer(Segment(0, 0, 0)) == kBlkStatusIoError);
  CHECK(answer(Segment(0, 2001, 0)) == kBlkStatusIoError);
  CHECK(answer(Segment(kCapacitySectors - 1, 2, 0)) == kBlkStatusIoError);
  CHECK(answer(Segment(~uint64_t{0}, 2, 0)) == kBlkStatusIoError);
  for (uint32_t flags : {2u, 3u, 0x80000000u, ~0u}) {
    CHECK(answer(Segment(0, 8, flags)) == kBlkStatusUnsupported);
    CHECK(answer(Segment(0, 0, flags)) == kBlkStatusUnsupported);
    CHECK(answer(Segment(~uint64_t{0}, 2, flags)) == kBlkStatusUnsupported);
  }
  rules.read_only = true;
  CHECK(answer(Segment(0, 8, 0)) == kBlkStatusIoError);
  rules.features = kBlkFeatureDiscard;
  CHECK(answer(Segment(0, 8, 0)) == kBlkStatusUnsupported);
}

TEST_CASE("H-17: type 14, a secure erase, is neither a write-zeroes nor an append") {
  VirtioBlkRules rules = Rules();
  rules.features |= kBlkFeatureWriteZeroes | kBlkFeatureDiscard;
  CHECK(AnswerTo(Header(14, 0) + Segment(0, 8, 0), 1, rules) == kBlkStatusUnsupported);
  CHECK(AnswerTo(Header(14, 0) + Segment(0, 8, 0), 16, rules) == kBlkStatusUnsupported);
}

// --- Requests that are hardly any ---

TEST_CASE("H-09: a header of less than 16 bytes fails with a status") {
  for (size_t bytes = 0; bytes < 16; ++bytes) {
    for (uint32_t piece : {1, 100}) {
      Framed framed(Zeroes(bytes), 513, Rules(), piece);
      REQUIRE(framed.request.kind == Kind::kAnswered);
      CHECK(EncodeAnswer(framed.request, framed.rules) == 0);
      CHECK(framed.Status() == kBlkStatusIoError);
      CHECK(framed.NothingElseWritten());
    }
  }
}

TEST_CASE("H-09: without a byte for the status nothing is done and nothing claimed") {
  for (uint32_t type = 0; type < 32; ++type) {
    Framed framed(Header(type, 0) + Zeroes(512), 0);
    REQUIRE(framed.request.kind == Kind::kAnswered);
    CHECK(framed.request.status == nullptr);
    CHECK(EncodeAnswer(framed.request, framed.rules) == 0);
  }
  Framed nothing({}, 0);
  CHECK(nothing.request.kind == Kind::kAnswered);
  CHECK(EncodeAnswer(nothing.request, nothing.rules) == 0);
}

TEST_CASE("each result of the block core has its status") {
  for (BlockStatus status : {BlockStatus::kZoneInvalid, BlockStatus::kZoneUnaligned,
                             BlockStatus::kZoneOpenLimit, BlockStatus::kZoneActiveLimit}) {
    CHECK(StatusForDriver(status, {.features = kBlkFeatureZoned}) == status);
    CHECK(StatusForDriver(status, {}) == BlockStatus::kIoError);
  }
  for (BlockStatus status : {BlockStatus::kOk, BlockStatus::kIoError, BlockStatus::kUnsupported}) {
    CHECK(StatusForDriver(status, {}) == status);
  }
  CHECK(ToVirtioStatus(BlockStatus::kOk) == 0);
  CHECK(ToVirtioStatus(BlockStatus::kIoError) == 1);
  CHECK(ToVirtioStatus(BlockStatus::kOutOfRange) == 1);
  CHECK(ToVirtioStatus(BlockStatus::kReadOnly) == 1);
  CHECK(ToVirtioStatus(BlockStatus::kUnsupported) == 2);
  CHECK(ToVirtioStatus(BlockStatus::kZoneInvalid) == 3);
  CHECK(ToVirtioStatus(BlockStatus::kZoneUnaligned) == 4);
  CHECK(ToVirtioStatus(BlockStatus::kZoneOpenLimit) == 5);
  CHECK(ToVirtioStatus(BlockStatus::kZoneActiveLimit) == 6);
}

}  // namespace
}  // namespace minivmm
