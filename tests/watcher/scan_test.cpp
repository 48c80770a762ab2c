#include <doctest/doctest.h>

#include <atomic>
#include <set>
#include <thread>

#include "tests/watcher/rig.h"

using namespace mediafs;
using namespace mediafs::watcher;
using namespace mediafs::watcher::testing;
using std::chrono::milliseconds;

TEST_CASE("scan: the first one finds all that is there and skips what is known") {
  std::set<std::string> asked;
  Rig rig;
  stdfs::create_directories(rig.tree.at("a/b"));
  write_file(rig.tree.at("a/known"));
  write_file(rig.tree.at("a/b/new"));
  write_file(rig.tree.at("top"));
  rig.options.known = [&](std::string_view path, const struct stat& info) {
    asked.emplace(path);
    return path == "a/known" && info.st_size == 1;
  };
  REQUIRE(rig.start());
  REQUIRE(rig.told(Kind::settled, "a/b/new"));
  REQUIRE(rig.told(Kind::settled, "top"));
  REQUIRE(rig.flush());
  CHECK(rig.count_of(Kind::settled, "a/known") == 0);
  CHECK(Rig::count(rig.events(), Kind::changed_dir) == 0);
  rig.watcher->stop();
  CHECK(asked == std::set<std::string>{"a/known", "a/b/new", "top"});
}

TEST_CASE("scan: a second start finds what changed between") {
  Rig rig;
  REQUIRE(rig.start());
  rig.watcher->stop();
  write_file(rig.tree.at("between"));
  rig.forget();
  REQUIRE(rig.watcher->start());
  CHECK(rig.told(Kind::settled, "between"));
}

TEST_CASE("scan: rescan tells a file again, and a directory with all below it") {
  Rig rig;
  stdfs::create_directories(rig.tree.at("a/b"));
  write_file(rig.tree.at("a/b/f"));
  write_file(rig.tree.at("other"));
  REQUIRE(rig.start());
  REQUIRE(rig.told(Kind::settled, "a/b/f"));
  REQUIRE(rig.told(Kind::settled, "other"));
  rig.forget();
  REQUIRE(rig.watcher->rescan("a"));
  REQUIRE(rig.told(Kind::settled, "a/b/f"));
  CHECK(rig.count_of(Kind::settled, "other") == 0);
  rig.forget();
  REQUIRE(rig.watcher->rescan("other"));
  REQUIRE(rig.told(Kind::settled, "other"));
  CHECK(rig.count_of(Kind::settled, "a/b/f") == 0);
  rig.forget();
  REQUIRE(rig.watcher->rescan(""));
  CHECK(rig.told(Kind::settled, "a/b/f"));
  CHECK(rig.told(Kind::settled, "other"));
  CHECK(rig.wait([](const auto& events) { return Rig::count(events, Kind::scanned) == 1; }));
  REQUIRE(rig.watcher->rescan("not/there"));
  CHECK(!rig.watcher->rescan("../etc"));
  CHECK(rig.flush());
}

TEST_CASE("scan: without enough watches the rest is looked through in turns") {
  Rig rig;
  rig.options.max_watches = 2;
  rig.options.poll_unwatched = milliseconds(50);
  for (const char* name : {"a", "b", "c"}) stdfs::create_directories(rig.tree.at(std::string(name) + "/sub"));
  write_file(rig.tree.at("a/sub/old"));
  REQUIRE(rig.start());
  REQUIRE(rig.told(Kind::settled, "a/sub/old"));
  CHECK(rig.watcher->stats().limit_reached);
  CHECK(rig.watcher->stats().advice.find("fs.inotify.max_user_watches") != std::string::npos);
  CHECK(rig.watcher->stats().watches == 2);
  CHECK(rig.watcher->stats().unwatched == 5);
  for (const char* name : {"a", "b", "c"}) {
    const std::string file = std::string(name) + "/sub/f";
    write_file(rig.tree.at(file));
    CHECK(rig.told(Kind::settled, file));
  }
  stdfs::create_directory(rig.tree.at("c/sub/more"));
  write_file(rig.tree.at("c/sub/more/g"));
  CHECK(rig.told(Kind::settled, "c/sub/more/g"));
  write_file(rig.tree.at("b/sub/f"), "longer");
  CHECK(rig.wait([](const auto& events) { return Rig::count(events, Kind::settled, "b/sub/f") == 2; }));
  stdfs::remove(rig.tree.at("b/sub/f"));
  CHECK(rig.told(Kind::gone, "b/sub/f"));
  stdfs::remove_all(rig.tree.at("c/sub"));
  CHECK(rig.told(Kind::gone, "c/sub"));
  CHECK(rig.count_of(Kind::settled, "a/sub/old") == 1);
}

TEST_CASE("scan: watches that come free are taken") {
  Rig rig;
  rig.options.max_watches = 2;
  rig.options.poll_unwatched = milliseconds(50);
  stdfs::create_directory(rig.tree.at("a"));
  REQUIRE(rig.start());
  stdfs::create_directory(rig.tree.at("b"));
  REQUIRE(rig.told(Kind::changed_dir, "b"));
  CHECK(rig.wait([&](const auto&) { return rig.watcher->stats().unwatched == 1; }));
  stdfs::remove(rig.tree.at("a"));
  const auto deadline = std::chrono::steady_clock::now() + Rig::kPatience;
  while (rig.watcher->stats().unwatched != 0 && std::chrono::steady_clock::now() < deadline)
    REQUIRE(rig.flush());
  CHECK(!rig.watcher->stats().limit_reached);
  CHECK(rig.watcher->stats().watches == 2);
}

TEST_CASE("start: a root that is missing or no directory is an error that names it") {
  TempDir dir;
  write_file(dir.at("file"));
  for (const char* name : {"missing", "file"}) {
    Watcher watcher({.root = dir.at(name)}, [](const Event&) {});
    const Status status = watcher.start();
    REQUIRE(!status);
    CHECK(status.err().message().find(dir.at(name)) != std::string::npos);
  }
}

TEST_CASE("stats: what nobody has looked at yet is pending") {
  TempDir tree;
  std::atomic<bool> blocked{false}, go{false};
  Watcher watcher({.root = tree.path(), .settle = std::chrono::milliseconds(1)}, [&](const Event& event) {
    if (event.kind != Kind::scanned) return;
    blocked = true;
    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  REQUIRE(watcher.start());
  while (!blocked) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  write_file(tree.at("film.mkv"));
  CHECK(watcher.stats().pending > 0);
  go = true;
}
