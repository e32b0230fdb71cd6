// QmpServer over real sockets in a directory of the test's own. One thread runs client and server
// in turn: a client that wants an answer runs the io_context until it has come.
#include "vmm/qmp/qmp_server.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "blockcore/base/unique_fd.h"
#include "blockcore/held_requests.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_request.h"
#include "vmm/qmp/fake_machine.h"

namespace minivmm {
namespace {
namespace asio = boost::asio;
namespace json = boost::json;

constexpr std::string_view kNegotiate = R"({"execute":"qmp_capabilities"})";

class TestDirectory {
 public:
  TestDirectory() {
    // TEST_TMPDIR can be too long for a socket's path.
    REQUIRE(::mkdtemp(path_.data()) != nullptr);
  }
  ~TestDirectory() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = "/tmp/qmp-test-XXXXXX";
};

UniqueFd Connect(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return {};
  }
  return fd;
}

struct TestServer {
  Result<void> Start() {
    const QmpSocket socket{.path = path, .wait = false, .text = "unix:" + path};
    QmpTarget target{.control = machine, .graph = graph, .disks = {}};
    if (disk) target.disks.push_back({"disk0", disk.get(), logical_block_bytes});
    TRY(server, QmpServer::Create(context, {&socket, 1}, std::move(target)));
    server->Serve([] { return false; });
    return {};
  }
  void AddDisk(const std::string& description) {
    REQUIRE(graph.Add(description).has_value());
    disk = std::move(*BlockBackend::Create(graph, "d0", "device 'disk0'"));
  }

  // Whose writes from nowhere fail, as opposed to those of a disk without a file.
  void AddFailingDisk() {
    const std::string file = directory.File("disk.img");
    std::ofstream(file) << std::string(8192, 'x');
    AddDisk("node-name=d0,driver=file,filename=" + file);
  }

  TestDirectory directory;
  const std::string path = directory.File("qmp.sock");
  FakeMachine machine;
  BlockGraph graph;
  std::unique_ptr<BlockBackend> disk;
  uint32_t logical_block_bytes = 0;
  asio::io_context context;
  std::unique_ptr<QmpServer> server;
};

// The kernel does not write from where there is no memory. Returns when somebody has given up
// `held`, if the disk's policy says that it waits there.
BlockStatus WriteFromNowhere(IoThread& thread, TestServer& server, HeldRequests* held) {
  iovec nowhere{nullptr, 512};
  BlockRequest write;
  write.op = BlockOp::kWrite;
  write.offset_bytes = 4096;
  write.length_bytes = 512;
  write.buffers = {&nowhere, 1};
  write.held_in = held;
  return SubmitAndWait(thread, *server.disk, write);
}

class Client {
 public:
  explicit Client(TestServer& server) : Client(server, server.path) {}
  Client(TestServer& server, const std::string& path)
      : context_(server.context), fd_(Connect(path)) {
    REQUIRE(fd_.get() >= 0);
  }

