#include "vmm/qmp/qmp_command.h"

#include <algorithm>

#include "blockcore/base/excerpt.h"

namespace minivmm {
namespace {
namespace json = boost::json;

bool HasType(const json::value& value, QmpParameter::Type type) {
  switch (type) {
    case QmpParameter::Type::kString:
      return value.is_string();
    case QmpParameter::Type::kInteger:
      return value.is_int64() || value.is_uint64();
    case QmpParameter::Type::kBoolean:
      return value.is_bool();
    case QmpParameter::Type::kArray:
      return value.is_array();
  }
  return false;
}

std::string_view NameOf(QmpParameter::Type type) {
  switch (type) {
    case QmpParameter::Type::kString:
      return "string";
    case QmpParameter::Type::kInteger:
      return "integer";
    case QmpParameter::Type::kBoolean:
      return "boolean";
    case QmpParameter::Type::kArray:
      return "array";
  }
  return "";
}

}  // namespace

const QmpCommand* QmpCommands::Find(std::string_view name) const {
  for (const QmpCommand& command : commands_) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

Result<void> CheckQmpArguments(const QmpCommand& command, const json::object& arguments) {
  for (const QmpParameter& parameter : command.parameters) {
    const json::value* value = arguments.if_contains(parameter.name);
    if (value == nullptr) {
      if (parameter.needed) return Fail("Parameter '{}' is missing", parameter.name);
    } else if (!HasType(*value, parameter.type)) {
      return Fail("Invalid parameter type for '{}', expected: {}", parameter.name,
                  NameOf(parameter.type));
    }
  }
  if (command.more_parameters) return {};
  for (const auto& argument : arguments) {
    const bool known = std::ranges::any_of(command.parameters, [&](const QmpParameter& parameter) {
      return parameter.name == argument.key();
    });
    if (!known) {
      return Fail("Parameter '{}' is unexpected", Excerpt(argument.key()));
    }
  }
  return {};
}

}  // namespace minivmm
