// Open handles: a number that travels through the kernel indexes a table; no pointer does.
// Threads:    safe from any thread. get() shares the handle: it lives on while a request uses it, though released.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "common/sync.h"

namespace mediafs::fs {

template <class T>
class HandleTable {
 public:
  std::uint64_t add(std::shared_ptr<T> handle) {
    const std::uint64_t id = next_.fetch_add(1, std::memory_order_relaxed);
    Shard& shard = shards_[id % kShards];
    MutexLock lock(shard.mutex);
    shard.handles.emplace(id, std::move(handle));
    return id;
  }
  std::shared_ptr<T> get(std::uint64_t id) const {  // nullptr: no such handle
    const Shard& shard = shards_[id % kShards];
    MutexLock lock(shard.mutex);
    auto found = shard.handles.find(id);
    return found == shard.handles.end() ? nullptr : found->second;
  }
  std::shared_ptr<T> remove(std::uint64_t id) {
    Shard& shard = shards_[id % kShards];
    MutexLock lock(shard.mutex);
    auto found = shard.handles.find(id);
    if (found == shard.handles.end()) return nullptr;
    auto handle = std::move(found->second);
    shard.handles.erase(found);
    return handle;
  }
  void clear() {
    for (Shard& shard : shards_) {
      std::unordered_map<std::uint64_t, std::shared_ptr<T>> handles;
      MutexLock lock(shard.mutex);
      handles.swap(shard.handles);
    }
  }

 private:
  static constexpr std::size_t kShards = 16;
  struct Shard {
    mutable Mutex mutex;
    std::unordered_map<std::uint64_t, std::shared_ptr<T>> handles GUARDED_BY(mutex);
  };
  std::array<Shard, kShards> shards_;
  std::atomic<std::uint64_t> next_{1};
};

}  // namespace mediafs::fs
