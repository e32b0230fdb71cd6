#include "blockcore/zoned/zoned_table.h"

#include <algorithm>
#include <array>
#include <utility>

#include "blockcore/base/check.h"

namespace minivmm {
namespace {

bool IsOpen(ZoneCondition condition) {
  return condition == ZoneCondition::kImplicitlyOpen || condition == ZoneCondition::kExplicitlyOpen;
}

// What the medium keeps of a record: nothing is open after a restart.
ZoneRecord StoredForm(ZoneRecord record) {
  if (IsOpen(record.condition)) {
    record.condition = record.written_bytes == 0 ? ZoneCondition::kEmpty : ZoneCondition::kClosed;
  }
  // A slot that was taken but not yet written to has nothing worth keeping.
  const bool conventional = record.condition == ZoneCondition::kNotWritePointer;
  if (!conventional && record.written_bytes == 0) record.slot = kNoSlot;
  return record;
}

}  // namespace

ZonedTable::ZonedTable(const ZonedHeader& header)
    : header_(header),
      records_(header.geometry.zone_count()),
      pages_(header.table_pages()),
      slot_limit_(header.slot_count()) {
  for (uint32_t zone = 0; zone < header.geometry.conventional_zones; ++zone) {
    records_[zone].condition = ZoneCondition::kNotWritePointer;
  }
  for (uint32_t page = 0; page < pages_.size(); ++page) MarkDirty(page);
}

Result<std::optional<uint32_t>> ZonedTable::LoadPage(
    uint32_t page, std::span<const std::byte, kZonedPageBytes> place0,
    std::span<const std::byte, kZonedPageBytes> place1) {
  Result<TablePage> first = DecodeTablePage(header_, page, place0);
  Result<TablePage> second = DecodeTablePage(header_, page, place1);
  // A page that was written as a whole and cannot be used is no work of a crash: the older one is
  // not the truth either.
  if (!first && (!second || IsIntactTablePage(header_, page, place0))) {
    return Unexpected(first.error());
  }
  if (!second && IsIntactTablePage(header_, page, place1)) return Unexpected(second.error());
  const bool use_second = !first || (second && second->sequence > first->sequence);
  const TablePage& newer = use_second ? *second : *first;
  std::optional<uint32_t> damaged_place;
  if (!first) damaged_place = 0;
  if (!second) damaged_place = 1;

  PageState& state = pages_[page];
  state.sequence = newer.sequence;
  state.durable_place = use_second ? 1 : 0;
  state.dirty = damaged_place.has_value();
  const size_t begin = size_t{page} * kZonesPerPage;
  std::copy_n(newer.records.begin(), RecordsOf(page).size(), records_.begin() + begin);
  return damaged_place;
}

Result<void> ZonedTable::FinishLoading(uint32_t slot_limit) {
  std::erase_if(dirty_pages_, [this](uint32_t page) { return !pages_[page].dirty; });
  std::vector<std::pair<uint32_t, uint32_t>> used;  // slot, zone
  for (uint32_t zone = 0; zone < zone_count(); ++zone) {
    if (records_[zone].slot != kNoSlot) used.emplace_back(records_[zone].slot, zone);
  }
  std::sort(used.begin(), used.end());
  for (size_t i = 1; i < used.size(); ++i) {
    if (used[i - 1].first == used[i].first) {
      return Fail("zones {} and {} both claim slot {}", used[i - 1].second, used[i].second,
                  used[i].first);
    }
  }
  for (auto [slot, zone] : used) {
    while (next_slot_ < slot) stray_slots_.push_back(next_slot_++);
    next_slot_ = slot + 1;
  }
  slot_limit_ = std::min(slot_limit, header_.slot_count());
  return {};
}

std::vector<uint32_t> ZonedTable::TakeStraySlots() { return std::exchange(stray_slots_, {}); }

uint64_t ZonedTable::highest_sequence() const {
  return std::ranges::max_element(pages_, {}, &PageState::sequence)->sequence;
}

ZoneDescriptor ZonedTable::Describe(uint32_t zone) const {
  const ZonedGeometry& g = header_.geometry;
  const ZoneRecord& record = records_[zone];
  ZoneDescriptor descriptor;
  descriptor.start_bytes = zone * g.zone_size_bytes;
  descriptor.length_bytes = g.ZoneLength(zone);
  descriptor.capacity_bytes = g.ZoneCapacity(zone);
  descriptor.condition = record.shown_condition();
  const bool has_pointer = descriptor.condition == ZoneCondition::kEmpty ||
                           descriptor.condition == ZoneCondition::kClosed ||
                           IsOpen(descriptor.condition);
  descriptor.write_pointer_bytes =
      descriptor.start_bytes + (has_pointer ? record.written_bytes : descriptor.length_bytes);
  if (IsConventional(zone)) {
    descriptor.type = ZoneType::kConventional;
  } else if (g.model == ZonedModel::kHostAware) {
    descriptor.type = ZoneType::kSequentialPreferred;
  } else {
    descriptor.type = ZoneType::kSequentialRequired;
  }
  return descriptor;
}

void ZonedTable::MarkDirty(uint32_t page) {
  if (pages_[page].dirty) return;
  pages_[page].dirty = true;
  dirty_pages_.push_back(page);
}

std::span<const ZoneRecord> ZonedTable::RecordsOf(uint32_t page) const {
  const size_t begin = size_t{page} * kZonesPerPage;
  return std::span(records_).subspan(begin,
                                     std::min<size_t>(kZonesPerPage, records_.size() - begin));
}

void ZonedTable::Update(uint32_t zone, const ZoneRecord& changed) {
  ZoneRecord& record = records_[zone];
  if (StoredForm(record) != StoredForm(changed)) MarkDirty(zone / kZonesPerPage);
  if (record.slot != kNoSlot && record.slot != changed.slot) retired_.push_back(record.slot);
  record = changed;
}

std::optional<uint32_t> ZonedTable::SlotForWrite(uint32_t zone) {
  ZoneRecord changed = records_[zone];
  if (changed.slot != kNoSlot) return changed.slot;
  if (!free_slots_.empty()) {
    changed.slot = free_slots_.top();
    free_slots_.pop();
  } else if (next_slot_ < slot_limit_) {
    changed.slot = next_slot_++;
  } else {
    return std::nullopt;
  }
  Update(zone, changed);
  return changed.slot;
}

void ZonedTable::NoteWritten(uint32_t zone, uint64_t end_bytes) {
  if (IsConventional(zone)) return;
  ZoneRecord changed = records_[zone];
  const uint64_t capacity = header_.geometry.ZoneCapacity(zone);
  VMM_CHECK(changed.slot != kNoSlot && end_bytes <= capacity);
  // A host-aware zone is written below its pointer, too, and even when it is full.
  changed.written_bytes = std::max(changed.written_bytes, end_bytes);
  if (changed.written_bytes == capacity) {
    changed.condition = ZoneCondition::kFull;
  } else if (changed.condition != ZoneCondition::kFull &&
             changed.condition != ZoneCondition::kExplicitlyOpen) {
    changed.condition = ZoneCondition::kImplicitlyOpen;
  }
  Update(zone, changed);
}

void ZonedTable::Open(uint32_t zone) {
  ZoneRecord changed = records_[zone];
  changed.condition = ZoneCondition::kExplicitlyOpen;
  Update(zone, changed);
}

void ZonedTable::Close(uint32_t zone) {
  ZoneRecord changed = records_[zone];
  if (!IsOpen(changed.condition)) return;
  changed.condition = changed.written_bytes == 0 ? ZoneCondition::kEmpty : ZoneCondition::kClosed;
  Update(zone, changed);
}

void ZonedTable::Finish(uint32_t zone) {
  ZoneRecord changed = records_[zone];
  changed.condition = ZoneCondition::kFull;
  if (changed.written_bytes == 0) changed.slot = kNoSlot;
  Update(zone, changed);
}

void ZonedTable::Reset(uint32_t zone) {
  Update(zone, {.written_bytes = 0,
                .slot = kNoSlot,
                .condition = ZoneCondition::kEmpty,
                .fault = records_[zone].fault});
}

void ZonedTable::SetFault(uint32_t zone, ZoneFault fault) {
  ZoneRecord changed = records_[zone];
  changed.fault = fault;
  Update(zone, changed);
}

void ZonedTable::BeginCommit(std::vector<PageWrite>& writes) {
  VMM_CHECK(committing_pages_.empty() && leaving_.empty());
  committing_pages_.swap(dirty_pages_);
  leaving_.swap(retired_);
  std::sort(committing_pages_.begin(), committing_pages_.end());
  writes.clear();
  writes.reserve(committing_pages_.size());
  for (uint32_t page : committing_pages_) {
    PageState& state = pages_[page];
    state.dirty = false;
    std::span<const ZoneRecord> records = RecordsOf(page);
    std::array<ZoneRecord, kZonesPerPage> stored;
    std::transform(records.begin(), records.end(), stored.begin(), StoredForm);
    writes.push_back({header_.PageOffset(page, 1 - state.durable_place),
                      EncodeTablePage(header_, page, ++state.sequence,
                                      std::span(stored).first(records.size()))});
  }
}

std::vector<uint32_t> ZonedTable::EndCommit(bool durable) {
  for (uint32_t page : committing_pages_) {
    if (durable) {
      pages_[page].durable_place = 1 - pages_[page].durable_place;
    } else {
      MarkDirty(page);
    }
  }
  committing_pages_.clear();
  if (durable) return std::exchange(leaving_, {});
  retired_.insert(retired_.end(), leaving_.begin(), leaving_.end());
  leaving_.clear();
  return {};
}

void ZonedTable::Recycle(uint32_t slot) { free_slots_.push(slot); }

}  // namespace minivmm
