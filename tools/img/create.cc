#include <sys/stat.h>

#include <cstdio>

#include "blockcore/zoned/zoned_create.h"
#include "tools/img/commands.h"
#include "tools/img/geometry_options.h"

namespace minivmm {
namespace {

Result<int> Create(const Arguments& arguments) {
  TRY([[maybe_unused]] std::string_view format, arguments.Choice("format", {"zoned"}));
  const std::string& path = arguments.words()[0];
  GeometryRequest request{.options = arguments.JoinedValues("options"),
                          .preset = arguments.Value("preset"),
                          .any_zone_size = arguments.Has("allow-any-zone-size")};
  if (arguments.words().size() > 1) {
    TRY(request.capacity_bytes, ParseSizeWord("SIZE", arguments.words()[1]));
  }
  Result<ZonedGeometry> geometry = BuildGeometry(request);
  if (!geometry) return Fail("cannot create '{}': {}", path, geometry.error().message);
  struct stat status {};
  if (!arguments.Has("force") && ::lstat(path.c_str(), &status) == 0) {
    return Fail("cannot create '{}': it exists already; choose another name, or give --force",
                path);
  }
  TRY_VOID(CreateZonedImage(path, *geometry, arguments.Has("force")));
  fmt::print("created '{}': {}\n", path, DescribeGeometry(*geometry));
  return 0;
}

constexpr std::string_view kWords[] = {"FILE", "SIZE"};
constexpr OptionSpec kOptions[] = {
    {"format", 'f', "zoned", "the format of the image: there is one"},
    kGeometryListOption,
    kPresetOption,
    kAnyZoneSizeOption,
    {"force", 0, "", "overwrite a file that is there"},
};

}  // namespace

constexpr Command kCreateCommand{
    .name = "create",
    .summary = "make a zoned disk in a file",
    .details =
        "Makes a zoned disk of SIZE bytes (k, M, G, T: powers of 1024) in the file FILE. It takes "
        "space\n"
        "only for what is written to it.\n",
    .words = kWords,
    .needed_words = 1,
    .options = kOptions,
    .makes_zones = true,
    .run = Create,
};

}  // namespace minivmm
