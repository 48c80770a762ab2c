#include <doctest/doctest.h>

#include <csignal>
#include <thread>

#include "common/writers.h"
#include "tests/watcher/rig.h"
#include "watcher/probe.h"

using namespace mediafs;
using namespace mediafs::watcher;
using namespace mediafs::watcher::testing;
using std::chrono::milliseconds;

TEST_CASE("settle: a written file is told once, with its size") {
  Rig rig;
  REQUIRE(rig.start());
  write_file(rig.tree.at("film.mkv"), "12345");
  REQUIRE(rig.told(Kind::settled, "film.mkv"));
  REQUIRE(rig.flush());
  CHECK(rig.count_of(Kind::settled, "film.mkv") == 1);
  for (const Event& event : rig.events()) {
    if (event.path == "film.mkv") CHECK(event.info.st_size == 5);
  }
  CHECK(rig.wait_raw([](const RawEvent& e) { return e.kind == RawKind::closed && e.name == "film.mkv"; }));
}

TEST_CASE("settle: a file that a writer keeps open is told only after it is closed") {
  Rig rig;
  REQUIRE(rig.start());
  auto writer = open_at(AT_FDCWD, rig.tree.at("slow.mkv"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(writer);
  REQUIRE(::write(writer->get(), "abc", 3) == 3);
  // Ten neighbours one after the other: far longer than its own settle time, whatever the machine's pace.
  for (int i = 0; i < 10; ++i) REQUIRE(rig.flush());
  CHECK(rig.count_of(Kind::settled, "slow.mkv") == 0);
  writer->reset();
  REQUIRE(rig.told(Kind::settled, "slow.mkv"));
}

TEST_CASE("settle: a file whose writer was cut off with the mount waits until it is written again") {
  Rig rig;
  rig.options.cut_off = std::chrono::hours(1);
  write_file(rig.tree.at("part.mkv"), "half");
  write_file(rig.tree.at("whole.mkv"), "whole");
  {
    auto file = open_at(AT_FDCWD, rig.tree.at("part.mkv"), O_RDWR | O_CLOEXEC);
    REQUIRE(file);
    if (!mark_unfinished(file->get())) {
      MESSAGE("skipped: no extended attributes in the temporary directory");
      return;
    }
  }
  REQUIRE(rig.start());
  REQUIRE(rig.told(Kind::settled, "whole.mkv"));
  for (int i = 0; i < 5; ++i) REQUIRE(rig.flush());
  CHECK(rig.count_of(Kind::settled, "part.mkv") == 0);
  SUBCASE("in place") {
    auto file = open_at(AT_FDCWD, rig.tree.at("part.mkv"), O_RDWR | O_CLOEXEC);
    REQUIRE(::write(file->get(), "halves", 6) == 6);
    clear_unfinished(file->get());
  }
  SUBCASE("anew") {
    stdfs::remove(rig.tree.at("part.mkv"));
    write_file(rig.tree.at("part.mkv"), "halves");
  }
  CHECK(rig.told(Kind::settled, "part.mkv"));
}

TEST_CASE("settle: a file whose writer was cut off is told in the end") {
  Rig rig;
  rig.options.cut_off = milliseconds(100);
  write_file(rig.tree.at("part.mkv"), "half");
  {
    auto file = open_at(AT_FDCWD, rig.tree.at("part.mkv"), O_RDWR | O_CLOEXEC);
    if (!mark_unfinished(file->get())) {
      MESSAGE("skipped: no extended attributes in the temporary directory");
      return;
    }
  }
  REQUIRE(rig.start());
  CHECK(rig.told(Kind::settled, "part.mkv"));
}

TEST_CASE("settle: a mapping that can still be written counts as a writer") {
  Rig rig;
  REQUIRE(rig.start());
  write_file(rig.tree.at("torrent"), "abcdef");
  auto writer = open_at(AT_FDCWD, rig.tree.at("torrent"), O_RDWR | O_CLOEXEC);
  REQUIRE(writer);
  for (int i = 0; i < 5; ++i) REQUIRE(rig.flush());
  CHECK(rig.count_of(Kind::settled, "torrent") == 0);
  writer->reset();
  REQUIRE(rig.told(Kind::settled, "torrent"));
}

TEST_CASE("settle: changes within the quiet period start it over and are one event") {
  Rig rig(milliseconds(400));
  REQUIRE(rig.start());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 50; ++i)
    write_file(rig.tree.at("again"), std::string(static_cast<std::size_t>(i + 1), 'x'));
  const bool quick = std::chrono::steady_clock::now() - begin < milliseconds(350);
  REQUIRE(rig.told(Kind::settled, "again"));
  REQUIRE(rig.flush());
  if (quick)
    CHECK(rig.count_of(Kind::settled, "again") == 1);  // a stalled machine may have left a gap of `settle`
  CHECK(rig.count_of(Kind::settled, "again") >= 1);
}

TEST_CASE("settle: a rename while pending moves the wait along") {
  Rig rig(milliseconds(500));
  REQUIRE(rig.start());
  write_file(rig.tree.at(".film.mkv.AbCdEf"));
  stdfs::rename(rig.tree.at(".film.mkv.AbCdEf"), rig.tree.at("film.mkv"));
  REQUIRE(rig.told(Kind::settled, "film.mkv"));
  CHECK(rig.count_of(Kind::settled, ".film.mkv.AbCdEf") == 0);
  CHECK(rig.count_of(Kind::gone, ".film.mkv.AbCdEf") == 1);
}

TEST_CASE("settle: a deletion while pending is told as gone, never as settled") {
  Rig rig(milliseconds(500));
  REQUIRE(rig.start());
  write_file(rig.tree.at("brief"));
  stdfs::remove(rig.tree.at("brief"));
  REQUIRE(rig.told(Kind::gone, "brief"));
  REQUIRE(rig.flush());
  CHECK(rig.count_of(Kind::settled, "brief") == 0);
  CHECK(rig.watcher->stats().overflows == 0);
}

TEST_CASE("settle: a rename within the tree names both ends") {
  Rig rig;
  REQUIRE(rig.start());
  stdfs::create_directory(rig.tree.at("dir"));
  write_file(rig.tree.at("a"));
  REQUIRE(rig.told(Kind::settled, "a"));
  stdfs::rename(rig.tree.at("a"), rig.tree.at("dir/b"));
  REQUIRE(rig.told(Kind::settled, "dir/b"));
  for (const Event& event : rig.events()) {
    if (event.kind == Kind::gone) CHECK(event.path + ">" + event.to == "a>dir/b");
    if (event.path == "dir/b") CHECK(event.from == "a");
  }
  CHECK(rig.count_of(Kind::gone, "a") == 1);
  CHECK(rig.wait_raw([](const RawEvent& e) {
    return e.kind == RawKind::moved && e.name == "a" && e.to_parent == "dir" && e.to_name == "b";
  }));
}

TEST_CASE("settle: files moved out and in, and changed attributes") {
  Rig rig;
  REQUIRE(rig.start());
  write_file(rig.outside.at("f"));
  stdfs::rename(rig.outside.at("f"), rig.tree.at("f"));
  REQUIRE(rig.told(Kind::settled, "f"));
  REQUIRE(::chmod(rig.tree.at("f").c_str(), 0640) == 0);
  REQUIRE(rig.told(Kind::attrib, "f"));
  stdfs::rename(rig.tree.at("f"), rig.outside.at("f"));
  REQUIRE(rig.told(Kind::gone, "f"));
  CHECK(rig.count_of(Kind::settled, "f") == 1);
}

TEST_CASE("settle: symlinks are told and not followed, hard links are told, sockets and pipes are not") {
  Rig rig;
  write_file(rig.outside.at("target"));
  REQUIRE(rig.start());
  stdfs::create_symlink(rig.outside.at("target"), rig.tree.at("link"));
  stdfs::create_symlink("nowhere", rig.tree.at("dangling"));
  stdfs::create_directory_symlink(rig.outside.path(), rig.tree.at("dirlink"));
  stdfs::create_hard_link(rig.outside.at("target"), rig.tree.at("hard"));
  REQUIRE(::mkfifo(rig.tree.at("fifo").c_str(), 0600) == 0);
  for (const char* name : {"link", "dangling", "dirlink", "hard"}) REQUIRE(rig.told(Kind::settled, name));
  write_file(rig.outside.at("beyond"));
  REQUIRE(rig.flush());
  CHECK(rig.count_of(Kind::settled, "dirlink/beyond") == 0);
  CHECK(rig.count_of(Kind::settled, "fifo") == 0);
  for (const Event& event : rig.events()) {
    if (event.kind == Kind::settled)
      CHECK(event.symlink == (event.path.find("link") == 0 || event.path[0] == 'd'));
  }
}

TEST_CASE("settle: names are bytes") {
  Rig rig;
  REQUIRE(rig.start());
  const std::vector<std::string> names{"\xff\xfe bad utf8",
                                       "line\nbreak\ttab\x1b[31m",
                                       " leading and trailing ",
                                       "-rf",
                                       "\xe2\x80\xae"
                                       "bidi",
                                       std::string(255, 'n'),
                                       "%s%n",
                                       "*?[a]"};
  for (const std::string& name : names) {
    write_file(rig.tree.at(name));
    if (name.size() < 255) {
      stdfs::create_directory(rig.tree.at("d" + name));
      write_file(rig.tree.at("d" + name + "/" + name));
    }
  }
  for (const std::string& name : names) {
    CHECK(rig.told(Kind::settled, name));
    if (name.size() < 255) CHECK(rig.told(Kind::settled, "d" + name + "/" + name));
  }
}

TEST_CASE("settle: ignored names are silent until a rename makes them heard, and known to raw listeners") {
  Rig rig;
  rig.options.ignored = [](std::string_view path) { return base_name(path)[0] == '.'; };
  rig.options.hidden = [](std::string_view path) { return path == "private"; };
  stdfs::create_directory(rig.tree.at("private"));
  REQUIRE(rig.start());
  stdfs::create_directory(rig.tree.at(".unpacking"));
  write_file(rig.tree.at(".unpacking/a"));
  write_file(rig.tree.at(".temp"));
  write_file(rig.tree.at("private/secret"));
  REQUIRE(rig.flush());
  CHECK(rig.wait_raw([](const RawEvent& e) { return e.kind == RawKind::closed && e.name == ".temp"; }));
  stdfs::rename(rig.tree.at(".unpacking"), rig.tree.at("release"));
  stdfs::rename(rig.tree.at(".temp"), rig.tree.at("whole"));
  REQUIRE(rig.told(Kind::settled, "release/a"));
  REQUIRE(rig.told(Kind::settled, "whole"));
  REQUIRE(rig.told(Kind::changed_dir, "release"));
  stdfs::rename(rig.tree.at("whole"), rig.tree.at(".whole"));
  stdfs::rename(rig.tree.at("release"), rig.tree.at(".release"));
  REQUIRE(rig.told(Kind::gone, "whole"));
  REQUIRE(rig.told(Kind::gone, "release"));
  for (const Event& event : rig.events()) {
    CHECK(event.path.find("private") == std::string::npos);
    CHECK(event.path.find('.') == std::string::npos);
  }
}

TEST_CASE("probe: a read lease tells whether anybody writes") {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGIO);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  TempDir dir;
  write_file(dir.at("f"));
  stdfs::create_symlink("f", dir.at("l"));
  auto at = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  REQUIRE(at);
  struct stat info = {};
  CHECK(probe_writer(at->get(), "f", info) == Writer::none);
  auto reader = open_at(at->get(), "f", O_RDONLY | O_CLOEXEC);
  CHECK(probe_writer(at->get(), "f", info) == Writer::none);
  auto writer = open_at(at->get(), "f", O_RDWR | O_CLOEXEC);
  CHECK(probe_writer(at->get(), "f", info) == Writer::open);
  writer->reset();
  CHECK(probe_writer(at->get(), "f", info) == Writer::none);
  CHECK(probe_writer(at->get(), "l", info) == Writer::changed);
  CHECK(probe_writer(at->get(), "absent", info) == Writer::changed);
}

TEST_CASE("probe: writers that come in the moment of a lease neither fail nor kill us") {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGIO);
  TempDir dir;
  write_file(dir.at("f"));
  int opened = 0;
  {
    std::jthread prober([&](const std::stop_token& stop) {
      pthread_sigmask(SIG_BLOCK, &signals, nullptr);
      auto at = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      struct stat info = {};
      while (at && !stop.stop_requested()) static_cast<void>(probe_writer(at->get(), "f", info));
    });
    for (int i = 0; i < 20'000; ++i) opened += open_at(AT_FDCWD, dir.at("f"), O_WRONLY | O_CLOEXEC) ? 1 : 0;
  }
  CHECK(opened == 20'000);
}
