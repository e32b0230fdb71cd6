// ZonedTable: the zone table of an image while it is in use. Pure (no I/O, no threads; its owner
// locks around it): it says where a zone's bytes lie, which pages a commit has to write and which
// slots are free again.
//
// The rule that makes a power cut harmless: a slot named by a record that may be on the medium is
// never given to another zone. Sequential zones only grow within a slot; a reset takes the slot
// away (retired), and a retired slot is free only when a commit that no longer names it has reached
// the medium and the slot has been punched.
//
//   SlotForWrite            Reset          BeginCommit        EndCommit(true)            Recycle
//   free ──▶ used by a zone ──▶ retired ──────▶ leaving ──────▶ the caller's, to punch ──▶ free
//                                  ▲──EndCommit(false)─┘              ▲
//                                                  used by nobody ────┘
//                                                  when it was loaded
#ifndef MINIVMM_BLOCKCORE_ZONED_ZONED_TABLE_H_
#define MINIVMM_BLOCKCORE_ZONED_ZONED_TABLE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <vector>

#include "blockcore/zoned/zoned_format.h"

namespace minivmm {

class ZonedTable {
 public:
  // A fresh table: all zones empty, nothing on the medium yet, so that the first commit writes
  // every page.
  explicit ZonedTable(const ZonedHeader& header);

  // Takes over one page as read from the medium: the copies at both places, of which the newer one
  // counts. When one of them is damaged (torn by a crash, perhaps), the page is dirty afterwards:
  // the next commit heals it. Returns the damaged place, if any; fails when both are, or when an
  // undamaged one says what cannot be.
  Result<std::optional<uint32_t>> LoadPage(uint32_t page,
                                           std::span<const std::byte, kZonedPageBytes> place0,
                                           std::span<const std::byte, kZonedPageBytes> place1);
  // After the last LoadPage: fails when two zones share a slot. The medium has room for slots below
  // `slot_limit`; those that the table names are taken as they are.
  Result<void> FinishLoading(uint32_t slot_limit);

  const ZonedHeader& header() const { return header_; }
  uint32_t zone_count() const { return static_cast<uint32_t>(records_.size()); }
  // Below: `zone` < zone_count(). Here a condition may be one of the open ones.
  const ZoneRecord& record(uint32_t zone) const { return records_[zone]; }
  bool IsConventional(uint32_t zone) const { return zone < header_.geometry.conventional_zones; }
  // What a zone report says.
  ZoneDescriptor Describe(uint32_t zone) const;

  // The slot to write this zone's bytes to; takes one for a zone that has none. nullopt: none is
  // free; a commit and Recycle may help.
  std::optional<uint32_t> SlotForWrite(uint32_t zone);
  // Bytes up to `end_bytes` from the zone's start have been written to its slot. No effect on
  // conventional zones.
  void NoteWritten(uint32_t zone, uint64_t end_bytes);

  // For sequential zones; whether the operation may be done is not asked here.
  void Open(uint32_t zone);  // explicitly
  void Close(uint32_t zone);
  void Finish(uint32_t zone);
  void Reset(uint32_t zone);
  // For all zones.
  void SetFault(uint32_t zone, ZoneFault fault);

  // Slots that were taken away since the last BeginCommit: the space that a commit would give back.
  size_t retired_slots() const { return retired_.size(); }
  // Whether a commit would write anything.
  bool dirty() const { return !dirty_pages_.empty(); }

  struct PageWrite {
    uint64_t offset_bytes = 0;
    ZonedPage bytes{};
  };
  // Fills `writes` with the pages that say what is true at this moment. One commit at a time;
  // EndCommit must follow.
  void BeginCommit(std::vector<PageWrite>& writes);
  // `durable`: all pages of the commit are on the medium. Returns slots that may be punched and
  // must then be given to Recycle. After false the pages are dirty again and nothing is given back.
  std::vector<uint32_t> EndCommit(bool durable);
  // `slot` reads as zeroes and nobody uses it any more.
  void Recycle(uint32_t slot);

  // After FinishLoading, once: the slots between those in use, to punch and Recycle. What lies from
  // first_untouched_slot() on has to read as zeroes before the first SlotForWrite.
  std::vector<uint32_t> TakeStraySlots();
  uint32_t first_untouched_slot() const { return next_slot_; }
  // Of all pages: how often this image was committed, and no more.
  uint64_t highest_sequence() const;

 private:
  struct PageState {
    uint64_t sequence = 0;      // the highest ever used
    uint8_t durable_place = 1;  // where the good copy is; the other one is written next
    bool dirty = false;
  };

  void Update(uint32_t zone, const ZoneRecord& changed);
  void MarkDirty(uint32_t page);
  std::span<const ZoneRecord> RecordsOf(uint32_t page) const;

  ZonedHeader header_;
  std::vector<ZoneRecord> records_;
  std::vector<PageState> pages_;
  std::vector<uint32_t> dirty_pages_;
  std::vector<uint32_t> committing_pages_;
  std::vector<uint32_t> retired_;
  std::vector<uint32_t> leaving_;
  std::vector<uint32_t> stray_slots_;
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> free_slots_;  // lowest first
  uint32_t next_slot_ = 0;  // slots from here on were never used
  uint32_t slot_limit_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_ZONED_TABLE_H_
