#include "fs/control_files.h"

#include <doctest/doctest.h>

#include "tests/common/temp_dir.h"

using namespace mediafs;

TEST_CASE("the short version has 16 bits and skips 0") {
  CHECK(fs::short_version(0) == 0);
  CHECK(fs::short_version(1) == 1);
  CHECK(fs::short_version(65535) == 65535);
  CHECK(fs::short_version(65536) == 1);
  CHECK(fs::short_version(131070) == 65535);
  CHECK(fs::short_version(131071) == 1);
}

TEST_CASE("version.txt is right to the byte") {
  std::vector<tier::Change> changes(2);
  changes[0].version = 259;
  changes[0].path = "Movies/B.mkv";
  changes[1].version = 258;
  changes[1].path = "Movies/A.mkv";
  const std::string text = fs::version_file(259, changes);
  const std::string head = std::string("\x01\x03\n", 3) + "259\tMovies/B.mkv\n258\tMovies/A.mkv\n";
  CHECK(text.size() == 1024);
  CHECK(text.substr(0, head.size()) == head);
  CHECK(text.find_first_not_of('\0', head.size()) == std::string::npos);
}

TEST_CASE("version.txt holds whole lines only") {
  std::vector<tier::Change> changes(100);
  for (std::size_t i = 0; i < changes.size(); ++i) {
    changes[i].version = static_cast<std::int64_t>(200 - i);
    changes[i].path = std::string(40, 'x');
  }
  const std::string text = fs::version_file(200, changes);
  CHECK(text.size() == 1024);
  const std::string lines = text.substr(0, text.find('\0', 3));
  CHECK(lines.back() == '\n');
  CHECK(1024 - lines.size() < 45);
}

TEST_CASE("a newline in a name does not start a line") {
  std::vector<tier::Change> changes(1);
  changes[0].version = 1;
  changes[0].path = "a\nb";
  const std::string text = fs::version_file(1, changes);
  CHECK(text.find("a\nb") == std::string::npos);
}

TEST_CASE("the files tell the catalogue's version and changes") {
  const test::TempDir dir;
  auto catalogue = tier::Catalogue::open({.path = dir / "c.db"});
  REQUIRE(catalogue);
  fs::ControlFiles files(
      **catalogue, [] { return std::string("{\"a\":1}\n"); }, nullptr);
  CHECK(**files.text(".mediafs/version") == "0\n");
  test::put(dir / "film", "bytes");
  struct stat st {};
  REQUIRE(::lstat((dir / "film").c_str(), &st) == 0);
  REQUIRE((*catalogue)->adopt({"Movies/film", st, true}, [](const std::string&) { return false; }));
  CHECK(**files.text(".mediafs/version") == "1\n");
  CHECK(**files.text(".mediafs/changelog") == "1\tMovies/film\n");
  CHECK(files.stat(".mediafs/version.txt")->st_size == 1024);
  CHECK(files.stat(".mediafs/changelog")->st_size == 14);
  CHECK(**files.text(".mediafs/status.json") == "{\"a\":1}\n");
  CHECK(S_ISDIR(files.stat(".mediafs")->st_mode));
  CHECK_FALSE(files.stat(".mediafs/other"));
  CHECK_FALSE(files.text(".mediafs/version/below"));
}
