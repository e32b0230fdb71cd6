#include "vmm/qmp/qmp_session.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

namespace minivmm {
namespace {
namespace json = boost::json;

constexpr std::string_view kGreeting =
    R"({"QMP":{"version":{"qemu":{"micro":0,"minor":0,"major":10},"package":"minivmm-0.1"},)"
    R"("capabilities":[]}})"
    "\r\n";
constexpr std::string_view kDone = "{\"return\":{}}\r\n";
constexpr std::string_view kNegotiate = R"({"execute":"qmp_capabilities"})";

// A session with two commands: "count" answers with how often it ran, "wait" when Reply is called.
struct Client {
  Client()
      : session(
            commands, [this](std::string line) { output += line; }, [this] { return has_room; }) {
    commands.Add(
        {.name = "count", .run = [this](const json::object&) -> QmpAnswer { return ++count; }});
    commands.Add({.name = "wait",
                  .parameters = {{"text", QmpParameter::Type::kString, true},
                                 {"number", QmpParameter::Type::kInteger},
                                 {"flag", QmpParameter::Type::kBoolean}},
                  .start = [this](const json::object& arguments, QmpReply taken) {
                    waited_for = std::string(arguments.at("text").get_string());
                    reply = std::move(taken);
                  }});
    commands.Add({.name = "fail",
                  .run = [](const json::object&) { return QmpFailure("no: \xff '\xc3\xa9'"); }});
    session.Start();
  }

  // What the session writes for `bytes`.
  std::string Send(std::string_view bytes) {
    output.clear();
    session.Receive(bytes);
    return std::exchange(output, "");
  }
  void Negotiate() { REQUIRE(Send(kNegotiate) == kDone); }

