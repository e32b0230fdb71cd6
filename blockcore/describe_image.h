// DescribeImage: the description of the disk in a file, for those who name a file and perhaps its
// format (--drive file=, tools) and leave the nodes to us. Looks at the file on the host (stat, and
// a read of its first bytes), so that a user need not say whether it is a device. Blocking; any
// thread but an I/O thread. It opens no disk: BlockGraph::Add takes the description and says what
// is wrong with the file.
#ifndef MINIVMM_BLOCKCORE_DESCRIBE_IMAGE_H_
#define MINIVMM_BLOCKCORE_DESCRIBE_IMAGE_H_

#include <string>
#include <string_view>

#include "blockcore/base/result.h"

namespace minivmm {

// JSON for Options::Parse, without a node-name:
//
//   format         description
//   raw            raw over host_device (a block device) or file (all else)
//   zoned          zoned over the same
//   host_device    that driver alone
//   file           that driver alone
//   "" (unknown)   a block device: host_device; all else: raw over file, unless the file begins like
//                  a zoned image: the guest of one could make the file look like that, and the guest
//                  of the other would be given zones instead of bytes, so the user must say
//
// Fails for any other format, for that unknown one, and where there is no such file.
Result<std::string> DescribeImage(std::string_view filename, std::string_view format);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_DESCRIBE_IMAGE_H_
