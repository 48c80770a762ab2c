#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "catalogue_fixture.h"
#include "tier/catalogue/internal.h"

namespace mediafs::tier {

namespace {

Result<std::unique_ptr<Catalogue>> open_at_path(const std::string& path, bool read_only) {
  Catalogue::Options options;
  options.path = path;
  options.read_only = read_only;
  return Catalogue::open(std::move(options));
}

std::unique_ptr<sql::Connection> raw(const std::string& path) {
  auto db = sql::Connection::open(path, sql::Connection::Mode::read_write_create);
  REQUIRE(db);
  return std::move(*db);
}

std::int64_t number(sql::Connection& db, std::string_view query) {
  auto statement = db.prepare(query);
  REQUIRE(statement);
  REQUIRE(*statement->step());
  return statement->integer(0);
}

// What a killed process had been doing: every kind of fact, over a few files, for ever. Says so after each.
[[noreturn]] void write_until_killed(const std::string& path, int to_parent, std::uint64_t round) {
  auto opened = open_at_path(path, false);
  if (!opened) ::_exit(3);
  Catalogue& cat = **opened;
  const auto gone = [](const std::string&) { return false; };
  for (std::uint64_t i = 0;; ++i) {
    const std::string name = "r" + std::to_string(round) + "/" + std::to_string(i);
    const struct stat st = file_stat(1'000'000 * (round + 1) + i, 10, 10);
    bool ok = cat.adopt({name, st, true}, gone).has_value();
    const auto node = cat.find(name);
    ok = ok && node && *node;
    if (ok && i % 2 == 0) {
      ok = cat.checksummed((*node)->id, 1, fingerprint_of(st), sums_of(1, 10), true).has_value();
      const auto summed = cat.find(name);
      if (ok && i % 4 == 0)
        ok = cat.uploaded((*node)->id, 1, CatalogueFixture::object_of(**summed)).has_value();
    }
    if (ok && i % 3 == 0) ok = cat.rename({name, name + "-renamed", std::nullopt, true, true}).has_value();
    if (ok && i % 5 == 0) ok = cat.remove(name, true).has_value();
    ok = ok && cat.jobs().take("checksum", 1) && cat.set_setting("acknowledged", std::to_string(i));
    if (!ok || ::write(to_parent, "x", 1) != 1) ::_exit(4);
  }
}

// Kills the child after `count` acknowledged rounds of facts.
void kill_after(const std::string& path, std::size_t count, std::uint64_t round) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) write_until_killed(path, ends[1], round);
  ::close(ends[1]);
  char byte = 0;
  std::size_t got = 0;
  while (got < count && ::read(ends[0], &byte, 1) == 1) ++got;
  ::kill(child, SIGKILL);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  ::close(ends[0]);
  REQUIRE(got == count);
  REQUIRE(WIFSIGNALED(status));
}

}  // namespace