  // As much as fits; false when the server has closed.
  bool Send(std::string_view bytes) {
    return ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  void Close() { fd_ = UniqueFd(); }
  void SendEnd() { ::shutdown(fd_.get(), SHUT_WR); }

  // The next line, or nothing when the server has closed.
  std::optional<std::string> Line() {
    while (true) {
      const size_t end = input_.find("\r\n");
      if (end != std::string::npos) {
        std::string line = input_.substr(0, end);
        input_.erase(0, end + 2);
        return line;
      }
      std::array<char, 65536> piece;
      const ssize_t count = ::read(fd_.get(), piece.data(), piece.size());
      if (count == 0 || (count < 0 && errno != EAGAIN)) return std::nullopt;
      if (count > 0) {
        input_.append(piece.data(), static_cast<size_t>(count));
      } else {
        context_.run_one();
      }
    }
  }
  json::object Message() {
    std::optional<std::string> line = Line();
    REQUIRE(line.has_value());
    return json::parse(*line).as_object();
  }
  json::object Ask(std::string_view request) {
    REQUIRE(Send(request));
    return Message();
  }
  void Negotiate() {
    CHECK(Message().contains("QMP"));
    CHECK(Ask(kNegotiate).contains("return"));
  }

 private:
  asio::io_context& context_;
  UniqueFd fd_;
  std::string input_;
};

TEST_CASE("a client is greeted, negotiates and gives orders, with the events before the answers") {
  TestServer server;
  REQUIRE(server.Start().has_value());
  Client client(server);
  client.Negotiate();
  CHECK(client.Ask(R"({"execute":"query-status"})") ==
        json::object{{"return", json::object{{"status", "prelaunch"}, {"running", false}}}});
  CHECK(client.Ask(R"({"execute":"query-name"})").at("return").as_object().empty());
  json::object event = client.Ask(R"({"execute":"cont"})");
  CHECK(event.at("event") == "RESUME");
  CHECK(event.at("timestamp").at("seconds").is_int64());
  CHECK(event.at("timestamp").at("microseconds").is_int64());
  CHECK_FALSE(event.contains("data"));
  CHECK(client.Message() == json::object{{"return", json::object()}});
  CHECK(client.Ask(R"({"execute":"cont"})").contains("return"));
  CHECK(client.Ask(R"({"execute":"stop"})").at("event") == "STOP");
  CHECK(client.Message().contains("return"));
  CHECK(client.Ask(R"({"execute":"query-status"})").at("return").at("status") == "paused");
  CHECK(client.Ask(R"({"execute":"system_powerdown"})").at("event") == "POWERDOWN");
  CHECK(client.Message().contains("return"));
  CHECK(client.Ask(R"({"execute":"system_reset"})").contains("return"));
  CHECK(server.machine.resets == 1);
  CHECK(client.Ask(R"({"execute":"quit"})").contains("return"));
  CHECK(server.machine.quits == 1);
}

TEST_CASE("why the machine resets, panics and ends is told, also when the server goes at once") {
  TestServer server;
  REQUIRE(server.Start().has_value());
  Client client(server);
  client.Negotiate();
  using Kind = MachineEvent::Kind;
  using Cause = MachineEvent::Cause;
  server.machine.Tell({Kind::kReset, Cause::kGuestReset});
  server.machine.Tell({Kind::kReset, Cause::kClientReset});
  server.machine.Tell({Kind::kGuestPanicked, Cause::kNone});
  server.machine.Tell({Kind::kShutdown, Cause::kGuestPanic});
  server.server.reset();
  CHECK_FALSE(server.machine.has_sink());
  const auto data = [&](std::string_view name) {
    json::object event = client.Message();
    CHECK(event.at("event") == json::string(name));
    return event.at("data").as_object();
  };
  CHECK(data("RESET") == json::object{{"guest", true}, {"reason", "guest-reset"}});
  CHECK(data("RESET") == json::object{{"guest", false}, {"reason", "host-qmp-system-reset"}});
  CHECK(data("GUEST_PANICKED") == json::object{{"action", "poweroff"}});
  CHECK(data("SHUTDOWN") == json::object{{"guest", true}, {"reason", "guest-panic"}});
  CHECK_FALSE(client.Line().has_value());
}

// The very bytes of QEMU's qmp-shell, one write each, without ends of lines: it comes up, asks for
// the commands that it can complete, and then sends what its user types.
TEST_CASE("a session of qmp-shell") {
  TestServer server;
  REQUIRE(server.Start().has_value());
  Client client(server);
  const json::object greeting = client.Message();
  for (const char* part : {"major", "minor", "micro"}) {
    CHECK(greeting.at("QMP").at("version").at("qemu").at(part).is_int64());
  }
  CHECK(greeting.at("QMP").at("version").at("package").is_string());
  CHECK(greeting.at("QMP").at("capabilities").is_array());
  const json::object done{{"return", json::object()}};
  CHECK(client.Ask(R"({"execute":"qmp_capabilities","arguments":{}})") == done);
  const json::object commands = client.Ask(R"({"execute":"query-commands"})");
  CHECK(commands.at("return").at(0).at("name") == "qmp_capabilities");
  CHECK(client.Ask(R"({"execute":"query-status","arguments":{}})") ==
        json::object{{"return", json::object{{"status", "prelaunch"}, {"running", false}}}});
  CHECK(client.Ask(R"({"execute":"query-zones","arguments":{"node-name":"d0","count":2}})")
            .at("error")
            .at("class") == "GenericError");
  CHECK(client.Ask(R"({"execute":"quit","arguments":{}})") == done);
}

TEST_CASE("all commands that are listed answer") {
  TestServer server;
  REQUIRE(server.Start().has_value());
  Client client(server);
  client.Negotiate();
  const json::object answer = client.Ask(R"({"execute":"query-commands","id":"x"})");
  std::vector<std::string> names;
  for (const json::value& command : answer.at("return").as_array()) {
    names.emplace_back(command.at("name").as_string());
  }
  for (const char* name : {"qmp_capabilities", "query-zones", "query-blockstats", "quit"}) {
    CHECK(std::ranges::find(names, name) != names.end());
  }
  for (const std::string& name : names) {
    CAPTURE(name);
    REQUIRE(client.Send("{\"execute\":\"" + name + "\",\"id\":1}"));
    json::object message = client.Message();
    while (message.contains("event")) message = client.Message();
    CHECK(message.at("id") == 1);
  }
}

TEST_CASE("disks are told with QEMU's names, and their requests are counted") {
  TestServer server;
  const std::string file = server.directory.File("disk.img");
  std::ofstream(file) << std::string(1 << 20, 'x');
  server.AddDisk("node-name=d0,driver=raw,file.driver=file,file.node-name=n0,file.filename=" +
                 file);
  REQUIRE(server.Start().has_value());
  auto thread = std::move(*IoThread::Start("test"));
  BlockRequest flush;
  flush.op = BlockOp::kFlush;
  REQUIRE(SubmitAndWait(*thread, *server.disk, flush) == BlockStatus::kOk);
  BlockRequest beyond;
  beyond.op = BlockOp::kRead;
  beyond.offset_bytes = 2 << 20;
  REQUIRE(SubmitAndWait(*thread, *server.disk, beyond) == BlockStatus::kOutOfRange);

  Client client(server);
  client.Negotiate();
  const json::object block = client.Ask(R"({"execute":"query-block"})");
  const json::value& disk = block.at("return").at(0);
  CHECK(disk.at("qdev") == "/machine/peripheral/disk0/virtio-backend");
  CHECK(disk.at("device") == "");
  CHECK(disk.at("io-status") == "ok");
  CHECK(disk.at("inserted").at("node-name") == "d0");
  CHECK(disk.at("inserted").at("drv") == "raw");
  CHECK(disk.at("inserted").at("image").at("virtual-size") == 1 << 20);
  CHECK(disk.at("inserted").at("cache").at("writeback") == true);

  const json::object nodes = client.Ask(R"({"execute":"query-named-block-nodes"})");
  CHECK(nodes.at("return").as_array().size() == 2);

  const json::object answer = client.Ask(R"({"execute":"query-blockstats"})");
  const json::value& stats = answer.at("return").at(0).at("stats");
  CHECK(answer.at("return").at(0).at("node-name") == "d0");
  CHECK(stats.at("flush_operations") == 1);
  CHECK(stats.at("rd_operations") == 0);
  CHECK(stats.at("invalid_rd_operations") == 1);
  CHECK(stats.at("failed_rd_operations") == 0);
  CHECK(stats.at("flush_total_time_ns").to_number<uint64_t>() > 0);
  const json::value& histogram = stats.at("flush_latency_histogram");
  const json::array& bins = histogram.at("bins").as_array();
  CHECK(bins.size() == histogram.at("boundaries").as_array().size() + 1);
  CHECK(histogram.at("boundaries").at(0) == 1000);
  uint64_t sum = 0;
  for (const json::value& bin : bins) sum += bin.to_number<uint64_t>();
  CHECK(sum == 1);
  CHECK(stats.at("x-operations").at("flush").at("ok") == 1);
  CHECK(stats.at("x-operations").at("read").at("out-of-range") == 1);
  CHECK(stats.at("x-operations").at("zone-reset-all").at("ok") == 0);
}

TEST_CASE("nodes come and go, and a node in use stays") {
  TestServer server;
  server.AddDisk("node-name=d0,driver=null-co,size=1M");
  REQUIRE(server.Start().has_value());
  Client client(server);
  client.Negotiate();
  const auto add = [&](std::string_view arguments) {
    return client.Ask(fmt::format(R"({{"execute":"blockdev-add","arguments":{}}})", arguments));
  };
  const auto count_nodes = [&] {
    return client.Ask(R"({"execute":"query-named-block-nodes"})").at("return").as_array().size();
  };
  CHECK(add(R"({"driver":"raw","node-name":"r","file":{"driver":"null-co","size":65536}})")
            .contains("return"));
  CHECK(count_nodes() == 2);
  for (const char* wrong :
       {"{}", R"({"driver":"null-co"})", R"({"driver":"nope","node-name":"x"})",
        R"({"driver":"null-co","node-name":"d0"})", R"({"driver":"null-co","node-name":"x","a":1})",
        R"({"driver":"null-co","node-name":"x","size":null})",
        R"({"driver":"null-co","node-name":"x","size":[1]})"}) {
    CAPTURE(wrong);
    CHECK(add(wrong).contains("error"));
    CHECK(count_nodes() == 2);
  }
  const auto remove = [&](std::string_view name) {
    return client.Ask(
        fmt::format(R"({{"execute":"blockdev-del","arguments":{{"node-name":"{}"}}}})", name));
  };
  CHECK(remove("d0").contains("error"));
  CHECK(remove("nope").contains("error"));
  CHECK(remove("r").contains("return"));
  CHECK(count_nodes() == 1);
}

TEST_CASE("a disk of the guest grows, and the guest is told; nothing else can be resized") {
  TestDirectory directory;
  const std::string path = directory.File("grows.img");
  std::ofstream(path) << std::string(4096, 'x');
  TestServer server;
  server.AddDisk(fmt::format("node-name=d0,driver=file,filename={}", path));
  REQUIRE(server.graph.Add("node-name=d1,driver=null-co,size=1M").has_value());
  REQUIRE(server.Start().has_value());
  Client client(server);
  client.Negotiate();
  const auto resize = [&](std::string_view arguments) {
    return client.Ask(fmt::format(R"({{"execute":"block_resize","arguments":{}}})", arguments));
  };
  CHECK(resize(R"({"node-name":"d0","size":8192})").contains("return"));
  CHECK(server.machine.grown_disks == std::vector<size_t>{0});
  CHECK(std::filesystem::file_size(path) == 8192);
  for (const char* wrong :
       {R"({"node-name":"d0"})", R"({"node-name":"d0","size":-1})", R"({"size":16384})",
        R"({"node-name":"d0","size":4096})", R"({"node-name":"d0","size":8193})",
        R"({"node-name":"d0","size":9223372036854775807})",
        R"({"node-name":"d0","size":18446744073709551615})", R"({"node-name":"d1","size":2097152})",
        R"({"node-name":"nope","size":16384})", R"({"node-name":"d0","size":"16384"})"}) {
    CAPTURE(wrong);
    CHECK(resize(wrong).contains("error"));
  }
  CHECK(server.machine.grown_disks.size() == 1);
  CHECK(std::filesystem::file_size(path) == 8192);
}

TEST_CASE("a disk is given no size that the guest's next start would refuse") {
  TestDirectory directory;
  const std::string path = directory.File("grows.img");
  std::ofstream(path) << std::string(8192, 'x');
  TestServer server;
  server.AddDisk(fmt::format("node-name=d0,driver=file,filename={}", path));
  server.logical_block_bytes = 4096;
  REQUIRE(server.Start().has_value());
  Client client(server);
  client.Negotiate();
  const json::object refused =
      client.Ask(R"({"execute":"block_resize","arguments":{"device":"disk0","size":8704}})");
  REQUIRE(refused.contains("error"));
  CHECK(refused.at("error").at("desc").as_string().find("logical_block_size=4096") !=
        json::string::npos);
  CHECK(server.machine.grown_disks.empty());
  CHECK(std::filesystem::file_size(path) == 8192);
  CHECK(client.Ask(R"({"execute":"block_resize","arguments":{"device":"disk0","size":12288}})")
            .contains("return"));
  CHECK(std::filesystem::file_size(path) == 12288);
}

TEST_CASE("zones are reported in pieces, from the disk of the guest and from a node without user") {
  TestServer server;
  const std::string image = server.directory.File("zones.img");
  const std::string create =
      "tools/img/minivmm-img create -f zoned -o zone.size=1M,zone.conventional_zones=1,"
      "zone.max_open_zones=3 " +
      image + " 8M >/dev/null";
  REQUIRE(std::system(create.c_str()) == 0);
  bool is_disk = false;
  SUBCASE("a disk of the guest") { is_disk = true; }
  SUBCASE("a node without user") {}
  const std::string node = "node-name=d0,driver=zoned,file.driver=file,file.filename=" + image;
  if (is_disk) {
    server.AddDisk(node);
  } else {
    REQUIRE(server.graph.Add(node).has_value());
  }
  REQUIRE(server.Start().has_value());
  Client client(server);
  client.Negotiate();
  const auto ask = [&](std::string_view more) {
    return client.Ask(fmt::format(
        R"({{"execute":"query-zones","arguments":{{"node-name":"d0"{}}},"id":9}})", more));
  };
  const json::object all = ask("");
  CHECK(all.at("id") == 9);
  CHECK(all.at("return").at("model") == "host-managed");
  CHECK(all.at("return").at("zone-size") == 1 << 20);
  CHECK(all.at("return").at("zone-count") == 8);
  CHECK(all.at("return").at("max-open-zones") == 3);
  CHECK(all.at("return").at("zones").as_array().size() == 8);
  CHECK_FALSE(all.at("return").as_object().contains("next"));
  const json::object& conventional = all.at("return").at("zones").at(0).as_object();
  CHECK(conventional.at("type") == "conventional");
  CHECK_FALSE(conventional.contains("write-pointer"));

  const json::object some = ask(R"(,"offset":2097152,"count":2)");
  CHECK(some.at("return").at("zones").as_array().size() == 2);
  CHECK(some.at("return").at("zones").at(0) == json::object{{"start", 2 << 20},
                                                            {"length", 1 << 20},
                                                            {"capacity", 1 << 20},
                                                            {"type", "sequential-required"},
                                                            {"condition", "empty"},
                                                            {"write-pointer", 2 << 20}});
  CHECK(some.at("return").at("next") == 4 << 20);

  CHECK(ask(R"(,"offset":8388608)").contains("error"));
  CHECK(ask(R"(,"offset":-1)").contains("error"));
  CHECK(ask(R"(,"count":0)").contains("error"));
  CHECK(ask(R"(,"count":1025)").contains("error"));
  CHECK(ask(R"(,"count":18446744073709551615)").contains("error"));
  CHECK(client.Ask(R"({"execute":"query-zones","arguments":{"node-name":"x"}})").contains("error"));

  // A report under way when the server ends, and answers nobody hears.
  REQUIRE(client.Send(R"({"execute":"query-zones","arguments":{"node-name":"d0"}})"));
  server.context.run_one();
  server.server.reset();
  while (server.context.poll_one() != 0) {
  }
}

TEST_CASE("an error that stops the machine is told before STOP, and which disk it was") {
  TestServer server;
  server.AddFailingDisk();
  server.disk->SetErrorPolicy({.writes = OnError::kStop});
  REQUIRE(server.Start().has_value());
  server.machine.Resume();
  Client client(server);
  client.Negotiate();
  const auto status = [&] {
    return client.Ask(R"({"execute":"query-status"})").at("return").as_object();
  };
  const auto io_status = [&] {
    const json::object block = client.Ask(R"({"execute":"query-block"})");
    return std::string(block.at("return").at(0).at("io-status").as_string());
  };
  CHECK(status().at("status") == "running");
  CHECK(io_status() == "ok");
  auto thread = std::move(*IoThread::Start("test"));
  HeldRequests held(*thread, {});
  thread->RunAndWait([&] { held.Open(); });
  // A flood before it has used up the time of many events.
  for (int i = 0; i < 200; ++i) {
    REQUIRE(WriteFromNowhere(*thread, server, nullptr) == BlockStatus::kIoError);
  }
  CHECK(client.Message().at("data").at("action") == "report");
  BlockStatus result = BlockStatus::kOk;
  std::thread guest([&] { result = WriteFromNowhere(*thread, server, &held); });
  while (held.empty()) std::this_thread::yield();
  server.machine.StopForDisk();
  json::object last;
  for (json::object next = client.Message(); next.at("event") != "STOP"; next = client.Message()) {
    last = next;
  }
  CHECK(last.at("event") == "BLOCK_IO_ERROR");
  CHECK(last.at("data").at("action") == "stop");
  CHECK(last.at("data").at("nospace") == false);
  CHECK(status() == json::object{{"status", "io-error"}, {"running", false}});
  CHECK(io_status() == "failed");
  CHECK(client.Ask(R"({"execute":"cont"})").at("event") == "RESUME");
  CHECK(client.Message().contains("return"));
  server.disk->ResetIoStatus();
  CHECK(status().at("status") == "running");
  CHECK(io_status() == "ok");
  thread->RunAndWait([&] { held.GiveUp(); });
  guest.join();
  CHECK(result == BlockStatus::kIoError);
}

TEST_CASE("disk errors are told, and a flood of them is cut and counted") {
  TestServer server;
  server.AddFailingDisk();
  REQUIRE(server.Start().has_value());
  Client client(server);
  client.Negotiate();
  auto thread = std::move(*IoThread::Start("test"));
  constexpr int kErrors = 1000;
  for (int i = 0; i < kErrors; ++i) {
    REQUIRE(WriteFromNowhere(*thread, server, nullptr) == BlockStatus::kIoError);
  }
  for (int event = 0; event < 64; ++event) {
    const json::object message = client.Message();
    CHECK(message.at("event") == "BLOCK_IO_ERROR");
    const json::value& data = message.at("data");
    CHECK(data.at("node-name") == "d0");
    CHECK(data.at("operation") == "write");
    CHECK(data.at("action") == "report");
    CHECK(data.at("x-offset") == 4096);
    CHECK_FALSE(data.as_object().contains("x-left-out"));
  }
  CHECK(client.Ask(R"({"execute":"query-version"})").contains("return"));
  // The next one says how many were left out.
  REQUIRE(WriteFromNowhere(*thread, server, nullptr) == BlockStatus::kIoError);
  const json::object next = client.Message();
  CHECK(next.at("event") == "BLOCK_IO_ERROR");
  CHECK(next.at("data").at("x-left-out") == kErrors - 64);
}

TEST_CASE("one client at a time: the next one is served when the first has gone") {
  TestServer server;
  REQUIRE(server.Start().has_value());
  Client first(server);
  first.Negotiate();
  Client second(server);
  CHECK(first.Ask(R"({"execute":"query-version"})").contains("return"));
  first.Close();
  second.Negotiate();
  second.Close();
  Client third(server);
  third.Negotiate();
}

TEST_CASE("a client that goes in the middle of a command leaves nothing behind") {
  TestServer server;
  REQUIRE(server.Start().has_value());
  for (std::string_view part : {R"({"execute":"qmp_capab)", "{", "\"", R"({"execute":"a"}{"b)"}) {
    Client client(server);
    REQUIRE(client.Send(part));
    client.Close();
  }
  Client client(server);
  client.Negotiate();
}

TEST_CASE("a client that has said all it wants gets its answers") {
  TestServer server;
  REQUIRE(server.Start().has_value());
  Client client(server);
  REQUIRE(client.Send(std::string(kNegotiate) + R"({"execute":"query-version"})"));
  client.SendEnd();
  CHECK(client.Message().contains("QMP"));
  CHECK(client.Message().contains("return"));
  CHECK(client.Message().contains("return"));
  CHECK_FALSE(client.Line().has_value());
}

TEST_CASE("a client that never reads is not listened to, and dropped when events pile up") {
  TestServer server;
  REQUIRE(server.Start().has_value());
  Client client(server);
  client.Negotiate();
  // Commands without end: at some point nothing more is taken.
  const std::string command = R"({"execute":"query-commands"})";
  int sent = 0;
  while (client.Send(command)) {
    while (server.context.poll_one() != 0) {
    }
    REQUIRE(++sent < 100'000);
  }
  CHECK(server.machine.has_sink());
  // Each event has some hundred bytes.
  for (int i = 0; i < 100'000; ++i) server.machine.Tell({MachineEvent::Kind::kReset});
  while (server.context.poll_one() != 0) {
  }
  Client next(server);
  next.Negotiate();
}

TEST_CASE("a client that reads gets all it asked for, however much that is") {
  struct Row {
    size_t disks;
    int questions;
  };
  // Much output of one piece of input, and one answer that is longer than what events may leave.
  for (const Row& row : {Row{8, 130}, Row{500, 2}}) {
    TestServer server;
    server.AddDisk("node-name=d0,driver=null-co,size=1M");
    const QmpSocket socket{.path = server.path, .wait = false, .text = "unix:x"};
    QmpTarget target{.control = server.machine, .graph = server.graph, .disks = {}};
    target.disks.assign(row.disks, {.id = "disk0", .backend = server.disk.get()});
    server.server = std::move(*QmpServer::Create(server.context, {&socket, 1}, std::move(target)));
    server.server->Serve([] { return false; });
    Client client(server);
    client.Negotiate();
    std::string questions;
    for (int i = 0; i < row.questions; ++i) questions += R"({"execute":"query-blockstats"})";
    REQUIRE(client.Send(questions));
    int answers = 0;
    for (int events = 0; answers < row.questions || events < 1;) {
      const std::optional<std::string> line = client.Line();
      REQUIRE(line.has_value());
      if (line->starts_with(R"({"timestamp")")) {
        ++events;
      } else if (++answers == 1) {
        CHECK(line->size() * static_cast<size_t>(row.questions) > 4 << 20);
        server.machine.Tell({MachineEvent::Kind::kReset});
      }
    }
    CHECK(answers == row.questions);
    CHECK(client.Ask(R"({"execute":"query-version"})").contains("return"));
  }
}

TEST_CASE("no client is served before all have come that the guest waits for") {
  TestServer server;
  const std::string awaited_path = server.directory.File("awaited.sock");
  const std::array sockets = {QmpSocket{.path = server.path, .wait = false, .text = "unix:a"},
                              QmpSocket{.path = awaited_path, .wait = true, .text = "unix:b"}};
  server.server = std::move(*QmpServer::Create(
      server.context, sockets, {.control = server.machine, .graph = server.graph, .disks = {}}));
  Client early(server);
  REQUIRE(early.Send(std::string(kNegotiate) + R"({"execute":"cont"}{"execute":"system_reset"})"));
  int asked = 0;
  std::function<void()> keep_busy = [&] {
    if (asked < 100) asio::post(server.context, keep_busy);
  };
  keep_busy();
  SUBCASE("they come") {
    std::optional<Client> awaited;
    server.server->Serve([&] {
      if (++asked == 100) awaited.emplace(server, awaited_path);
      return false;
    });
    CHECK(asked >= 100);
    CHECK(server.machine.run_state() == RunState::kPrelaunch);
    CHECK(server.machine.resets == 0);
    awaited->Negotiate();
  }
  SUBCASE("the wait is given up") {
    server.server->Serve([&] { return ++asked == 100; });
    CHECK(asked == 100);
    CHECK(server.machine.run_state() == RunState::kPrelaunch);
    CHECK(server.machine.resets == 0);
  }
  CHECK(early.Message().contains("QMP"));
  CHECK(early.Message().contains("return"));
  CHECK(early.Message().at("event") == "RESUME");
  CHECK(early.Message().contains("return"));
  CHECK(early.Message().contains("return"));
  CHECK(server.machine.run_state() == RunState::kRunning);
  CHECK(server.machine.resets == 1);
}

TEST_CASE("the socket is the owner's alone, and goes with the server") {
  TestServer server;
  REQUIRE(server.Start().has_value());
  struct stat info;
  REQUIRE(::stat(server.path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0600);
  server.server.reset();
  CHECK(::stat(server.path.c_str(), &info) != 0);
}

TEST_CASE("a socket that nobody listens on is replaced, one in use and a file are not") {
  TestServer first;
  REQUIRE(first.Start().has_value());
  TestServer second;
  const auto start_second = [&] {
    const QmpSocket socket{.path = first.path, .wait = false, .text = "unix:x"};
    return QmpServer::Create(second.context, {&socket, 1},
                             {.control = second.machine, .graph = second.graph, .disks = {}});
  };
  auto refused = start_second();
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.find("another process listens there") != std::string::npos);

  // What a process that was killed leaves: the file.
  const std::string moved = first.directory.File("moved");
  REQUIRE(::rename(first.path.c_str(), moved.c_str()) == 0);
  first.server.reset();
  REQUIRE(::rename(moved.c_str(), first.path.c_str()) == 0);
  auto made = start_second();
  CHECK(made.has_value());
  made->reset();

  std::filesystem::create_directory(first.path);
  refused = start_second();
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.find("no socket") != std::string::npos);
}

TEST_CASE("a path that is no path for a socket is refused") {
  TestServer server;
  for (const std::string& path : {std::string(), std::string(108, 'a'), server.path + "/none"}) {
    const QmpSocket socket{.path = path, .wait = false, .text = "unix:" + path};
    CHECK_FALSE(QmpServer::Create(server.context, {&socket, 1},
                                  {.control = server.machine, .graph = server.graph, .disks = {}})
                    .has_value());
  }
}

TEST_CASE("garbage costs the server nothing but error messages") {
  TestServer server;
  REQUIRE(server.Start().has_value());
  std::minstd_rand random(1);
  const std::string valid = std::string(kNegotiate) +
                            R"({"execute":"query-blockstats","id":[1,{"a":"b"}]})"
                            R"({"execute":"blockdev-del","arguments":{"node-name":"x"}})";
  for (int round = 0; round < 200; ++round) {
    std::string bytes = valid;
    for (unsigned changes = random() % 8; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (round % 10 == 0) bytes = std::string(random() % 3000, static_cast<char>(random()));
    Client client(server);
    while (!bytes.empty() && client.Send(std::string_view(bytes).substr(0, 1 + random() % 200))) {
      bytes.erase(0, std::min<size_t>(bytes.size(), 1 + random() % 200));
      while (server.context.poll_one() != 0) {
      }
    }
    client.Close();
    while (server.context.poll_one() != 0) {
    }
  }
  Client client(server);
  client.Negotiate();
}

}  // namespace
}  // namespace minivmm
