// The moving parts of ZonedImage, shared by its source files and by nobody else. A ticket belongs
// to the image's mutex while it waits, and to its request's I/O thread while it moves; a PageIo
// belongs to the thread of its commit.
#ifndef MINIVMM_BLOCKCORE_ZONED_ZONED_IMAGE_PARTS_H_
#define MINIVMM_BLOCKCORE_ZONED_ZONED_IMAGE_PARTS_H_

#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "blockcore/zoned/zoned_image.h"

namespace minivmm {

// What a request gets for a failure of the child.
inline BlockStatus StatusOfChildFailure(BlockStatus of_child) {
  return of_child == BlockStatus::kNoSpace ? of_child : BlockStatus::kIoError;
}

// What is remembered of a request from Submit until it completes.
struct ZonedImage::Ticket : Task {
  ZonedImage* image = nullptr;
  IoThread* thread = nullptr;
  BlockRequest* request = nullptr;
  Ticket* next_ticket = nullptr;

  // Reads and writes go piece by piece, each within a zone.
  uint64_t done_bytes = 0;
  uint64_t piece_bytes = 0;
  uint32_t zone = 0;
  uint8_t epoch = 0;          // of the piece at the child
  bool clears_gap = false;    // the piece at the child makes zeroes of what a write will jump over
  bool gap_is_clear = false;  // and has done so
  BlockStatus commit_status = BlockStatus::kOk;  // of a commit while it waited for a slot
  BlockRequest piece;
  std::vector<iovec> slice;
};

struct ZonedImage::PageIo {
  ZonedImage* image = nullptr;
  BlockRequest request;
  iovec buffer{};
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_ZONED_IMAGE_PARTS_H_
