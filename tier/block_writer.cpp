// The block cache's one thread that changes the disk: writes, syncs, evicts and removes.
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <iterator>
#include <span>
#include <tuple>

#include "common/crash.h"
#include "common/log.h"
#include "tier/block_cache.h"

namespace mediafs::tier {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kBatchItems = 64;
constexpr std::size_t kMostTogether = 16;  // 1 MiB
constexpr std::size_t kLeastDirect = 8;
constexpr std::size_t kAlignment = 4096;
constexpr std::uint64_t kSyncBytes =
    256ULL << 20;  // while the queue is busy: what comes during a sync is not cached
constexpr milliseconds kSyncAfter{500};
constexpr milliseconds kPauseAfterFailure{1000};
constexpr std::uint64_t kEvictAhead =
    32ULL << 20;  // at most: an eviction syncs, so it makes room for several blocks

// What comes in large pieces is a film: its pages would only push out others, and cost more to fill than the writing.
bool is_for_direct(std::span<const iovec> parts) {
  return parts.size() >= kLeastDirect && std::all_of(parts.begin(), parts.end(), [](const iovec& part) {
           return part.iov_len == kBlockBytes &&
                  reinterpret_cast<std::uintptr_t>(part.iov_base) % kAlignment == 0;
         });
}

}  // namespace

void BlockCache::work() noexcept {
  std::uint64_t over = 0;
  {
    MutexLock lock(mutex_);
    if (cached_bytes_ > options_.limit_bytes) over = cached_bytes_ - options_.limit_bytes;
  }
  try {
    if (over > 0) evict(over);
  } catch (const std::exception& e) {
    log::error("block_cache", {{"error", e.what()}});
  }
  for (bool running = true; running;) {
    Request* request = nullptr;
    try {
      std::vector<Item> items;
      std::vector<Ref> dropped;
      std::vector<Ref> closing;
      running = next(&items, &dropped, &closing, &request);
      for (const auto& entry : dropped) remove_block_files(directory_.get(), block_file_name(entry->object_));
      write(std::move(items));
      if (request != nullptr && request->shrink_bytes > 0)
        request->freed_bytes = evict(request->shrink_bytes);
      const bool idle = items.empty() && steady_clock::now() >= dirty_since_ + kSyncAfter;
      const bool due = dirty_bytes_ >= kSyncBytes || idle;
      if (!dirty_.empty() && (due || !running || (request != nullptr && request->flush))) sync_dirty();
      for (const auto& entry : closing) close_if_unused(entry);
    } catch (const std::exception& e) {
      log::error("block_cache", {{"error", e.what()}});
    }
    if (request != nullptr) {
      MutexLock lock(mutex_);
      request->finished = true;
      finished_.notify_all();
    }
  }
}

// What is to be done next; false when there is nothing left and the cache goes away. Removals come before writes: a
// new object may have the name of one that was dropped.
bool BlockCache::next(std::vector<Item>* items, std::vector<Ref>* dropped, std::vector<Ref>* closing,
                      Request** request) {
  MutexLock lock(mutex_);
  for (;;) {
    dropped->swap(dropped_);
    if (!dropped->empty()) return true;
    const bool asked = !requests_.empty();
    if (asked && (!requests_.front()->flush || queue_.empty())) {
      *request = requests_.front();
      requests_.pop_front();
      return true;
    }
    if (!queue_.empty()) {
      const auto count = static_cast<std::ptrdiff_t>(std::min(queue_.size(), kBatchItems));
      std::move(queue_.begin(), queue_.begin() + count, std::back_inserter(*items));
      queue_.erase(queue_.begin(), queue_.begin() + count);
      return true;
    }
    closing->swap(closing_);
    if (!closing->empty()) return true;
    if (stopping_) return false;
    if (dirty_.empty()) {
      wake_.wait(mutex_);
    } else if (!wake_.wait_until(mutex_, dirty_since_ + kSyncAfter)) {
      return true;
    }
  }
}

