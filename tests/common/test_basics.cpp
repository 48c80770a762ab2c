#include <doctest/doctest.h>

#include <cerrno>
#include <string>

#include "common/clock.h"
#include "common/path.h"
#include "common/result.h"

using namespace mediafs;
using namespace std::string_literals;

TEST_CASE("result: every code survives the way through its text") {
  for (int i = 0; i <= static_cast<int>(ErrorCode::internal); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    CAPTURE(to_string(code));
    CHECK(error_code_from(to_string(code)) == code);
  }
  CHECK(error_code_from("no such code") == ErrorCode::internal);
}

TEST_CASE("result: what may be retried, and what a person must mend") {
  for (const auto code : {ErrorCode::timeout, ErrorCode::offline, ErrorCode::throttled, ErrorCode::busy}) {
    CHECK(classify(code) == ErrorClass::transient);
  }
  for (const auto code :
       {ErrorCode::credentials, ErrorCode::no_space, ErrorCode::config, ErrorCode::permission}) {
    CHECK(classify(code) == ErrorClass::person);
  }
  for (const auto code :
       {ErrorCode::not_found, ErrorCode::corrupt, ErrorCode::changed, ErrorCode::internal}) {
    CHECK(classify(code) == ErrorClass::permanent);
  }
}

TEST_CASE("result: errno becomes code, text and number") {
  const Error error = errno_error(EACCES, "open /data/x");
  CHECK(error.code == ErrorCode::permission);
  CHECK(error.sys_errno == EACCES);
  CHECK(error.message() == "open /data/x: Permission denied");
  CHECK(errno_error(ENOSPC, "write").code == ErrorCode::no_space);
  CHECK(errno_error(EDQUOT, "write").code == ErrorCode::no_space);
  CHECK(errno_error(EXDEV, "rename").code == ErrorCode::cross_device);
  CHECK(errno_error(EIO, "read").code == ErrorCode::io);
}

namespace {

Status fails() {
  return make_error(ErrorCode::busy, "a");
}
Result<int> gives(int n) {
  return n;
}
Result<int> chain(bool fail) {
  MEDIAFS_ASSIGN(const int n, gives(20));
  if (fail) MEDIAFS_TRY(fails());
  return n + 1;
}

}  // namespace

TEST_CASE("result: TRY and ASSIGN hand errors on") {
  CHECK(chain(false).value() == 21);
  const auto failed = chain(true);
  REQUIRE(!failed);
  CHECK(failed.err().code == ErrorCode::busy);
}

TEST_CASE("clock: RFC 3339 in UTC with milliseconds") {
  CHECK(rfc3339(0) == "1970-01-01T00:00:00.000Z");
  CHECK(rfc3339(1'795'175'100'123'999'999) == "2026-11-20T11:45:00.123Z");
  CHECK(timespec_of(1'500'000'001).tv_sec == 1);
  CHECK(timespec_of(1'500'000'001).tv_nsec == 500'000'001);
  CHECK(timespec_of(-1).tv_sec == -1);
  CHECK(timespec_of(-1).tv_nsec == 999'999'999);
  CHECK(rfc3339(-1) == "1969-12-31T23:59:59.999Z");
}

TEST_CASE("clock: a manual clock stands still until it is turned") {
  ManualClock clock;
  const auto wall = clock.wall_ns();
  const auto steady = clock.steady();
  clock.advance(std::chrono::seconds(3));
  CHECK(clock.wall_ns() - wall == 3'000'000'000);
  CHECK(clock.steady() - steady == std::chrono::seconds(3));
}

TEST_CASE("path: names from outside never leave the tree") {
  for (const char* good : {"", "a", "a/b", "...", "a/..b/c", ".hidden", " "}) {
    CAPTURE(good);
    CHECK(check_path(good).has_value());
  }
  for (const char* bad : {"/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "a/./b"}) {
    CAPTURE(bad);
    const auto status = check_path(bad);
    REQUIRE(!status);
    CHECK(status.err().code == ErrorCode::invalid);
  }
  CHECK(!check_path("a\0b"s));
  CHECK(check_path(std::string(255, 'x')).has_value());
  const auto long_name = check_path("a/" + std::string(256, 'x'));
  REQUIRE(!long_name);
  CHECK(long_name.err().code == ErrorCode::name_too_long);
}

TEST_CASE("path: taking apart and putting together") {
  CHECK(parent_path("a/b/c") == "a/b");
  CHECK(parent_path("a") == "");
  CHECK(base_name("a/b/c") == "c");
  CHECK(base_name("a") == "a");
  CHECK(join_path("", "a") == "a");
  CHECK(join_path("a/b", "c") == "a/b/c");
  CHECK(is_within("a/b", "a"));
  CHECK(is_within("a", "a"));
  CHECK(is_within("x", ""));
  CHECK(!is_within("ab", "a"));
  CHECK(!is_within("a", "a/b"));
}

TEST_CASE("path: sidecars") {
  std::string media;
  CHECK(is_sidecar("Movies/.Dune.mkv.sha1", &media));
  CHECK(media == "Movies/Dune.mkv");
  CHECK(is_sidecar(".x.sha256", &media));
  CHECK(media == "x");
  CHECK(sidecar_path("Movies/Dune.mkv", "sha1") == "Movies/.Dune.mkv.sha1");
  CHECK(sidecar_path("x", "xxh128") == ".x.xxh128");
  for (const char* other : {"Dune.mkv.sha1", ".sha1", "..sha1/x", ".x.md5", ".dir.sha1/x"}) {
    CAPTURE(other);
    CHECK(!is_sidecar(other));
  }
}

TEST_CASE("path: globs as fnmatch without flags") {
  CHECK(glob_match("*.part", "film.part"));
  CHECK(glob_match(".*", ".hidden"));
  CHECK(glob_match("*.!qB", "x.!qB"));
  CHECK(!glob_match("*.part", "film.parts"));
}

TEST_CASE("path: printable escapes what could forge a line") {
  CHECK(printable("Amélie (2001).mkv") == "Amélie (2001).mkv");
  CHECK(printable("a\nb\x1b[31m") == "a\\x0ab\\x1b[31m");
  CHECK(printable("\xff\xc3") == "\\xff\\xc3");
  CHECK(printable("\xc0\xaf") == "\\xc0\\xaf");           // overlong '/'
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // a surrogate
  CHECK(printable("a\u202Eb") == "a\\xe2\\x80\\xaeb");    // turns the line around
  CHECK(printable("\xf0\x9f\x8e\xac") == "\xf0\x9f\x8e\xac");
  CHECK(printable("\xf0\x9f\x8e") == "\\xf0\\x9f\\x8e");
}
