// --device: which devices there are, and what a description of one asks for. Pure; the command
// line's parser calls it.
#ifndef MINIVMM_VMM_DEVICE_OPTION_H_
#define MINIVMM_VMM_DEVICE_OPTION_H_

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "blockcore/base/manual.h"
#include "blockcore/base/result.h"
#include "devices/debug_exit.h"
#include "vmm/disk_properties.h"

namespace minivmm {

struct PvpanicRequest {};
struct HelpText {
  std::string text;
};

// Also "help" and "DEVICE,help", which give a text to be printed.
using DeviceRequest = std::variant<DiskRequest, DebugExitPorts, PvpanicRequest, HelpText>;
Result<DeviceRequest> ParseDevice(std::string_view text);

// The devices as JSON that ParseDevice reads back.
std::string DiskToJson(const DiskDevice& disk);
std::string DebugExitToJson(const DebugExitPorts& ports);
std::string PvpanicToJson();

// One section for all devices, and one for each one's properties.
std::vector<ManualSection> DeviceManual();
// What may stand at the beginning of a --device.
std::vector<std::string> DeviceNames();

}  // namespace minivmm

#endif  // MINIVMM_VMM_DEVICE_OPTION_H_
