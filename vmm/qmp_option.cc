#include "vmm/qmp_option.h"

#include <sys/un.h>

#include <algorithm>
#include <string>
#include <utility>

#include "vmm/value_text.h"

namespace minivmm {
namespace {

constexpr std::string_view kAdvice = "say unix:PATH,server=on,wait=off or stdio";

// QEMU's older spelling of a switch: its name alone, or with "no" before it.
std::string WithSwitchesSpelled(std::string_view list) {
  std::string spelled;
  bool in_value = true;  // at first, and behind two commas
  while (!list.empty()) {
    size_t end = std::min(list.find(','), list.size());
    std::string_view part = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    if (!spelled.empty()) spelled += ',';
    if (std::exchange(in_value, part.empty())) {
      spelled += part;
    } else if (part == "server" || part == "wait") {
      spelled += fmt::format("{}=on", part);
    } else if (part == "nowait") {
      spelled += "wait=off";
    } else {
      spelled += part;
    }
  }
  return spelled;
}

}  // namespace

Result<QmpSocket> ParseQmpSocket(std::string_view text) {
  constexpr std::string_view kUnixPrefix = "unix:";
  QmpSocket socket;
  socket.text = text;
  if (text == "stdio") {
    socket.stdio = true;
    return socket;
  }
  if (!text.starts_with(kUnixPrefix)) return Fail("--qmp: '{}' is not known: {}", text, kAdvice);
  Result<Description> given =
      ParseDescription(WithSwitchesSpelled(text.substr(kUnixPrefix.size())), "path");
  if (!given) return Fail("--qmp {}: {}", text, given.error().message);
  bool server = false;
  for (const auto& [key, value] : *given) {
    const std::string where = fmt::format("--qmp: {}", key);
    if (key == "path") {
      socket.path = value;
    } else if (key == "server") {
      TRY(server, ParseSwitch(where, value));
    } else if (key == "wait") {
      TRY(socket.wait, ParseSwitch(where, value));
    } else {
      return Fail("--qmp: {} is not known: {}", key, kAdvice);
    }
  }
  if (socket.path.empty()) return Fail("--qmp: the socket has no path: {}", kAdvice);
  constexpr size_t kMaxPath = sizeof(sockaddr_un::sun_path) - 1;
  if (socket.path.size() > kMaxPath) {
    return Fail("--qmp: the path of the socket has {} bytes, at most {} are possible",
                socket.path.size(), kMaxPath);
  }
  if (!server) return Fail("--qmp: minivmm listens for clients: add server=on");
  return socket;
}

}  // namespace minivmm
