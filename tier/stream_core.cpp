#include "tier/stream_core.h"

#include <algorithm>
#include <array>
#include <new>
#include <string_view>
#include <utility>

namespace mediafs::tier::streaming {
namespace {

using std::chrono::steady_clock;

constexpr std::align_val_t kBufferAlignment{4096};
constexpr std::size_t kSpareBuffers = 512;         // 32 MiB
constexpr std::size_t kMostTransfers = 16;         // that one stream reads ahead with
constexpr std::uint64_t kMostNeeded = 8ULL << 20;  // of one read asked for at once
constexpr std::uint64_t kInHalves = 512ULL << 10;  // from a vault that is far away, if nothing is read ahead
constexpr std::uint64_t kWithTail = 4ULL << 20;    // smaller files have no tail of their own
constexpr std::uint64_t kTail = kBlockBytes;
constexpr std::uint64_t kNearlyThere = 256ULL << 10;  // what costs less to wait for than another connection

// Players and scanners look at the end of these right after the beginning: the index is there.
bool has_index_at_end(std::string_view key) {
  static constexpr std::array<std::string_view, 9> kKinds{".mkv",  ".mp4", ".m4v",  ".mov", ".avi",
                                                          ".webm", ".ts",  ".m2ts", ".mpg"};
  return std::any_of(kKinds.begin(), kKinds.end(), [&](auto kind) { return key.ends_with(kind); });
}

bool ends_soon(const Transfer& transfer) {
  return transfer.got > 0 && transfer.size - transfer.got <= kNearlyThere;
}

bool overlaps(const Transfer& transfer, std::uint64_t begin, std::uint64_t end) {
  return transfer.offset < end && begin < transfer.end();
}

}  // namespace

void FreeBuffer::operator()(std::byte* buffer) const noexcept {
  ::operator delete[](buffer, kBufferAlignment);
}

Buffer Buffers::get() {
  {
    MutexLock lock(mutex_);
    if (!spare_.empty()) {
      auto buffer = std::move(spare_.back());
      spare_.pop_back();
      return buffer;
    }
  }
  return Buffer(static_cast<std::byte*>(::operator new[](kBlockBytes, kBufferAlignment)));
}

void Buffers::put(Buffer buffer) {
  MutexLock lock(mutex_);
  if (spare_.size() < kSpareBuffers) spare_.push_back(std::move(buffer));
}

StreamCore::StreamCore(Streams::Options options, Vault& vault, std::unique_ptr<BlockCache> cache)
    : options_(std::move(options)), vault_(vault), cache_(std::move(cache)) {}

StreamCore::~StreamCore() {
  Cancels cancels;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    for (const auto& [identity, object] : objects_) {
      const Starts transfers(object->transfers.begin(), object->transfers.end());
      for (const auto& transfer : transfers) abandon(*transfer, &cancels);
    }
  }
  run({}, cancels);
  MutexLock lock(mutex_);
  while (under_way_ > 0) drained_.wait(mutex_);
}

std::shared_ptr<Object> StreamCore::open(const CachedObject& name) {
  MutexLock lock(mutex_);
  auto& object = objects_[{name.key, name.etag, name.size_bytes}];
  if (object == nullptr || object->changed) {
    object = std::make_shared<Object>();
    object->name = name;
    if (!name.etag.empty() && name.size_bytes > 0) object->entry = cache_->attach(name);
  }
  ++object->streams;
  return object;
}

void StreamCore::close(const std::shared_ptr<Object>& object, StreamState& stream) {
  Cancels cancels;
  bool last = false;
  {
    MutexLock lock(mutex_);
    unwant(*object, stream, 0, 0, &cancels);
    last = --object->streams == 0;
    if (last) {
      const Starts transfers(object->transfers.begin(), object->transfers.end());
      for (const auto& transfer : transfers) abandon(*transfer, &cancels);  // those that end soon, too
      const auto at = objects_.find({object->name.key, object->name.etag, object->name.size_bytes});
      if (at != objects_.end() && at->second == object) objects_.erase(at);
      for (auto block = object->blocks.begin(); block != object->blocks.end();) {
        const auto memory = (block++)->second;
        if (memory->loose) drop_loose(*memory);
      }
      object->blocks.clear();  // what the cache's queue still has stays alive there
    }
  }
  run({}, cancels);
  if (last && object->entry != nullptr) cache_->detach(object->entry);
}

