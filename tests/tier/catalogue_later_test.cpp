#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "catalogue_fixture.h"
#include "common/sqlite.h"
#include "tier/catalogue/later.h"

namespace mediafs::tier {

using Lines = std::vector<std::string>;
using Request = Catalogue::RenameRequest;

namespace {

Request removal(const std::string& path) {
  return {path, {}, {}, true, true};
}

Request renaming(const std::string& from, const std::string& to, std::uint64_t inode = 11) {
  return {from, to, file_stat(inode, 100, 1000, 2000), true, true};
}

std::string bytes_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void put_bytes(const std::string& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

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

// --- the journal

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
  CHECK(later->look("E/F") == Touch::some);  // it may be made for that
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

// --- the catalogue behind it

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
  }
  CHECK(node("b"));
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

namespace {

// One thread's directory: files, by name, with the row's id.
class Model {
 public:
  Model(Catalogue& cat, unsigned n)
      : cat_(cat), dir_("t" + std::to_string(n)), random_(n), inode_(n * 1000000ULL) {}

  // What differs from the model; "" for nothing.
  std::string act() {
    const std::string a = name();
    const std::string b = name();
    switch (random_() % 6) {
      case 0:
        return make(a);
      case 1:
      case 2:
        return move(a, b);
      case 3:
        files_.erase(a);
        return cat_.remove_later(a, true) ? "" : "remove " + a;
      case 4:
        return look(a);
      default:
        return random_() % 8 == 0 ? list() : look(b);
    }
  }

  std::string list() {
    std::set<std::string> want;
    for (const auto& [path, inode] : files_) want.insert(path.substr(dir_.size() + 1));
    const auto entries = cat_.list(dir_);
    if (!entries) return entries.err().message();
    std::set<std::string> have;
    for (const DirEntry& entry : *entries) have.insert(entry.name);
    return have == want ? "" : "list " + dir_;
  }

  std::string look(const std::string& path) {
    const auto found = cat_.find(path);
    if (!found) return found.err().message();
    const auto known = files_.find(path);
    if (known == files_.end()) return *found ? "there: " + path : "";
    return *found && (*found)->local && (*found)->local->fingerprint.inode == known->second ? ""
                                                                                            : "look " + path;
  }

  std::string look_everywhere() {
    for (int i = 0; i < kNames; ++i) {
      if (std::string trouble = look(dir_ + "/" + std::to_string(i)); !trouble.empty()) return trouble;
    }
    return list();
  }

 private:
  static constexpr int kNames = 12;
  std::string name() { return dir_ + "/" + std::to_string(random_() % kNames); }

  std::string make(const std::string& path) {
    if (files_.contains(path)) return "";
    const auto adopted =
        cat_.adopt({path, file_stat(++inode_, 5, 10), true}, [](const std::string&) { return true; });
    files_[path] = inode_;
    return adopted ? "" : adopted.err().message();
  }

  std::string move(const std::string& from, const std::string& to) {
    const auto at = files_.find(from);
    if (at == files_.end() || from == to) return "";
    const std::uint64_t inode = at->second;
    files_.erase(at);
    files_[to] = inode;
    const Request request{from, to, file_stat(inode, 5, 10), true, true};
    const Status done = random_() % 4 == 0 ? cat_.rename(request) : cat_.rename_later(request);
    return done ? "" : done.err().message();
  }

  Catalogue& cat_;
  std::string dir_;
  std::mt19937 random_;
  std::uint64_t inode_;
  std::map<std::string, std::uint64_t> files_;

 public:
  Model(Catalogue& cat, const Model& o)
      : cat_(cat), dir_(o.dir_), random_(o.random_), inode_(o.inode_), files_(o.files_) {}
};

}  // namespace

TEST_CASE_FIXTURE(CatalogueFixture,
                  "later: eight threads against a model, and what they did is there after a start") {
  constexpr unsigned kThreads = 8;
  std::vector<std::unique_ptr<Model>> movers;
  for (unsigned n = 0; n < kThreads; ++n) movers.push_back(std::make_unique<Model>(cat(), n + 1));
  for (int round = 0; round < 4; ++round) {
    std::vector<std::string> troubles(kThreads);
    {
      std::vector<std::jthread> threads;
      for (unsigned n = 0; n < kThreads; ++n) {
        threads.emplace_back([&, n] {
          for (int i = 0; i < 150 && troubles[n].empty(); ++i) troubles[n] = movers[n]->act();
        });
      }
    }
    for (const std::string& trouble : troubles) CHECK(trouble == "");
    reopen();
    for (auto& mover : movers) {
      mover = std::make_unique<Model>(cat(), *mover);
      CHECK(mover->look_everywhere() == "");
    }
    CHECK(static_cast<std::int64_t>(cat().changes(0, 100'000, false)->size()) == cat().version());
    CHECK(cat().check());
  }
}

namespace {

// Renames and removes for ever, each step answered to the parent.
[[noreturn]] void rename_until_killed(const std::string& path, int to_parent, std::uint64_t first) {
  Catalogue::Options options;
  options.path = path;
  auto opened = Catalogue::open(std::move(options));
  if (!opened) ::_exit(3);
  Catalogue& cat = **opened;
  for (std::uint64_t i = first;; ++i) {
    const std::string name = "f" + std::to_string(i);
    const struct stat st = file_stat(1000 + i, 5, 10);
    bool ok = cat.rename_later({"new", name, st, true, true}).has_value();
    ok = ok && cat.rename_later({name, "D/" + name, st, true, true});
    if (i % 2 == 0) ok = ok && cat.remove_later("D/" + name, true);
    if (i % 7 == 0) ok = ok && cat.find("D/" + name);
    if (!ok || ::write(to_parent, "x", 1) != 1) ::_exit(4);
  }
}

}  // namespace

TEST_CASE_FIXTURE(CatalogueFixture, "later: kill -9: everything that was answered is there, once") {
  std::uint64_t first = 0;
  for (const std::uint64_t count : {1, 2, 5, 60, 400}) {
    close();
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) rename_until_killed(db_path(), ends[1], first);
    ::close(ends[1]);
    char byte = 0;
    std::uint64_t answered = 0;
    while (answered < count && ::read(ends[0], &byte, 1) == 1) ++answered;
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    while (::read(ends[0], &byte, 1) == 1) ++answered;
    ::close(ends[0]);
    REQUIRE(answered >= count);
    reopen();
    for (std::uint64_t i = first; i < first + answered; ++i) {
      const std::string name = "f" + std::to_string(i);
      CHECK_FALSE(node(name));
      CHECK(node("D/" + name).has_value() == (i % 2 != 0));
    }
    const auto log = got(cat().changes(0, 100'000, false));
    CHECK(static_cast<std::int64_t>(log.size()) == cat().version());
    std::set<std::string> added;
    for (const Change& change : log) {
      if (change.kind == ChangeKind::added) CHECK(added.insert(change.path).second);
    }
    first += answered + 1;
  }
}

}  // namespace mediafs::tier
