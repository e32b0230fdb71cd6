#include <string_view>

#include "vmm/qmp/command_sets.h"
#include "vmm/qmp/qmp_session.h"

namespace minivmm {
namespace {
namespace json = boost::json;

std::string_view NameOf(RunState state) {
  switch (state) {
    case RunState::kPrelaunch:
      return "prelaunch";
    case RunState::kRunning:
      return "running";
    case RunState::kPaused:
      return "paused";
    case RunState::kIoError:
      return "io-error";
    case RunState::kShutdown:
      return "shutdown";
  }
  return "";
}

QmpAnswer ListCommands(const QmpCommands& commands) {
  json::array names;
  names.push_back(json::object{{"name", "qmp_capabilities"}});
  for (const QmpCommand& command : commands.all()) {
    names.push_back(json::object{{"name", command.name}});
  }
  return names;
}

}  // namespace

void AddMachineCommands(QmpCommands& commands, const QmpTarget& target) {
  MachineControl& control = target.control;
  // A command without arguments and without an answer of its own.
  const auto add_order = [&](std::string_view name, void (*give)(MachineControl&)) {
    commands.Add({.name = name, .run = [&control, give](const json::object&) -> QmpAnswer {
                    give(control);
                    return json::object();
                  }});
  };
  commands.Add({.name = "query-commands",
                .run = [&commands](const json::object&) { return ListCommands(commands); }});
  commands.Add({.name = "query-version",
                .run = [](const json::object&) -> QmpAnswer { return QmpVersion(); }});
  // What -name says is not kept.
  commands.Add({.name = "query-name",
                .run = [](const json::object&) -> QmpAnswer { return json::object(); }});
  commands.Add({.name = "query-kvm", .run = [](const json::object&) -> QmpAnswer {
                  return json::object{{"enabled", true}, {"present", true}};
                }});
  commands.Add(
      {.name = "query-status", .run = [&control](const json::object&) -> QmpAnswer {
         const RunState state = control.run_state();
         return json::object{{"status", NameOf(state)}, {"running", state == RunState::kRunning}};
       }});
  add_order("stop", [](MachineControl& machine) { machine.Pause(); });
  commands.Add({.name = "cont", .run = [&control](const json::object&) -> QmpAnswer {
                  if (control.run_state() == RunState::kShutdown) {
                    return QmpFailure("The machine has been shut down and cannot continue");
                  }
                  control.Resume();
                  return json::object();
                }});
  add_order("system_powerdown", [](MachineControl& machine) { machine.PressPowerButton(); });
  add_order("system_reset", [](MachineControl& machine) { machine.Reset(); });
  add_order("quit", [](MachineControl& machine) { machine.Quit(); });
}

}  // namespace minivmm