void StreamCore::prepare(const std::shared_ptr<Object>& object, StreamState& stream, Waiter& waiter) {
  Starts starts;
  Cancels cancels;
  {
    MutexLock lock(mutex_);
    object->reading.push_back(&waiter);
    if (object->changed) return;
    const auto total = object->name.size_bytes;
    const auto offset = waiter.begin;
    auto plan = stream.ahead.note(offset, waiter.end - offset, total);
    if (plan.seek) unwant(*object, stream, offset, waiter.end, &cancels);
    const auto until = std::min(waiter.end, offset + kMostNeeded);
    // Somebody waits for its last byte: two connections bring that sooner.
    const bool halves = plan.begin == plan.end && until - offset >= kInHalves && distance_.far();
    if (halves) plan.segment_bytes = (until - offset) / 2;
    // One range if nothing lies between what is needed and what comes after it.
    const bool together = plan.begin == until && plan.end > until && !object->failing;
    ask(object, stream, {offset, together ? plan.end : until, until, plan.segment_bytes}, &starts);
    if (!together && plan.end > plan.begin && !object->failing) {
      ask(object, stream, {plan.begin, plan.end, 0, plan.segment_bytes}, &starts);
    }
    const bool first = !stream.opened;
    stream.opened = true;
    if (first && offset < kBlockBytes && total > kWithTail && has_index_at_end(object->name.key)) {
      const auto tail = stream.ahead;  // the tail is no part of the run
      ask(object, stream, {total - kTail, total, 0}, &starts);
      stream.ahead = tail;
    }
  }
  run(starts, cancels);
}

void StreamCore::finish(const std::shared_ptr<Object>& object, Waiter& waiter) {
  Cancels cancels;
  {
    MutexLock lock(mutex_);
    std::erase(object->reading, &waiter);
    // What only this read kept alive after its stream went elsewhere.
    const Starts transfers(object->transfers.begin(), object->transfers.end());
    for (const auto& transfer : transfers) {
      if (transfer->owners.empty() && !needed(*transfer) && !ends_soon(*transfer))
        abandon(*transfer, &cancels);
    }
  }
  run({}, cancels);
}

bool StreamCore::needed(const Transfer& transfer, const Waiter* but) const {
  const auto& reading = transfer.object->reading;
  return std::any_of(reading.begin(), reading.end(), [&](const Waiter* reader) {
    return reader != but && overlaps(transfer, reader->begin, reader->end);
  });
}

std::uint64_t StreamCore::missing_run(const Object& object, std::uint64_t block, std::uint64_t most) {
  std::uint64_t count = 0;
  while (count < most && !object.blocks.contains(block + count)) ++count;
  if (count == 0 || object.entry == nullptr) return count;
  return cache_->run(object.entry, block, count, false);
}

std::uint64_t StreamCore::ask(const std::shared_ptr<Object>& object, StreamState& stream, const Ask& range,
                              Starts* starts) {
  const auto last = block_count(range.end);
  const auto segment = std::max<std::uint64_t>(1, range.segment_bytes / kBlockBytes);
  auto block = range.begin / kBlockBytes;
  want(*object, stream, range.begin, range.end);
  while (block < last && !stopping_) {
    // A small rest is no request of its own.
    const auto left = last - block;
    auto run = missing_run(*object, block, left <= segment + segment / 4 ? left : segment);
    if (run == 0) {
      const auto cached = object->entry == nullptr ? 0 : cache_->run(object->entry, block, last - block);
      block += std::max<std::uint64_t>(1, cached);
      continue;
    }
    const bool needed = block * kBlockBytes < range.must;
    if (room(run * kBlockBytes) < run * kBlockBytes ||
        (!needed && owned(*object, stream) >= kMostTransfers)) {
      if (!needed) break;
      run = std::min(run, block_count(range.must) - block);
    }
    starts->push_back(make_transfer(object, stream, block, run));
    block += run;
  }
  const auto until = std::min(block * kBlockBytes, range.end);
  stream.ahead.asked(until);
  return until;
}

std::shared_ptr<Transfer> StreamCore::make_transfer(const std::shared_ptr<Object>& object,
                                                    StreamState& stream, std::uint64_t block,
                                                    std::uint64_t count) {
  const auto total = object->name.size_bytes;
  while (buffers_->used_bytes + count * kBlockBytes > options_.memory_bytes && drop_one(false)) {
  }
  auto transfer = std::make_shared<Transfer>();
  transfer->object = object;
  transfer->first_block = block;
  transfer->offset = block * kBlockBytes;
  transfer->size = std::min(total, (block + count) * kBlockBytes) - transfer->offset;
  for (auto i = block; i < block + count; ++i) {
    auto memory = std::make_shared<MemoryBlock>(buffers_, static_cast<std::size_t>(block_bytes(total, i)));
    memory->transfer = transfer.get();
    object->blocks[i] = memory;
    transfer->blocks.push_back(std::move(memory));
  }
  transfer->owners.push_back(&stream);
  object->transfers.push_back(transfer);
  ++under_way_;
  return transfer;
}

std::size_t StreamCore::owned(const Object& object, const StreamState& stream) const {
  return static_cast<std::size_t>(
      std::count_if(object.transfers.begin(), object.transfers.end(), [&](const auto& transfer) {
        return std::find(transfer->owners.begin(), transfer->owners.end(), &stream) != transfer->owners.end();
      }));
}

void StreamCore::want(Object& object, StreamState& stream, std::uint64_t begin, std::uint64_t end) {
  for (const auto& transfer : object.transfers) {
    auto& owners = transfer->owners;
    if (!overlaps(*transfer, begin, end) || std::find(owners.begin(), owners.end(), &stream) != owners.end())
      continue;
    owners.push_back(&stream);
  }
}

