#include <sys/inotify.h>

#include <algorithm>
#include <chrono>

#include "common/log.h"
#include "common/path.h"
#include "watcher/engine.h"

namespace mediafs::watcher {
namespace {

// The kernel queues both halves of a rename at once, but a read may come between them, and other directories' notices.
constexpr std::chrono::milliseconds kPairWait{20};
constexpr std::size_t kPairDistance = 1024;

}  // namespace

void Engine::handle_inbox() {
  pair_due_.reset();
  while (!inbox_.empty()) {
    if ((inbox_.front().mask & IN_MOVED_FROM) == 0) {
      const Notice notice = std::move(inbox_.front());
      inbox_.pop_front();
      handle(notice);
      continue;
    }
    const auto end = inbox_.begin() + static_cast<std::ptrdiff_t>(std::min(inbox_.size(), kPairDistance));
    const auto to = std::find_if(inbox_.begin() + 1, end, [&](const Notice& each) {
      return (each.mask & IN_MOVED_TO) != 0 && each.cookie == inbox_.front().cookie;
    });
    if (to == end && inbox_.size() < kPairDistance) {
      const SteadyTime due = inbox_.front().read_at + kPairWait;
      if (std::chrono::steady_clock::now() < due) {
        pair_due_ = due;
        return;
      }
    }
    std::optional<Notice> second;
    if (to != end) {
      second = std::move(*to);
      inbox_.erase(to);
    }
    const Notice first = std::move(inbox_.front());
    inbox_.pop_front();
    if (second) {
      handle_move(first, *second);
    } else {
      handle(first);
    }
  }
}

void Engine::handle(const Notice& notice) {
  if ((notice.mask & IN_Q_OVERFLOW) != 0) return on_overflow();
  const DirId dir = table_->by_watch(notice.wd);
  if (dir == kNoDir) return;  // of a watch that was given up meanwhile
  if ((notice.mask & (IN_DELETE_SELF | IN_UNMOUNT)) != 0 && dir == kRootDir) on_root_lost();
  if ((notice.mask & IN_IGNORED) != 0) return table_->set_watch(dir, -1);
  if (notice.name.empty()) return;
  const std::string path = join_path(table_->path(dir), notice.name);
  if (hidden(path)) return;
  if ((notice.mask & IN_ISDIR) != 0) {
    handle_directory(dir, path, notice);
  } else {
    handle_file(dir, path, notice);
  }
}

void Engine::raw(RawEvent::Kind kind, DirId dir, const std::string& name, bool directory) {
  if (on_raw_) emit_raw({.kind = kind, .parent = table_->path(dir), .name = name, .directory = directory});
}

void Engine::handle_file(DirId dir, const std::string& path, const Notice& notice) {
  const bool audible_here = audible(*table_->find(dir), path);
  if ((notice.mask & (IN_DELETE | IN_MOVED_FROM)) != 0) {
    raw(RawEvent::Kind::deleted, dir, notice.name, false);
    pending_.erase(dir, notice.name);
    if (audible_here) emit({.kind = Event::Kind::gone, .path = path});
    return;
  }
  RawEvent::Kind kind = RawEvent::Kind::attrib;
  if ((notice.mask & (IN_CREATE | IN_MOVED_TO)) != 0) kind = RawEvent::Kind::created;
  if ((notice.mask & IN_CLOSE_WRITE) != 0) kind = RawEvent::Kind::closed;
  raw(kind, dir, notice.name, false);
  if (!audible_here) return;
  pending_.touch(dir, notice.name, kind == RawEvent::Kind::attrib, std::chrono::steady_clock::now());
}

void Engine::handle_directory(DirId dir, const std::string& path, const Notice& notice) {
  if ((notice.mask & (IN_DELETE | IN_MOVED_FROM)) != 0) {
    raw(RawEvent::Kind::deleted, dir, notice.name, true);
    gone_directory(dir, notice.name, path);
  } else if ((notice.mask & (IN_CREATE | IN_MOVED_TO)) != 0) {
    raw(RawEvent::Kind::created, dir, notice.name, true);
    adopt(dir, notice.name, true, false);
  } else if ((notice.mask & IN_ATTRIB) != 0) {
    raw(RawEvent::Kind::attrib, dir, notice.name, true);
    if (table_->child(dir, notice.name) == kNoDir)
      adopt(dir, notice.name, true, false);  // it may be readable now
    if (audible(*table_->find(dir), path))
      emit({.kind = Event::Kind::attrib, .path = path, .directory = true});
  }
}

void Engine::gone_directory(DirId parent, const std::string& name, const std::string& path) {
  const bool told = audible(*table_->find(parent), path);
  const DirId id = table_->child(parent, name);
  if (id != kNoDir) drop(id);
  if (told) emit({.kind = Event::Kind::gone, .path = path, .directory = true});
}

void Engine::handle_move(const Notice& from, const Notice& to) {
  const DirId from_dir = table_->by_watch(from.wd);
  const DirId to_dir = table_->by_watch(to.wd);
  const bool from_seen = from_dir != kNoDir && !hidden(join_path(table_->path(from_dir), from.name));
  const bool to_seen = to_dir != kNoDir && !hidden(join_path(table_->path(to_dir), to.name));
  if (!from_seen || !to_seen) {  // one half lies outside the tree
    if (from_seen) handle(from);
    if (to_seen) handle(to);
    return;
  }
  const bool directory = (from.mask & IN_ISDIR) != 0;
  if (on_raw_) {
    emit_raw({.kind = RawEvent::Kind::moved,
              .parent = table_->path(from_dir),
              .name = from.name,
              .directory = directory,
              .to_parent = table_->path(to_dir),
              .to_name = to.name});
  }
  if (directory) {
    move_directory(from_dir, from, to_dir, to);
  } else {
    move_file(from_dir, from, to_dir, to);
  }
}

void Engine::move_file(DirId from_dir, const Notice& from, DirId to_dir, const Notice& to) {
  const std::string from_path = join_path(table_->path(from_dir), from.name);
  const std::string to_path = join_path(table_->path(to_dir), to.name);
  const bool from_told = audible(*table_->find(from_dir), from_path);
  const bool to_told = audible(*table_->find(to_dir), to_path);
  std::string origin = from_told ? from_path : std::string();
  if (const auto* entry = pending_.find(from_dir, from.name); entry != nullptr && !entry->from.empty()) {
    origin = entry->from;  // renamed again before it settled: the first name is the one that was told
  }
  pending_.erase(from_dir, from.name);
  if (from_told)
    emit({.kind = Event::Kind::gone, .path = from_path, .to = to_told ? to_path : std::string()});
  if (!to_told) return;
  pending_.touch(to_dir, to.name, false, std::chrono::steady_clock::now()).from = std::move(origin);
}

void Engine::move_directory(DirId from_dir, const Notice& from, DirId to_dir, const Notice& to) {
  const std::string from_path = join_path(table_->path(from_dir), from.name);
  const std::string to_path = join_path(table_->path(to_dir), to.name);
  if (!watchable(to_path)) return gone_directory(from_dir, from.name, from_path);
  const bool from_told = audible(*table_->find(from_dir), from_path);
  const bool both_told = from_told && audible(*table_->find(to_dir), to_path);
  const Event moved =
      both_told ? Event{.kind = Event::Kind::moved_dir, .path = to_path, .directory = true, .from = from_path}
                : Event{.kind = Event::Kind::gone, .path = from_path, .directory = true};
  const DirId id = table_->child(from_dir, from.name);
  if (id == kNoDir) {  // not scanned yet; the owner may know it from an earlier run all the same
    if (from_told) emit(moved);
    return adopt(to_dir, to.name, true, both_told);
  }
  const Sight there = look(to_dir, to.name);
  const FileId file = table_->find(id)->file;
  if (there.state == Sight::State::directory && !(file_id(there.info) == file)) {
    // The names were used again before we came: what the table has under the old name is not what was moved.
    if (from_told) emit(moved);
    const Sight here = look(from_dir, from.name);
    if (here.state != Sight::State::directory || !(file_id(here.info) == file)) drop(id);
    install(to_dir, to.name, to_path, there, both_told);
  } else if (there.state == Sight::State::other || there.state == Sight::State::closed) {
    gone_directory(from_dir, from.name, from_path);
  } else if (relocate(id, to_dir, to.name) && there.state == Sight::State::directory) {
    install(to_dir, to.name, to_path, there,
            true);  // the same number can be another directory's: the watch tells
  } else if (there.state == Sight::State::stale) {
    recheck_later({to_dir, to.name, true, 0});
  }
  adopt(from_dir, from.name, true, false);  // an exchange leaves a directory there without another notice
}

void Engine::on_overflow() {
  ++overflows_;
  log::warning(
      "watcher_overflow",
      {{"path", ""},
       {"action", "everything is scanned again; raise fs.inotify.max_queued_events if it comes often"}});
  emit_raw({.kind = RawEvent::Kind::overflow});
  emit({.kind = Event::Kind::overflow, .directory = true});
  ask_scan_all();
}

void Engine::on_root_lost() {
  log::error("watcher_root_lost", {{"path", options_.root}, {"action", "restore the directory and restart"}});
  emit_raw({.kind = RawEvent::Kind::overflow});
  emit(
      {.kind = Event::Kind::overflow, .directory = true});  // not `gone`: who would want that to be believed?
}

}  // namespace mediafs::watcher
