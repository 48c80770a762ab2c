#include "tier/catalogue/later.h"

#include <thread>

#include "catalogue_fixture.h"
#include "common/sqlite.h"

namespace mediafs::tier {

namespace {

// The daemon was killed after these had been answered.
void left_behind(CatalogueFixture& f, const std::vector<Request>& requests) {
  const std::string text = got(f.cat().setting("later.applied"));
  f.close();
  const auto later = got(Later::open(f.db_path() + "-later", text.empty() ? 0 : std::stoull(text)));
  REQUIRE(later->empty());
  for (const Request& r : requests) REQUIRE(later->append(r));
}

// Nothing is committed while this lives: what is pending stays so.
class Blocked {
 public:
  explicit Blocked(const std::string& path)
      : db_(got(sql::Connection::open(path, sql::Connection::Mode::read_write_create))) {
    REQUIRE(db_->execute("BEGIN IMMEDIATE"));
  }
  ~Blocked() { CHECK(db_->execute("ROLLBACK")); }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

 private:
  std::unique_ptr<sql::Connection> db_;
};

}  // namespace

TEST_CASE_FIXTURE(CatalogueFixture, "later: every read sees what was answered") {
  const Node old = synced("a", 11, 1);
  synced("gone", 12, 2);
  const auto before = cat().version();
  mv("a", "D/b");
  REQUIRE(cat().rename_later({"a", "D/b", disk["D/b"], true, true}));
  CHECK_FALSE(node("a"));
  CHECK(node("D/b")->id == old.id);
  REQUIRE(cat().remove_later("gone", true));
  CHECK_FALSE(node("gone"));
  CHECK(cat().version() == before + 2);
  REQUIRE(cat().rename_later({"D/b", "D/c", disk["D/b"], true, true}));
  CHECK(cat().list("D")->at(0).name == "c");
  REQUIRE(cat().rename_later({"D/c", "D/d", disk["D/b"], true, true}));
  CHECK(changes(before) == Lines{"a>D/b", "-gone", "D/b>D/c", "D/c>D/d"});
  REQUIRE(cat().rename_later({"D/d", "e", disk["D/b"], true, true}));
  CHECK(cat().walk("", "", 10)->at(0).path == "e");
  REQUIRE(cat().rename_later({"e", "f", disk["D/b"], true, true}));
  CHECK(cat().find(old.id)->value().path == "f");
  CHECK(has_job("relocate", "f"));
  REQUIRE(cat().remove_later("f", true));
  CHECK(*cat().is_tombstoned("a"));
  CHECK(cat().totals()->local.files == 0);
  CHECK(has_job("forget", "a"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "later: every write comes after what was answered") {
  synced("a", 11, 1);
  REQUIRE(cat().remove_later("a", true));
  adopted("a", file_stat(12, 5, 10));  // made anew at once
  CHECK(node("a")->local->fingerprint.inode == 12);
  CHECK(changes(1) == Lines{"-a", "+a"});
  mv("a", "D/b");
  REQUIRE(cat().rename_later({"a", "D/b", disk["D/b"], true, true}));
  REQUIRE(cat().rename({"D", "E", directory_stat(20), true, true}));
  CHECK(node("E/b"));
  CHECK_FALSE(node("D"));
  REQUIRE(cat().rename_later({"E/b", "E/c", disk["D/b"], true, true}));
  CHECK(cat().remove("E", true).err().code == ErrorCode::not_empty);
  REQUIRE(cat().remove_later("E/c", true));
  CHECK(cat().remove("E", true));
}

TEST_CASE_FIXTURE(CatalogueFixture, "later: who is told of jobs and changes is told") {
  synced("a", 11, 1);
  REQUIRE(cat().sync());
  REQUIRE(cat().sync());
  told_jobs.clear();
  told_versions.clear();
  mv("a", "b");
  REQUIRE(cat().rename_later({"a", "b", disk["b"], true, true}));
  REQUIRE(cat().sync());
  REQUIRE(cat().sync());  // the writer has told before it goes on
  CHECK(told_jobs == Lines{"relocate"});
  CHECK(told_versions == std::vector<std::int64_t>{2});
}

TEST_CASE_FIXTURE(CatalogueFixture, "later: what has nothing to do with it is read without a wait") {
  synced("a", 11, 1);
  synced("D/c", 12, 2);
  synced("x", 13, 3);
  adopted("D", directory_stat(30));
  const Node v = synced("v", 14, 4);
  REQUIRE(cat().drop_local(v.id, v.generation, v.local->fingerprint));
  {
    const Blocked nothing_is_committed(db_path());
    mv("a", "b");
    REQUIRE(cat().rename_later({"a", "b", disk["b"], true, true}));
    REQUIRE(cat().remove_later("x", true));
    CHECK(node("D/c"));
    CHECK_FALSE(node("nowhere"));
    CHECK(cat().list("D")->size() == 1);
    CHECK_FALSE(node("a"));  // known without the database
    CHECK_FALSE(node("x"));
    CHECK(*cat().new_inode(7, 99) == 99);
    REQUIRE(cat().remove_later("D/c", true));
    CHECK(node("D"));  // what goes on in it leaves its row alone
    const auto moment = cat().moment();
    REQUIRE(cat().rename_later({"v", "D/w", {}, true, true, {}, true}));  // the vault alone has it
    CHECK_FALSE(node("v"));
    CHECK(cat().moment() > moment);
  }
  CHECK(node("b"));
  CHECK(node("D/w")->id == v.id);
  CHECK(has_job("relocate", "D/w"));
  CHECK(cat().list("")->size() == 2);
}

TEST_CASE_FIXTURE(CatalogueFixture, "later: a file is opened under its old name, then under its new one") {
  synced("a", 11, 1);
  synced("b", 12, 2);
  adopted("c", file_stat(13, 5, 10));
  cat().opened("a", 1000);
  cat().opened("nowhere", 1000);
  mv("a", "D/a");
  REQUIRE(cat().rename_later({"a", "D/a", disk["D/a"], true, true}));
  mv("b", "D/b");
  REQUIRE(cat().rename_later({"b", "D/b", disk["D/b"], true, true}));
  cat().opened("D/b", 2000);
  cat().opened("c", 3000);
  CHECK(cat().evictable(10)->size() == 2);  // which writes what was opened
  CHECK(node("D/a")->last_open_ns == 1000);
  CHECK(node("D/b")->last_open_ns == 2000);
  CHECK(node("c")->last_open_ns == 3000);
}

TEST_CASE_FIXTURE(CatalogueFixture, "later: a second process sees it soon, though nobody asks for it here") {
  synced("a", 11, 1);
  Catalogue::Options options;
  options.path = db_path();
  options.read_only = true;
  const auto reader = got(Catalogue::open(std::move(options)));
  mv("a", "b");
  REQUIRE(cat().rename_later({"a", "b", disk["b"], true, true}));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!got(reader->find("b")) && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  CHECK(got(reader->find("b")));
  CHECK_FALSE(got(reader->find("a")));
}

TEST_CASE_FIXTURE(CatalogueFixture, "later: applied at the next start, before anything is read") {
  synced("a", 11, 1);
  synced("b", 12, 2);
  left_behind(*this, {renaming("a", "D/c"), removal("b"), renaming("D/c", "D/d"), renaming("new", "e", 30)});
  CHECK(std::filesystem::exists(db_path() + "-later"));
  told_versions.clear();
  reopen();
  CHECK(cat().version() == 6);
  CHECK(told_versions.empty());
  CHECK(changes(2) == Lines{"a>D/c", "-b", "D/c>D/d", "+e"});
  CHECK(node("D/d"));
  CHECK(node("e")->local->fingerprint.inode == 30);
  CHECK(has_job("relocate", "D/d"));
  CHECK(has_job("forget", "b"));
  close();
  CHECK_FALSE(std::filesystem::exists(db_path() + "-later"));
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "later: killed between the commit and the journal's end, nothing comes twice") {
  synced("a", 11, 1);
  left_behind(*this, {removal("a"), renaming("new", "a", 12)});
  const std::string journal = bytes_of(db_path() + "-later");
  for (int start = 0; start < 3; ++start) {
    put_bytes(db_path() + "-later", journal);
    reopen();
    CHECK(changes(1) == Lines{"-a", "+a"});
    CHECK(node("a")->local->fingerprint.inode == 12);
    if (start == 1) REQUIRE(cat().remove_later("nowhere", true));  // other numbers by now
    close();
  }
}

TEST_CASE_FIXTURE(CatalogueFixture, "later: what can't be applied is left out, what follows it is not") {
  synced("D/a", 11, 1);
  synced("b", 12, 2);
  synced("c", 13, 3);
  left_behind(*this, {removal("D"), renaming("b", "c/d"), removal("c")});
  reopen();
  CHECK(node("D/a"));
  CHECK(node("b"));
  CHECK_FALSE(node("c"));
  CHECK(changes(3) == Lines{"-c"});
}

TEST_CASE_FIXTURE(CatalogueFixture, "later: a full disk makes it wait for the commit") {
  close();
  std::filesystem::create_symlink("/dev/full", db_path() + "-later");
  reopen();
  synced("a", 11, 1);
  synced("b", 12, 2);
  mv("a", "c");
  REQUIRE(cat().rename_later({"a", "c", disk["c"], true, true}));
  REQUIRE(cat().remove_later("b", true));
  {
    const Blocked not_needed_any_more(db_path());
    CHECK(node("c"));
    CHECK_FALSE(node("b"));
  }
  CHECK(changes(2) == Lines{"a>c", "-b"});
}

TEST_CASE_FIXTURE(CatalogueFixture, "later: more than the journal takes") {
  for (std::uint64_t i = 0; i < 3; ++i) adopted("f" + std::to_string(i), file_stat(100 + i, 5, 10));
  constexpr std::size_t kMany = Later::kMostPending + 100;
  struct stat st = file_stat(100, 5, 10);
  for (std::size_t i = 0; i < kMany; ++i) {
    const std::string from = i == 0 ? "f0" : "g" + std::to_string(i - 1);
    REQUIRE(cat().rename_later({from, "g" + std::to_string(i), st, true, true}));
  }
  CHECK(cat().version() == static_cast<std::int64_t>(3 + kMany));
  CHECK(node("g" + std::to_string(kMany - 1)));
  CHECK(cat().list("")->size() == 3);
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "a name that no row has is answered without the database; every other is found") {
  const auto known = [this](const std::string& path) { return cat().find(path)->has_value(); };
  CHECK_FALSE(known("D/.film.mkv.sha1"));
  REQUIRE(*cat().import_listing({{"D/.film.mkv.sha1", 5, 1, "e"}, {"D/film.mkv", 5, 1, "e"}}) == 2);
  CHECK(known("D"));
  CHECK(known("D/.film.mkv.sha1"));
  CHECK(known("D/film.mkv"));
  reopen();
  CHECK(known("D/film.mkv"));
  REQUIRE(cat().rename({"D", "E", {}, true, true}));
  CHECK(known("E"));
  CHECK(known("E/film.mkv"));
  CHECK_FALSE(known("D/film.mkv"));
  REQUIRE(cat().rename({"E/film.mkv", "other.mkv", {}, true, true}));
  CHECK(known("other.mkv"));
  left_behind(*this, {renaming("other.mkv", "third.mkv", 40)});
  reopen();
  CHECK(known("third.mkv"));
  close();
  Catalogue::Options options;
  options.path = db_path();
  options.read_only = true;
  auto reader = Catalogue::open(std::move(options));
  REQUIRE(reader);
  CHECK((*reader)->find("third.mkv")->has_value());
}

}  // namespace mediafs::tier
