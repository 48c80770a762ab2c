#include "tier/stream.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <random>

#include "tier/stream_core.h"

namespace mediafs::tier {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using streaming::StreamCore;

constexpr milliseconds kFirstDelay{50};
constexpr milliseconds kLongestDelay{2000};

// When a read that failed is worth another try, and after how long.
class Retries {
 public:
  std::optional<milliseconds> next(const Error& error) {
    switch (error.code) {
      case ErrorCode::offline:
      case ErrorCode::timeout:
      case ErrorCode::throttled:
      case ErrorCode::busy:
        return delay(error);
      case ErrorCode::io:
      case ErrorCode::corrupt:
      case ErrorCode::cancelled:
      case ErrorCode::internal:
        if (std::exchange(tried_again_, true)) return std::nullopt;
        return milliseconds{0};
      default:
        return std::nullopt;
    }
  }
  void progress() { delay_ = kFirstDelay; }

 private:
  milliseconds delay(const Error& error) {
    thread_local std::minstd_rand random{std::random_device{}()};
    const auto longest = delay_.count();
    delay_ = std::min(delay_ * 2, kLongestDelay);
    const milliseconds jittered{std::uniform_int_distribution<std::int64_t>(longest / 2, longest)(random)};
    return std::max(jittered, milliseconds{error.retry_after_ms});
  }
  milliseconds delay_ = kFirstDelay;
  bool tried_again_ = false;
};

class CachedRead final : public Stream::Read {
 public:
  CachedRead(StreamCore& core, std::shared_ptr<streaming::Object> object, streaming::StreamState& state,
             std::uint64_t offset, std::size_t size_bytes)
      : core_(core), object_(std::move(object)), state_(state) {
    const auto total = object_->name.size_bytes;
    waiter_.begin = std::min(offset, total);
    waiter_.end = waiter_.begin + std::min<std::uint64_t>(size_bytes, total - waiter_.begin);
    if (waiter_.end > waiter_.begin) core_.prepare(object_, state_, waiter_);
  }
  ~CachedRead() override {
    if (waiter_.end > waiter_.begin) core_.finish(object_, waiter_);
  }
  CachedRead(const CachedRead&) = delete;
  CachedRead& operator=(const CachedRead&) = delete;

  Result<Pieces> finish_in_pieces(std::span<std::byte> room, SteadyTime deadline,
                                  std::stop_token stop) override {
    room = room.first(static_cast<std::size_t>(waiter_.end - waiter_.begin));
    if (room.empty()) return Pieces{};
    // Outside of every lock: its destructor waits for a callback that is running.
    std::optional<std::stop_callback<std::function<void()>>> interrupt;
    if (stop.stop_possible()) interrupt.emplace(stop, [this] { core_.wake(waiter_); });
    return read_all(room, deadline, stop);
  }

 private:
  Result<Pieces> read_all(std::span<std::byte> room, SteadyTime deadline, const std::stop_token& stop) {
    Retries retries;
    Pieces pieces;
    std::size_t done = 0;
    while (done < room.size()) {
      auto got = core_.read_some_of(object_, state_, waiter_.begin + done, {room.subspan(done), &pieces},
                                    waiter_, deadline, stop);
      if (got) {
        done += *got;
        retries.progress();
        continue;
      }
      if (stop.stop_requested()) return got.err();
      const auto delay = retries.next(got.err());
      if (!delay || steady_clock::now() + *delay >= deadline) return got.err();
      if (!core_.pause(waiter_, steady_clock::now() + *delay, stop)) {
        return make_error(ErrorCode::cancelled, "read " + object_->name.key, "the reader was interrupted");
      }
    }
    core_.served(done);
    return pieces;
  }

  StreamCore& core_;
  const std::shared_ptr<streaming::Object> object_;
  streaming::StreamState& state_;  // guarded by the core's mutex
  streaming::Waiter waiter_;
};

class CachedStream final : public Stream {
 public:
  CachedStream(StreamCore& core, const CachedObject& object) : core_(core), object_(core.open(object)) {}
  ~CachedStream() override { core_.close(object_, state_); }
  std::unique_ptr<Read> begin(std::uint64_t offset, std::size_t size_bytes) override {
    return std::make_unique<CachedRead>(core_, object_, state_, offset, size_bytes);
  }

 private:
  StreamCore& core_;
  const std::shared_ptr<streaming::Object> object_;
  streaming::StreamState state_;  // guarded by the core's mutex
};

class CachedStreams final : public Streams {
 public:
  CachedStreams(Options options, Vault& vault, std::unique_ptr<BlockCache> cache)
      : core_(std::move(options), vault, std::move(cache)) {}
  Result<std::unique_ptr<Stream>> open_stream(const CachedObject& object) override {
    return std::unique_ptr<Stream>(std::make_unique<CachedStream>(core_, object));
  }
  void forget(const std::string& key) override { core_.cache().forget(key); }
  std::uint64_t shrink(std::uint64_t bytes) override { return core_.cache().shrink(bytes); }
  StreamStats stats() const override { return core_.stats(); }

 private:
  StreamCore core_;
};

}  // namespace

std::size_t Pieces::size_bytes() const {
  std::size_t size = 0;
  for (const auto& piece : bytes) size += piece.size();
  return size;
}

void Pieces::append(std::span<const std::byte> piece) {
  if (!bytes.empty() && bytes.back().data() + bytes.back().size() == piece.data()) {
    bytes.back() = {bytes.back().data(), bytes.back().size() + piece.size()};
  } else {
    bytes.push_back(piece);
  }
}

Result<std::size_t> Stream::Read::finish(std::span<std::byte> into, SteadyTime deadline,
                                         std::stop_token stop) {
  MEDIAFS_ASSIGN(const auto pieces, finish_in_pieces(into, deadline, std::move(stop)));
  auto* at = into.data();
  for (const auto& piece : pieces.bytes) {
    if (piece.data() != at) std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  }
  return static_cast<std::size_t>(at - into.data());
}

Result<std::unique_ptr<Streams>> Streams::open(Options options, Vault& vault) {
  MEDIAFS_ASSIGN(auto cache, BlockCache::open({options.directory, options.cache_bytes,
                                               std::min<std::uint64_t>(options.memory_bytes / 4, 64ULL << 20),
                                               options.may_write}));
  return std::unique_ptr<Streams>(
      std::make_unique<CachedStreams>(std::move(options), vault, std::move(cache)));
}

}  // namespace mediafs::tier
