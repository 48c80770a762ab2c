#include <doctest/doctest.h>

#include <array>
#include <string>

#include "common/sqlite.h"
#include "temp_dir.h"

using namespace mediafs;
using sql::Connection;
using namespace std::string_literals;

namespace {

std::unique_ptr<Connection> open_db(const std::string& path) {
  auto db = Connection::open(path, Connection::Mode::read_write_create);
  REQUIRE(db);
  return std::move(*db);
}

constexpr std::string_view kInsert = "INSERT INTO t(n, s, b) VALUES(?1, ?2, ?3)";
constexpr std::string_view kSelect = "SELECT n, s, b FROM t ORDER BY rowid";

}  // namespace

TEST_CASE("sqlite: values go in and come out, NULs and odd bytes too") {
  const test::TempDir dir;
  const auto db = open_db(dir / "db");
  REQUIRE(db->execute("CREATE TABLE t(n INTEGER, s TEXT, b BLOB); CREATE INDEX i ON t(n);"));
  {
    auto insert = db->prepare(kInsert);
    REQUIRE(insert);
    const std::array<std::uint8_t, 3> raw{0, 255, 7};
    REQUIRE(insert->bind(1, 1'000'000'000'000).bind_text(2, "Amélie").bind_blob(3, raw).run());
    CHECK(db->changes() == 1);
    CHECK(db->last_insert_id() == 1);
    REQUIRE(
        insert->bind(1, -1).bind_text(2, "").bind_bytes(3, "a\0\xff"s).run());  // bound anew after its end
    REQUIRE(insert->bind_null(1).bind_null(2).bind_bytes(3, "").run());
  }
  auto select = db->prepare(kSelect);
  REQUIRE(select);
  REQUIRE(select->step().value());
  CHECK(select->integer(0) == 1'000'000'000'000);
  CHECK(select->text(1) == "Amélie");
  CHECK(select->text(2) == "\0\xff\7"s);
  REQUIRE(select->step().value());
  CHECK(select->integer(0) == -1);
  CHECK(!select->is_null(1));
  CHECK(select->view(2) == "a\0\xff"s);
  REQUIRE(select->step().value());
  CHECK(select->is_null(0));
  CHECK(select->is_null(1));
  CHECK(!select->is_null(2));
  CHECK(select->view(2).empty());
  CHECK(!select->step().value());
}

TEST_CASE("sqlite: a cached statement comes back clean, two of one text at once are two") {
  const test::TempDir dir;
  const auto db = open_db(dir / "db");
  REQUIRE(db->execute("CREATE TABLE t(n, s, b); INSERT INTO t VALUES(1, 2, 3), (4, 5, 6);"));
  {
    auto half = db->prepare(kSelect);
    REQUIRE(half->step().value());  // left in the middle
    auto second = db->prepare(kSelect);
    REQUIRE(second->step().value());
    CHECK(second->integer(0) == 1);
    REQUIRE(half->step().value());
    CHECK(half->integer(0) == 4);
  }
  auto again = db->prepare(kSelect);
  REQUIRE(again->step().value());
  CHECK(again->integer(0) == 1);
  again->reset();
  REQUIRE(db->prepare(kInsert)->bind(1, 9).run());
  auto unbound = db->prepare(kInsert);  // the parameter of before must not stick
  REQUIRE(unbound->run());
  auto last = db->prepare("SELECT count(*) FROM t WHERE n IS NULL");
  REQUIRE(last->step().value());
  CHECK(last->integer(0) == 1);
}

TEST_CASE("sqlite: a text that is no literal is not mistaken for the one before it") {
  const test::TempDir dir;
  const auto db = open_db(dir / "db");
  std::string text = "SELECT 1";
  CHECK(db->prepare(text)->step().value());
  text.back() = '2';
  auto changed = db->prepare(text);
  REQUIRE(changed->step().value());
  CHECK(changed->integer(0) == 2);
}

TEST_CASE("sqlite: results become codes") {
  const test::TempDir dir;
  {
    const auto db = open_db(dir / "db");
    REQUIRE(db->execute("CREATE TABLE t(n INTEGER PRIMARY KEY)"));
    REQUIRE(db->execute("INSERT INTO t VALUES(1)"));
    CHECK(db->execute("INSERT INTO t VALUES(1)").err().code == ErrorCode::internal);
    const auto bad = db->prepare("SELEKT 1");
    REQUIRE(!bad);
    CHECK(bad.err().code == ErrorCode::internal);
    CHECK(bad.err().message().find(dir / "db") != std::string::npos);
    CHECK(bad.err().message().find("syntax error") != std::string::npos);
    auto misbound = db->prepare("SELECT 1");
    CHECK(misbound->bind(7, 1).step().err().code == ErrorCode::internal);
  }
  const auto reader = Connection::open(dir / "db", Connection::Mode::read_only);
  REQUIRE(reader);
  CHECK((*reader)->execute("INSERT INTO t VALUES(2)").err().code == ErrorCode::read_only);
  CHECK(Connection::open(dir / "missing", Connection::Mode::read_only).err().code == ErrorCode::not_found);
  test::put(dir / "text", std::string(4096, 'x'));
  const auto text = Connection::open(dir / "text", Connection::Mode::read_write_create);
  REQUIRE(text);
  CHECK((*text)->execute("SELECT * FROM sqlite_master").err().code == ErrorCode::corrupt);
}

TEST_CASE("sqlite: a lock that stays is busy, a full database no_space") {
  const test::TempDir dir;
  const auto one = open_db(dir / "db");
  const auto two = open_db(dir / "db");
  REQUIRE(one->execute("CREATE TABLE t(b)"));
  REQUIRE(two->execute("PRAGMA busy_timeout = 0"));
  REQUIRE(one->execute("BEGIN IMMEDIATE"));
  CHECK(two->execute("BEGIN IMMEDIATE").err().code == ErrorCode::busy);
  REQUIRE(one->execute("COMMIT"));
  REQUIRE(two->execute("PRAGMA max_page_count = 3"));
  CHECK(two->execute("INSERT INTO t VALUES(zeroblob(1000000))").err().code == ErrorCode::no_space);
}
