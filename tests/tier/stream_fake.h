// A vault of made-up objects for the streams' tests: counts requests, and is slow, short or broken on demand.
// Threads:    safe from any thread; each read runs on a thread of its own.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "common/sync.h"
#include "tier/vault/vault.h"

namespace mediafs::tier::test {

// Byte `at` of the object's version `seed`.
inline std::byte content_at(std::uint64_t seed, std::uint64_t at) {
  const auto mixed = (at / 8 + seed * 0x9e3779b97f4a7c15ULL) * 0xbf58476d1ce4e5b9ULL;
  return static_cast<std::byte>(mixed >> (8 * (at % 8)));
}

inline bool is_content(std::uint64_t seed, std::uint64_t offset, std::span<const std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != content_at(seed, offset + i)) return false;
  }
  return true;
}

class FakeVault final : public Vault {
 public:
  struct Stored {
    std::uint64_t size_bytes = 0;
    std::string etag;
    std::uint64_t seed = 0;
  };
  // What to do with one read; answers how many bytes to send before `status`.
  struct Fate {
    std::uint64_t bytes = ~0ULL;
    std::optional<Error> error = {};
    bool black_hole = false;  // after the bytes: nothing until cancelled
    bool hold = false;        // before anything: until release()
    std::uint64_t extra_bytes = 0;
  };

  ~FakeVault() override {
    {
      MutexLock lock(mutex_);
      for (auto& [id, read] : reads_) read.cancelled = true;
      wake_.notify_all();
    }
    for (auto& thread : threads_) thread.join();
  }
  void store(const std::string& key, Stored stored) {
    MutexLock lock(mutex_);
    objects_[key] = std::move(stored);
  }
  void fate(std::function<Fate(const ReadRequest&)> fate) {
    MutexLock lock(mutex_);
    fate_ = std::move(fate);
  }
  void refuse(std::optional<Error> error) {  // before start_read returns
    MutexLock lock(mutex_);
    refuse_ = std::move(error);
  }
  void release() {
    MutexLock lock(mutex_);
    released_ = true;
    wake_.notify_all();
  }
  std::size_t requests() const { return requests_; }
  std::size_t cancels() const { return cancels_; }
  std::uint64_t sent_bytes() const { return sent_bytes_; }
  std::vector<ReadRequest> log() {
    MutexLock lock(mutex_);
    return log_;
  }
  std::size_t running() {
    MutexLock lock(mutex_);
    return reads_.size();
  }

  std::uint64_t start_read(ReadRequest request, std::function<bool(std::span<const std::byte>)> on_bytes,
                           std::function<void(Status)> on_done) override {
    MutexLock lock(mutex_);
    ++requests_;
    log_.push_back(request);
    const auto id = ++last_id_;
    if (refuse_) {
      const auto error = *refuse_;
      lock.unlock();
      on_done(error);
      return id;
    }
    reads_[id] = {};
    threads_.emplace_back(
        [this, id, request = std::move(request), bytes = std::move(on_bytes), done = std::move(on_done)] {
          auto status = serve(id, request, bytes);
          {
            MutexLock inner(mutex_);
            reads_.erase(id);
          }
          done(std::move(status));
        });
    return id;
  }
  void cancel(std::uint64_t read) override {
    MutexLock lock(mutex_);
    const auto at = reads_.find(read);
    if (at == reads_.end()) return;
    ++cancels_;
    at->second.cancelled = true;
    wake_.notify_all();
  }

  std::string describe() const override { return "made up"; }
  Status probe() override { return {}; }
  Result<PutResult> put(const std::string&, const PutSource&, const ObjectMeta&, std::stop_token) override {
    return unsupported();
  }
  Result<ObjectInfo> head(const std::string&) override { return unsupported(); }
  Result<ObjectInfo> copy(const std::string&, const std::string&, const ObjectMeta&,
                          std::stop_token) override {
    return unsupported();
  }
  Status remove(const std::string&) override { return unsupported(); }
  Status list(const std::string&, const std::function<bool(std::vector<ObjectInfo>&&)>&,
              std::stop_token) override {
    return unsupported();
  }
  Status collect_garbage() override { return {}; }

 private:
  struct Read {
    bool cancelled = false;
  };
  static Error unsupported() { return make_error(ErrorCode::unsupported, "made-up vault", "it only reads"); }
  static Error cancelled() { return make_error(ErrorCode::cancelled, "read", "cancelled"); }
  bool is_cancelled(std::uint64_t id) {
    MutexLock lock(mutex_);
    return reads_.at(id).cancelled;
  }

  Status serve(std::uint64_t id, const ReadRequest& request,
               const std::function<bool(std::span<const std::byte>)>& on_bytes) {
    Stored stored;
    Fate fate;
    {
      MutexLock lock(mutex_);
      if (!objects_.contains(request.key)) return make_error(ErrorCode::not_found, "read " + request.key);
      if (fate_) fate = fate_(request);
      while (fate.hold && !released_ && !reads_.at(id).cancelled) wake_.wait(mutex_);
      stored = objects_.at(request.key);
    }
    if (!request.if_match.empty() && request.if_match != stored.etag) {
      return make_error(ErrorCode::changed, "read " + request.key, "another version is there now");
    }
    const auto total = std::min(request.size_bytes, fate.bytes) + fate.extra_bytes;
    std::vector<std::byte> piece(16 << 10);
    for (std::uint64_t at = 0; at < total;) {
      if (is_cancelled(id)) return cancelled();
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), total - at));
      for (std::size_t i = 0; i < count; ++i) piece[i] = content_at(stored.seed, request.offset + at + i);
      sent_bytes_ += count;
      if (!on_bytes(std::span(piece).first(count))) return cancelled();
      at += count;
    }
    MutexLock lock(mutex_);
    while (fate.black_hole && !reads_.at(id).cancelled) wake_.wait(mutex_);
    if (reads_.at(id).cancelled) return cancelled();
    if (fate.error) return *fate.error;
    return {};
  }

  Mutex mutex_;
  CondVar wake_;
  std::map<std::string, Stored> objects_ GUARDED_BY(mutex_);
  std::function<Fate(const ReadRequest&)> fate_ GUARDED_BY(mutex_);
  std::optional<Error> refuse_ GUARDED_BY(mutex_);
  std::map<std::uint64_t, Read> reads_ GUARDED_BY(mutex_);
  std::vector<ReadRequest> log_ GUARDED_BY(mutex_);
  bool released_ GUARDED_BY(mutex_) = false;
  std::uint64_t last_id_ GUARDED_BY(mutex_) = 0;
  std::vector<std::thread> threads_;
  std::atomic<std::size_t> requests_{0}, cancels_{0};
  std::atomic<std::uint64_t> sent_bytes_{0};
};

}  // namespace mediafs::tier::test
