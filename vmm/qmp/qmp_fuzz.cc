// QmpSession: a client that sends anything, in one piece and again byte by byte: the answers are
// the same, and each is one line with one JSON object. Commands of each kind are there, some of
// which answer later.
#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "vmm/qmp/qmp_command.h"
#include "vmm/qmp/qmp_session.h"

namespace minivmm {
namespace {
namespace json = boost::json;

class Client {
 public:
  Client()
      : session_(
            Commands(), [this](std::string line) { Take(std::move(line)); }, [] { return true; }) {
    session_.Start();
    VMM_CHECK(lines_.size() == 1);
  }

  void Send(std::string_view bytes) {
    session_.Receive(bytes);
    while (session_.is_busy()) {
      VMM_CHECK(!replies_.empty());
      // The first one counts, a second one is dropped.
      const QmpReply reply = std::exchange(replies_, {}).front();
      reply(json::value("late"));
      reply(QmpFailure("too late"));
    }
  }
  void SendEvent() { session_.SendEvent({{"event", "STOP"}, {"data", json::object()}}); }
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  const QmpCommands& Commands() {
    using Type = QmpParameter::Type;
    commands_.Add(
        {.name = "stop", .run = [](const json::object&) -> QmpAnswer { return json::object(); }});
    commands_.Add({.name = "typed",
                   .parameters = {{"text", Type::kString, true},
                                  {"number", Type::kInteger},
                                  {"flag", Type::kBoolean},
                                  {"list", Type::kArray}},
                   .run = [](const json::object& arguments) -> QmpAnswer {
                     VMM_CHECK(arguments.at("text").is_string());
                     const json::value* number = arguments.if_contains("number");
                     VMM_CHECK(number == nullptr || number->is_int64() || number->is_uint64());
                     const json::value* flag = arguments.if_contains("flag");
                     VMM_CHECK(flag == nullptr || flag->is_bool());
                     const json::value* list = arguments.if_contains("list");
                     VMM_CHECK(list == nullptr || list->is_array());
                     VMM_CHECK(arguments.size() <= 4);
                     return arguments;
                   }});
    commands_.Add({.name = "later",
                   .more_parameters = true,
                   .start = [this](const json::object&, QmpReply reply) {
                     replies_.push_back(std::move(reply));
                   }});
    return commands_;
  }

  // What a client sent may be quoted in an error, escaped as JSON wants it.
  void Take(std::string line) {
    VMM_CHECK(line.size() > 2 && line.ends_with("\r\n"));
    VMM_CHECK(line.find('\n') == line.size() - 1);
    json::error_code error;
    const json::value value = json::parse(line, error);
    VMM_CHECK(!error && value.is_object());
    const json::object& object = value.get_object();
    int kinds = 0;
    for (const char* kind : {"QMP", "return", "error", "event"}) kinds += object.contains(kind);
    VMM_CHECK(kinds == 1);
    if (const json::value* failure = object.if_contains("error")) {
      VMM_CHECK(!failure->at("desc").as_string().empty());
      VMM_CHECK(failure->at("class").is_string());
    }
    lines_.push_back(std::move(line));
  }

  QmpCommands commands_;
  std::vector<QmpReply> replies_;
  std::vector<std::string> lines_;
  QmpSession session_;
};

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace minivmm;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Client whole;
  whole.Send(bytes);
  Client slow;
  for (size_t i = 0; i < bytes.size(); ++i) slow.Send(bytes.substr(i, 1));
  VMM_CHECK(whole.lines() == slow.lines());
  whole.SendEvent();
  return 0;
}
