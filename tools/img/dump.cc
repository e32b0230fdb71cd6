#include "tools/img/commands.h"
#include "tools/img/copy.h"
#include "tools/img/disk.h"
#include "tools/img/dump_format.h"
#include "tools/img/geometry_options.h"
#include "tools/img/source.h"
#include "tools/img/text.h"

namespace minivmm {
namespace {

Result<int> Dump(const Arguments& arguments) {
  const std::string& path = arguments.words()[0];
  const std::string& prefix = arguments.words()[1];
  const bool overwrite = arguments.Has("force");
  TRY(std::unique_ptr<DiskSource> source, OpenImageSource(path));
  TRY(OutputFile info, OutputFile::Open(DumpInfoPath(prefix), overwrite));
  TRY(OutputFile data, OutputFile::Open(DumpDataPath(prefix), overwrite));
  const std::vector<std::byte> zones = EncodeDumpInfo(source->geometry(), source->zones());
  TRY_VOID(info.Clear(zones.size()));
  TRY_VOID(data.Clear(source->capacity_bytes()));
  TRY(const uint64_t moved, CopyToFile(*source, data, fmt::format("dumping '{}'", path)));
  TRY_VOID(info.Write(0, zones));
  TRY_VOID(data.Commit());
  TRY_VOID(info.Commit());
  fmt::print("dumped '{}' to '{}' and '{}': {} zones, {} of data\n", path, DumpInfoPath(prefix),
             DumpDataPath(prefix), source->zones().size(), FormatSize(moved));
  return 0;
}

Result<int> Restore(const Arguments& arguments) {
  const std::string& path = arguments.words()[0];
  const std::string& prefix = arguments.words()[1];
  TRY(std::unique_ptr<DiskSource> source, OpenDumpSource(prefix));
  TRY(const uint64_t moved,
      CopyToNewImage(*source, source->geometry(), path, arguments.Has("force"),
                     fmt::format("restoring '{}'", path)));
  fmt::print("restored '{}': {}; {} of data\n", path, DescribeGeometry(source->geometry()),
             FormatSize(moved));
  return 0;
}

constexpr std::string_view kWords[] = {"FILE", "PREFIX"};
constexpr OptionSpec kOptions[] = {{"force", 0, "", "overwrite files that are there"}};

}  // namespace

constexpr Command kDumpCommand{
    .name = "dump",
    .summary = "write zones and data in the format of libzbd's zbd(8)",
    .details =
        "Writes PREFIX_zone_info.dump and PREFIX_zone_data.dump, which `zbd restore` takes to a "
        "drive of\n"
        "the same geometry. The data file is as long as the disk and takes the space of the data. "
        "What\n"
        "offline zones held is left out.\n",
    .words = kWords,
    .needed_words = 2,
    .options = kOptions,
    .run = Dump,
};

constexpr Command kRestoreCommand{
    .name = "restore",
    .summary = "make a disk of such a dump",
    .details =
        "Makes the image FILE of PREFIX_zone_info.dump and PREFIX_zone_data.dump, which "
        "`minivmm-img dump`\n"
        "or `zbd dump` has written. Zones that were open are closed. The format does not keep the "
        "largest\n"
        "append and the write granularity: they are chosen anew.\n",
    .words = kWords,
    .needed_words = 2,
    .options = kOptions,
    .run = Restore,
};

}  // namespace minivmm
