#include "blockcore/zoned/zoned_table.h"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "blockcore/base/units.h"

namespace minivmm {
namespace {

constexpr uint64_t kZone = 8_KiB;

ZonedHeader SampleHeader(uint32_t zones = 600, ZonedModel model = ZonedModel::kHostManaged) {
  ZonedHeader header;
  header.id = {1, 2, 3};
  header.geometry.model = model;
  header.geometry.zone_size_bytes = kZone;
  header.geometry.zone_capacity_bytes = 7_KiB;
  header.geometry.capacity_bytes = zones * kZone;
  header.geometry.conventional_zones = 2;
  return header;
}

// Where commits go to: pages by their offset.
using Medium = std::map<uint64_t, ZonedPage>;

void Keep(Medium& medium, const std::vector<ZonedTable::PageWrite>& writes) {
  for (const auto& write : writes) medium[write.offset_bytes] = write.bytes;
}

Result<ZonedTable> Load(const ZonedHeader& header, const Medium& medium) {
  ZonedTable table(header);
  auto page_at = [&](uint32_t page, uint32_t place) {
    auto found = medium.find(header.PageOffset(page, place));
    return found == medium.end() ? ZonedPage{} : found->second;
  };
  for (uint32_t page = 0; page < header.table_pages(); ++page) {
    TRY([[maybe_unused]] auto damaged, table.LoadPage(page, page_at(page, 0), page_at(page, 1)));
  }
  TRY_VOID(table.FinishLoading(header.slot_count()));
  return table;
}

std::vector<uint32_t> Commit(ZonedTable& table, Medium& medium) {
  std::vector<ZonedTable::PageWrite> writes;
  table.BeginCommit(writes);
  Keep(medium, writes);
  return table.EndCommit(true);
}

uint32_t Write(ZonedTable& table, uint32_t zone, uint64_t end_bytes) {
  std::optional<uint32_t> slot = table.SlotForWrite(zone);
  REQUIRE(slot.has_value());
  table.NoteWritten(zone, end_bytes);
  return *slot;
}

TEST_CASE("A fresh table is all empty and its first commit writes every page") {
  ZonedTable table(SampleHeader());
  CHECK(table.record(1).condition == ZoneCondition::kNotWritePointer);
  CHECK(table.record(2).condition == ZoneCondition::kEmpty);
  CHECK(table.dirty());
  Medium medium;
  CHECK(Commit(table, medium).empty());
  CHECK(medium.size() == 3);
  CHECK_FALSE(table.dirty());
}

TEST_CASE("Written zones come back, open ones closed") {
  ZonedHeader header = SampleHeader();
  ZonedTable table(header);
  const uint32_t slot = Write(table, 2, 512);
  Write(table, 300, 7_KiB);
  Write(table, 3, 1_KiB);
  table.Finish(3);
  table.Open(4);
  table.Open(2);
  table.SlotForWrite(0);
  CHECK(table.Describe(2).condition == ZoneCondition::kExplicitlyOpen);
  CHECK(table.Describe(300).condition == ZoneCondition::kFull);
  Medium medium;
  Commit(table, medium);
  Result<ZonedTable> loaded = Load(header, medium);
  REQUIRE(loaded.has_value());
  CHECK(loaded->record(2) == ZoneRecord{512, slot, ZoneCondition::kClosed});
  CHECK(loaded->record(3).condition == ZoneCondition::kFull);
  CHECK(loaded->record(3).written_bytes == 1_KiB);
  CHECK(loaded->record(4) == ZoneRecord{});
  CHECK(loaded->record(300).written_bytes == 7_KiB);
  CHECK(loaded->record(0).slot != kNoSlot);
  CHECK(loaded->first_untouched_slot() == 4);
  ZoneDescriptor described = loaded->Describe(2);
  CHECK(described == ZoneDescriptor{.start_bytes = 2 * kZone,
                                    .length_bytes = kZone,
                                    .capacity_bytes = 7_KiB,
                                    .write_pointer_bytes = 2 * kZone + 512,
                                    .type = ZoneType::kSequentialRequired,
                                    .condition = ZoneCondition::kClosed});
}

TEST_CASE("A commit writes only pages with changes that outlive a restart") {
  ZonedTable table(SampleHeader());
  Medium medium;
  Commit(table, medium);
  std::vector<ZonedTable::PageWrite> writes;
  table.Open(5);
  table.Close(5);
  table.Reset(5);
  CHECK_FALSE(table.dirty());
  Write(table, 5, 512);
  Write(table, 6, 512);
  Write(table, 599, 512);
  table.BeginCommit(writes);
  CHECK(writes.size() == 2);
  table.EndCommit(true);
  table.Open(5);
  table.Close(5);
  CHECK_FALSE(table.dirty());
}

TEST_CASE("Commits take turns between the two places of a page") {
  ZonedHeader header = SampleHeader(10);
  ZonedTable table(header);
  std::vector<uint64_t> offsets;
  for (int round = 0; round < 4; ++round) {
    Write(table, 3, 512 * (round + 1));
    std::vector<ZonedTable::PageWrite> writes;
    table.BeginCommit(writes);
    REQUIRE(writes.size() == 1);
    offsets.push_back(writes[0].offset_bytes);
    table.EndCommit(round != 2);  // the third fails: its place is written again
  }
  CHECK(offsets == std::vector<uint64_t>{header.PageOffset(0, 0), header.PageOffset(0, 1),
                                         header.PageOffset(0, 0), header.PageOffset(0, 0)});
}

TEST_CASE("A slot is free again only after a commit and its recycling") {
  ZonedHeader header = SampleHeader(3);  // room for six slots
  ZonedTable table(header);
  Medium medium;
  const uint32_t first = Write(table, 2, 512);
  std::set<uint32_t> seen{first};
  for (int i = 0; i < 5; ++i) {
    table.Reset(2);
    CHECK(seen.insert(Write(table, 2, 512)).second);
  }
  table.Reset(2);
  CHECK_FALSE(table.SlotForWrite(2).has_value());
  CHECK(table.retired_slots() == 6);

  std::vector<ZonedTable::PageWrite> writes;
  table.BeginCommit(writes);
  CHECK(table.EndCommit(false).empty());
  CHECK_FALSE(table.SlotForWrite(2).has_value());
  std::vector<uint32_t> left = Commit(table, medium);
  CHECK(left.size() == 6);
  CHECK_FALSE(table.SlotForWrite(2).has_value());
  table.Recycle(left[3]);
  CHECK(table.SlotForWrite(2) == left[3]);
}

TEST_CASE("What happens during a commit belongs to the next one") {
  ZonedTable table(SampleHeader());
  Medium medium;
  Write(table, 2, 512);
  Commit(table, medium);
  std::vector<ZonedTable::PageWrite> writes;
  Write(table, 2, 1024);
  table.BeginCommit(writes);
  table.Reset(2);
  CHECK(table.EndCommit(true).empty());
  CHECK(table.dirty());
  CHECK(table.retired_slots() == 1);
  CHECK(Commit(table, medium).size() == 1);
}

TEST_CASE("A fault hides a zone's condition and gives it back") {
  ZonedHeader header = SampleHeader();
  ZonedTable table(header);
  Write(table, 2, 1024);
  table.Finish(2);
  const ZoneRecord before = table.record(2);
  table.SetFault(2, ZoneFault::kReadOnly);
  CHECK(table.Describe(2).condition == ZoneCondition::kReadOnly);
  Medium medium;
  Commit(table, medium);
  Result<ZonedTable> loaded = Load(header, medium);
  REQUIRE(loaded.has_value());
  CHECK(loaded->Describe(2).condition == ZoneCondition::kReadOnly);
  loaded->SetFault(2, ZoneFault::kNone);
  CHECK(loaded->record(2) == before);
}

TEST_CASE("A finished host-aware zone stays full when it is written") {
  ZonedTable table(SampleHeader(600, ZonedModel::kHostAware));
  table.Finish(2);
  Write(table, 2, 512);
  CHECK(table.record(2).condition == ZoneCondition::kFull);
  CHECK(table.record(2).written_bytes == 512);
  Write(table, 3, 2048);
  Write(table, 3, 1024);
  CHECK(table.record(3).written_bytes == 2048);
}

TEST_CASE("A damaged place is healed from the other, two are a failure") {
  ZonedHeader header = SampleHeader(10);
  ZonedTable table(header);
  Medium medium;
  Write(table, 3, 512);
  Commit(table, medium);
  Write(table, 3, 1024);
  Commit(table, medium);
  Medium torn = medium;
  torn[header.PageOffset(0, 1)][100] ^= std::byte{1};
  Result<ZonedTable> loaded = Load(header, torn);
  REQUIRE(loaded.has_value());
  CHECK(loaded->record(3).written_bytes == 512);
  CHECK(loaded->dirty());
  Commit(*loaded, torn);
  ZonedTable again(header);
  auto damaged = again.LoadPage(0, torn[header.PageOffset(0, 0)], torn[header.PageOffset(0, 1)]);
  REQUIRE(damaged.has_value());
  CHECK_FALSE(damaged->has_value());

  torn[header.PageOffset(0, 0)][100] ^= std::byte{1};
  torn[header.PageOffset(0, 1)][100] ^= std::byte{1};
  CHECK_FALSE(Load(header, torn).has_value());
}

TEST_CASE("An undamaged page that says what cannot be is not healed away") {
  ZonedHeader header = SampleHeader(10);
  ZonedTable table(header);
  std::vector<ZoneRecord> records(10);
  records[5] = {.written_bytes = 512, .slot = kNoSlot, .condition = ZoneCondition::kClosed};
  Medium medium;
  uint64_t written_bytes = 0;
  auto commit_more = [&] {
    Write(table, 3, written_bytes += 512);
    Commit(table, medium);
  };
  commit_more();
  for (int commits = 0; commits < 2; ++commits) {
    for (uint32_t place : {0, 1}) {
      CAPTURE(place);
      commit_more();
      REQUIRE(medium.size() == 2);
      REQUIRE(Load(header, medium).has_value());
      Medium wrong = medium;
      wrong[header.PageOffset(0, place)] = EncodeTablePage(header, 0, 9, records);
      CHECK_FALSE(Load(header, wrong).has_value());
    }
  }
}

TEST_CASE("Two zones with one slot are refused") {
  ZonedHeader header = SampleHeader(10);
  std::vector<ZoneRecord> records(10);
  for (int i = 0; i < 2; ++i) records[i].condition = ZoneCondition::kNotWritePointer;
  records[4] = {.written_bytes = 512, .slot = 3, .condition = ZoneCondition::kClosed};
  records[7] = records[4];
  Medium medium;
  medium[header.PageOffset(0, 0)] = EncodeTablePage(header, 0, 1, records);
  Result<ZonedTable> loaded = Load(header, medium);
  REQUIRE_FALSE(loaded.has_value());
  CHECK(loaded.error().message == "zones 4 and 7 both claim slot 3");
}

TEST_CASE("After loading, slots between those in use are stray until recycled") {
  ZonedHeader header = SampleHeader(10);
  ZonedTable table(header);
  for (uint32_t zone : {2, 3, 4, 5}) Write(table, zone, 512);
  table.Reset(3);
  table.Reset(5);
  Medium medium;
  Commit(table, medium);
  Result<ZonedTable> loaded = Load(header, medium);
  REQUIRE(loaded.has_value());
  CHECK(loaded->TakeStraySlots() == std::vector<uint32_t>{1});
  CHECK(loaded->first_untouched_slot() == 3);
  CHECK(loaded->SlotForWrite(7) == 3);
  loaded->Recycle(1);
  CHECK(loaded->SlotForWrite(8) == 1);
}

// Random work with commits that fail or are cut off at any page. Whatever the medium may hold: it
// can be loaded, no two zones share a slot there, and no slot that it may name is ever given to a
// zone.
void RunRandomWork() {
  const auto model = *rc::gen::element(ZonedModel::kHostManaged, ZonedModel::kHostAware);
  ZonedHeader header = SampleHeader(260, model);
  const std::vector<uint32_t> zones{0, 1, 2, 3, 4, 254, 255, 259};
  ZonedTable table(header);
  Medium medium;
  Commit(table, medium);
  std::vector<ZonedTable::PageWrite> writes;  // of the commit under way
  size_t written_pages = 0;
  bool committing = false;
  std::vector<uint32_t> to_punch;
  // Pages by offset that the medium may still fall back to: newest good one, and what a torn write
  // may turn into.
  auto named_on_medium = [&](const Medium& state) {
    std::set<uint32_t> named;
    Result<ZonedTable> loaded = Load(header, state);
    RC_ASSERT(loaded.has_value());
    for (uint32_t zone = 0; zone < loaded->zone_count(); ++zone) {
      if (loaded->record(zone).slot != kNoSlot) named.insert(loaded->record(zone).slot);
    }
    return named;
  };
  Medium flushed = medium;  // without what was not flushed

  const auto steps = *rc::gen::inRange(1, 120);
  for (int i = 0; i < steps; ++i) {
    const uint32_t zone = zones[*rc::gen::inRange<size_t>(0, zones.size())];
    switch (*rc::gen::inRange(0, 9)) {
      case 0:
      case 1:
      case 2: {
        std::set<uint32_t> taken = named_on_medium(flushed);
        taken.merge(named_on_medium(medium));
        const bool had_slot = table.record(zone).slot != kNoSlot;
        std::optional<uint32_t> slot = table.SlotForWrite(zone);
        if (!slot) break;
        if (!had_slot) RC_ASSERT(!taken.contains(*slot));
        RC_ASSERT(std::count_if(zones.begin(), zones.end(),
                                [&](uint32_t z) { return table.record(z).slot == *slot; }) == 1);
        const uint64_t written = table.record(zone).written_bytes;
        const bool has_room =
            written < 7_KiB && table.record(zone).condition != ZoneCondition::kFull;
        // Otherwise the write failed.
        const bool succeeded = *rc::gen::inRange(0, 5) != 0;
        if (succeeded && (has_room || model == ZonedModel::kHostAware)) {
          table.NoteWritten(zone, std::min<uint64_t>(7_KiB, written + 512));
        }
        break;
      }
      case 3:
        if (!table.IsConventional(zone)) table.Reset(zone);
        break;
      case 4:
        if (!table.IsConventional(zone)) table.Finish(zone);
        break;
      case 5:
        if (!committing) {
          table.BeginCommit(writes);
          committing = true;
          written_pages = 0;
        }
        break;
      case 6:
        if (committing && written_pages < writes.size()) {
          const auto& write = writes[written_pages++];
          medium[write.offset_bytes] = write.bytes;
          // Cut off here, the page may be torn.
          Medium torn = medium;
          torn[write.offset_bytes][2000] ^= std::byte{1};
          named_on_medium(torn);
        }
        break;
      case 7:
        if (committing) {
          const bool durable = *rc::gen::arbitrary<bool>();
          if (durable) {
            Keep(medium, writes);
            flushed = medium;
          }
          std::vector<uint32_t> left = table.EndCommit(durable);
          to_punch.insert(to_punch.end(), left.begin(), left.end());
          committing = false;
        }
        break;
      default:
        if (!to_punch.empty()) {
          table.Recycle(to_punch.back());
          to_punch.pop_back();
        }
    }
  }
}

TEST_CASE("No slot is ever named twice, whatever a crash leaves") {
  CHECK(rc::check("slots", RunRandomWork));
}

}  // namespace
}  // namespace minivmm
