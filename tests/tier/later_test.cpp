#include "tier/catalogue/later.h"

#include <random>

#include "catalogue_fixture.h"

namespace mediafs::tier {

namespace {

std::vector<std::string> names(Later& later) {
  std::vector<std::string> found;
  for (const LaterRecord* r : later.take()) found.push_back(r->request.from + ">" + r->request.to);
  return found;
}

// What a killed process leaves: an own fixture for the journal alone.
struct JournalFixture {
  std::unique_ptr<Later> open(std::uint64_t applied) { return got(Later::open(file(), applied)); }
  std::string file() const { return dir.file("journal"); }
  std::string written(const std::vector<Request>& requests, std::uint64_t applied = 0) {
    const auto later = open(applied);
    for (const Request& r : requests) REQUIRE(later->append(r));
    return bytes_of(file());
  }
  TempDirectory dir;
};

}  // namespace

TEST_CASE_FIXTURE(JournalFixture,
                  "journal: what was done after a group that the database has lost is left out") {
  REQUIRE(open(0)->append(removal("a"), 3));
  CHECK(names(*got(Later::open(file(), 0, 3))) == Lines{"a>"});
  CHECK(names(*got(Later::open(file(), 0, 2))).empty());
}

TEST_CASE_FIXTURE(JournalFixture, "journal: what was appended is there after a kill, in order") {
  written({renaming("a", "D/b"), removal("c")});
  const auto later = open(0);
  REQUIRE(names(*later) == Lines{"a>D/b", "c>"});
  const LaterRecord& first = *later->take().front();
  CHECK(first.number == 1);
  CHECK(first.request.from_visible);
  REQUIRE(first.request.st);
  CHECK(fingerprint_of(*first.request.st) == fingerprint_of(file_stat(11, 100, 1000, 2000)));
  CHECK(first.request.st->st_mode == file_stat(11, 100, 1000).st_mode);
  CHECK_FALSE(later->take().back()->request.st);
  later->done(2);
  CHECK(later->empty());
}

TEST_CASE_FIXTURE(JournalFixture, "journal: a torn tail is dropped, wherever it is torn, and written over") {
  const std::string whole = written({removal("a"), renaming("b", "c"), removal("d")});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    put_bytes(file(), whole.substr(0, size));
    std::size_t there = 0;
    {
      const auto later = open(0);
      there = names(*later).size();
      CHECK(there < 3);
      REQUIRE(later->append(removal("after")));
    }
    const auto later = open(0);
    REQUIRE(names(*later).size() == there + 1);
    CHECK(names(*later).back() == "after>");
    later->done(there + 1);
  }
}

TEST_CASE_FIXTURE(JournalFixture, "journal: a flipped bit ends it") {
  const std::string whole = written({removal("a"), renaming("b", "c")});
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    put_bytes(file(), bytes);
    const auto later = open(0);
    CHECK(names(*later).size() < 2);
    while (!later->empty()) later->done(later->take().back()->number);
  }
}

TEST_CASE_FIXTURE(JournalFixture, "journal: garbage is nothing") {
  std::mt19937 random(1);
  for (const std::size_t size : {1UL, 100UL, 5000UL, 5UL << 20}) {
    std::string bytes(size, '\0');
    for (int round = 0; round < 2; ++round) {
      put_bytes(file(), bytes);
      CHECK(open(0)->empty());
      for (char& c : bytes) c = static_cast<char>(random());
    }
  }
  CHECK_FALSE(std::filesystem::exists(file()));
}

TEST_CASE_FIXTURE(JournalFixture, "journal: what the database has already is not pending again") {
  written({removal("a"), removal("b"), removal("c")}, 10);
  const auto later = open(12);
  CHECK(names(*later) == Lines{"c>"});
  later->done(13);
}

TEST_CASE_FIXTURE(JournalFixture, "journal: left out where the database fell back behind it") {
  written({removal("a"), removal("b")}, 10);
  CHECK(open(9)->empty());
  CHECK_FALSE(std::filesystem::exists(file()));
}

TEST_CASE_FIXTURE(JournalFixture, "journal: written anew from its start, with older records behind the end") {
  {
    const auto later = open(0);
    for (int i = 0; i < 5; ++i) REQUIRE(later->append(removal("old")));
    later->done(5);
    REQUIRE(later->append(removal("new")));
    REQUIRE(later->append(removal("new")));
  }
  {
    const auto later = open(5);
    CHECK(names(*later) == Lines{"new>", "new>"});
    REQUIRE(later->append(removal("and on")));
  }
  const auto later = open(5);
  CHECK(names(*later) == Lines{"new>", "new>", "and on>"});
  later->done(8);
}

TEST_CASE_FIXTURE(JournalFixture, "journal: takes no more than it may, and goes on once there is room") {
  const auto later = open(0);
  for (std::size_t i = 0; i < Later::kMostPending; ++i) REQUIRE(later->append(removal("a")));
  CHECK(later->append(removal("b")).err().code == ErrorCode::busy);
  later->done(Later::kMostPending);
  CHECK(*later->append(removal("b")));
  later->done(Later::kMostPending + 1);
}

TEST_CASE_FIXTURE(JournalFixture, "journal: which names have to do with what is pending") {
  using Touch = Later::Touch;
  const auto later = open(0);
  CHECK(later->look("a") == Touch::none);
  REQUIRE(later->append(renaming("D/a", "E/F/b")));
  CHECK(later->look("D/a") == Touch::gone);
  CHECK(later->look("E/F/b") == Touch::some);
  CHECK(later->look("E/F") == Touch::within);  // it may be made for that
  CHECK(later->look("E/F/b/below") == Touch::some);
  CHECK(later->look("E/F/other") == Touch::none);
  CHECK(later->look("D/ab") == Touch::none);
  CHECK(later->look("") == Touch::none);
  CHECK(later->lists(""));
  CHECK(later->lists("D"));
  CHECK(later->lists("E"));
  CHECK_FALSE(later->lists("D/ab"));
  CHECK_FALSE(later->lists("G"));
  REQUIRE(later->append(renaming("E/F/b", "D/a")));
  CHECK(later->look("D/a") == Touch::some);
  CHECK(later->look("E/F/b") == Touch::gone);
  later->done(1);
  CHECK(later->look("D/a") == Touch::some);
  later->done(2);
  CHECK(later->look("D/a") == Touch::none);
  CHECK_FALSE(later->lists(""));
}

}  // namespace mediafs::tier