// Neighbours together: several transfers' blocks come mixed, and each call to the file system has its price.
void BlockCache::write(std::vector<Item> items) {
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return std::tie(a.entry, a.block) < std::tie(b.entry, b.block);
  });
  std::vector<bool> written(items.size());
  for (std::size_t i = 0; i < items.size();) {
    std::size_t end = i + 1;
    while (end < items.size() && end < i + kMostTogether && items[end].entry == items[i].entry &&
           items[end].block == items[end - 1].block + 1) {
      ++end;
    }
    const std::span<const Item> run(&items[i], end - i);
    const bool whole = run.size() > 1 && store(run);
    for (; i < end; ++i) written[i] = whole || store(std::span(&items[i], 1));
  }
  {
    MutexLock lock(mutex_);
    for (const auto& item : items) {
      queue_bytes_ -= block_bytes(item.entry->object_.size_bytes, item.block);
      if (--item.entry->queued_ == 0 && item.entry->users_ == 0) closing_.push_back(item.entry);
    }
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].done) items[i].done(written[i]);
  }
}

// False: not all of them are in the cache.
bool BlockCache::store(std::span<const Item> run) {
  auto& entry = *run.front().entry;
  std::uint64_t size = 0;
  {
    MutexLock lock(mutex_);
    if (entry.dropped_) return false;
    std::size_t here = 0;
    for (const auto& item : run) {
      const auto at = entry.extents_.find(item.block / kExtentBlocks);
      const auto bit = 1U << (item.block % kExtentBlocks);
      if (at != entry.extents_.end() && (at->second.present & bit) != 0) ++here;
      size += block_bytes(entry.object_.size_bytes, item.block);
    }
    if (here > 0) return here == run.size();  // one by one then
  }
  if (steady_clock::now() < paused_until_ || !make_room(size)) return false;
  if (options_.may_write && !options_.may_write(size)) return false;
  if (auto written = write_run(run, size); !written) {
    log::warning("block_cache.write", written.err(), {{"path", entry.object_.key}});
    paused_until_ = steady_clock::now() + kPauseAfterFailure;
    return false;
  }
  MutexLock lock(mutex_);
  if (entry.dropped_) return false;
  for (const auto& item : run) gain(entry, item.block / kExtentBlocks, 1U << (item.block % kExtentBlocks));
  if (dirty_.empty()) dirty_since_ = steady_clock::now();
  dirty_bytes_ += size;
  if (!entry.dirty_) dirty_.push_back(run.front().entry);
  entry.dirty_ = true;
  return true;
}

Status BlockCache::write_run(std::span<const Item> run, std::uint64_t size_bytes) {
  MEDIAFS_ASSIGN(const auto open_files, files(run.front().entry, true));
  const auto offset = run.front().block * kBlockBytes;
  if (run.size() > 1) {
    std::array<iovec, kMostTogether> parts{};
    for (std::size_t i = 0; i < run.size(); ++i) {
      const auto size = block_bytes(run[i].entry->object_.size_bytes, run[i].block);
      parts[i] = {.iov_base = const_cast<std::byte*>(run[i].bytes.get()), .iov_len = size};
    }
    const auto write_to = [&](int fd) {
      return ::pwritev(fd, parts.data(), static_cast<int>(run.size()), static_cast<off_t>(offset)) ==
             static_cast<ssize_t>(size_bytes);
    };
    if (open_files->direct() >= 0 && is_for_direct({parts.data(), run.size()})) {
      if (write_to(open_files->direct())) return {};
      open_files->stop_direct();
    }
    if (write_to(open_files->data())) return {};
  }
  // What one call did not do is done step by step, or fails with its reason.
  for (const auto& item : run) {
    const auto size = block_bytes(item.entry->object_.size_bytes, item.block);
    MEDIAFS_TRY(write_all(open_files->data(), {item.bytes.get(), static_cast<std::size_t>(size)},
                          item.block * kBlockBytes));
  }
  return {};
}

bool BlockCache::make_room(std::uint64_t bytes) {
  std::uint64_t over = 0;
  {
    MutexLock lock(mutex_);
    if (cached_bytes_ + bytes <= options_.limit_bytes) return true;
    over = cached_bytes_ + bytes - options_.limit_bytes;
  }
  return evict(std::max(over, std::min(kEvictAhead, options_.limit_bytes / 16))) >= over;
}

std::uint64_t BlockCache::evict(std::uint64_t bytes) {
  std::uint64_t freed = 0;
  std::vector<Victim> victims;
  {
    MutexLock lock(mutex_);
    victims = choose(bytes, &freed);
    for (const auto& victim : victims) {
      const auto& entry = *victim.entry;
      if (entry.extents_.empty() && entry.users_ == 0 && entry.queued_ == 0) drop_locked(victim.entry);
    }
  }
  for (const auto& victim : victims) {
    if (auto cleared = clear_on_disk(victim); !cleared) {
      log::warning("block_cache.evict", cleared.err(), {{"path", victim.entry->object_.key}});
      drop(victim.entry);
    }
  }
  // The space must be free when this returns.
  std::vector<Ref> dropped;
  {
    MutexLock lock(mutex_);
    dropped.swap(dropped_);
  }
  for (const auto& entry : dropped) remove_block_files(directory_.get(), block_file_name(entry->object_));
  return freed;
}

