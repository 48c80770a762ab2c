// The files in flight: those that changed and have not settled, and when to look at each again.
// Threads:    one at a time.
// Shapes:     keyed by (directory, name), so that entries follow a renamed directory by themselves.
// Invariants: each entry is in the schedule exactly once.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "common/clock.h"
#include "watcher/dir_table.h"

namespace mediafs::watcher {

struct Fingerprint {
  std::int64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  FileId file;
  bool operator==(const Fingerprint&) const = default;
  std::uint64_t hash() const;
};
Fingerprint fingerprint(const struct stat& info);

class PendingTable {
 public:
  using Key = std::pair<DirId, std::string>;
  struct Entry {
    const Key* key = nullptr;
    SteadyTime due{};
    std::optional<Fingerprint> seen;  // at the last look; none: look first, then wait
    bool attrib_only = false;
    int writer_looks = 0;  // how often in a row a writer had it open
    int stale_looks = 0;   // how often in a row its directory was not where the table has it
    std::string from;
  };

  // Something happened to it: the wait starts anew.
  Entry& touch(DirId dir, std::string_view name, bool attrib_only, SteadyTime now);
  // A scan came across it: an entry that is there already waits on.
  void found(DirId dir, std::string_view name, SteadyTime now);
  const Entry* find(DirId dir, std::string_view name) const;
  bool contains(DirId dir, std::string_view name) const { return find(dir, name) != nullptr; }
  void erase(DirId dir, std::string_view name);
  void erase_dir(DirId dir);  // all directly in it
  void reschedule(Entry& entry, SteadyTime due);
  Entry* first_due(SteadyTime now);  // nullptr: none
  std::optional<SteadyTime> next_due() const;
  std::size_t size() const { return entries_.size(); }

 private:
  using Map = std::map<Key, Entry>;
  Map::iterator erase(Map::iterator it);
  Map entries_;
  std::set<std::pair<SteadyTime, const Key*>> schedule_;
};

}  // namespace mediafs::watcher
