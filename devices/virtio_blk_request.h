// A virtio-blk request between its two forms: bytes in a descriptor chain and a value that the
// block core understands. Pure: no I/O, no threads, no state but the chain. Called by
// VirtioBlkQueue on its I/O thread.
//
//   readable:  | type reserved sector | data …            |     header: the first 16 bytes
//   writable:  | data or append_sector or report … | status |   status: the last byte
//
// Where the descriptors begin and end means nothing. Header and segment are copied once,
// then judged. What needs the state of a zone is not decided here: the block core knows it.
#ifndef MINIVMM_DEVICES_VIRTIO_BLK_REQUEST_H_
#define MINIVMM_DEVICES_VIRTIO_BLK_REQUEST_H_

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "blockcore/block_request.h"
#include "devices/descriptor_chain.h"
#include "devices/virtio_blk_format.h"

namespace minivmm {

// What a request is judged by: constant from DRIVER_OK to reset, but for the capacity, which grows.
struct VirtioBlkRules {
  uint64_t features = 0;   // negotiated
  bool read_only = false;  // offered, whether accepted or not (virtio 5.2.6.2)
  uint64_t capacity_sectors = 0;
  uint64_t max_append_sectors = 0;         // as in the configuration space
  uint64_t max_discard_sectors = 0;        // likewise
  uint64_t max_write_zeroes_sectors = 0;   // likewise
  std::array<char, kBlkIdBytes> serial{};  // filled up with NUL
};

struct VirtioBlkRequest {
  // kAnswered: `answer` is the status and nothing goes to the disk. kDisk: `op`, `offset_bytes`,
  // `length_bytes`, `data` and `may_unmap` are a BlockRequest. kZoneReport: the same with op
  // kZoneReport, in as many slices as it takes (ZoneReportEncoder).
  enum class Kind : uint8_t { kAnswered, kDisk, kZoneReport };

  Kind kind = Kind::kAnswered;
  uint8_t answer = kBlkStatusIoError;
  uint32_t type = ~uint32_t{0};  // as sent; ~0 when there was no whole header
  BlockOp op = BlockOp::kRead;
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  std::span<const iovec> data;
  bool may_unmap = false;  // of kWriteZeroes

  // The writable bytes before the status byte. nullptr: not even a status byte was there; the
  // request has no effect then.
  std::span<const iovec> reply;
  uint64_t reply_bytes = 0;
  std::byte* status = nullptr;
};

// Never fails: whatever is wrong is in `answer`. Shortens elements of the chain, which must stay
// out as long as the value is used.
VirtioBlkRequest ParseRequest(DescriptorChain& chain, const VirtioBlkRules& rules);

// The one map from results of the block core to the status byte.
uint8_t ToVirtioStatus(BlockStatus status);
// A driver that has not negotiated ZONED knows nothing of zones' errors (virtio 5.2.6): what is one
// of them is an I/O error to it.
BlockStatus StatusForDriver(BlockStatus status, const VirtioBlkRules& rules);

// These write the answer into guest memory and return what to give Virtqueue::Push: how many bytes
// from the first writable one on were written without a gap (virtio 2.7.8.2).

// For kAnswered.
uint32_t EncodeAnswer(const VirtioBlkRequest& request, const VirtioBlkRules& rules);
// For kDisk. `appended_at_bytes` counts for a successful append only.
uint32_t EncodeResult(const VirtioBlkRequest& request, BlockStatus status,
                      uint64_t appended_at_bytes);

// For kZoneReport: puts descriptors behind each other into the reply, then the header before them.
class ZoneReportEncoder {
 public:
  // `request.reply` holds at least a report's header.
  explicit ZoneReportEncoder(const VirtioBlkRequest& request);

  // Descriptors that still fit.
  uint64_t room() const { return room_; }
  // At most room().
  void Add(std::span<const ZoneDescriptor> zones);
  uint32_t Finish(BlockStatus status);

 private:
  const VirtioBlkRequest* request_;
  uint64_t room_;
  uint64_t added_ = 0;
  std::span<const iovec> rest_;  // of the reply, from the next descriptor on
  size_t rest_offset_ = 0;       // into rest_[0]
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTIO_BLK_REQUEST_H_
