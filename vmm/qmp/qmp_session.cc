#include "vmm/qmp/qmp_session.h"

#include <utility>

#include "blockcore/base/check.h"
#include "blockcore/base/excerpt.h"

namespace minivmm {
namespace {
namespace json = boost::json;

constexpr std::string_view kNegotiate = "qmp_capabilities";

// How many bytes at the front of `text` are one character in UTF-8; 0: none.
size_t CharacterLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, halves of surrogate pairs, and what lies beyond the last character.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f)) return 0;
  if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) return 0;
  return length;
}

// File names and cut messages may hold other bytes, and a client would stop at them.
std::string WithValidCharacters(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    valid += length == 0 ? std::string_view("\xef\xbf\xbd") : text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return valid;
}

std::string_view NameOf(QmpError::Class error_class) {
  return error_class == QmpError::Class::kCommandNotFound ? "CommandNotFound" : "GenericError";
}

QmpAnswer NoSuchCommand(std::string description) {
  return tl::unexpected(QmpError{.error_class = QmpError::Class::kCommandNotFound,
                                 .description = std::move(description)});
}

}  // namespace

json::object QmpVersion() {
  // Clients look at the version to know the protocol: QEMU's 10.0.
  return {{"qemu", {{"micro", 0}, {"minor", 0}, {"major", 10}}}, {"package", "minivmm-0.1"}};
}

QmpSession::QmpSession(const QmpCommands& commands, std::function<void(std::string line)> write,
                       std::function<bool()> has_room)
    : commands_(commands),
      write_(std::move(write)),
      has_room_(std::move(has_room)),
      negotiation_{.name = kNegotiate,
                   .parameters = {{"enable", QmpParameter::Type::kArray}},
                   .run = [this](const json::object& arguments) { return Negotiate(arguments); }} {}

void QmpSession::Start() {
  Write({{"QMP", json::object{{"version", QmpVersion()}, {"capabilities", json::array()}}}});
}

void QmpSession::Receive(std::string_view bytes) {
  waiting_ += bytes;
  Continue();
}

void QmpSession::Continue() {
  if (continuing_) return;  // a command that answered at once: the loop below goes on
  continuing_ = true;
  std::string_view rest = waiting_;
  while (pending_ == nullptr && !rest.empty() && has_room_()) Handle(framer_.Take(rest));
  waiting_.erase(0, waiting_.size() - rest.size());
  continuing_ = false;
}

void QmpSession::Handle(JsonFramer::Frame frame) {
  using Kind = JsonFramer::Frame::Kind;
  if (frame.kind == Kind::kNone) return;
  pending_ = std::make_shared<Pending>();
  switch (frame.kind) {
    case Kind::kStrayByte:
      Answer(QmpFailure(fmt::format("JSON parse error, stray byte 0x{:02x}",
                                    static_cast<unsigned char>(frame.text[0]))));
      return;
    case Kind::kTooLong:
      Answer(QmpFailure("JSON token size limit exceeded"));
      return;
    case Kind::kTooDeep:
      Answer(QmpFailure("JSON nesting depth limit exceeded"));
      return;
    default:
      break;
  }
  json::error_code error;
  json::parse_options limits;
  limits.max_depth = JsonFramer::kMaxDepth;
  const json::value value = json::parse(frame.text, error, {}, limits);
  if (error) {
    Answer(QmpFailure("JSON parse error, " + error.message()));
  } else if (!value.is_object()) {
    Answer(QmpFailure("QMP input must be a JSON object"));
  } else {
    HandleRequest(value.get_object());
  }
}

void QmpSession::HandleRequest(const json::object& request) {
  if (const json::value* id = request.if_contains("id")) {
    pending_->id = *id;
    pending_->has_id = true;
  }
  if (Result<void> checked = CheckRequest(request); !checked) {
    Answer(QmpFailure(std::move(checked.error().message)));
    return;
  }
  const json::value* arguments = request.if_contains("arguments");
  Execute(request.at("execute").get_string(),
          arguments == nullptr ? json::object() : arguments->get_object());
}

Result<void> QmpSession::CheckRequest(const json::object& request) const {
  for (const auto& member : request) {
    const std::string_view key = member.key();
    if (key == "execute") {
      if (!member.value().is_string()) {
        return Fail("QMP input member 'execute' must be a string");
      }
    } else if (key == "arguments") {
      if (!member.value().is_object()) {
        return Fail("QMP input member 'arguments' must be an object");
      }
    } else if (key != "id") {
      return Fail("QMP input member '{}' is unexpected", Excerpt(key));
    }
  }
  if (!request.contains("execute")) return Fail("QMP input lacks member 'execute'");
  return {};
}

void QmpSession::Execute(std::string_view name, const json::object& arguments) {
  const QmpCommand* command = name == kNegotiate ? &negotiation_ : nullptr;
  if (command == nullptr && !negotiated_) {
    Answer(NoSuchCommand("Expecting capabilities negotiation with 'qmp_capabilities'"));
    return;
  }
  if (command == nullptr) command = commands_.Find(name);
  if (command == nullptr) {
    Answer(NoSuchCommand(fmt::format("The command {} has not been found", Excerpt(name))));
    return;
  }
  if (Result<void> checked = CheckQmpArguments(*command, arguments); !checked) {
    Answer(QmpFailure(std::move(checked.error().message)));
    return;
  }
  if (command->run) {
    Answer(command->run(arguments));
    return;
  }
  command->start(arguments, [this, alive = std::weak_ptr<Pending>(pending_)](QmpAnswer answer) {
    if (alive.expired()) return;
    Answer(std::move(answer));
    Continue();
  });
}

QmpAnswer QmpSession::Negotiate(const json::object& arguments) {
  if (const json::value* enable = arguments.if_contains("enable")) {
    for (const json::value& capability : enable->get_array()) {
      if (!capability.is_string()) {
        return QmpFailure("Invalid parameter type for 'enable', expected: array of strings");
      }
      if (capability.get_string() == "oob") return QmpFailure("Capability oob not available");
      return QmpFailure(fmt::format("Parameter 'enable' does not accept value '{}'",
                                    Excerpt(capability.get_string())));
    }
  }
  if (negotiated_) {
    return NoSuchCommand("Capabilities negotiation is already complete, command ignored");
  }
  negotiated_ = true;
  return json::object();
}

void QmpSession::Answer(QmpAnswer answer) {
  VMM_CHECK(pending_ != nullptr);
  const std::shared_ptr<Pending> pending = std::exchange(pending_, nullptr);
  json::object message;
  if (pending->has_id) message["id"] = std::move(pending->id);
  if (answer) {
    message["return"] = std::move(*answer);
  } else {
    message["error"] = json::object{{"class", NameOf(answer.error().error_class)},
                                    {"desc", answer.error().description}};
  }
  Write(message);
}

void QmpSession::SendEvent(const json::object& event) {
  if (negotiated_) Write(event);
}

void QmpSession::Write(const json::object& message) {
  write_(WithValidCharacters(json::serialize(message)) + "\r\n");
}

}  // namespace minivmm
