#include "app/control.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/progress.h"
#include "app/registry.h"

using namespace mediafs;
using namespace mediafs::app;
namespace stdfs = std::filesystem;

namespace {

struct Socket {
  Socket() {
    std::string form = stdfs::temp_directory_path() / "mediafs-control-XXXXXX";
    REQUIRE(mkdtemp(form.data()) != nullptr);
    dir = form;
    server = *ControlServer::open(path());
  }
  ~Socket() {
    server.reset();
    stdfs::remove_all(dir);
  }
  std::string path() const { return dir + "/s"; }
  std::string dir;
  std::unique_ptr<ControlServer> server;
};

}  // namespace

TEST_CASE("a command's arguments, progress, result and error go over the socket") {
  Socket s;
  s.server->add("double",
                [](const Json& args, const ProgressSink& progress, std::stop_token) -> Result<Json> {
                  progress({{"at", 1}});
                  progress({{"at", 2}});
                  return Json{{"n", args.at("n").get<int>() * 2}};
                });
  s.server->add("fail", [](const Json&, const ProgressSink&, std::stop_token) -> Result<Json> {
    return make_error(ErrorCode::not_found, "film.mkv", "no such file");
  });
  s.server->start();
  int steps = 0;
  auto doubled = control_call(s.path(), "double", {{"n", 21}}, [&](const Json&) { steps++; });
  REQUIRE(doubled);
  CHECK((*doubled)["n"] == 42);
  CHECK(steps == 2);
  auto failed = control_call(s.path(), "fail", Json::object(), {});
  REQUIRE_FALSE(failed);
  CHECK(failed.err().code == ErrorCode::not_found);
  CHECK(failed.err().what == "film.mkv");
  CHECK(control_call(s.path(), "double", {{"n", "text"}}, {}).err().code == ErrorCode::invalid);
  CHECK(control_call(s.path(), "nonsense", Json::object(), {}).err().code == ErrorCode::unsupported);
}

TEST_CASE("the socket is its owner's alone, and nobody listening is offline") {
  Socket s;
  s.server->start();
  struct stat st {};
  REQUIRE(stat(s.path().c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0600);
  CHECK(control_call(s.dir + "/none", "ping", Json::object(), {}).err().code == ErrorCode::offline);
}

TEST_CASE("a server that ends stops its running command") {
  Socket s;
  std::atomic<bool> running{false};
  s.server->add("wait", [&](const Json&, const ProgressSink&, std::stop_token stop) -> Result<Json> {
    running = true;
    while (!stop.stop_requested()) std::this_thread::yield();
    return make_error(ErrorCode::cancelled, "wait");
  });
  s.server->start();
  std::jthread client([&] { CHECK_FALSE(control_call(s.path(), "wait", Json::object(), {})); });
  while (!running) std::this_thread::yield();
  s.server.reset();
}

TEST_CASE("path_in_tree: by the mount point or the local branch, relative, with odd ends") {
  const RunningDaemon d{.mountpoint = "/data/Media", .local = "/data/.Local", .socket = "", .config = ""};
  CHECK(*path_in_tree(d, "/data/Media/Movies/a.mkv") == "Movies/a.mkv");
  CHECK(*path_in_tree(d, "/data/.Local/Movies/a.mkv") == "Movies/a.mkv");
  CHECK(*path_in_tree(d, "/data/Media/Movies/") == "Movies");
  CHECK(path_in_tree(d, "/data/Media/")->empty());
  CHECK_FALSE(path_in_tree(d, "/data/Mediathek/a.mkv"));
  CHECK_FALSE(path_in_tree(d, "relative.mkv"));
}

TEST_CASE("figures for people") {
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(1536) == "1.5 KiB");
  CHECK(human_bytes(500ULL << 30) == "500 GiB");
  CHECK(human_seconds(59) == "59 s");
  CHECK(human_seconds(3720) == "1 h 02 min");
}
