#include "blockcore/describe_image.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "blockcore/base/temporary.h"
#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/block_graph.h"

namespace minivmm {
namespace {

// A file that begins with `content` and has 64 KiB.
class TestFile : public TemporaryFile {
 public:
  explicit TestFile(std::string_view content, const std::string& name = "image")
      : TemporaryFile(64_KiB, name) {
    const UniqueFd fd(::open(path().c_str(), O_WRONLY | O_CLOEXEC));
    REQUIRE(::pwrite(fd.get(), content.data(), content.size(), 0) ==
            static_cast<ssize_t>(content.size()));
  }
};

std::string Describe(std::string_view filename, std::string_view format) {
  Result<std::string> description = DescribeImage(filename, format);
  REQUIRE_MESSAGE(description.has_value(), (description ? "" : description.error().message));
  return *description;
}

std::string Failure(std::string_view filename, std::string_view format) {
  Result<std::string> description = DescribeImage(filename, format);
  REQUIRE_FALSE(description.has_value());
  return description.error().message;
}

TEST_CASE("A regular file is described as its format says") {
  TestFile file("");
  const std::string protocol = R"({"driver":"file","filename":")" + file.path() + "\"}";
  CHECK(Describe(file.path(), "") == R"({"driver":"raw","file":)" + protocol + "}");
  CHECK(Describe(file.path(), "raw") == R"({"driver":"raw","file":)" + protocol + "}");
  CHECK(Describe(file.path(), "zoned") == R"({"driver":"zoned","file":)" + protocol + "}");
  CHECK(Describe(file.path(), "file") == protocol);
}

TEST_CASE("A driver that is named is believed, whatever the file is") {
  CHECK(Describe("/nonexistent", "host_device") ==
        R"({"driver":"host_device","filename":"/nonexistent"})");
  CHECK(Describe("/nonexistent", "file") == R"({"driver":"file","filename":"/nonexistent"})");
}

TEST_CASE("A zoned image with a damaged first header is one all the same") {
  TestFile file(std::string(4096, 'x') + "MVMZONED and more");
  CHECK(Failure(file.path(), "").find("looks like a zoned image") != std::string::npos);
}

TEST_CASE("A file that begins like a zoned image needs a format") {
  TestFile file("MVMZONED and more");
  CHECK(Failure(file.path(), "") ==
        "'" + file.path() +
            "' looks like a zoned image, but its format was not given: say format=zoned for its "
            "zones, or format=raw for the bytes of the file");
  CHECK(Describe(file.path(), "raw").find(R"("driver":"raw")") != std::string::npos);
  CHECK(Describe(file.path(), "zoned").find(R"("driver":"zoned")") != std::string::npos);
  TestFile similar("MVMZONE");
  CHECK(Describe(similar.path(), "").find(R"("driver":"raw")") != std::string::npos);
}

TEST_CASE("What is not there and what is not known is refused") {
  CHECK(Failure("/nonexistent", "") == "cannot open '/nonexistent': No such file or directory");
  CHECK(Failure("/nonexistent", "raw") == "cannot open '/nonexistent': No such file or directory");
  TestFile file("");
  CHECK(Failure(file.path(), "zonde") == "unknown image format 'zonde'; did you mean 'zoned'?");
  CHECK(Failure(file.path(), "qcow2") ==
        "unknown image format 'qcow2'; known are: raw, zoned, host_device, file");
}

TEST_CASE("Any file name survives the description") {
  for (std::string name : {"a,b=c", "quote\"back\\slash", "new\nline", "latin1-\xe9"}) {
    CAPTURE(name);
    TestFile file("", name);
    Result<Options> options = Options::Parse(Describe(file.path(), ""));
    REQUIRE_MESSAGE(options.has_value(), (options ? "" : options.error().message));
    options->AddDefault("node-name", "d");
    BlockGraph graph;
    Result<void> added = graph.Add(std::move(*options));
    REQUIRE_MESSAGE(added.has_value(), (added ? "" : added.error().message));
    CHECK(graph.Find("d")->limits().capacity_bytes == 64_KiB);
    CHECK(graph.Nodes().at(0).filename == file.path());
  }
}

}  // namespace
}  // namespace minivmm
