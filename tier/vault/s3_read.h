// Ranged reads: streamed as they come, taken up where they broke off, never mixing two versions.
// Threads:    start() and cancel() from any thread. Callbacks run on the HTTP client's thread or the timer's.
// Owns:       one timer thread. Borrows the client, which outlives it. The destructor cancels and waits.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "common/sync.h"
#include "tier/vault/s3_client.h"

namespace mediafs::tier::s3 {

// Runs functions at their time, one after the other.
class Timer {
 public:
  using Time = std::chrono::steady_clock::time_point;
  Timer();
  ~Timer();  // what is not due yet is dropped
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  void post(Time at, std::function<void()> task) EXCLUDES(mutex_);

 private:
  void run() noexcept EXCLUDES(mutex_);
  Mutex mutex_;
  CondVar wake_;
  std::multimap<Time, std::function<void()>> tasks_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the others
};

class Reads {
 public:
  explicit Reads(S3Client& client) : client_(client) {}
  ~Reads();
  Reads(const Reads&) = delete;
  Reads& operator=(const Reads&) = delete;
  // `refused`: the request is not even tried and on_done gets this.
  std::uint64_t start(ReadRequest request, std::function<bool(std::span<const std::byte>)> on_bytes,
                      std::function<void(Status)> on_done, std::optional<Error> refused) EXCLUDES(mutex_);
  void cancel(std::uint64_t id) EXCLUDES(mutex_);

 private:
  struct Read;
  using ReadPtr = std::shared_ptr<Read>;
  void launch(const ReadPtr& read, int attempt);
  void ended(const ReadPtr& read, const Call& call, const Result<http::Response>& outcome);
  void cancel_read(const ReadPtr& read);
  void finish(const ReadPtr& read, Status status) EXCLUDES(mutex_);

  S3Client& client_;
  Mutex mutex_;
  CondVar none_left_;
  std::map<std::uint64_t, ReadPtr> reads_ GUARDED_BY(mutex_);
  std::uint64_t next_ GUARDED_BY(mutex_) = 1;
  Timer timer_;
};

}  // namespace mediafs::tier::s3
