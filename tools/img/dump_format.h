// The two files that the program zbd(8) of libzbd writes with its command dump, and reads with
// restore. Source: libzbd's include/libzbd/zbd.h and tools/zbd/zbd.h. Integers are those of the
// machine, which is little-endian here. Pure; any thread.
//
//   PREFIX_zone_data.dump   the disk byte by byte, as long as the disk; a hole where nothing was
//                           written
//   PREFIX_zone_info.dump   header of 192 bytes, then 64 bytes for each zone
//
//     header                                       zone, all in bytes
//       0 32  vendor and model, text                 0  8  start
//      32  8  size, sectors of 512 bytes             8  8  length
//      40  8  size, logical blocks                  16  8  capacity
//      48  8  size, physical blocks                 24  8  write pointer
//      56  8  zone size, bytes                      32  4  flags
//      64  8  zone size, sectors                    36  4  type
//      72  8  logical block, bytes                  40  4  condition
//      80  8  physical block, bytes                 44 20  0
//      88  4  zones
//      92  4  max open zones; 0 none, -1 unknown
//      96  4  max active zones
//     100  4  model: 1 host-managed, 2 host-aware
//     104 24  0
//     128  4  first zone that was dumped
//     132  4  the one behind the last
//     136 56  0
#ifndef MINIVMM_TOOLS_IMG_DUMP_FORMAT_H_
#define MINIVMM_TOOLS_IMG_DUMP_FORMAT_H_

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "blockcore/base/result.h"
#include "tools/img/source.h"

namespace minivmm {

std::string DumpInfoPath(const std::string& prefix);
std::string DumpDataPath(const std::string& prefix);

// The whole info file.
std::vector<std::byte> EncodeDumpInfo(const ZonedGeometry& geometry,
                                      const std::vector<SourceZone>& zones);

struct DumpInfo {
  ZonedGeometry geometry;
  std::vector<SourceZone> zones;
};

// Fails when the bytes are no info file, or describe a disk that cannot be an image. Zones that
// were left out of the dump are empty.
Result<DumpInfo> DecodeDumpInfo(std::span<const std::byte> bytes);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_DUMP_FORMAT_H_
