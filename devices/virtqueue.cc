#include "devices/virtqueue.h"

#include <string>
#include <utility>
#include <variant>

#include "blockcore/base/check.h"
#include "devices/packed_ring.h"
#include "devices/ring_chains.h"
#include "devices/split_ring.h"

namespace minivmm {

struct Virtqueue::State {
  RingChains chains;
  std::variant<SplitRing, PackedRing> ring;
  bool broken = false;
  std::string broken_reason;
};

Virtqueue::Virtqueue(std::unique_ptr<State> state) : state_(std::move(state)) {}
Virtqueue::Virtqueue(Virtqueue&& other) noexcept = default;
Virtqueue& Virtqueue::operator=(Virtqueue&& other) noexcept {
  VMM_CHECK(!state_ || state_->chains.free_chains() == size());
  state_ = std::move(other.state_);
  return *this;
}
Virtqueue::~Virtqueue() { VMM_CHECK(!state_ || state_->chains.free_chains() == size()); }

uint16_t Virtqueue::size() const { return state_->chains.size(); }

Result<Virtqueue> Virtqueue::Create(const GuestMemory& memory, const QueueConfig& config,
                                    uint64_t features) {
  if (features & kFeatureRingPacked) {
    TRY(PackedRing ring, PackedRing::Create(memory, config, features));
    return Virtqueue(
        std::make_unique<State>(State{RingChains(memory, config.size), ring, false, {}}));
  }
  TRY(SplitRing ring, SplitRing::Create(memory, config, features));
  return Virtqueue(
      std::make_unique<State>(State{RingChains(memory, config.size), ring, false, {}}));
}

Result<std::optional<DescriptorChain>> Virtqueue::Pop() {
  State& state = *state_;
  if (state.broken) return Unexpected(Error{state.broken_reason});
  auto chain = std::visit([&](auto& ring) { return ring.Pop(state.chains); }, state.ring);
  if (!chain) {
    state.broken = true;
    state.broken_reason = chain.error().message;
  }
  return chain;
}

void Virtqueue::Push(DescriptorChain&& chain, uint32_t written_bytes) {
  State& state = *state_;
  state.chains.TakeBack(chain);
  if (state.broken) return;
  std::visit([&](auto& ring) { ring.Push(chain, written_bytes); }, state.ring);
}

bool Virtqueue::EnableDoorbell() {
  if (state_->broken) return false;
  return std::visit([](auto& ring) { return ring.EnableDoorbell(); }, state_->ring);
}

void Virtqueue::DisableDoorbell() {
  if (state_->broken) return;
  std::visit([](auto& ring) { ring.DisableDoorbell(); }, state_->ring);
}

bool Virtqueue::NeedsInterrupt() {
  if (state_->broken) return false;
  return std::visit([](auto& ring) { return ring.NeedsInterrupt(); }, state_->ring);
}

}  // namespace minivmm