TEST_CASE_FIXTURE(CatalogueFixture, "kill -9: every acknowledged fact is there, and none without its job") {
  for (std::uint64_t round = 0; round < 6; ++round) {
    close();
    const std::size_t count = 3 + round * 7;
    kill_after(db_path(), count, round);
    reopen();
    CHECK(cat().check());
    CHECK(std::stoul(*cat().setting("acknowledged")) + 1 >= count);
    const auto log = *cat().changes(0, 100'000, false);
    REQUIRE(static_cast<std::int64_t>(log.size()) == cat().version());
    CHECK(log.back().version == cat().version());
    CHECK(jobs().list(JobState::running, 10)->empty());
    const auto queued = got(jobs().list(JobState::queued, 100'000));
    const auto queued_for = [&](std::string_view stage, std::int64_t id) {
      return std::any_of(queued.begin(), queued.end(),
                         [&](const Job& j) { return j.stage == stage && j.file_id == id; });
    };
    for (const Node& n : got(cat().walk("", "", 100'000))) {
      if (!n.checksum) CHECK(queued_for("checksum", n.id));
      if (n.checksum && !n.vault) CHECK(queued_for("upload", n.id));
      if (n.vault && n.vault->key != n.path) {
        CHECK(has_job("relocate", n.path));
        CHECK(*cat().is_tombstoned(n.vault->key));
      }
    }
    auto db = raw(db_path());
    CHECK(number(*db, "SELECT count(*) FROM copy WHERE node NOT IN (SELECT id FROM node)") == 0);
    CHECK(number(*db, "SELECT count(*) FROM node WHERE id > 1 AND parent NOT IN (SELECT id FROM node)") == 0);
    CHECK(number(
              *db,
              "SELECT count(*) FROM tombstone WHERE key NOT IN (SELECT path FROM job WHERE stage = 'forget') "
              "AND key NOT IN (SELECT key FROM copy WHERE branch = 2)") == 0);
  }
}

TEST_CASE_FIXTURE(CatalogueFixture, "a call that fails half-way leaves nothing") {
  synced("a", 11, 1);
  adopted("f", file_stat(12, 5, 10));
  const auto status = cat().rename({"a", "f/b", std::nullopt, true, true});
  REQUIRE_FALSE(status);
  CHECK(status.err().code == ErrorCode::not_directory);
  CHECK(node("a"));
  CHECK(job_count("relocate") == 0);
  CHECK_FALSE(*cat().is_tombstoned("a"));
  CHECK(cat().version() == 2);
}

TEST_CASE_FIXTURE(CatalogueFixture, "a catalogue of an older version is brought up to date") {
  close();
  const std::string path = dir().file("old.db");
  {
    auto db = raw(path);
    REQUIRE(rows::migrate(*db, 1));
    REQUIRE(
        db->execute("INSERT INTO node (id, parent, name, kind, generation, size, checksum) VALUES (5, 1, "
                    "x'61', 2, 3, 10, x'00');"
                    "INSERT INTO copy (node, branch, generation, size, mtime, ctime, device, inode, since) "
                    "VALUES (5, 1, 3, 10, 1, 1, 7, 11, 50);"
                    "INSERT INTO copy (node, branch, generation, size, mtime, key, etag, checksum, since) "
                    "VALUES (5, 2, 3, 10, 1, x'61', 'e', x'00', 60);"
                    "INSERT INTO change (version, kind, path, at) VALUES (41, 1, x'61', 5)"));
  }
  const auto refused = open_at_path(path, true);
  REQUIRE_FALSE(refused);
  CHECK(refused.err().code == ErrorCode::unsupported);
  auto opened = open_at_path(path, false);
  REQUIRE(opened);
  CHECK((*opened)->version() == 41);
  REQUIRE((*opened)->evictable(10)->size() == 1);
  CHECK((*opened)->evictable(10)->at(0).path == "a");
}

TEST_CASE_FIXTURE(CatalogueFixture, "a catalogue of the version before gets a trash, and keeps what it has") {
  close();
  const std::string path = dir().file("before.db");
  {
    auto db = raw(path);
    REQUIRE(rows::migrate(*db, 4));
    REQUIRE(
        db->execute("INSERT INTO node (id, parent, name, kind, generation, size, checksum) VALUES (5, 1, "
                    "x'61', 2, 1, 10, x'00112233445566778899aabbccddeeff');"
                    "INSERT INTO copy (node, branch, generation, size, mtime, key, etag, checksum, since) "
                    "VALUES (5, 2, 1, 10, 1, x'61', 'e', x'00112233445566778899aabbccddeeff', 60);"
                    "INSERT INTO tombstone (key, at) VALUES (x'62', 5);"
                    "INSERT INTO job (stage, file, generation, path, state, created, not_before, changed) "
                    "VALUES ('forget', 0, 0, x'62', 1, 1, 1, 1)"));
  }
  auto opened = Catalogue::open({.path = path, .keeps_trash = true, .clock = &clock});
  REQUIRE(opened);
  Catalogue& catalogue = **opened;
  CHECK(got(catalogue.trash("", 0, 10)).empty());
  CHECK(*catalogue.is_tombstoned("b"));
  CHECK(got(catalogue.jobs().list(JobState::queued, 10)).size() == 1);
  REQUIRE(catalogue.remove("a", true));
  const auto entries = got(catalogue.trash("", 0, 10));
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].path == "a");
  CHECK(entries[0].state == TrashState::waiting);
  CHECK(entries[0].size_bytes == 10);
  CHECK(got(catalogue.trash_waiting("a")).has_value());
  CHECK(catalogue.totals()->trash.files == 1);
}

TEST_CASE_FIXTURE(CatalogueFixture, "a newer, a foreign and a broken file are refused with what to do") {
  close();
  {
    auto db = raw(db_path());
    REQUIRE(db->execute("PRAGMA user_version = 99"));
  }
  const auto newer = open_at_path(db_path(), false);
  REQUIRE_FALSE(newer);
  CHECK(newer.err().code == ErrorCode::unsupported);
  CHECK(newer.err().cause.find("newer") != std::string::npos);
  const std::string foreign = dir().file("foreign.db");
  {
    auto db = raw(foreign);
    REQUIRE(db->execute("CREATE TABLE bookmarks (a)"));
  }
  const auto not_ours = open_at_path(foreign, false);
  REQUIRE_FALSE(not_ours);
  CHECK(not_ours.err().code == ErrorCode::unsupported);
  const std::string garbage = dir().file("garbage.db");
  std::ofstream(garbage) << std::string(8192, 'g');
  const auto broken = open_at_path(garbage, false);
  REQUIRE_FALSE(broken);
  CHECK(broken.err().code == ErrorCode::corrupt);
  CHECK(broken.err().cause.find("mediafs rebuild") != std::string::npos);
  CHECK_FALSE(open_at_path(dir().file("absent.db"), true));
  CHECK_FALSE(open_at_path(dir().file("no/such/directory.db"), false));
}

TEST_CASE_FIXTURE(CatalogueFixture, "check finds damage") {
  for (int i = 0; i < 300; ++i)
    adopted("f" + std::to_string(i), file_stat(100 + static_cast<std::uint64_t>(i), 5, 10));
  CHECK(cat().check());
  close();
  {
    auto db = raw(db_path());
    REQUIRE(db->execute("PRAGMA wal_checkpoint(TRUNCATE)"));
  }
  const auto size = std::filesystem::file_size(db_path());
  REQUIRE(size > 16 * 4096);
  std::fstream file(db_path(), std::ios::in | std::ios::out | std::ios::binary);
  for (std::uintmax_t page = 2; page < size / 4096; ++page) {  // all but the schema
    file.seekp(static_cast<std::streamoff>(page * 4096));
    file << std::string(4096, '\xee');
  }
  file.close();
  const auto opened = open_at_path(db_path(), false);
  const Status status = opened ? (*opened)->check() : Status{opened.err()};
  REQUIRE_FALSE(status);
  CHECK(status.err().code == ErrorCode::corrupt);
}

TEST_CASE_FIXTURE(CatalogueFixture, "a second process reads while the daemon writes") {
  adopted("a", file_stat(11, 5, 10));
  auto reader = open_at_path(db_path(), true);
  REQUIRE(reader);
  CHECK((*reader)->find("a")->has_value());
  adopted("b", file_stat(12, 5, 10));
  CHECK((*reader)->find("b")->has_value());
  CHECK((*reader)->version() == 2);
  CHECK((*reader)->jobs().counts()->at(0).queued == 2);
  CHECK((*reader)->evictable(5)->empty());
  CHECK((*reader)->remove("a", true).err().code == ErrorCode::read_only);
  CHECK((*reader)->jobs().retry_dead().err().code == ErrorCode::read_only);
  (*reader)->opened(1, 5);
  close();
  CHECK((*reader)->find("b")->has_value());
  CHECK(open_at_path(db_path(), true));  // without a daemon too
}

TEST_CASE_FIXTURE(CatalogueFixture, "those who read see each commit, and keep the log from none") {
  const std::string log = db_path() + "-wal";
  std::uintmax_t largest = 0;
  for (std::uint64_t n = 1; n <= 3000; ++n) {
    const std::string name = "d/f" + std::to_string(n);
    adopted(name, file_stat(n, 5, 10));
    REQUIRE(cat().find(name)->has_value());
    REQUIRE_FALSE(cat().find("d/F")->has_value());
    if (n % 100 == 0) largest = std::max(largest, std::filesystem::file_size(log));
  }
  CHECK(largest < 16U << 20);
}

namespace {

// A filesystem of its own.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& path, const char* options) : path_(path) {
    std::filesystem::create_directory(path_);
    mounted = ::mount("small", path_.c_str(), "tmpfs", 0, options) == 0;
  }
  ~SmallDisk() {
    if (mounted) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  void fill() const {
    std::ofstream hog(path_ + "/hog", std::ios::binary);
    const std::string block(4096, 'x');
    while (hog.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  bool mounted = false;

 private:
  const std::string path_;
};

}  // namespace

TEST_CASE("on a full disk the catalogue goes on with what it had kept") {
  TempDirectory dir;
  const SmallDisk disk(dir.file("disk"), "size=24m");
  if (!disk.mounted) {
    MESSAGE("skipped: needs root, to mount a small disk");
    return;
  }
  Catalogue::Options options;
  options.path = dir.file("disk/catalogue.db");
  options.ballast_bytes = 2U << 20;
  SUBCASE("while it is open") {
    auto catalogue = got(Catalogue::open(options));
    REQUIRE(catalogue->adopt({"a", file_stat(11, 5, 10), true}, [](const std::string&) { return false; }));
    disk.fill();
    REQUIRE(catalogue->rename_later({"a", "b", file_stat(11, 5, 10), true, true}));
    CHECK(got(catalogue->find("b")).has_value());
    CHECK(got(catalogue->list("")).size() == 1);
  }
  SUBCASE("when it is opened") {
    static_cast<void>(got(Catalogue::open(options)));
    disk.fill();
    CHECK(Catalogue::open(options).has_value());
  }
}

TEST_CASE_FIXTURE(CatalogueFixture, "a backup is a whole catalogue, and replaces the one before") {
  adopted("a", file_stat(11, 5, 10));
  const std::string file = dir().file("it's a backup.db");
  REQUIRE(cat().backup_to(file));
  adopted("b", file_stat(12, 5, 10));
  REQUIRE(cat().backup_to(file));
  auto copy = open_at_path(file, false);
  REQUIRE(copy);
  CHECK((*copy)->find("b")->has_value());
  CHECK((*copy)->version() == 2);
  CHECK_FALSE(std::filesystem::exists(file + ".part"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "the changelog is trimmed, the version goes on") {
  close();
  {
    auto db = raw(db_path());
    REQUIRE(
        db->execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100998) "
                    "INSERT INTO change (version, kind, path, at) SELECT i, 1, x'61', 0 FROM n"));
  }
  reopen();
  adopted("a", file_stat(11, 5, 10));
  CHECK(cat().changes(0, 1, false)->at(0).version == 1);
  adopted("b", file_stat(12, 5, 10));
  CHECK(cat().version() == 101'000);
  CHECK(cat().changes(0, 1, false)->at(0).version == 1001);
  CHECK(cat().changes(0, 1, true)->at(0).version == 101'000);
  CHECK(cat().changes(101'000, 1, true)->empty());
  reopen();
  CHECK(cat().version() == 101'000);
}

TEST_CASE_FIXTURE(CatalogueFixture, "walk goes through all files in the order of their paths, page by page") {
  Lines paths{"a.b", "a/x", "a/y/z", "a0", "b/.hidden", "b/c", "b", "z"};
  paths.erase(std::find(paths.begin(), paths.end(), "b"));
  for (std::size_t i = 0; i < paths.size(); ++i) adopted(paths[i], file_stat(11 + i, 5, 10));
  std::sort(paths.begin(), paths.end());
  for (const std::size_t limit : {1UL, 2UL, 100UL}) {
    Lines found;
    std::string after;
    for (;;) {
      const auto page = *cat().walk("", after, limit);
      if (page.empty()) break;
      for (const Node& n : page) found.push_back(n.path);
      after = found.back();
    }
    CHECK(found == paths);
  }
  CHECK(cat().walk("a", "", 100)->size() == 2);
  CHECK(cat().walk("a", "a/x", 100)->at(0).path == "a/y/z");
  CHECK(cat().walk("z", "", 100)->size() == 1);
  CHECK(cat().walk("nowhere", "", 100)->empty());
}

TEST_CASE_FIXTURE(CatalogueFixture, "sync has something to write, for an empty commit reaches no disk") {
  CHECK(got(cat().setting("synced")).empty());
  REQUIRE(cat().sync());
  CHECK_FALSE(got(cat().setting("synced")).empty());
}

TEST_CASE_FIXTURE(CatalogueFixture, "settings last, and ids are never used again") {
  CHECK(cat().setting("vault.listed")->empty());
  REQUIRE(cat().set_setting("vault.listed", "yes"));
  const Node first = adopted("a", file_stat(11, 5, 10));
  REQUIRE(cat().remove("a", true));
  reopen();
  CHECK(*cat().setting("vault.listed") == "yes");
  CHECK(adopted("a", file_stat(12, 5, 10)).id > first.id);
  CHECK(cat().find(999)->has_value() == false);
}

}  // namespace mediafs::tier
