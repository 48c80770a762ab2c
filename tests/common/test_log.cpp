#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "common/fd.h"
#include "common/log.h"
#include "common/path.h"
#include "temp_dir.h"

using namespace mediafs;

namespace {

// True for "TIME " and then `rest`, a glob.
bool is_line(const std::string& line, const std::string& rest) {
  const std::string d = "[0-9]";
  const std::string dd = d + d;
  return glob_match(
      dd + dd + "-" + dd + "-" + dd + "T" + dd + ":" + dd + ":" + dd + "." + dd + d + "Z " + rest, line);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return lines;
}

// Back to stderr when a test ends, however it ends.
struct Restore {
  Restore() = default;
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  ~Restore() { log::setup({}); }
};

}  // namespace

TEST_CASE("log: one line an event, path and job first") {
  const test::TempDir dir;
  const Restore restore;
  log::setup({.level = log::Level::info, .file = dir / "log"});
  log::info("filed", {{"from", "Incoming/x"}, {"job", 12}, {"path", "Movies/A \"B\".mkv"}});
  log::debug("not shown");
  log::warning("slow", make_error(ErrorCode::timeout, "GET host:80/x", "nothing moved"), {{"path", "7"}});
  const auto lines = lines_of(test::get(dir / "log"));
  REQUIRE(lines.size() == 2);
  CHECK(is_line(lines[0], "info  filed *"));
  CHECK(lines[0].ends_with(R"(filed path="Movies/A \"B\".mkv" job=12 from="Incoming/x")"));
  CHECK(lines[1].ends_with(R"(warn  slow path="7" code="timeout" error="GET host:80/x: nothing moved")"));
}

TEST_CASE("log: a hostile name cannot forge a line") {
  const test::TempDir dir;
  const Restore restore;
  log::setup({.level = log::Level::info, .file = dir / "log"});
  log::info("filed", {{"path", std::string("a\n2026-01-01T00:00:00.000Z error forged\x1b[2J\xff\\")}});
  const auto lines = lines_of(test::get(dir / "log"));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].ends_with(R"(path="a\x0a2026-01-01T00:00:00.000Z error forged\x1b[2J\xff\\")"));
}

TEST_CASE("log: the level is what setup says") {
  const Restore restore;
  log::setup({.level = log::Level::warning, .file = {}});
  CHECK(!log::enabled(log::Level::info));
  CHECK(log::enabled(log::Level::warning));
  log::setup({.level = log::Level::debug, .file = {}});
  CHECK(log::enabled(log::Level::debug));
}

TEST_CASE("log: stderr by default, and when the log file can't be opened") {
  const test::TempDir dir;
  const Fd saved(::dup(STDERR_FILENO));
  {
    const auto file = open_at(AT_FDCWD, dir / "stderr", O_WRONLY | O_CREAT | O_APPEND, 0600);
    REQUIRE(file);
    REQUIRE(::dup2(file->get(), STDERR_FILENO) == STDERR_FILENO);
  }
  log::setup({});
  log::error("to stderr");
  log::setup({.level = log::Level::info, .file = dir / "no/such/dir/log"});
  log::info("still there");
  log::setup({});
  REQUIRE(::dup2(saved.get(), STDERR_FILENO) == STDERR_FILENO);
  const auto lines = lines_of(test::get(dir / "stderr"));
  REQUIRE(lines.size() == 3);
  CHECK(is_line(lines[0], "error to stderr"));
  CHECK(lines[1].find("log file can't be opened") != std::string::npos);
  CHECK(lines[2].ends_with("info  still there"));
}

TEST_CASE("log: lines of many threads stay whole") {
  const test::TempDir dir;
  const Restore restore;
  log::setup({.level = log::Level::info, .file = dir / "log"});
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([t] {
        for (int i = 0; i < 50; ++i)
          log::info("event", {{"text", std::string(5000, static_cast<char>('a' + t))}});
      });
    }
  }
  const auto lines = lines_of(test::get(dir / "log"));
  REQUIRE(lines.size() == 200);
  for (const std::string& line : lines) {
    const std::string text = line.substr(line.find('"'));
    CHECK(text.size() == 5002);
    CHECK(text.find_first_not_of(text[1], 1) == 5001);
  }
}
