// What runs on the watcher's thread: notices in, looks at the disk, events out.
// Threads:    run() on one thread; request(), wake() and stats() from any; all else on run()'s thread.
// Invariants: (1) a directory is watched before it is read, both through one descriptor;
//             (2) each notice of a directory's name ends in a look at what stands there now. Where the look can't be had
//                 because a rename further up has not been processed yet (the directory at the path is not the one in
//                 the table), it is repeated until it can: so the table ends up right, whatever the order of things;
//             (3) a MOVED_FROM is not acted on before its MOVED_TO was read, or kPairWait passed.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "common/clock.h"
#include "common/fd.h"
#include "common/result.h"
#include "common/sync.h"
#include "watcher/dir_table.h"
#include "watcher/inotify.h"
#include "watcher/pending.h"
#include "watcher/watcher.h"

namespace mediafs::watcher {

class Engine {
 public:
  Engine(Watcher::Options options, Watcher::OnEvent on_event, Watcher::OnRaw on_raw);
  Status open();
  void run(const std::stop_token& stop) noexcept;
  void wake() noexcept;
  void request(std::string path) EXCLUDES(mutex_);
  Stats stats() const EXCLUDES(mutex_);

 private:
  // What stands at a name now.
  struct Sight {
    enum class State : std::uint8_t {
      absent,
      directory,  // `fd` has it open
      other,      // something else
      closed,     // a directory that we can't enter, or another filesystem's, which we don't
      stale,      // the parent is not where the table has it
    };
    State state = State::absent;
    Fd fd;
    struct stat info = {};
  };
  struct Scan {
    DirId dir;
    bool deep;  // known directories below are scanned too
  };
  struct Recheck {
    DirId dir;
    std::string name;  // to look at within `dir`; empty: scan `dir` itself
    bool deep;
    int looks;
  };

  // engine.cpp: the loop
  void turn(const std::stop_token& stop);
  void wait();
  int timeout_ms() const;
  void pump();
  void take_requests() EXCLUDES(mutex_);
  void publish_stats() EXCLUDES(mutex_);
  void emit(const Event& event) noexcept;
  void emit_raw(const RawEvent& event) noexcept;
  bool test(const Watcher::PathTest& predicate, std::string_view path) const noexcept;
  bool known(std::string_view path, const struct stat& info) const noexcept;
  bool hidden(std::string_view path) const { return test(options_.hidden, path); }
  bool ignored(std::string_view path) const { return test(options_.ignored, path); }
  // Whether a directory of this path is to be in the table.
  bool watchable(std::string_view path) const;
  // Whether Events are told of this name in `dir`.
  bool audible(const Dir& dir, std::string_view path) const { return !dir.muted && !ignored(path); }

  // engine_notices.cpp: what inotify says
  void handle_inbox();
  void handle(const Notice& notice);
  void handle_file(DirId dir, const std::string& path, const Notice& notice);
  void handle_directory(DirId dir, const std::string& path, const Notice& notice);
  void handle_move(const Notice& from, const Notice& to);
  void move_file(DirId from_dir, const Notice& from, DirId to_dir, const Notice& to);
  void move_directory(DirId from_dir, const Notice& from, DirId to_dir, const Notice& to);
  void on_overflow();
  void on_root_lost();
  void raw(RawEvent::Kind kind, DirId dir, const std::string& name, bool directory);
  void gone_directory(DirId parent, const std::string& name, const std::string& path);

  // engine_dirs.cpp: the table follows the disk
  // -1: the directory is not where the table has it, or can't be opened. Valid until the next call or forget_handle().
  int open_dir(DirId id);
  void forget_handle() { handle_.reset(), handle_dir_ = kNoDir; }
  Sight look(DirId parent, const std::string& name);
  // Looks at the name and brings the table in line if a directory is there. `quiet`: a new one is not told.
  void adopt(DirId parent, const std::string& name, bool deep, bool quiet, int looks = 0);
  DirId install(DirId parent, const std::string& name, const std::string& path, const Sight& sight,
                bool quiet);
  DirId add(DirId parent, const std::string& name, const std::string& path, const Sight& sight, int wd,
            bool quiet);
  bool relocate(DirId id, DirId parent, const std::string& name);
  void remute(DirId id);
  void drop(DirId id);
  int watch(int fd);

  // engine_scan.cpp
  void begin_scan_all();
  void end_scan_all();
  void ask_scan_all();
  void run_scans();
  void scan(const Scan& item, int looks = 0);
  void scan_entries(DirId id, Fd fd, bool deep);
  void scan_file(DirId id, int fd, const std::string& dir_path, const std::string& name, Contents* contents);
  void compare_contents(DirId id, Contents files, const std::unordered_set<std::string>& directories);
  void poll_unwatched();
  void recheck_later(Recheck item);
  void run_rechecks();
  void rescan_path(const std::string& path);

  // engine_settle.cpp
  void settle_due();
  void check(PendingTable::Entry& entry, SteadyTime now);
  static std::chrono::milliseconds stale_wait(int looks);

  const Watcher::Options options_;
  const Watcher::OnEvent on_event_;
  const Watcher::OnRaw on_raw_;
  Fd root_;
  Fd wake_;
  Inotify inotify_;
  std::optional<DirTable> table_;
  PendingTable pending_;
  bool heard_ = false;  // the last look at inotify found something
  std::deque<Notice> inbox_;
  std::optional<SteadyTime> pair_due_;  // the inbox waits for a MOVED_TO until then
  Fd handle_;                           // of the directory that was opened last, within one turn
  DirId handle_dir_ = kNoDir;
  std::deque<Scan> scans_;
  std::multimap<SteadyTime, Recheck> rechecks_;
  std::uint64_t epoch_ = 0;
  std::uint64_t scan_all_epoch_ = 0;
  int sweeps_ = 0;
  bool scanning_all_ = false;
  std::optional<SteadyTime> scan_all_due_;
  SteadyTime scan_all_ended_{};
  SteadyTime poll_due_{};
  bool limit_reached_ = false;
  std::string advice_;
  std::uint64_t overflows_ = 0;
  std::uint64_t scans_done_ = 0;

  mutable Mutex mutex_;
  std::vector<std::string> requests_ GUARDED_BY(mutex_);
  std::atomic<bool> open_{false};  // stats() may be asked before
  std::atomic<bool> at_work_{false};
  Stats stats_ GUARDED_BY(mutex_);
};

}  // namespace mediafs::watcher
