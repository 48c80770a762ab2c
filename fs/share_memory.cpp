#include "fs/share_memory.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/path.h"

namespace mediafs::fs {
namespace {

constexpr std::chrono::hours kWalkEvery{24};
constexpr std::chrono::milliseconds kLookEvery{500};  // whether the share has come back
constexpr std::chrono::milliseconds kFirstPause{1000},
    kLastPause{300'000};                   // of a task that could not do its work
constexpr std::size_t kStatsInACall = 64;  // few enough for a slow server to answer before the deadline
constexpr std::size_t kMaxAgain = 10'000;  // more than that: the daily walk finds them

constexpr std::int64_t kSecond = 1'000'000'000;

tier::ShareEntry entry_of(std::string name, const struct stat& st) {
  tier::ShareEntry entry;
  entry.name = std::move(name);
  entry.mode = st.st_mode;
  entry.uid = st.st_uid;
  entry.gid = st.st_gid;
  entry.size_bytes = S_ISDIR(st.st_mode) ? 0 : static_cast<std::uint64_t>(st.st_size);
  entry.mtime_ns = st.st_mtim.tv_sec * kSecond + st.st_mtim.tv_nsec;
  entry.inode = st.st_ino;
  return entry;
}

struct stat stat_of(const tier::ShareEntry& entry) {
  struct stat st {};
  st.st_mode = entry.mode;
  st.st_uid = entry.uid;
  st.st_gid = entry.gid;
  st.st_ino = entry.inode;
  st.st_nlink = entry.is_directory() ? 2 : 1;
  st.st_size = entry.is_directory() ? 4096 : static_cast<off_t>(entry.size_bytes);
  st.st_blksize = 4096;
  st.st_blocks = (st.st_size + 511) / 512;
  st.st_atim = st.st_ctim = st.st_mtim = timespec_of(entry.mtime_ns);
  return st;
}

bool same_names(const std::vector<tree::Item>& items, const std::vector<tier::ShareEntry>& entries) {
  if (items.size() != entries.size()) return false;
  return std::all_of(items.begin(), items.end(), [&](const tree::Item& item) {
    const auto at =
        std::lower_bound(entries.begin(), entries.end(), item.name,
                         [](const tier::ShareEntry& e, const std::string& n) { return e.name < n; });
    return at != entries.end() && at->name == item.name && (at->mode & S_IFMT) == item.type;
  });
}

void complain(const char* what, const Status& status, const std::string& path) {
  if (!status) log::warning(what, status.error(), {{"path", printable(path)}});
}

}  // namespace

ShareMemory::ShareMemory(ShareBranch& share, tier::Catalogue& catalogue)
    : share_(share),
      catalogue_(catalogue),
      whole_(catalogue.setting(kShareWalked).value_or(std::string()) == share.path()),
      thread_([this](const std::stop_token& stop) noexcept {
        pthread_setname_np(pthread_self(), "fs-share-walk");
        try {
          run(stop);
        } catch (const std::exception& e) {
          log::error("the walk of the share ended", {{"error", e.what()}});
        }
      }) {}

ShareMemory::~ShareMemory() {
  stop();
}

void ShareMemory::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

Result<std::optional<struct stat>> ShareMemory::stat(const std::string& path) {
  MEDIAFS_ASSIGN(const auto entry, catalogue_.share_entry(path));
  if (!entry) return std::optional<struct stat>{};
  return std::optional<struct stat>(stat_of(*entry));
}

Result<std::vector<tree::Item>> ShareMemory::list(const std::string& dir) {
  MEDIAFS_ASSIGN(auto entries, catalogue_.share_entries(dir));
  std::vector<tree::Item> items;
  items.reserve(entries.size());
  for (tier::ShareEntry& e : entries) items.push_back({std::move(e.name), e.mode & S_IFMT, e.inode});
  return items;
}

Result<bool> ShareMemory::has(const std::string& path) {
  MEDIAFS_ASSIGN(const auto entry, catalogue_.share_entry(path));
  if (entry) return true;
  MEDIAFS_ASSIGN(const auto below, catalogue_.share_entries(path));  // listed before its parent was
  return !below.empty();
}

void ShareMemory::listed(const std::string& dir, const std::vector<tree::Item>& items) {
  const auto entries = catalogue_.share_entries(dir);
  if (!entries || !same_names(items, *entries)) look_again(dir);
}

ShareMemory::Change::Change(ShareMemory& memory) : memory_(memory) {
  MutexLock lock(memory_.mutex_);
  ++memory_.changing_;
}

ShareMemory::Change::~Change() {
  MutexLock lock(memory_.mutex_);
  --memory_.changing_;
  ++memory_.changes_;
  memory_.wake_.notify_all();
}

void ShareMemory::Change::removed(const std::string& path) {
  complain("can't forget what was removed on the share", memory_.catalogue_.forget_share(path), path);
}

void ShareMemory::Change::renamed(const std::string& from, const std::string& to) {
  complain("can't note a rename on the share", memory_.catalogue_.share_renamed(from, to), to);
}

ShareMemory::Moment ShareMemory::moment() {
  MutexLock lock(mutex_);
  return {changes_, changing_ == 0};
}

void ShareMemory::look_again(const std::string& dir) {
  MutexLock lock(mutex_);
  if (again_.size() >= kMaxAgain || std::find(again_.begin(), again_.end(), dir) != again_.end()) return;
  again_.push_back(dir);
  wake_.notify_all();
}

void ShareMemory::when_back(std::function<bool()> task) {
  MutexLock lock(mutex_);
  task_ = std::move(task);
}

void ShareMemory::ask_for_task() {
  MutexLock lock(mutex_);
  task_asked_ = true;
  wake_.notify_all();
}

void ShareMemory::run_task() {
  std::function<bool()> task;
  {
    MutexLock lock(mutex_);
    if (!task_) return;
    const bool asked = std::exchange(task_asked_, false);
    if (!asked && std::chrono::steady_clock::now() < task_again_) return;
    task = task_;
    if (asked) task_pause_ = kFirstPause;
  }
  task_again_ = SteadyTime::max();
  if (task()) return;
  task_again_ = std::chrono::steady_clock::now() + task_pause_;
  task_pause_ = std::min(task_pause_ * 2, kLastPause);
}

void ShareMemory::run(const std::stop_token& stop) {
  std::stop_callback on_stop(stop, [this] {
    MutexLock lock(mutex_);
    wake_.notify_all();
  });
  auto walk_at = std::chrono::steady_clock::now();
  std::uint64_t times_back = 0;
  while (!stop.stop_requested()) {
    const auto now = std::chrono::steady_clock::now();
    if (const std::uint64_t times = share_.times_back(); times != times_back) {
      times_back = times;
      walk_at = now;
      MutexLock lock(mutex_);
      task_asked_ = true;
    }
    if (share_.usable()) run_task();
    if (share_.usable() && walk_at <= now) {
      walk_at = now + kWalkEvery;
      walk(stop);
      continue;
    }
    std::string dir;
    bool any = false;
    {
      MutexLock lock(mutex_);
      if ((again_.empty() || changing_ > 0 || !share_.usable()) && !stop.stop_requested()) {
        wake_.wait_for(mutex_, kLookEvery);
      }
      any = !again_.empty() && changing_ == 0;
      if (any) {
        dir = std::move(again_.front());
        again_.pop_front();
      }
    }
    if (!any || !share_.usable()) continue;
    if (auto done = look_at(dir, stop, nullptr); !done)
      log::debug("can't look at a directory of the share",
                 {{"path", printable(dir)}, {"error", done.error().message()}});
  }
}

void ShareMemory::walk(const std::stop_token& stop) {
  if (share_.is_mount_point()) {
    complain("can't note that the share is a mount point",
             catalogue_.set_setting(kShareMounted, share_.path()), share_.path());
  }
  bool all = true;
  std::vector<std::string> pending{""};
  while (!pending.empty()) {
    if (stop.stop_requested() || !share_.usable()) return;
    const std::string dir = std::move(pending.back());
    pending.pop_back();
    auto done = look_at(dir, stop, &pending);
    all = all && done;
    if (!done) complain("can't remember what the share has", done, dir);
  }
  if (!all || whole()) return;
  complain("can't note that the share was walked", catalogue_.set_setting(kShareWalked, share_.path()),
           share_.path());
  whole_.store(true, std::memory_order_relaxed);
}

Status ShareMemory::look_at(const std::string& dir, const std::stop_token& stop,
                            std::vector<std::string>* below) {
  // From the top, as the walk: what is remembered in a directory shows only if the directory itself is.
  if (!dir.empty() && below == nullptr) {
    MEDIAFS_ASSIGN(const auto known, catalogue_.share_entry(dir));
    if (!known) MEDIAFS_TRY(look_at(std::string(parent_path(dir)), stop, nullptr));
  }
  const Moment before = moment();
  auto entries = read(dir, stop);
  if (!entries) {
    const bool gone =
        entries.error().code == ErrorCode::not_found || entries.error().code == ErrorCode::not_directory;
    return gone && !dir.empty() ? catalogue_.forget_share(dir) : Status(std::move(entries).error());
  }
  if (below != nullptr) {
    for (const tier::ShareEntry& e : *entries) {
      if (e.is_directory()) below->push_back(join_path(dir, e.name));
    }
  }
  const bool steady = before.quiet && moment() == before;
  if (steady) MEDIAFS_TRY(catalogue_.remember_share(dir, std::move(*entries)));
  // The mount changed something on the share meanwhile: perhaps here.
  if (!steady || moment() != before) look_again(dir);
  return {};
}

Result<std::vector<tier::ShareEntry>> ShareMemory::read(const std::string& dir, const std::stop_token& stop) {
  MEDIAFS_ASSIGN(auto items, share_.call<std::vector<tree::Item>>(
                                 [dir](int root) { return tree::list(root, dir); }, stop));
  if (dir.empty()) std::erase_if(items, [this](const tree::Item& i) { return i.name == share_.marker(); });
  std::vector<tier::ShareEntry> entries;
  entries.reserve(items.size());
  for (std::size_t first = 0; first < items.size(); first += kStatsInACall) {
    std::vector<std::string> names;
    for (std::size_t i = first; i < std::min(items.size(), first + kStatsInACall); ++i)
      names.push_back(std::move(items[i].name));
    using Entries = std::vector<tier::ShareEntry>;
    MEDIAFS_ASSIGN(auto some, share_.call<Entries>(
                                  [dir, names = std::move(names)](int root) -> Result<Entries> {
                                    Entries found;
                                    for (const std::string& name : names) {
                                      auto st = tree::stat(root, join_path(dir, name));
                                      if (!st && st.error().code == ErrorCode::not_found) continue;
                                      if (!st) return std::move(st).error();  // nothing is known of it
                                      found.push_back(entry_of(name, *st));
                                    }
                                    return found;
                                  },
                                  stop));
    std::move(some.begin(), some.end(), std::back_inserter(entries));
  }
  return entries;
}

}  // namespace mediafs::fs
