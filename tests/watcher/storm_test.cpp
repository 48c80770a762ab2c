// Directories and files made as fast as threads can while others are renamed: none may be missed or told early.
#include <doctest/doctest.h>

#include <atomic>
#include <map>
#include <thread>

#include "tests/watcher/rig.h"

using namespace mediafs;
using namespace mediafs::watcher;
using namespace mediafs::watcher::testing;
using std::chrono::milliseconds;

namespace {

constexpr int kThreads = 4;
constexpr int kTrees = 24;
constexpr int kDepth = 4;
constexpr int kFiles = 6;

// What an owner makes of the events: which file is believed to stand where. It answers `known`.
class Ledger {
 public:
  explicit Ledger(Rig& rig) : rig_(rig), root_(rig.tree.path()) {}
  ~Ledger() { rig_.stop(); }  // the watcher calls us
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;
  void take(const Event& event) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    switch (event.kind) {
      case Kind::settled:
        files_[event.path] = event.info.st_ino;
        if (event.info.st_size != 4) early_ = true;
        break;
      case Kind::gone:
        drop(event.path, event.directory);
        break;
      case Kind::moved_dir:
        move(event.from, event.path);
        break;
      case Kind::scanned:  // deletions that the kernel dropped are the owner's to find
        std::erase_if(files_, [&](const auto& each) { return !stdfs::exists(root_ + "/" + each.first); });
        break;
      default:
        break;
    }
  }
  bool known(std::string_view path, const struct stat& info) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const auto it = files_.find(std::string(path));
    return it != files_.end() && it->second == info.st_ino;
  }
  std::map<std::string, ino_t> files() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return files_;
  }
  bool holds(const std::map<std::string, ino_t>& wanted) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return files_.size() == wanted.size() && files_ == wanted;
  }
  bool early() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return early_;
  }

 private:
  void drop(const std::string& path, bool directory) REQUIRES(mutex_) {
    std::erase_if(files_, [&](const auto& each) {
      return each.first == path || (directory && is_within(each.first, path));
    });
  }
  void move(const std::string& from, const std::string& to) REQUIRES(mutex_) {
    std::map<std::string, ino_t> moved;
    for (const auto& [path, inode] : files_) {
      if (is_within(path, from)) moved.emplace(to + path.substr(from.size()), inode);
    }
    drop(from, true);
    drop(to, true);
    files_.merge(moved);
  }
  Rig& rig_;
  const std::string root_;
  Mutex mutex_;
  std::map<std::string, ino_t> files_ GUARDED_BY(mutex_);
  bool early_ GUARDED_BY(mutex_) = false;
};

void slow_write(const std::string& path) {
  auto fd = open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  for (const char* piece : {"ab", "cd"}) {
    if (!fd || ::write(fd->get(), piece, 2) != 2) throw std::runtime_error("write " + path);
    std::this_thread::yield();
  }
}

// As rsync does with --temp-dir: written elsewhere in the tree, then put in place.
void slow_drop(const std::string& temp, const std::string& path) {
  slow_write(temp);
  stdfs::rename(temp, path);
}

// Nested new directories with files; every other tree and every third inner directory is renamed at once.
void make_trees(const std::string& root, int thread, std::atomic<int>& made) {
  for (int tree = 0; tree < kTrees; ++tree) {
    const std::string top = root + "/t" + std::to_string(thread) + "-" + std::to_string(tree);
    std::string dir = top;
    for (int depth = 0; depth < kDepth; ++depth) {
      stdfs::create_directories(dir);
      for (int file = 0; file < kFiles; ++file, ++made) {
        const std::string path = dir + "/f" + std::to_string(file);
        if (file % 2 == 0) {
          slow_write(path);
        } else {
          slow_drop(root + "/temp" + std::to_string(thread), path);
        }
      }
      if ((tree + depth) % 3 == 0 && depth > 0) {
        stdfs::rename(dir, dir + "-renamed");
        dir += "-renamed";
      }
      stdfs::rename(dir + "/f0", dir + "/g0");
      dir += "/d" + std::to_string(depth);
    }
    if (tree % 2 == 0)
      stdfs::rename(top, root + "/final" + std::to_string(thread) + "-" + std::to_string(tree));
  }
}

std::map<std::string, ino_t> files_below(const std::string& root) {
  std::map<std::string, ino_t> files;
  for (const auto& entry : stdfs::recursive_directory_iterator(root)) {
    struct stat info = {};
    if (::lstat(entry.path().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    files.emplace(entry.path().string().substr(root.size() + 1), info.st_ino);
  }
  return files;
}

// With `lagging`, the owner takes its time now and then: until the storm has gone on for 100 more files.
void storm(Rig& rig, Ledger& ledger, bool lagging) {
  struct Progress {
    std::atomic<int> made = 0;
    std::atomic<int> working = kThreads;
    int lags = 0;
  };
  const auto progress = std::make_shared<Progress>();  // the callback outlives this function
  rig.options.known = [&](std::string_view path, const struct stat& info) {
    return ledger.known(path, info);
  };
  rig.on_event = [&ledger, lagging, progress](const Event& event) {
    ledger.take(event);
    if (!lagging || event.kind != Kind::changed_dir || ++progress->lags % 10 != 0) return;
    const int until = progress->made + 100;
    while (progress->made < until && progress->working > 0) std::this_thread::sleep_for(milliseconds(1));
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i)
      threads.emplace_back([&, i] {
        make_trees(rig.tree.path(), i, progress->made);
        --progress->working;
      });
    REQUIRE(rig.start());  // in the midst of it
  }
  const auto wanted = files_below(rig.tree.path());
  REQUIRE(wanted.size() == kThreads * kTrees * kDepth * kFiles);
  rig.wait([&](const auto&) { return ledger.holds(wanted); });
  const auto got = ledger.files();
  int missed = 0;
  int extra = 0;
  for (const auto& [path, inode] : wanted) missed += got.contains(path) && got.at(path) == inode ? 0 : 1;
  for (const auto& [path, inode] : got) extra += wanted.contains(path) ? 0 : 1;
  CHECK(missed == 0);
  CHECK(extra == 0);
  CHECK(!ledger.early());
}

}  // namespace

TEST_CASE("storm: nothing is missed or told early while directories are made and renamed") {
  Rig rig(milliseconds(100));
  Ledger ledger(rig);
  storm(rig, ledger, false);
  // Everything is followed under its last name.
  for (const auto& [path, inode] : files_below(rig.tree.path())) {
    if (path.find("f1") != std::string::npos)
      write_file(rig.tree.at(std::string(parent_path(path)) + "/after"), "4444");
  }
  const auto wanted = files_below(rig.tree.path());
  CHECK(rig.wait([&](const auto&) { return ledger.holds(wanted); }));
}

TEST_CASE("storm: the same with a kernel queue of 64 notices") {
  const char* const knob = "/proc/sys/fs/inotify/max_queued_events";
  std::string before;
  std::ifstream(knob) >> before;
  const auto set = [&](const std::string& value) {
    return static_cast<bool>(std::ofstream(knob) << value << std::flush);
  };
  if (before.empty() || !set("64")) {
    MESSAGE("skipped: only root may set fs.inotify.max_queued_events");
    return;
  }
  // An instance keeps the limit that it was made with: the knob is put back as soon as ours runs.
  Rig rig(milliseconds(100));
  Ledger ledger(rig);
  rig.options.hidden = [&, restored = false](std::string_view) mutable {
    if (!restored) restored = set(before);
    return false;
  };
  storm(rig, ledger, true);
  set(before);
  CHECK(rig.watcher->stats().overflows > 0);
}