  std::string output;
  bool has_room = true;
  int count = 0;
  std::string waited_for;
  QmpReply reply;
  QmpCommands commands;
  QmpSession session;
};

std::string Failure(std::string_view description, std::string_view id = "",
                    std::string_view error_class = "GenericError") {
  return fmt::format("{{{}\"error\":{{\"class\":\"{}\",\"desc\":\"{}\"}}}}\r\n",
                     id.empty() ? "" : fmt::format("\"id\":{},", id), error_class, description);
}

TEST_CASE("a client is greeted") {
  Client client;
  CHECK(client.output == kGreeting);
}

TEST_CASE("before negotiation there is one command, and no event") {
  Client client;
  const std::string first =
      Failure("Expecting capabilities negotiation with 'qmp_capabilities'", "", "CommandNotFound");
  CHECK(client.Send(R"({"execute":"count"})") == first);
  CHECK(client.Send(R"({"execute":"nope"})") == first);
  client.output.clear();
  client.session.SendEvent({{"event", "STOP"}});
  CHECK(client.output.empty());
  CHECK(client.Send(kNegotiate) == kDone);
  client.session.SendEvent({{"event", "STOP"}});
  CHECK(client.output == "{\"event\":\"STOP\"}\r\n");
  CHECK(client.Send(R"({"execute":"count"})") == "{\"return\":1}\r\n");
  CHECK(client.Send(kNegotiate) ==
        Failure("Capabilities negotiation is already complete, command ignored", "",
                "CommandNotFound"));
}

TEST_CASE("capabilities that are not there cannot be enabled") {
  Client client;
  const auto enable = [&](std::string_view what) {
    return client.Send(
        fmt::format(R"({{"execute":"qmp_capabilities","arguments":{{"enable":{}}}}})", what));
  };
  CHECK(enable(R"(["oob"])") == Failure("Capability oob not available"));
  CHECK(enable(R"(["foo"])") == Failure("Parameter 'enable' does not accept value 'foo'"));
  CHECK(enable("[1]") ==
        Failure("Invalid parameter type for 'enable', expected: array of strings"));
  CHECK(enable("1") == Failure("Invalid parameter type for 'enable', expected: array"));
  CHECK(enable("[]") == kDone);
}

TEST_CASE("an id of any type comes back, also with an error") {
  Client client;
  CHECK(client.Send(R"({"execute":"qmp_capabilities","id":"__qmp#00000"})") ==
        "{\"id\":\"__qmp#00000\",\"return\":{}}\r\n");
  CHECK(client.Send(R"({"id":{"a":[1,-5,"x",null,true]},"execute":"count"})") ==
        "{\"id\":{\"a\":[1,-5,\"x\",null,true]},\"return\":1}\r\n");
  CHECK(client.Send(R"({"execute":"nope","id":null})") ==
        Failure("The command nope has not been found", "null", "CommandNotFound"));
  CHECK(client.Send(R"({"id":5})") == Failure("QMP input lacks member 'execute'", "5"));
}

TEST_CASE("requests that are no requests are refused in QEMU's words, and the session goes on") {
  Client client;
  client.Negotiate();
  const std::pair<const char*, const char*> kCases[] = {
      {"null ", "QMP input must be a JSON object"},
      {"[]", "QMP input must be a JSON object"},
      {"{}", "QMP input lacks member 'execute'"},
      {R"({"execute":true})", "QMP input member 'execute' must be a string"},
      {R"({"execute":"count","arguments":[]})", "QMP input member 'arguments' must be an object"},
      {R"({"execute":"count","extra":1})", "QMP input member 'extra' is unexpected"},
      {R"({"exec-oob":"count"})", "QMP input member 'exec-oob' is unexpected"},
      {R"({"execute":"count","arguments":{"x":1}})", "Parameter 'x' is unexpected"},
      {R"({"execute":"wait"})", "Parameter 'text' is missing"},
      {R"({"execute":"wait","arguments":{"text":1}})",
       "Invalid parameter type for 'text', expected: string"},
      {R"({"execute":"wait","arguments":{"text":"","number":1.5}})",
       "Invalid parameter type for 'number', expected: integer"},
      {R"({"execute":"wait","arguments":{"text":"","flag":"on"}})",
       "Invalid parameter type for 'flag', expected: boolean"},
      {"{\xff", "JSON parse error, stray byte 0xff"},
      {"%", "JSON parse error, stray byte 0x25"},
      {"{]", "JSON parse error, syntax error"},
      {"}", "JSON parse error, syntax error"},
      {R"({"a":nul})", "JSON parse error, syntax error"},
      {R"({"a":1,})", "JSON parse error, syntax error"},
  };
  int count = 0;
  for (const auto& [request, description] : kCases) {
    CAPTURE(request);
    CHECK(client.Send(request) == Failure(description));
    CHECK(client.Send(R"({"execute":"count"})") == fmt::format("{{\"return\":{}}}\r\n", ++count));
  }
}

TEST_CASE("bytes that are no UTF-8 are refused in a request and replaced in an answer") {
  Client client;
  client.Negotiate();
  CHECK(client.Send("{\"execute\":\"\xc3(\"}")
            .starts_with("{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON parse error"));
  CHECK(client.Send(R"({"execute":"fail"})") == Failure("no: \xef\xbf\xbd '\xc3\xa9'"));
  // Cut between two characters.
  std::string long_name = "x";
  for (int i = 0; i < 50; ++i) long_name += "\xc3\xa9";
  const std::string answer = client.Send("{\"execute\":\"" + long_name + "\"}");
  CHECK(answer.find("\xc3\xa9… has not been found") != std::string::npos);
}

TEST_CASE("several commands in one piece are answered in their order") {
  Client client;
  CHECK(
      client.Send(std::string(kNegotiate) + R"({"execute":"count"} {"execute":"count","id":2})") ==
      std::string(kDone) + "{\"return\":1}\r\n{\"id\":2,\"return\":2}\r\n");
}

TEST_CASE("one command in many pieces is answered once") {
  Client client;
  client.Negotiate();
  std::string answers;
  for (char c : std::string("\n {\"execute\":\r\n \"count\"}\n\n")) answers += client.Send({&c, 1});
  CHECK(answers == "{\"return\":1}\r\n");
}

TEST_CASE("what follows an unanswered command waits") {
  Client client;
  client.Negotiate();
  CHECK(client.Send(R"({"execute":"wait","arguments":{"text":"a"},"id":1}{"execute":"count"})") ==
        "");
  CHECK(client.session.is_busy());
  CHECK(client.waited_for == "a");
  CHECK(client.Send(R"({"execute":"wait","arguments":{"text":"b"},"id":2})") == "");
  CHECK(client.waited_for == "a");

  QmpReply first = std::move(client.reply);
  first(json::value("A"));
  CHECK(client.output == "{\"id\":1,\"return\":\"A\"}\r\n{\"return\":1}\r\n");
  CHECK(client.waited_for == "b");
  client.output.clear();
  first(json::value("again"));
  CHECK(client.output.empty());
  client.reply(QmpFailure("B"));
  CHECK(client.output == Failure("B", "2"));
  CHECK_FALSE(client.session.is_busy());
}

TEST_CASE("while there is no room for answers, commands wait") {
  Client client;
  client.Negotiate();
  client.has_room = false;
  CHECK(client.Send(R"({"execute":"count"}{"execute":"count"})") == "");
  CHECK_FALSE(client.session.is_busy());
  client.session.SendEvent({{"event", "STOP"}});
  CHECK(std::exchange(client.output, "") == "{\"event\":\"STOP\"}\r\n");
  client.has_room = true;
  client.session.Continue();
  CHECK(client.output == "{\"return\":1}\r\n{\"return\":2}\r\n");
}

TEST_CASE("an answer that comes after the session is dropped") {
  QmpReply reply;
  {
    Client client;
    client.Negotiate();
    client.Send(R"({"execute":"wait","arguments":{"text":"a"}})");
    reply = std::move(client.reply);
  }
  reply(json::value("late"));
}

TEST_CASE("huge and deep input gets one error for each bound it breaks") {
  Client client;
  client.Negotiate();
  CHECK(client.Send("{\"execute\":\"" + std::string(JsonFramer::kMaxBytes - 11, 'a')) ==
        Failure("JSON token size limit exceeded"));
  CHECK(client.Send(std::string(JsonFramer::kMaxDepth + 1, '[')) ==
        Failure("JSON nesting depth limit exceeded"));
  CHECK(client.Send(R"({"execute":"count"})") == "{\"return\":1}\r\n");
}

}  // namespace
}  // namespace minivmm
