#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <set>
#include <thread>

#include "catalogue_fixture.h"

namespace mediafs::tier {

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
    for (const DirEntry& entry : *entries) {
      have.insert(entry.name);
      const auto row = cat_.find(dir_ + "/" + entry.name);
      if (!row || !*row || !(shown_of(**row) == entry.shown)) return "shown: " + entry.name;
    }
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
