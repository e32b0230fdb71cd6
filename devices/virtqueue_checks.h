// What tests of rings, split and packed, do with a Virtqueue over and over. Any thread.
#ifndef MINIVMM_DEVICES_VIRTQUEUE_CHECKS_H_
#define MINIVMM_DEVICES_VIRTQUEUE_CHECKS_H_

#include <doctest/doctest.h>

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices/virtqueue.h"
#include "devices/virtqueue_driver.h"

namespace minivmm {

inline Virtqueue MakeRing(VirtqueueDriver& driver) {
  Result<Virtqueue> ring =
      Virtqueue::Create(driver.guest().memory(), driver.config(), driver.features());
  REQUIRE(ring.has_value());
  return std::move(*ring);
}

// Pops a chain that must be there.
inline DescriptorChain PopOne(Virtqueue& ring) {
  Result<std::optional<DescriptorChain>> chain = ring.Pop();
  REQUIRE_MESSAGE(chain.has_value(), (chain ? "" : chain.error().message));
  REQUIRE(chain->has_value());
  return std::move(**chain);
}

inline bool IsEmpty(Virtqueue& ring) {
  Result<std::optional<DescriptorChain>> chain = ring.Pop();
  return chain.has_value() && !chain->has_value();
}

// The text of the error, "" when the ring is not broken.
inline std::string BrokenBecause(Virtqueue& ring) {
  Result<std::optional<DescriptorChain>> chain = ring.Pop();
  if (!chain) return chain.error().message;
  if (*chain) ring.Push(std::move(**chain), 0);
  return "";
}

using Sizes = std::vector<size_t>;
inline Sizes Lengths(std::span<const iovec> elements) {
  Sizes lengths;
  for (const iovec& element : elements) lengths.push_back(element.iov_len);
  return lengths;
}

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTQUEUE_CHECKS_H_
