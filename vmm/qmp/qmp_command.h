// QmpCommand: a command of the protocol: its name, what arguments it takes, and what it does.
// QmpCommands is the table that all sessions look into; it checks arguments before a command sees
// them. Filled once by QmpServer; main thread.
#ifndef MINIVMM_VMM_QMP_QMP_COMMAND_H_
#define MINIVMM_VMM_QMP_QMP_COMMAND_H_

#include <boost/json.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "blockcore/base/result.h"

namespace minivmm {

struct QmpError {
  enum class Class : uint8_t { kGenericError, kCommandNotFound };
  Class error_class = Class::kGenericError;
  std::string description;
};

using QmpAnswer = tl::expected<boost::json::value, QmpError>;

// The answer of a command whose work failed with `message`.
inline QmpAnswer QmpFailure(std::string message) {
  return tl::unexpected(
      QmpError{.error_class = QmpError::Class::kGenericError, .description = std::move(message)});
}

// Takes the answer, once, on the main thread, during the command or later. An answer for a client
// that has gone is dropped.
using QmpReply = std::function<void(QmpAnswer answer)>;

struct QmpParameter {
  enum class Type : uint8_t { kString, kInteger, kBoolean, kArray };
  std::string_view name;
  Type type = Type::kString;
  bool needed = false;
};

struct QmpCommand {
  std::string_view name;
  std::vector<QmpParameter> parameters = {};
  // Arguments beside `parameters` are the command's own business.
  bool more_parameters = false;
  // Exactly one of the two. `run` answers at once, `start` may answer later. All needed arguments
  // are there, and those of `parameters` have their types.
  std::function<QmpAnswer(const boost::json::object& arguments)> run = {};
  std::function<void(const boost::json::object& arguments, QmpReply reply)> start = {};
};

class QmpCommands {
 public:
  void Add(QmpCommand command) { commands_.push_back(std::move(command)); }

  // Null when there is none.
  const QmpCommand* Find(std::string_view name) const;
  const std::vector<QmpCommand>& all() const { return commands_; }

 private:
  std::vector<QmpCommand> commands_;
};

// QEMU's texts for what is missing, of the wrong type, or unexpected, in this order.
Result<void> CheckQmpArguments(const QmpCommand& command, const boost::json::object& arguments);

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_QMP_COMMAND_H_
