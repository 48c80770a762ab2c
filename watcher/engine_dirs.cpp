#include <fcntl.h>

#include <cerrno>
#include <chrono>

#include "common/log.h"
#include "common/path.h"
#include "watcher/engine.h"
#include "watcher/probe.h"

namespace mediafs::watcher {

int Engine::open_dir(DirId id) {
  if (handle_dir_ == id && handle_) return handle_.get();
  forget_handle();
  const Dir* dir = table_->find(id);
  if (dir == nullptr) return -1;
  auto fd = open_dir_below(root_.get(), table_->path(id));
  if (!fd) return -1;
  const auto info = stat_fd(fd->get());
  if (!info || !(file_id(*info) == dir->file)) return -1;
  handle_ = std::move(*fd);
  handle_dir_ = id;
  return handle_.get();
}

Engine::Sight Engine::look(DirId parent, const std::string& name) {
  Sight sight;
  const int dir = open_dir(parent);
  if (dir < 0) {
    sight.state = Sight::State::stale;
    return sight;
  }
  auto fd = open_at(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (!fd) {
    const int why = fd.err().sys_errno;
    if (why == EMFILE || why == ENFILE || why == ENOMEM) {
      sight.state = Sight::State::stale;  // in a moment, perhaps
    } else if (why != ENOENT) {
      const bool closed = why != ENOTDIR && why != ELOOP;
      sight.state = closed ? Sight::State::closed : Sight::State::other;
      if (closed) {
        log::warning("watcher_unreadable", fd.err(), {{"path", join_path(table_->path(parent), name)}});
      }
    }
    return sight;
  }
  const auto info = stat_fd(fd->get());
  if (!info) return sight;
  sight.info = *info;
  const bool mounted = info->st_dev != table_->find(kRootDir)->file.device;
  sight.state = mounted ? Sight::State::closed : Sight::State::directory;
  sight.fd = std::move(*fd);
  return sight;
}

void Engine::adopt(DirId parent, const std::string& name, bool deep, bool quiet, int looks) {
  if (table_->find(parent) == nullptr) return;
  const std::string path = join_path(table_->path(parent), name);
  if (!watchable(path)) return;
  const Sight sight = look(parent, name);
  if (sight.state == Sight::State::stale) return recheck_later({parent, name, deep, looks});
  if (sight.state != Sight::State::directory) return;  // its end is, or will be, told by another notice
  const DirId id = install(parent, name, path, sight, quiet);
  if (id != kNoDir && deep && table_->find(id)->epoch != epoch_) {
    table_->find(id)->epoch = epoch_;
    scans_.push_back({id, true});
  }
}

DirId Engine::install(DirId parent, const std::string& name, const std::string& path, const Sight& sight,
                      bool quiet) {
  const int wd = watch(sight.fd.get());
  const DirId here = table_->child(parent, name);
  const bool same_here = here != kNoDir && table_->find(here)->file == file_id(sight.info);
  const DirId watched = wd >= 0 ? table_->by_watch(wd) : kNoDir;
  if (watched != kNoDir) {
    if (watched != here && !relocate(watched, parent, name)) return kNoDir;
    return watched;
  }
  if (same_here && wd < 0) return here;
  if (same_here && table_->find(here)->wd < 0) {
    table_->set_watch(here, wd);  // it had none: what happened before it got one is found by a scan
    scans_.push_back({here, false});
    return here;
  }
  if (here != kNoDir) drop(here);
  return add(parent, name, path, sight, wd, quiet);
}

DirId Engine::add(DirId parent, const std::string& name, const std::string& path, const Sight& sight, int wd,
                  bool quiet) {
  const DirId id = table_->add(parent, name, file_id(sight.info));
  Dir& dir = *table_->find(id);
  dir.muted = table_->find(parent)->muted || ignored(path);
  dir.epoch = epoch_;
  if (wd >= 0) table_->set_watch(id, wd);
  scans_.push_back({id, true});
  if (!quiet && !dir.muted) {
    emit({.kind = Event::Kind::changed_dir, .path = path, .directory = true, .info = sight.info});
  }
  return id;
}

int Engine::watch(int fd) {
  const auto wd = inotify_.add(fd);
  if (wd) {
    const bool ours = options_.max_watches == 0 || table_->watches() < options_.max_watches;
    if (ours || table_->by_watch(*wd) != kNoDir) return *wd;
    inotify_.remove(*wd);
  } else if (wd.err().sys_errno != ENOSPC) {
    log::warning("watcher_watch_failed", wd.err(), {});
    return -1;
  }
  if (!limit_reached_) {
    limit_reached_ = true;
    advice_ = watch_limit_advice();
    log::warning("watcher_limit",
                 {{"watches", static_cast<std::uint64_t>(table_->watches())},
                  {"action", "other directories are looked through every " +
                                 std::to_string(options_.poll_unwatched.count() / 1000) + " s; " + advice_}});
  }
  return -1;
}

bool Engine::relocate(DirId id, DirId parent, const std::string& name) {
  const DirId displaced = table_->child(parent, name);
  if (displaced == id) return true;
  if (table_->is_within(parent, id) || (displaced != kNoDir && table_->is_within(id, displaced))) {
    ask_scan_all();  // only notices that were lost can make it look like that
    return false;
  }
  if (displaced != kNoDir) drop(displaced);
  const std::string from = table_->path(id);
  table_->move(id, parent, name);
  Dir& dir = *table_->find(id);
  if (scanning_all_ && dir.epoch < scan_all_epoch_) {  // its new parent may have been scanned already
    dir.epoch = epoch_;
    scans_.push_back({id, true});
  }
  const std::string to = table_->path(id);
  const bool was_muted = dir.muted;
  const bool muted = table_->find(parent)->muted || ignored(to);
  if (muted != was_muted) remute(id);
  if (!was_muted && muted) {
    emit({.kind = Event::Kind::gone, .path = from, .directory = true});
  } else if (was_muted && !muted) {
    emit({.kind = Event::Kind::changed_dir, .path = to, .directory = true});
  } else if (!muted) {
    emit({.kind = Event::Kind::moved_dir, .path = to, .directory = true, .from = from});
  }
  return true;
}

void Engine::remute(DirId top) {
  for (const DirId id : table_->within(top)) {
    Dir& dir = *table_->find(id);
    const bool muted = table_->find(dir.parent)->muted || ignored(table_->path(id));
    if (dir.muted && !muted) scans_.push_back({id, false});
    if (muted) pending_.erase_dir(id);
    dir.muted = muted;
  }
}

void Engine::drop(DirId id) {
  forget_handle();
  for (const DirTable::Removed& each : table_->remove(id)) {
    if (each.wd >= 0) inotify_.remove(each.wd);
    pending_.erase_dir(each.id);
  }
}

}  // namespace mediafs::watcher
