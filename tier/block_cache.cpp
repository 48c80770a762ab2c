#include "tier/block_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cerrno>
#include <set>

#include "common/log.h"

namespace mediafs::tier {
namespace {

constexpr std::size_t kMostObjects = 1'000'000;  // taken over at start; bounds the index

std::uint64_t bytes_of(const CachedObject& object, std::uint64_t extent, std::uint32_t bits) {
  auto bytes = static_cast<std::uint64_t>(std::popcount(bits)) * kBlockBytes;
  const auto last = block_count(object.size_bytes) - 1;
  if (last / kExtentBlocks == extent && (bits >> (last % kExtentBlocks) & 1) != 0) {
    bytes -= kBlockBytes - block_bytes(object.size_bytes, last);
  }
  return bytes;
}

bool is_end(const CachedObject& object, std::uint64_t extent) {
  return extent == 0 || (extent + 1) * kExtentBytes + kExtentBytes > object.size_bytes;
}

Result<std::set<std::string>> names_in(int dir) {
  MEDIAFS_ASSIGN(auto copy, open_at(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy.get()), ::closedir);
  if (stream == nullptr) {
    const int saved = errno;
    return errno_error(saved, "list the block cache");
  }
  copy.release();  // NOLINT: closedir closes it
  std::set<std::string> names;
  while (const auto* entry = ::readdir(stream.get())) names.insert(entry->d_name);
  return names;
}

}  // namespace

Result<std::unique_ptr<BlockCache>> BlockCache::open(Options options) {
  MEDIAFS_TRY(mkdirs_at(AT_FDCWD, options.directory, 0700));
  MEDIAFS_ASSIGN(auto directory, open_at(AT_FDCWD, options.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::unique_ptr<BlockCache> cache(new BlockCache(std::move(options), std::move(directory)));
  cache->load();
  cache->writer_ = std::thread([raw = cache.get()] { raw->work(); });
  return cache;
}

BlockCache::BlockCache(Options options, Fd directory)
    : options_(std::move(options)), directory_(std::move(directory)) {}

BlockCache::~BlockCache() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  if (writer_.joinable()) writer_.join();
}

// Whatever is not a pair of ours that fits together is dropped: it is only a cache. Other names are left alone.
void BlockCache::load() {
  auto names = names_in(directory_.get());
  if (!names) {
    log::warning("block_cache.load", names.err(), {{"directory", options_.directory}});
    return;
  }
  std::vector<LoadedMap> maps;
  for (const auto& file : *names) {
    const auto dot = file.rfind('.');
    if (dot == std::string::npos || !is_block_file_name(file.substr(0, dot))) continue;
    const auto name = file.substr(0, dot);
    if (file.substr(dot) == ".data" && !names->contains(name + ".map"))
      remove_block_files(directory_.get(), name);
    if (file.substr(dot) != ".map") continue;
    auto loaded = load_block_map(directory_.get(), name);
    if (loaded && !loaded->words.empty() && maps.size() < kMostObjects) {
      maps.push_back(std::move(*loaded));
      continue;
    }
    if (!loaded) log::warning("block_cache.dropped", loaded.err());
    remove_block_files(directory_.get(), name);
  }
  std::sort(maps.begin(), maps.end(), [](const auto& a, const auto& b) { return a.used_ns < b.used_ns; });
  for (auto& map : maps) adopt(std::move(map));
}

void BlockCache::adopt(LoadedMap loaded) {
  MutexLock lock(mutex_);
  auto entry = std::make_shared<Entry>(loaded.object);
  entry->on_disk_ = true;
  entries_[{loaded.object.key, loaded.object.etag, loaded.object.size_bytes}] = entry;
  for (const auto& [extent, bits] : loaded.words) gain(*entry, extent, bits)->second.durable = bits;
}

BlockCache::Ref BlockCache::attach(const CachedObject& object) {
  MutexLock lock(mutex_);
  const Identity identity{object.key, object.etag, object.size_bytes};
  std::vector<Ref> others;
  for (auto at = entries_.lower_bound({object.key, "", 0}); at != entries_.end(); ++at) {
    if (std::get<0>(at->first) != object.key) break;
    if (at->first != identity && at->second->users_ == 0) others.push_back(at->second);
  }
  for (const auto& other : others) drop_locked(other);
  auto& entry = entries_[identity];
  if (entry == nullptr) entry = std::make_shared<Entry>(object);
  ++entry->users_;
  return entry;
}

void BlockCache::detach(const Ref& entry) {
  MutexLock lock(mutex_);
  assert(entry->users_ > 0);
  if (--entry->users_ > 0) return;
  closing_.push_back(entry);
  wake_.notify_one();
}

std::uint64_t BlockCache::run(const Ref& entry, std::uint64_t block, std::uint64_t most, bool here) const {
  MutexLock lock(mutex_);
  std::uint64_t count = 0;
  auto at = entry->extents_.end();
  std::uint64_t extent = ~0ULL;
  for (; count < most; ++count, ++block) {
    if (block / kExtentBlocks != extent) {
      extent = block / kExtentBlocks;
      at = entry->extents_.find(extent);
    }
    const bool present =
        at != entry->extents_.end() && (at->second.present >> (block % kExtentBlocks) & 1) != 0;
    if (present != here) break;
  }
  return count;
}

std::size_t BlockCache::read(const Ref& entry, std::uint64_t offset, std::span<std::byte> into) {
  if (offset >= entry->object_.size_bytes) return 0;
  const auto end = std::min<std::uint64_t>(offset + into.size(), entry->object_.size_bytes);
  // A call reads from a few extents at most; callers go on where it ended.
  std::array<Extents::iterator, 4> pinned;
  std::size_t pins = 0;
  std::shared_ptr<BlockFiles> open_files;
  auto until = offset;
  {
    MutexLock lock(mutex_);
    if (entry->dropped_) return 0;
    while (until < end) {
      const auto block = until / kBlockBytes;
      if (pins == 0 || pinned[pins - 1]->first != block / kExtentBlocks) {
        const auto at = entry->extents_.find(block / kExtentBlocks);
        if (pins == pinned.size() || at == entry->extents_.end()) break;
        if ((at->second.present >> (block % kExtentBlocks) & 1) == 0) break;
        ++at->second.pins;
        touch(*entry, at);
        pinned[pins++] = at;
      } else if ((pinned[pins - 1]->second.present >> (block % kExtentBlocks) & 1) == 0) {
        break;
      }
      until = std::min(end, (block + 1) * kBlockBytes);
    }
    open_files = entry->files_;
  }
  if (pins == 0) return 0;
  const auto wanted = static_cast<std::size_t>(until - offset);
  Result<std::size_t> got = std::size_t{0};
  if (open_files == nullptr) {
    auto opened = files(entry, false);
    if (opened) {
      open_files = *opened;
    } else {
      got = opened.err();
    }
  }
  if (open_files != nullptr) got = read_some(open_files->data(), into.first(wanted), offset);
  {
    MutexLock lock(mutex_);
    for (std::size_t i = 0; i < pins; ++i) --pinned[i]->second.pins;
    if (got && *got == wanted) return wanted;
  }
  log::warning("block_cache.read",
               got ? make_error(ErrorCode::corrupt, "read cached blocks", "the file is short") : got.err(),
               {{"path", entry->object_.key}});
  drop(entry);
  return 0;
}

bool BlockCache::put(const Ref& entry, std::uint64_t block, Bytes bytes, Done done) {
  const auto size = block_bytes(entry->object_.size_bytes, block);
  MutexLock lock(mutex_);
  if (entry->dropped_ || stopping_ || size > options_.limit_bytes ||
      queue_bytes_ + size > options_.queue_bytes) {
    return false;
  }
  queue_bytes_ += size;
  ++entry->queued_;
  queue_.push_back({entry, block, std::move(bytes), std::move(done)});
  if (queue_.size() == 1) wake_.notify_one();
  return true;
}

void BlockCache::forget(const std::string& key) {
  MutexLock lock(mutex_);
  std::vector<Ref> found;
  for (auto at = entries_.lower_bound({key, "", 0}); at != entries_.end() && std::get<0>(at->first) == key;
       ++at) {
    if (at->second->users_ == 0) found.push_back(at->second);
  }
  for (const auto& entry : found) drop_locked(entry);
}

void BlockCache::drop(const Ref& entry) {
  MutexLock lock(mutex_);
  drop_locked(entry);
}

std::uint64_t BlockCache::shrink(std::uint64_t bytes) {
  Request request;
  request.shrink_bytes = bytes;
  MutexLock lock(mutex_);
  if (stopping_ || bytes == 0) return 0;
  requests_.push_back(&request);
  wake_.notify_one();
  while (!request.finished) finished_.wait(mutex_);
  return request.freed_bytes;
}

void BlockCache::flush() {
  Request request;
  request.flush = true;
  MutexLock lock(mutex_);
  if (stopping_) return;
  requests_.push_back(&request);
  wake_.notify_one();
  while (!request.finished) finished_.wait(mutex_);
}

std::uint64_t BlockCache::cached_bytes() const {
  MutexLock lock(mutex_);
  return cached_bytes_;
}

std::list<BlockCache::Place>& BlockCache::list_of(const Entry& entry, std::uint64_t extent) {
  return is_end(entry.object_, extent) ? ends_ : middles_;
}

void BlockCache::touch(Entry& entry, Extents::iterator at) {
  auto& list = list_of(entry, at->first);
  list.splice(list.end(), list, at->second.at);
}

BlockCache::Extents::iterator BlockCache::gain(Entry& entry, std::uint64_t extent, std::uint32_t bits) {
  auto [at, made] = entry.extents_.try_emplace(extent);
  auto& list = list_of(entry, extent);
  if (made) at->second.at = list.insert(list.end(), Place{&entry, extent});
  if (!made) touch(entry, at);
  const auto bytes = bytes_of(entry.object_, extent, bits & ~at->second.present);
  at->second.present |= bits;
  cached_bytes_ += bytes;
  if (&list == &ends_) ends_bytes_ += bytes;
  return at;
}

// Out of the lists and the sums; the extent itself stays for those who have it pinned.
void BlockCache::lose(Entry& entry, Extents::iterator at) {
  auto& list = list_of(entry, at->first);
  const auto bytes = bytes_of(entry.object_, at->first, at->second.present);
  cached_bytes_ -= bytes;
  if (&list == &ends_) ends_bytes_ -= bytes;
  at->second.present = 0;
  at->second.durable = 0;
  list.erase(at->second.at);
}

void BlockCache::drop_locked(const Ref& entry) {
  if (entry->dropped_) return;
  entry->dropped_ = true;
  for (auto at = entry->extents_.begin(); at != entry->extents_.end(); ++at) lose(*entry, at);
  entries_.erase({entry->object_.key, entry->object_.etag, entry->object_.size_bytes});
  dropped_.push_back(entry);
  wake_.notify_one();
}

Result<std::shared_ptr<BlockFiles>> BlockCache::files(const Ref& entry, bool create) {
  bool on_disk = false;
  {
    MutexLock lock(mutex_);
    if (entry->files_ != nullptr) return entry->files_;
    if (entry->dropped_) return make_error(ErrorCode::stale, "open block files", "dropped from the cache");
    on_disk = entry->on_disk_;
  }
  if (!on_disk && !create) return make_error(ErrorCode::not_found, "open block files", "nothing is cached");
  auto opened = on_disk ? BlockFiles::open(directory_.get(), entry->object_)
                        : BlockFiles::create(directory_.get(), entry->object_);
  if (!opened) return opened.err();
  MutexLock lock(mutex_);
  if (entry->files_ == nullptr) entry->files_ = *opened;
  entry->on_disk_ = true;
  return entry->files_;
}

}  // namespace mediafs::tier
