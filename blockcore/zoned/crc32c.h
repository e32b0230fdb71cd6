// CRC-32C (Castagnoli, reflected), eight bytes at a time: opening a large image checks several MiB.
// Pure; any thread.
#ifndef MINIVMM_BLOCKCORE_ZONED_CRC32C_H_
#define MINIVMM_BLOCKCORE_ZONED_CRC32C_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace minivmm {

// The register after these bytes. It begins as all ones, and the checksum is its complement.
uint32_t ExtendCrc32c(uint32_t crc, std::span<const std::byte> bytes);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_CRC32C_H_
