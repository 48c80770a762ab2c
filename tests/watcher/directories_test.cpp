#include <doctest/doctest.h>
#include <linux/fs.h>
#include <sys/syscall.h>

#include "tests/watcher/rig.h"
#include "watcher/probe.h"

using namespace mediafs;
using namespace mediafs::watcher;
using namespace mediafs::watcher::testing;
using std::chrono::milliseconds;

TEST_CASE("directories: a tree moved in is watched and told file by file") {
  Rig rig;
  stdfs::create_directories(rig.outside.at("Show/Season 1/Subs"));
  write_file(rig.outside.at("Show/Season 1/e1.mkv"));
  write_file(rig.outside.at("Show/Season 1/Subs/e1.srt"));
  REQUIRE(rig.start());
  stdfs::rename(rig.outside.at("Show"), rig.tree.at("Show"));
  REQUIRE(rig.told(Kind::changed_dir, "Show"));
  REQUIRE(rig.told(Kind::settled, "Show/Season 1/e1.mkv"));
  REQUIRE(rig.told(Kind::settled, "Show/Season 1/Subs/e1.srt"));
  write_file(rig.tree.at("Show/Season 1/Subs/later"));
  REQUIRE(rig.told(Kind::settled, "Show/Season 1/Subs/later"));
}

TEST_CASE("directories: a tree moved out is gone, and its watches with it") {
  Rig rig;
  REQUIRE(rig.start());
  stdfs::create_directories(rig.tree.at("a/b/c"));
  write_file(rig.tree.at("a/b/c/f"));
  REQUIRE(rig.told(Kind::settled, "a/b/c/f"));
  stdfs::rename(rig.tree.at("a"), rig.outside.at("a"));
  REQUIRE(rig.told(Kind::gone, "a"));
  write_file(rig.outside.at("a/b/c/g"));
  REQUIRE(rig.flush());
  CHECK(rig.count_of(Kind::settled, "a/b/c/g") == 0);
  CHECK(rig.wait([&](const auto&) { return rig.watcher->stats().watches == 1; }));
}

TEST_CASE("directories: renamed within the tree, files are not told again and watches go on") {
  Rig rig;
  REQUIRE(rig.start());
  stdfs::create_directories(rig.tree.at("x/one/deep"));
  stdfs::create_directories(rig.tree.at("y"));
  write_file(rig.tree.at("x/one/deep/f"));
  REQUIRE(rig.told(Kind::settled, "x/one/deep/f"));
  stdfs::rename(rig.tree.at("x/one"), rig.tree.at("y/two"));
  REQUIRE(rig.told(Kind::moved_dir, "y/two"));
  write_file(rig.tree.at("y/two/deep/g"));
  REQUIRE(rig.told(Kind::settled, "y/two/deep/g"));
  CHECK(rig.count_of(Kind::settled, "y/two/deep/f") == 0);
  for (const Event& event : rig.events()) {
    if (event.kind == Kind::moved_dir) CHECK(event.from == "x/one");
  }
  CHECK(Rig::count(rig.events(), Kind::gone) == 0);
}

TEST_CASE("directories: a file that is pending when its directory is renamed is told at the new place") {
  Rig rig(milliseconds(500));
  REQUIRE(rig.start());
  stdfs::create_directories(rig.tree.at("a/b"));
  write_file(rig.tree.at("a/b/f"));
  stdfs::rename(rig.tree.at("a"), rig.tree.at("z"));
  REQUIRE(rig.told(Kind::settled, "z/b/f"));
  CHECK(rig.count_of(Kind::settled, "a/b/f") == 0);
}

TEST_CASE("directories: deleted and made again under one name") {
  Rig rig;
  REQUIRE(rig.start());
  for (int i = 0; i < 50; ++i) {
    stdfs::create_directories(rig.tree.at("d/e"));
    write_file(rig.tree.at("d/e/f" + std::to_string(i)));
    if (i < 49) stdfs::remove_all(rig.tree.at("d"));
  }
  REQUIRE(rig.told(Kind::settled, "d/e/f49"));
  write_file(rig.tree.at("d/e/after"));
  REQUIRE(rig.told(Kind::settled, "d/e/after"));
  CHECK(rig.wait([&](const auto&) { return rig.watcher->stats().watches == 3; }));
}

TEST_CASE("directories: two that change places are both followed") {
  Rig rig;
  REQUIRE(rig.start());
  for (const char* name : {"a", "b"}) stdfs::create_directories(rig.tree.at(std::string(name) + "/sub"));
  write_file(rig.tree.at("a/sub/from-a"));
  write_file(rig.tree.at("b/sub/from-b"));
  REQUIRE(rig.told(Kind::settled, "a/sub/from-a"));
  REQUIRE(rig.told(Kind::settled, "b/sub/from-b"));
  REQUIRE(::syscall(SYS_renameat2, AT_FDCWD, rig.tree.at("a").c_str(), AT_FDCWD, rig.tree.at("b").c_str(),
                    RENAME_EXCHANGE) == 0);
  write_file(rig.tree.at("a/sub/new"), "a");
  write_file(rig.tree.at("b/sub/new"), "b");
  CHECK(rig.told(Kind::settled, "a/sub/new"));
  CHECK(rig.told(Kind::settled, "b/sub/new"));
  CHECK(rig.watcher->stats().directories == 5);
}

TEST_CASE("directories: a chain of renames that reuses names ends with every file at its place") {
  Rig rig;
  REQUIRE(rig.start());
  for (int i = 0; i < 200; ++i) {  // each is renamed away under the next one's feet
    stdfs::create_directories(rig.tree.at("new/in"));
    write_file(rig.tree.at("new/in/f"), std::to_string(i));
    stdfs::rename(rig.tree.at("new"), rig.tree.at("kept" + std::to_string(i)));
  }
  for (int i = 0; i < 200; ++i) CHECK(rig.told(Kind::settled, "kept" + std::to_string(i) + "/in/f"));
  for (int i = 0; i < 200; ++i) write_file(rig.tree.at("kept" + std::to_string(i) + "/in/g"));
  for (int i = 0; i < 200; ++i) CHECK(rig.told(Kind::settled, "kept" + std::to_string(i) + "/in/g"));
  CHECK(rig.watcher->stats().directories == 401);
}

TEST_CASE("directories: deeper than a path can be long") {
  Rig rig;
  REQUIRE(rig.start());
  const std::string name(200, 'd');
  auto at = open_at(AT_FDCWD, rig.tree.path(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  REQUIRE(at);
  std::string path;
  for (int i = 0; i < 60; ++i) {  // 12,000 bytes
    REQUIRE(::mkdirat(at->get(), name.c_str(), 0700) == 0);
    at = open_at(at->get(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(at);
    path = join_path(path, name);
  }
  REQUIRE(open_at(at->get(), "film", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  CHECK(rig.told(Kind::settled, join_path(path, "film")));
}

TEST_CASE("directories: an attribute of a directory is told at once") {
  Rig rig;
  REQUIRE(rig.start());
  stdfs::create_directory(rig.tree.at("d"));
  REQUIRE(rig.told(Kind::changed_dir, "d"));
  REQUIRE(::chmod(rig.tree.at("d").c_str(), 0711) == 0);
  CHECK(rig.told(Kind::attrib, "d"));
  stdfs::remove(rig.tree.at("d"));
  CHECK(rig.told(Kind::gone, "d"));
}