// The stream no longer wants what lies outside of [begin, end).
void StreamCore::unwant(Object& object, StreamState& stream, std::uint64_t begin, std::uint64_t end,
                        Cancels* cancels) {
  if (object.streams == 1) {
    for (auto block = object.blocks.begin(); block != object.blocks.end();) {
      const auto memory = (block++)->second;
      consume(*memory);
    }
  }
  const Starts transfers(object.transfers.begin(), object.transfers.end());
  for (const auto& transfer : transfers) {
    if (overlaps(*transfer, begin, end) || std::erase(transfer->owners, &stream) == 0) continue;
    if (transfer->owners.empty() && !needed(*transfer) && !ends_soon(*transfer)) abandon(*transfer, cancels);
  }
}

Result<std::size_t> StreamCore::read_some_of(const std::shared_ptr<Object>& object, StreamState& stream,
                                             std::uint64_t offset, const Into& into, Waiter& waiter,
                                             SteadyTime deadline, const std::stop_token& stop) {
  const auto room = into.room;
  const auto block = offset / kBlockBytes;
  const auto skip = static_cast<std::size_t>(offset % kBlockBytes);
  for (;;) {
    std::shared_ptr<MemoryBlock> memory;
    std::size_t wanted = 0;
    Status status;
    Cancels cancels;
    {
      MutexLock lock(mutex_);
      if (object->changed) return *object->changed;
      if (const auto found = object->blocks.find(block); found != object->blocks.end()) {
        memory = found->second;
        wanted = std::min(room.size(), memory->size - skip);
        if (memory->filled < skip + wanted) {
          const auto transfer = memory->transfer->shared_from_this();
          waiter.until = std::min(transfer->end(), offset + room.size());
          stream.ahead.waited(offset);
          status = wait_for(transfer, waiter, deadline, stop, &cancels);
        }
        if (memory->filled >= skip + wanted) status = {};
        if (status && skip + wanted == memory->size) consume(*memory);
      }
    }
    run({}, cancels);
    if (!status) return status.err();
    if (memory != nullptr) {
      into.pieces->append({memory->data.get() + skip, wanted});
      into.pieces->blocks.push_back(memory);
      return wanted;
    }
    if (object->entry != nullptr) {
      if (const auto got = cache_->read(object->entry, offset, room); got > 0) {
        into.pieces->append(room.first(got));
        return got;
      }
    }
    Starts starts;
    {
      MutexLock lock(mutex_);
      if (waiter.missed) return *std::exchange(waiter.missed, std::nullopt);
      const auto end = std::min(offset + room.size(), offset + kMostNeeded);
      ask(object, stream, {offset, end, end}, &starts);
      if (stopping_)
        return make_error(ErrorCode::cancelled, "read " + object->name.key, "mediafs is stopping");
    }
    run(starts, {});
  }
}

Status StreamCore::wait_for(const std::shared_ptr<Transfer>& transfer, Waiter& waiter, SteadyTime deadline,
                            const std::stop_token& stop, Cancels* cancels) {
  const auto& key = transfer->object->name.key;
  transfer->waiters.push_back(&waiter);
  Status status;
  while (transfer->offset + transfer->got < waiter.until) {
    if (transfer->error) {
      status = *transfer->error;
      waiter.missed.reset();
    } else if (transfer->finished || transfer->cancelled) {
      status = make_error(ErrorCode::cancelled, "read " + key, "the transfer was cancelled");
    } else if (stop.stop_requested()) {
      status = make_error(ErrorCode::cancelled, "read " + key, "the reader was interrupted");
    } else if (steady_clock::now() >= deadline) {
      status = make_error(ErrorCode::timeout, "read " + key, "the vault sent nothing in time");
    } else {
      waiter.wake.wait_until(mutex_, deadline);
      continue;
    }
    break;
  }
  std::erase(transfer->waiters, &waiter);
  // Whoever tries again should not join a transfer that is stuck.
  const bool stuck = !status && status.err().code == ErrorCode::timeout && !transfer->finished;
  if (stuck && !needed(*transfer, &waiter) && !transfer->cancelled) abandon(*transfer, cancels);
  return status;
}

bool StreamCore::pause(Waiter& waiter, SteadyTime time, const std::stop_token& stop) {
  MutexLock lock(mutex_);
  while (!stop.stop_requested() && steady_clock::now() < time) waiter.wake.wait_until(mutex_, time);
  return !stop.stop_requested();
}

void StreamCore::wake(Waiter& waiter) {
  MutexLock lock(mutex_);
  waiter.wake.notify_all();
}

StreamStats StreamCore::stats() const {
  return {cache_->cached_bytes(), cache_->limit_bytes(), requests_.load(), fetched_bytes_.load(),
          served_bytes_.load()};
}

}  // namespace mediafs::tier::streaming
