#include "vmm/describe_drive.h"

#include <string>

#include "blockcore/describe_image.h"
#include "vmm/value_text.h"

namespace minivmm {

Result<Options> DescribeDrive(const DriveOption& drive) {
  if (drive.file.empty()) {
    Description description = drive.keys;
    description.emplace_back("driver", drive.format);
    description.emplace_back("node-name", drive.node_name);
    return Options::Parse(DescriptionToJson(description));
  }
  TRY(std::string text, DescribeImage(drive.file, drive.format));
  TRY(Options options, Options::Parse(text));
  // How the disk is read and written is the business of the last node.
  std::string leaf;
  while (options.Has(leaf + "file.driver")) leaf += "file.";
  options.AddDefault("node-name", drive.node_name);
  for (const auto& [key, value] : drive.keys) {
    options.AddDefault(key == "aio" ? leaf + key : key, value);
  }
  return options;
}

}  // namespace minivmm
