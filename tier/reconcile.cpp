#include "tier/reconcile.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <utility>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "common/writers.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kPage = 1000;
constexpr std::chrono::minutes kAbandoned{10};
constexpr WallNs kTick = 10'000'000;  // by which a file's times may lag behind the clock
constexpr std::size_t kTooLongShown = 10;

void note(TooLong& noted, const std::string& path) {
  if (std::find(noted.some.begin(), noted.some.end(), path) != noted.some.end()) return;
  noted.count++;
  if (noted.some.size() >= kTooLongShown) return;
  noted.some.push_back(path);
  log::warning(
      "a path is too long for the system: what is there is not catalogued and not uploaded (give a directory "
      "above it a shorter name)",
      {{"bytes", std::uint64_t(path.size())}, {"path", printable(path)}});
}

using DirHandle = std::unique_ptr<DIR, int (*)(DIR*)>;

DirHandle open_dir(int root, const std::string& path) {
  const int fd =
      openat(root, path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return DirHandle(fd < 0 ? nullptr : fdopendir(fd), &closedir);
}

bool is_written(int root, const std::string& path) {
  const Fd fd(openat(root, path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  return fd && has_writer(fd.get());
}

}  // namespace

// One pass over the local tree.
class Reconcile::Scan {
 public:
  Scan(Reconcile& owner, std::stop_token stop) : owner_(owner), b_(owner.b_), stop_(std::move(stop)) {}

  Result<ReconcileReport> run() {
    remove_temporary();
    owner_.recover_evicted(stop_);
    std::vector<std::string> pending{""};
    while (!pending.empty()) {
      if (stop_.stop_requested()) return make_error(ErrorCode::cancelled, "scan of the local branch");
      const std::string dir = std::move(pending.back());
      pending.pop_back();
      scan_directory(dir, pending);
    }
    MEDIAFS_TRY(find_missing());
    owner_.sidecars_follow_changes();
    MutexLock lock(owner_.mutex_);
    owner_.too_long_ = std::move(too_long_);
    return report_;
  }

 private:
  void remove_temporary() {
    const std::string temp(kTempDir);
    const std::string own = temp_token() + "-";
    DirHandle dir = open_dir(b_.local_root.get(), temp);
    while (dir) {
      const dirent* entry = readdir(dir.get());
      if (!entry) break;
      const std::string_view name(entry->d_name);
      if (!name.starts_with("fetch-") || name.starts_with("fetch-" + own)) continue;
      if (unlinkat(dirfd(dir.get()), entry->d_name, 0) == 0) {
        report_.temporary_removed++;
      }
    }
  }

  void scan_directory(const std::string& dir, std::vector<std::string>& pending) {
    DirHandle handle = open_dir(b_.local_root.get(), dir);
    if (!handle) {
      log::warning("can't read a directory of the local branch", {{"path", printable(dir)}});
      return;
    }
    while (const dirent* entry = readdir(handle.get())) {
      const std::string_view name(entry->d_name);
      if (name == "." || name == "..") continue;
      std::string path = join_path(dir, name);
      if (b_.is_state(path)) continue;
      auto st = stat_at(b_.local_root.get(), path);
      if (!st) {
        if (st.err().code == ErrorCode::name_too_long && b_.visible(path)) note(too_long_, path);
        continue;
      }
      if (S_ISDIR(st->st_mode)) {
        if (b_.visible(path)) visit(path, *st);
        pending.push_back(std::move(path));
      } else if (S_ISREG(st->st_mode) && is_temporary(path)) {
        remove_abandoned(path, *st);
      } else if (S_ISREG(st->st_mode)) {
        visit(path, *st);
      }
    }
  }

  // A sidecar's temporary file lives for a moment; an old one, or one from before our own start, is what a kill left.
  void remove_abandoned(const std::string& path, const struct stat& st) {
    const WallNs changed_ns = fingerprint_of(st).ctime_ns;
    const WallNs age_ns = b_.clock->wall_ns() - changed_ns;
    if (changed_ns >= owner_.since_ns_ && age_ns < std::chrono::nanoseconds(kAbandoned).count()) return;
    if (unlinkat(b_.local_root.get(), path.c_str(), 0) == 0) report_.temporary_removed++;
  }

  void visit(const std::string& path, const struct stat& st) {
    report_.seen++;
    if (b_.in_incoming(path)) {  // the watcher tells of it once it has settled
      report_.incoming++;
      return;
    }
    if (!b_.visible(path)) return;
    if (S_ISREG(st.st_mode)) {
      auto node = b_.catalogue->find(path);
      if (node && *node && (*node)->local && (*node)->local->fingerprint == fingerprint_of(st)) return;
      const WallNs age_ns =
          b_.clock->wall_ns() - std::max(fingerprint_of(st).mtime_ns, fingerprint_of(st).ctime_ns);
      if (age_ns < std::chrono::nanoseconds(b_.config.incoming.settle).count() ||
          is_written(b_.local_root.get(), path)) {
        unsettled_.emplace(st.st_dev, st.st_ino);  // the watcher reports it once it has settled
        return;
      }
    }
    crash_point("scan.before_adopt");
    if (auto done = owner_.file_settled(path); !done) {
      log::warning("can't catalogue a file", done.err(), {{"path", printable(path)}});
    } else if (S_ISREG(st.st_mode)) {
      report_.adopted++;
    }
  }

  // Rows whose local file is not there. One whose inode was seen unsettled is being renamed: the watcher's.
  Status find_missing() {
    std::string after;
    for (;;) {
      if (stop_.stop_requested()) return make_error(ErrorCode::cancelled, "scan of the catalogue");
      MEDIAFS_ASSIGN(auto page, b_.catalogue->walk("", after, kPage));
      if (page.empty()) return {};
      after = page.back().path;
      for (const Node& node : page) {
        if (!node.local ||
            unsettled_.contains({node.local->fingerprint.device, node.local->fingerprint.inode}))
          continue;
        auto st = stat_at(b_.local_root.get(), node.path);
        if (st || (st.err().code != ErrorCode::not_found && st.err().code != ErrorCode::not_directory))
          continue;
        report_.gone++;
        crash_point("scan.before_gone");
        if (auto done = owner_.file_gone(node.path); !done) {
          log::warning("can't note a missing file", done.err(), {{"path", printable(node.path)}});
        }
      }
    }
  }

  Reconcile& owner_;
  Branches& b_;
  std::stop_token stop_;
  ReconcileReport report_;
  TooLong too_long_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> unsettled_;
};

Reconcile::Reconcile(Branches& branches, std::function<void(const std::string& path)> incoming,
                     std::function<void()> named)
    : b_(branches),
      since_ns_(branches.clock->wall_ns() - kTick),
      first_listing_(branches, std::move(named)),
      incoming_(std::move(incoming)) {}

Status Reconcile::file_settled(const std::string& path) {
  if (b_.is_state(path)) return {};
  auto claim = b_.claims->claim(path);
  if (!claim) return std::move(claim).error();
  auto st = stat_at(b_.local_root.get(), path);
  if (!st) {
    claim->release();
    if (st.err().code == ErrorCode::name_too_long) {
      met_too_long(path);
      return {};
    }
    const bool gone = st.err().code == ErrorCode::not_found || st.err().code == ErrorCode::not_directory;
    return gone ? file_gone(path) : Status(std::move(st).error());
  }
  if (b_.in_incoming(path)) {
    claim->release();
    if (S_ISREG(st->st_mode)) incoming_(path);
    return {};
  }
  if (!b_.visible(path) || !(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))) return {};
  const auto still_there = [this](const std::string& old) { return bool(stat_at(b_.local_root.get(), old)); };
  auto adopted = b_.catalogue->adopt({path, *st, true}, still_there);
  claim->release();
  if (adopted) {
    if (*adopted == Adopted::renamed && S_ISREG(st->st_mode)) sidecars_follow_adopted(path);
    return {};
  }
  const bool below_file = adopted.err().code == ErrorCode::not_directory && path.find('/') != path.npos;
  if (!below_file) return std::move(adopted).error();
  // A directory above it took a file's place, and nobody has said so yet.
  MEDIAFS_TRY(file_settled(std::string(parent_path(path))));
  MEDIAFS_ASSIGN(claim, b_.claims->claim(path));
  auto again = b_.catalogue->adopt({path, *st, true}, still_there);
  return again ? Status() : Status(std::move(again).error());
}

void Reconcile::met_too_long(const std::string& path) {
  if (!b_.visible(path)) return;
  MutexLock lock(mutex_);
  if (too_long_.some.size() < kTooLongShown) note(too_long_, path);  // the next scan counts them all
}

TooLong Reconcile::too_long() const {
  MutexLock lock(mutex_);
  return too_long_;
}

Status Reconcile::file_moved(const std::string& path, const std::string& to) {
  return b_.visible(to) ? Status() : file_gone(path);
}

Status Reconcile::file_gone(const std::string& path) {
  if (!b_.visible(path)) return {};
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(path));
  if (stat_at(b_.local_root.get(), path)) return {};  // it is back, and reported as such
  MEDIAFS_ASSIGN(auto node, b_.catalogue->find(path));
  if (!node) return {};
  std::string after;
  while (node->kind == NodeKind::directory) {
    MEDIAFS_ASSIGN(auto page, b_.catalogue->walk(path, after, kPage));
    if (page.empty()) break;
    after = page.back().path;
    for (const Node& below : page) {
      if (below.local) MEDIAFS_TRY(b_.catalogue->local_gone(below.path, b_.visible(below.path)));
    }
  }
  return b_.catalogue->local_gone(path, true);
}

Result<ReconcileReport> Reconcile::scan(std::stop_token stop) {
  return Scan(*this, std::move(stop)).run();
}

Status Reconcile::import_vault(std::stop_token stop) {
  if (!b_.vault) return {};
  MEDIAFS_TRY(first_listing_.run(stop));
  MEDIAFS_TRY(settle_moving(stop));
  recover_evicted(stop);
  return {};
}

}  // namespace mediafs::tier
