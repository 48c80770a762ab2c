#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <unordered_set>

#include "common/log.h"
#include "common/path.h"
#include "watcher/engine.h"

namespace mediafs::watcher {
namespace {

constexpr std::chrono::milliseconds kScanBudget{5};    // then notices get their turn
constexpr std::chrono::milliseconds kScanAllGap{500};  // between the end of a whole scan and the next
constexpr int kPumpEvery = 256;                        // entries of a large directory
constexpr int kRecheckLimit = 12;                      // about five seconds
constexpr int kSweepLimit = 3;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

}  // namespace

void Engine::ask_scan_all() {
  if (scan_all_due_) return;
  scan_all_due_ = std::max(std::chrono::steady_clock::now(), scan_all_ended_ + kScanAllGap);
}

void Engine::begin_scan_all() {
  scan_all_epoch_ = ++epoch_;
  scanning_all_ = true;
  sweeps_ = 0;
  scan_all_due_.reset();
  table_->find(kRootDir)->epoch = epoch_;
  scans_.push_back({kRootDir, true});
}

// Directories that the scan did not come across are gone, unless a closer look finds them after all.
void Engine::end_scan_all() {
  ++sweeps_;
  for (const DirId id : table_->older_than(scan_all_epoch_)) {
    const Dir* dir = table_->find(id);
    if (dir == nullptr || table_->find(dir->parent)->epoch < scan_all_epoch_) continue;
    const DirId parent = dir->parent;
    const std::string name = dir->name;
    const Sight sight = look(parent, name);
    if (sight.state == Sight::State::directory || sight.state == Sight::State::stale) {
      if (sweeps_ <= kSweepLimit) adopt(parent, name, true, false);
    } else if (sight.state == Sight::State::closed) {
      drop(id);
    } else {
      gone_directory(parent, name, table_->path(id));
    }
  }
  if (!scans_.empty() || !rechecks_.empty()) return;
  scanning_all_ = false;
  scan_all_ended_ = std::chrono::steady_clock::now();
  if (scan_all_due_) scan_all_due_ = std::max(*scan_all_due_, scan_all_ended_ + kScanAllGap);
  ++scans_done_;
  emit({.kind = Event::Kind::scanned, .directory = true});
}

void Engine::run_scans() {
  const SteadyTime begin = std::chrono::steady_clock::now();
  if (scan_all_due_ && !scanning_all_ && begin >= *scan_all_due_) begin_scan_all();
  while (!scans_.empty() && std::chrono::steady_clock::now() - begin < kScanBudget) {
    const Scan item = scans_.front();
    scans_.pop_front();
    scan(item);
    pump();
  }
  if (scanning_all_ && scans_.empty() && rechecks_.empty()) end_scan_all();
}

void Engine::scan(const Scan& item, int looks) {
  if (table_->find(item.dir) == nullptr) return;
  const int handle = open_dir(item.dir);
  if (handle < 0) return recheck_later({item.dir, "", item.deep, looks});
  if (table_->find(item.dir)->wd < 0) {
    const int wd = watch(handle);
    if (wd >= 0 && table_->by_watch(wd) != kNoDir) return ask_scan_all();  // it stands in the table twice
    if (wd >= 0) table_->set_watch(item.dir, wd);
  }
  // A descriptor of its own: looks at what is in it may close the shared one.
  auto fd = open_at(handle, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (!fd) return recheck_later({item.dir, "", item.deep, looks});
  scan_entries(item.dir, std::move(*fd), item.deep);
  raw(RawEvent::Kind::contents, item.dir, "", true);
}

void Engine::scan_entries(DirId id, Fd fd, bool deep) {
  const std::unique_ptr<DIR, CloseDir> stream(::fdopendir(fd.get()));
  if (!stream) return recheck_later({id, "", deep, 0});
  const int at = fd.release();
  const std::string path = table_->path(id);
  const bool remember = table_->find(id)->wd < 0 || table_->find(id)->contents;
  Contents files;
  std::unordered_set<std::string> directories;
  // Not for the first scan: at start-up all directories are new, and none is news.
  const bool quiet = scanning_all_ && scans_done_ == 0;
  int count = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (++count % kPumpEvery == 0) pump();
    unsigned char type = entry->d_type;
    if (type == DT_UNKNOWN) {
      const auto info = stat_at(at, name);
      if (!info) continue;
      type = S_ISDIR(info->st_mode) ? DT_DIR : DT_REG;
    }
    if (type == DT_DIR) {
      if (remember) directories.insert(name);
      adopt(id, name, deep, quiet);
    } else if (type == DT_REG || type == DT_LNK) {
      scan_file(id, at, path, name, remember ? &files : nullptr);
    }
  }
  if (remember) compare_contents(id, std::move(files), directories);
}

void Engine::scan_file(DirId id, int fd, const std::string& dir_path, const std::string& name,
                       Contents* contents) {
  const Dir& dir = *table_->find(id);
  const std::string path = join_path(dir_path, name);
  if (dir.muted || hidden(path) || ignored(path)) return;
  if (contents != nullptr || options_.known) {
    const auto info = stat_at(fd, name);
    if (!info) return;
    if (contents != nullptr) {
      const std::uint64_t hash = fingerprint(*info).hash();
      contents->emplace(name, hash);
      if (dir.contents) {
        const auto it = dir.contents->find(name);
        if (it != dir.contents->end() && it->second == hash) return;
      }
    }
    if (!pending_.contains(id, name) && known(path, *info)) return;
  }
  pending_.found(id, name, std::chrono::steady_clock::now());
}

// No notices come from a directory without a watch: what is gone shows by comparing.
void Engine::compare_contents(DirId id, Contents files, const std::unordered_set<std::string>& directories) {
  Dir& dir = *table_->find(id);
  const std::string path = table_->path(id);
  std::vector<std::string> lost;
  for (const auto& [name, child] : dir.children) {
    if (!directories.contains(name)) lost.push_back(name);
  }
  const std::unique_ptr<Contents> before = std::move(dir.contents);
  if (dir.wd < 0) dir.contents = std::make_unique<Contents>(std::move(files));
  const Contents& after = dir.contents ? *dir.contents : files;
  for (const std::string& name : lost) gone_directory(id, name, join_path(path, name));
  if (!before) return;
  for (const auto& [name, hash] : *before) {
    if (after.contains(name)) continue;
    pending_.erase(id, name);
    emit({.kind = Event::Kind::gone, .path = join_path(path, name)});
  }
}

void Engine::poll_unwatched() {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (table_->unwatched().empty() || now < poll_due_) return;
  poll_due_ = now + options_.poll_unwatched;
  for (const DirId id : table_->unwatched()) scans_.push_back({id, false});
}

void Engine::recheck_later(Recheck item) {
  if (++item.looks > kRecheckLimit) return ask_scan_all();
  rechecks_.emplace(std::chrono::steady_clock::now() + stale_wait(item.looks), std::move(item));
}

void Engine::run_rechecks() {
  const SteadyTime now = std::chrono::steady_clock::now();
  while (!rechecks_.empty() && rechecks_.begin()->first <= now) {
    const Recheck item = std::move(rechecks_.begin()->second);
    rechecks_.erase(rechecks_.begin());
    if (item.name.empty()) {
      scan({item.dir, item.deep}, item.looks);
    } else {
      adopt(item.dir, item.name, item.deep, false, item.looks);
    }
  }
}

void Engine::rescan_path(const std::string& path) {
  if (path.empty()) {
    scan_all_due_ = std::chrono::steady_clock::now();
    return;
  }
  ++epoch_;  // so that all below it counts as not seen
  DirId at = kRootDir;
  std::string_view rest = path;
  std::string name;
  DirId next = kRootDir;
  while (next != kNoDir && !rest.empty()) {
    at = next;
    const std::size_t slash = rest.find('/');
    name = rest.substr(0, slash);
    rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
    next = table_->child(at, name);
  }
  if (hidden(join_path(table_->path(at), name))) return;
  // If it is a file, the look at what is pending finds that out; a name with more behind it can only be a directory.
  if (next == kNoDir && rest.empty()) pending_.touch(at, name, false, std::chrono::steady_clock::now());
  adopt(at, name, true, false);
}

}  // namespace mediafs::watcher
