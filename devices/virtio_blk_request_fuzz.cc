// ParseRequest and the encoders: a request cut into descriptors as the input says, and whatever
// result the disk might have.
#include <cstring>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "devices/virtio_blk_request.h"
#include "devices/virtqueue_driver.h"
#include "tools/bazel/fuzz/fuzz_input.h"

namespace minivmm {
namespace {

constexpr uint64_t kGuestBytes = 48_KiB;
constexpr std::byte kUntouched{0x5a};

VirtioBlkRules SomeRules(FuzzInput& input) {
  VirtioBlkRules rules;
  rules.features = input.Pick<uint64_t>({~uint64_t{0}, kBlkFeatureZoned, 0, kBlkFeatureDiscard});
  rules.read_only = input.Below(8) == 1;
  rules.capacity_sectors =
      input.Pick<uint64_t>({2048, 1, uint64_t{1} << 32, UINT64_MAX / kSectorBytes});
  rules.max_append_sectors = input.Pick<uint64_t>({8, 0, 256, UINT32_MAX});
  rules.max_discard_sectors = input.Pick<uint64_t>({8, 0, UINT32_MAX});
  rules.max_write_zeroes_sectors = rules.max_discard_sectors;
  rules.serial.fill('S');
  return rules;
}

VirtioBlkHeader SomeHeader(FuzzInput& input) {
  VirtioBlkHeader header{};
  header.type = input.Pick<uint32_t>(
      {kBlkTypeIn, kBlkTypeOut, kBlkTypeFlush, kBlkTypeGetId, kBlkTypeDiscard, kBlkTypeZoneAppend,
       kBlkTypeZoneReport, kBlkTypeZoneOpen, kBlkTypeZoneClose, kBlkTypeZoneFinish,
       kBlkTypeZoneReset, kBlkTypeZoneResetAll, kBlkTypeWriteZeroes, 14, 0x8000'0000});
  if (input.Below(16) == 1) header.type = static_cast<uint32_t>(input.Number());
  header.sector = input.Number();
  return header;
}

// Cuts [address, address + length) into descriptors.
void AddPieces(ChainBuilder& chain, FuzzInput& input, uint64_t address, uint32_t length,
               bool writable) {
  const uint32_t piece =
      std::max<uint32_t>(input.Pick<uint32_t>({length, 1, 7, 16, 512}), length / 200);
  if (writable) {
    chain.WritablePieces(address, length, std::max(piece, 1u));
  } else {
    chain.ReadablePieces(address, length, std::max(piece, 1u));
  }
}

BlockStatus SomeStatus(FuzzInput& input) {
  return input.Pick<BlockStatus>({BlockStatus::kOk, BlockStatus::kIoError, BlockStatus::kOutOfRange,
                                  BlockStatus::kReadOnly, BlockStatus::kUnsupported,
                                  BlockStatus::kZoneInvalid, BlockStatus::kZoneUnaligned,
                                  BlockStatus::kZoneOpenLimit, BlockStatus::kZoneActiveLimit});
}

uint64_t BytesOf(std::span<const iovec> elements) {
  uint64_t bytes = 0;
  for (const iovec& element : elements) bytes += element.iov_len;
  return bytes;
}

// What the disk will be asked must be possible.
void CheckDiskRequest(const VirtioBlkRequest& request, const VirtioBlkRules& rules) {
  const uint64_t capacity_bytes = rules.capacity_sectors * kSectorBytes;
  VMM_CHECK(IsAligned(request.offset_bytes, kSectorBytes));
  VMM_CHECK(IsAligned(request.length_bytes, kSectorBytes));
  VMM_CHECK(request.offset_bytes < capacity_bytes);
  // Where an append ends is known only when the zone says where it begins.
  VMM_CHECK(request.op == BlockOp::kZoneAppend ||
            RangeFits(request.offset_bytes, request.length_bytes, capacity_bytes));
  if (request.op == BlockOp::kRead || request.op == BlockOp::kWrite ||
      request.op == BlockOp::kZoneAppend) {
    VMM_CHECK(BytesOf(request.data) == request.length_bytes);
  }
  const bool reads = request.op == BlockOp::kRead || request.op == BlockOp::kZoneReport ||
                     request.op == BlockOp::kFlush;
  VMM_CHECK(reads || !rules.read_only);
}

uint32_t Answer(const VirtioBlkRequest& request, const VirtioBlkRules& rules, FuzzInput& input) {
  switch (request.kind) {
    case VirtioBlkRequest::Kind::kAnswered:
      return EncodeAnswer(request, rules);
    case VirtioBlkRequest::Kind::kDisk: {
      const BlockStatus status = SomeStatus(input);
      return EncodeResult(request, status, input.Number());
    }
    case VirtioBlkRequest::Kind::kZoneReport:
      break;
  }
  ZoneReportEncoder encoder(request);
  const std::vector<ZoneDescriptor> zones(5);
  for (uint64_t slices = input.Below(4); slices-- > 0;) {
    encoder.Add(std::span(zones).first(std::min<uint64_t>(encoder.room(), input.Below(6))));
  }
  return encoder.Finish(SomeStatus(input));
}

void Run(FuzzInput& input) {
  FakeGuest guest(kGuestBytes);
  VirtqueueDriver driver(guest, 256, kFeatureIndirectDesc);
  const VirtioBlkRules rules = SomeRules(input);

  const VirtioBlkHeader header = SomeHeader(input);
  const VirtioBlkSegment segment{input.Below(4096), static_cast<uint32_t>(input.Below(10)),
                                 static_cast<uint32_t>(input.Below(8) == 1)};
  const uint32_t readable_bytes = input.Pick<uint32_t>({0, 16, 512, 4096, 513, 15, 8192});
  const uint32_t writable_bytes = input.Pick<uint32_t>({1, 9, 21, 513, 4097, 0, 65, 129, 8192});
  const auto header_bytes =
      static_cast<uint32_t>(input.Below(16) == 1 ? input.Below(16) : sizeof(header));

  const uint64_t readable = guest.Allocate(sizeof(header) + readable_bytes);
  const uint64_t writable = guest.Allocate(writable_bytes);
  guest.Store(readable, header);
  if (readable_bytes >= sizeof(segment)) guest.Store(readable + sizeof(header), segment);
  ChainBuilder chain_builder(driver);
  chain_builder.Indirect();
  // A chain of no byte is made of an empty descriptor.
  chain_builder.Readable(readable, 0);
  AddPieces(chain_builder, input, readable, header_bytes + readable_bytes, false);
  AddPieces(chain_builder, input, writable, writable_bytes, true);
  chain_builder.Offer();

  auto ring = Virtqueue::Create(guest.memory(), driver.config(), driver.features());
  VMM_CHECK(ring.has_value());
  auto chain = ring->Pop();
  VMM_CHECK(chain.has_value() && chain->has_value());

  std::fill_n(guest.Host(writable), writable_bytes, kUntouched);
  const std::vector<std::byte> before(guest.Host(FakeGuest::kBase),
                                      guest.Host(FakeGuest::kBase) + kGuestBytes);
  const VirtioBlkRequest request = ParseRequest(**chain, rules);
  VMM_CHECK((request.status == nullptr) == (writable_bytes == 0));
  VMM_CHECK(request.status == nullptr ||
            request.status == guest.Host(writable + writable_bytes - 1));
  VMM_CHECK(BytesOf(request.reply) == request.reply_bytes);
  if (request.kind != VirtioBlkRequest::Kind::kAnswered) {
    VMM_CHECK(header_bytes + readable_bytes >= sizeof(header) && request.status != nullptr);
    CheckDiskRequest(request, rules);
  }

  const uint32_t written_bytes = Answer(request, rules, input);
  VMM_CHECK(written_bytes <= writable_bytes);
  VMM_CHECK(request.status == nullptr || *request.status <= std::byte{kBlkStatusZoneActiveLimit});
  // Nothing but the writable buffers has changed.
  const std::byte* memory = guest.Host(FakeGuest::kBase);
  const size_t writable_offset = writable - FakeGuest::kBase;
  const size_t rest_offset = writable_offset + writable_bytes;
  VMM_CHECK(std::memcmp(memory, before.data(), writable_offset) == 0);
  VMM_CHECK(std::memcmp(memory + rest_offset, &before[rest_offset], kGuestBytes - rest_offset) ==
            0);
  ring->Push(std::move(**chain), written_bytes);
}

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  minivmm::FuzzInput input(data, size);
  minivmm::Run(input);
  return 0;
}
