// Opening what minivmm-img works on: images, plain files and host devices, each with the locks that
// keep it from a running guest. Blocking; main's thread.
#ifndef MINIVMM_TOOLS_IMG_DISK_H_
#define MINIVMM_TOOLS_IMG_DISK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "blockcore/base/result.h"
#include "blockcore/base/unique_fd.h"
#include "blockcore/block_node.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/zoned_load.h"

namespace minivmm {

enum class Access { kRead, kWrite };

// A node and what it takes to use it. Closed in reverse order: the thread first, which waits for
// what the node does by itself.
struct OpenedDisk {
  std::unique_ptr<BlockNode> child;  // of `node`, if it has one
  std::unique_ptr<BlockNode> node;
  std::unique_ptr<SyncIo> io;
  std::unique_ptr<IoThread> thread;
};

// The bytes of an image file.
Result<OpenedDisk> OpenImageFile(const std::string& path, Access access);
// Its zones, for writing. Not through driver 'zoned', which holds writers to the limit of active
// zones: an image may have more closed ones than that, since those that are read-only do not count.
Result<OpenedDisk> OpenZonedDisk(const std::string& path);
Result<OpenedDisk> OpenBlockDevice(const std::string& path, Access access);

// Header and table of an image; the error names it.
Result<ZonedContents> LoadImage(const std::string& path, OpenedDisk& disk);

// What `path` is. Fails when it cannot be looked at.
enum class DiskKind { kZonedImage, kPlainFile, kBlockDevice };
Result<DiskKind> LookAt(const std::string& path);

// A file that is made anew. Whoever makes several opens all of them before the first Clear, so that
// a refusal of one leaves the others as they were.
class OutputFile {
 public:
  // An existing file only with `overwrite`, and not while a guest uses it. It stays as it is until
  // Clear.
  static Result<OutputFile> Open(const std::string& path, bool overwrite);
  OutputFile(OutputFile&&) = default;
  OutputFile& operator=(OutputFile&&) = default;
  // Removes a new or cleared file unless Commit has succeeded.
  ~OutputFile();

  // Afterwards it has this size and reads as zeroes.
  Result<void> Clear(uint64_t size_bytes);
  // After Clear.
  Result<void> Write(uint64_t offset_bytes, std::span<const std::byte> data);
  // Brings it and its name to stable storage.
  Result<void> Commit();

 private:
  OutputFile(std::string path, UniqueFd fd, bool remove)
      : path_(std::move(path)), fd_(std::move(fd)), remove_(remove) {}

  std::string path_;
  UniqueFd fd_;
  bool remove_;
};

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_DISK_H_