std::vector<BlockCache::Victim> BlockCache::choose(std::uint64_t bytes, std::uint64_t* freed) {
  std::map<Entry*, Victim> victims;
  const auto take_from = [&](std::list<Place>& list, std::uint64_t until) REQUIRES(mutex_) {
    for (auto at = list.begin(); at != list.end() && *freed < until;) {
      const auto [entry, extent] = *at++;
      const auto found = entry->extents_.find(extent);
      if (found->second.pins > 0) continue;
      auto& victim = victims[entry];
      if (victim.entry == nullptr) {
        victim.entry = entries_.at({entry->object_.key, entry->object_.etag, entry->object_.size_bytes});
      }
      victim.extents.push_back(extent);
      victim.durable = victim.durable || found->second.durable != 0;
      const auto before = cached_bytes_;
      lose(*entry, found);
      *freed += before - cached_bytes_;
      entry->extents_.erase(found);
    }
  };
  if (ends_bytes_ > options_.limit_bytes / 2) {
    take_from(ends_, std::min(bytes, ends_bytes_ - options_.limit_bytes / 2));
  }
  take_from(middles_, bytes);
  take_from(ends_, bytes);
  std::vector<Victim> list;
  for (auto& [entry, victim] : victims) {
    std::sort(victim.extents.begin(), victim.extents.end());
    list.push_back(std::move(victim));
  }
  return list;
}

Status BlockCache::clear_on_disk(const Victim& victim) {
  {
    MutexLock lock(mutex_);
    if (victim.entry->dropped_) return {};
  }
  MEDIAFS_ASSIGN(auto open_files, files(victim.entry, false));
  if (victim.durable) {
    std::vector<ExtentWord> words;
    for (const auto extent : victim.extents) words.emplace_back(extent, 0U);
    MEDIAFS_TRY(open_files->write_words(words));
    MEDIAFS_TRY(open_files->sync_map());
  }
  crash_point("block_cache.before_punch");
  for (const auto extent : victim.extents) MEDIAFS_TRY(open_files->punch(extent));
  crash_point("block_cache.after_punch");
  MutexLock lock(mutex_);
  if (victim.entry->users_ == 0 && victim.entry->queued_ == 0 && !victim.entry->dirty_)
    victim.entry->files_.reset();
  return {};
}

void BlockCache::sync_dirty() {
  const auto dirty = std::move(dirty_);
  dirty_.clear();
  dirty_bytes_ = 0;
  for (const auto& entry : dirty) sync(entry);
}

void BlockCache::sync(const Ref& entry) {
  std::shared_ptr<BlockFiles> open_files;
  {
    MutexLock lock(mutex_);
    entry->dirty_ = false;
    open_files = entry->files_;
    if (entry->dropped_ || open_files == nullptr) return;
  }
  auto synced = open_files->sync_data();
  crash_point("block_cache.after_data");
  if (synced) {
    std::vector<ExtentWord> words;
    {
      MutexLock lock(mutex_);
      for (auto& [extent, state] : entry->extents_) {
        if (state.present == state.durable) continue;
        words.emplace_back(extent, state.present);
        state.durable = state.present;
      }
    }
    synced = open_files->write_words(words);
    crash_point("block_cache.after_map");
  }
  if (synced) return;
  // After a failed fdatasync nobody knows which bytes are there.
  log::warning("block_cache.sync", synced.err(), {{"path", entry->object_.key}});
  drop(entry);
}

void BlockCache::close_if_unused(const Ref& entry) {
  std::shared_ptr<BlockFiles> open_files;
  {
    MutexLock lock(mutex_);
    if (entry->users_ > 0 || entry->queued_ > 0 || entry->dropped_) return;
    if (entry->dirty_) {
      entry->dirty_ = false;
      std::erase(dirty_, entry);
    }
    open_files = entry->files_;
  }
  if (open_files != nullptr) {
    sync(entry);
    open_files->touch();
  }
  MutexLock lock(mutex_);
  if (entry->users_ > 0 || entry->queued_ > 0) return;
  entry->files_.reset();
  if (entry->extents_.empty()) drop_locked(entry);
}

}  // namespace mediafs::tier
