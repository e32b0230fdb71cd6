// Makes images of zoned disks. Blocking; any thread.
#ifndef MINIVMM_BLOCKCORE_ZONED_ZONED_CREATE_H_
#define MINIVMM_BLOCKCORE_ZONED_ZONED_CREATE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "blockcore/base/result.h"
#include "blockcore/zoned/zoned_format.h"

namespace minivmm {

// Makes the file `path`: a disk whose zones are all empty, with a random id. It takes space for the
// zone table alone and is on stable storage afterwards. An existing file is refused, or with
// `overwrite` loses all it held, unless another program uses it as a disk. A file that could not be
// finished is removed.
Result<void> CreateZonedImage(const std::string& path, const ZonedGeometry& geometry,
                              bool overwrite = false);

// Brings the name `path` of a new file to stable storage, as far as the user and the file system
// let: who may not read a directory cannot sync it.
Result<void> SyncDirectoryOf(const std::string& path);

// The bytes of a fresh image: the table in large pieces, in order, then the header at 0, so that
// nothing looks like an image before it is one. Stops at the first error of `write`.
Result<void> FormatZonedImage(
    const ZonedHeader& header,
    const std::function<Result<void>(uint64_t offset_bytes, std::span<const std::byte> data)>&
        write);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_ZONED_CREATE_H_
