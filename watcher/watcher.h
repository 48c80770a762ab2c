// The watcher: a directory tree's changes, told twice. Events come when a file has settled; RawEvents come at once,
// for whoever keeps caches of the tree.
// Threads:    callbacks run on the watcher's own thread and must not block long; while they do, the kernel's queue
//             fills. rescan() and stats() from any thread; start() and stop() from the owner's; never from a callback.
// Owns:       its thread, the inotify instance, a table of the tree's directories, the files in flight.
// Shapes:     paths are bytes, relative to the root; "" is the root. Mounts below the root are not entered.
// Units:      settle on the steady clock.
// Errors:     start: not_found, not_directory, permission, no_space (inotify instances; says which sysctl).
// Invariants: (1) a file is told `settled` only after it was unchanged (size, mtime, ctime) for `settle` with no writer
//                 having it open (a read lease tells; where there are no leases, `settle` alone decides), and, where
//                 its writer was cut off with us, for `cut_off`: who writes it again begins well before that;
//             (2) a file that stays in place is told at least once after its last change, whatever was renamed around
//                 it meanwhile; scans ask `known` first, so that an unchanged file need not be told again;
//             (3) one event per file and quiet period: changes within it are one;
//             (4) events are hints: who acts on one looks at the file again, and reconciles after `overflow`.
// Source:     inotify(7), fcntl(2) on leases.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "common/result.h"

namespace mediafs::watcher {

struct Event {
  enum class Kind : std::uint8_t {
    settled,  // a file or symlink is whole: new, changed or renamed to here; `info` is its lstat
    attrib,   // only its mode, owner, times or xattrs changed (a directory's is told at once)
    gone,     // the name is no longer there; with `directory`, nor anything below it
    moved_dir,  // a directory went from `from` to `path`; its files are not told again. What was at `path` is replaced
    changed_dir,  // a directory appeared at `path`; its files follow one by one
    overflow,     // changes were lost; everything is scanned again, deletions must be found by the owner
    scanned,      // a scan of the whole tree ended: the first one, or one after an overflow
  };
  Kind kind = Kind::settled;
  std::string path = {};
  bool directory = false;
  bool symlink = false;
  std::string from = {};  // moved_dir: the old path; settled: the old name, if a rename brought the file here
  std::string to = {};    // gone: the new name, if the file was renamed within the tree
  struct stat info = {};
};

// Not settled, not filtered by Options::ignored.
struct RawEvent {
  enum class Kind : std::uint8_t {
    created,   // or moved in from outside
    deleted,   // or moved out
    moved,     // from parent/name to to_parent/to_name
    attrib,    // mode, owner, times, xattrs
    closed,    // closed by somebody who could write
    contents,  // any name directly in the directory `parent` may have changed (`name` is empty)
    overflow,  // anything may have changed
  };
  Kind kind = Kind::created;
  std::string parent = {};
  std::string name = {};
  bool directory = false;
  std::string to_parent = {};
  std::string to_name = {};
};

struct Stats {
  std::size_t directories = 0;
  std::size_t watches = 0;
  std::size_t unwatched = 0;  // directories without a watch, looked through every `poll_unwatched`
  std::size_t pending =
      0;  // files that have not settled; not 0 while anything that happened is not looked at yet
  std::uint64_t overflows = 0;
  std::uint64_t scans = 0;     // of the whole tree, ended
  bool scanning = false;       // one is under way or due
  bool limit_reached = false;  // of watches
  std::string advice = {};     // then: what to do
};

class Engine;

class Watcher {
 public:
  using OnEvent = std::function<void(const Event&)>;
  using OnRaw = std::function<void(const RawEvent&)>;
  using PathTest = std::function<bool(std::string_view path)>;

  struct Options {
    std::string root;
    std::chrono::milliseconds settle{2000};
    std::chrono::milliseconds cut_off{
        std::chrono::hours(1)};  // how long a file that is marked unfinished waits
    PathTest hidden = {};        // not part of the tree at all, with all below it: never watched, never told
    PathTest ignored =
        {};  // no Events for it and all below it (temporary names, sidecars); RawEvents all the same.
             // When a rename ends it, the files are told. A directory's move does not ask again for
             // what is below it: rescan() if patterns differ from place to place
    // Consulted for each file that a scan finds: true if the owner knows it just so (path and lstat): not told then.
    std::function<bool(std::string_view path, const struct stat& info)> known = {};
    std::size_t max_watches = 0;  // 0: as many as the kernel gives
    std::chrono::milliseconds poll_unwatched{30'000};
  };

  Watcher(Options options, OnEvent on_event, OnRaw on_raw = {});
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // Returns when the root is watched; the first scan goes on in the thread and ends with Kind::scanned.
  Status start();
  // Joins the thread; no callback runs after it. What had not settled is found again by the next start.
  void stop();
  // Looks at the file, or through the directory with all below it, again ("": everything below the root).
  Status rescan(std::string_view path);
  Stats stats() const;

 private:
  std::unique_ptr<Engine> engine_;
  std::jthread thread_;
};

}  // namespace mediafs::watcher
