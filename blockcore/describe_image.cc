#include "blockcore/describe_image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstddef>
#include <iterator>

#include "blockcore/base/excerpt.h"
#include "blockcore/base/unique_fd.h"
#include "blockcore/options.h"
#include "blockcore/zoned/zoned_format.h"

namespace minivmm {
namespace {

constexpr std::string_view kFormats[] = {"raw", "zoned", "host_device", "file"};

Result<bool> BeginsLikeZonedImage(const std::string& filename) {
  const UniqueFd fd(::open(filename.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<std::byte, 2 * kZonedPageBytes> start{};
  if (!fd || ::pread(fd.get(), start.data(), start.size(), 0) < 0) {
    return Fail("cannot look at '{}' to see what it is: {}", filename, ErrnoText(errno));
  }
  return EitherLooksZoned(start);
}

boost::json::object Protocol(std::string_view driver, std::string_view filename) {
  return {{"driver", driver}, {"filename", filename}};
}

}  // namespace

Result<std::string> DescribeImage(std::string_view filename_text, std::string_view format) {
  if (!format.empty() &&
      std::find(std::begin(kFormats), std::end(kFormats), format) == std::end(kFormats)) {
    return Fail("unknown image format '{}'{}", Excerpt(format), SuggestionFor(format, kFormats));
  }
  if (format == "host_device" || format == "file") {
    return boost::json::serialize(Protocol(format, filename_text));
  }
  const std::string filename(filename_text);
  struct stat status {};
  if (::stat(filename.c_str(), &status) != 0) {
    return Fail("cannot open '{}': {}", filename, ErrnoText(errno));
  }
  const bool is_device = S_ISBLK(status.st_mode);
  boost::json::object protocol = Protocol(is_device ? "host_device" : "file", filename);
  if (format.empty() && is_device) return boost::json::serialize(protocol);
  if (format.empty() && S_ISREG(status.st_mode)) {
    TRY(const bool zoned, BeginsLikeZonedImage(filename));
    if (zoned) {
      return Fail(
          "'{}' looks like a zoned image, but its format was not given: say format=zoned for its "
          "zones, or format=raw for the bytes of the file",
          filename);
    }
  }
  return boost::json::serialize(boost::json::object{
      {"driver", format.empty() ? std::string_view("raw") : format}, {"file", protocol}});
}

}  // namespace minivmm
