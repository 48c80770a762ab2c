#include "fs/listings.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace mediafs::fs {
namespace {

constexpr std::int64_t kFirstHashed = 3;  // 1 and 2 are "." and ".."

std::int64_t place_of(const std::string& name) {
  if (name == ".") return 1;
  if (name == "..") return 2;
  const auto hash = static_cast<std::int64_t>(std::hash<std::string>{}(name) >> 2);
  return std::max(hash, kFirstHashed);
}

}  // namespace

void put_in_places(std::vector<DirItem>& items) {
  for (DirItem& item : items) item.place = place_of(item.name);
  std::sort(items.begin(), items.end(), [](const DirItem& a, const DirItem& b) {
    return a.place != b.place ? a.place < b.place : a.name < b.name;
  });
  for (std::size_t i = 1; i < items.size(); ++i) {
    items[i].place = std::max(items[i].place, items[i - 1].place + 1);
  }
}

std::size_t index_behind(const std::vector<DirItem>& items, std::int64_t place) {
  const auto at = std::upper_bound(items.begin(), items.end(), place,
                                   [](std::int64_t p, const DirItem& item) { return p < item.place; });
  return static_cast<std::size_t>(at - items.begin());
}

Items Listings::find(NodeId directory) {
  MutexLock lock(mutex_);
  const auto at =
      std::find_if(kept_.begin(), kept_.end(), [&](const auto& k) { return k.first == directory; });
  if (at == kept_.end()) return nullptr;
  kept_.splice(kept_.begin(), kept_, at);
  return at->second;
}

void Listings::drop(NodeId directory) {
  MutexLock lock(mutex_);
  drop_locked(directory);
}

void Listings::drop_locked(NodeId directory) {
  const auto at =
      std::find_if(kept_.begin(), kept_.end(), [&](const auto& k) { return k.first == directory; });
  if (at == kept_.end()) return;
  items_ -= at->second->items.size();
  kept_.erase(at);
}

void Listings::keep(NodeId directory, Items items) {
  MutexLock lock(mutex_);
  drop_locked(directory);
  items_ += items->items.size();
  kept_.emplace_front(directory, std::move(items));
  while (kept_.size() > kKept || (items_ > kKeptItems && kept_.size() > 1)) {
    items_ -= kept_.back().second->items.size();
    kept_.pop_back();
  }
}

}  // namespace mediafs::fs
