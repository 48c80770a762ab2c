// Damage is noticed before a catalogue is used, and what is damaged is set aside and never written to.
#include "tier/catalogue/health.h"

#include <fstream>

#include "catalogue_fixture.h"

namespace mediafs::tier {

namespace {

namespace stdfs = std::filesystem;
constexpr WallNs kNow = 1'800'000'000'000'000'000;

class HealthFixture : public CatalogueFixture {
 public:
  HealthFixture() {
    for (int n = 0; n < 400; ++n)
      adopted("Shows/a file with a long name " + std::to_string(n), file_stat(1000 + n, 5, 10));
    version = cat().version();
    close();
  }
  Readiness ready() { return got(make_ready({.path = db_path(), .now_ns = kNow})); }
  void spoil(std::uint64_t offset, const std::string& bytes) const {
    std::fstream file(db_path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }
  std::unique_ptr<Catalogue> open(const Readiness& r) {
    return got(Catalogue::open({.path = db_path(), .lost = r.lost, .version_floor = r.version_floor}));
  }
  std::int64_t version = 0;
};

}  // namespace

TEST_CASE_FIXTURE(HealthFixture,
                  "a sound catalogue, and one that was never there, are no cause for anything") {
  CHECK(ready().lost.empty());
  stdfs::remove(db_path());
  CHECK(ready().lost.empty());
  put_bytes(db_path(), "");
  CHECK(ready().lost.empty());
}

TEST_CASE_FIXTURE(HealthFixture,
                  "a damaged catalogue is set aside as it is, and the new one says that it is incomplete") {
  const auto size = stdfs::file_size(db_path());
  REQUIRE(size > 40'000);
  SUBCASE("pages in the middle are zero") {
    spoil(16'384, std::string(16'384, '\0'));
  }
  SUBCASE("it is cut off") {
    stdfs::resize_file(db_path(), size / 2 + 100);
  }
  SUBCASE("it is something else") {
    put_bytes(db_path(), std::string(size, 'x'));
  }
  SUBCASE("its header is gone") {
    spoil(0, std::string(100, '\0'));
  }
  SUBCASE("random bytes") {
    spoil(8192, std::string(4096, '\x5a'));
  }
  const std::string before = bytes_of(db_path());
  Readiness r = ready();
  CHECK_FALSE(r.lost.empty());
  REQUIRE_FALSE(r.aside.empty());
  CHECK(bytes_of(r.aside) == before);
  CHECK_FALSE(stdfs::exists(db_path()));
  CHECK(r.version_floor > version);
  // Killed here, and again after the new one was made: the next start goes on, and the damaged one is still there.
  r = ready();
  CHECK_FALSE(r.lost.empty());
  put_bytes(db_path(), "half made");
  r = ready();
  CHECK(bytes_of(r.aside) == before);
  stdfs::remove(db_path());
  {
    const auto fresh = open(r);
    CHECK(fresh->incomplete() == r.lost);
    CHECK(fresh->version() == r.version_floor);
  }
  CHECK(ready().lost.empty());  // it is sound
  reopen();
  CHECK(cat().incomplete() == r.lost);
  CHECK(bytes_of(r.aside) == before);
  REQUIRE(cat().completed());
  reopen();
  CHECK(cat().incomplete().empty());
  CHECK(cat().version() == r.version_floor);
  adopted("new", file_stat(11, 5, 10));
  CHECK(cat().version() == r.version_floor + 1);
}

TEST_CASE_FIXTURE(HealthFixture, "a catalogue that is gone, where a vault was known, is a lost one") {
  put_bytes(dir().file(kKnownVaultFile), "id\n");
  SUBCASE("gone") {
    stdfs::remove(db_path());
  }
  SUBCASE("empty") {
    put_bytes(db_path(), "");
  }
  const Readiness r = ready();
  CHECK_FALSE(r.lost.empty());
  CHECK(r.version_floor >= kNow / 1'000'000'000);
}

TEST_CASE_FIXTURE(HealthFixture,
                  "the data version goes on above what a catalogue told that was lost before, too") {
  REQUIRE(note_version(db_path(), kNow));
  put_bytes(db_path(), "nothing of it can be read");
  CHECK(ready().version_floor > kNow + 1000);
}

TEST_CASE_FIXTURE(HealthFixture, "a catalogue whose log is gone after a kill is looked at whole") {
  put_bytes(db_path() + "-open", "open\n");
  CHECK(ready().behind);
  put_bytes(db_path() + "-open", "closing\n");
  CHECK_FALSE(ready().behind);
}

TEST_CASE_FIXTURE(HealthFixture,
                  "damage that is met while the catalogue is in use is remembered for the next start") {
  reopen();
  spoil(16'384, std::string(stdfs::file_size(db_path()) - 16'384, '\x5a'));
  REQUIRE_FALSE(cat().check());
  CHECK(cat().damaged());
  CHECK(stdfs::exists(db_path() + "-damaged"));
  close();
  CHECK_FALSE(ready().lost.empty());
  CHECK_FALSE(stdfs::exists(db_path() + "-damaged"));
}

}  // namespace mediafs::tier
