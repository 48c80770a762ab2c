// Directory listings that are under way. The kernel opens directories without telling us, so a listing belongs to its
// directory and not to a handle. An entry's place in it is a hash of its name: the same in each listing, whatever comes
// or goes, so that one that was dropped can be made again in the middle.
// Threads:    safe from any thread.
// Invariants: (1) no more than kKept are kept, and no more than kKeptItems in them but for the newest: those used last.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/sync.h"
#include "fs/node_table.h"
#include "tier/catalogue/catalogue.h"

namespace mediafs::fs {

struct DirItem {
  std::string name;
  mode_t type = 0;
  std::uint64_t inode = 0;
  Branch branch = Branch::none;
  std::int64_t place = 0;  // after it the listing goes on behind this entry
  tier::Shown shown = {};  // of what the vault alone has
};
struct Listing {
  std::vector<DirItem> items;
  std::uint64_t moment = 0;  // the catalogue's, before it was read
};
using Items = std::shared_ptr<const Listing>;

// Gives each its place and sorts them so. "." and ".." come first.
void put_in_places(std::vector<DirItem>& items);
// The first entry behind `place`; 0 is the start.
std::size_t index_behind(const std::vector<DirItem>& items, std::int64_t place);

class Listings {
 public:
  Items find(NodeId directory) EXCLUDES(mutex_);  // nullptr: it must be made
  void keep(NodeId directory, Items items) EXCLUDES(mutex_);
  void drop(NodeId directory) EXCLUDES(mutex_);  // it was read to its end

 private:
  void drop_locked(NodeId directory) REQUIRES(mutex_);
  static constexpr std::size_t kKept = 64;
  static constexpr std::size_t kKeptItems = 65'536;
  Mutex mutex_;
  std::list<std::pair<NodeId, Items>> kept_ GUARDED_BY(mutex_);  // the latest first
  std::size_t items_ GUARDED_BY(mutex_) = 0;                     // in all of them
};

}  // namespace mediafs::fs
