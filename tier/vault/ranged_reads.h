// Ranged reads over HTTP: streamed as they come, taken up where they broke off, never mixing two versions. What a
// request looks like and what a refusal means is the driver's: ReadServer.
// Threads:    start() and cancel() from any thread. Callbacks run on the HTTP client's thread or the timer's.
// Owns:       one timer thread. Borrows the server, which outlives it. The destructor cancels and waits.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "common/http.h"
#include "common/sync.h"
#include "tier/vault/rate.h"
#include "tier/vault/vault.h"

namespace mediafs::tier {

// What the reads need of a driver. Its functions are called from any thread and don't block.
class ReadServer {
 public:
  struct Range {
    std::string key;
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::string etag;  // the version that is wanted, "" for any
  };
  struct Verdict {
    Error error;
    bool again = false;  // a quick further try makes sense
    bool free = false;   // and is not counted: what went wrong will not go on
  };
  virtual ~ReadServer() = default;
  virtual http::Client& client() = 0;
  virtual RateLimit& limit() = 0;  // of what is received: a read waits for its turn before it asks
  virtual http::Request prepare(const Range& range) = 0;
  // Asked before prepare(), and handed to judge() when that try has ended.
  virtual std::uint64_t mark() { return 0; }
  virtual Verdict judge(const std::string& what, std::uint64_t mark,
                        const Result<http::Response>& outcome) = 0;
  // The version that a reply is of, told as `wanted` is if that is given; "" if the reply does not say.
  virtual std::string version(const http::Response& head, const std::string& wanted) const = 0;
  // False: a reply that tells no version is refused where one is wanted.
  virtual bool may_be_silent() const { return true; }
  // Asked only where there may be another try: how long to wait before it; nullopt: there is none after all.
  virtual std::optional<std::chrono::milliseconds> pause(int attempt, const Error& last) {
    return quick_pause(attempt, last);
  }
  virtual void went_well() {}  // a read is whole
};

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

class RangedReads {
 public:
  explicit RangedReads(ReadServer& server) : server_(server) {}
  ~RangedReads();
  RangedReads(const RangedReads&) = delete;
  RangedReads& operator=(const RangedReads&) = delete;
  // `refused`: the request is not even tried and on_done gets this.
  std::uint64_t start(ReadRequest request, std::function<bool(std::span<const std::byte>)> on_bytes,
                      std::function<void(Status)> on_done, std::optional<Error> refused) EXCLUDES(mutex_);
  void cancel(std::uint64_t id) EXCLUDES(mutex_);

 private:
  struct Read;
  using ReadPtr = std::shared_ptr<Read>;
  void launch(const ReadPtr& read, int attempt);
  void ended(const ReadPtr& read, std::uint64_t mark, const Result<http::Response>& outcome);
  void cancel_read(const ReadPtr& read);
  void finish(const ReadPtr& read, Status status) EXCLUDES(mutex_);

  ReadServer& server_;
  Mutex mutex_;
  CondVar none_left_;
  std::map<std::uint64_t, ReadPtr> reads_ GUARDED_BY(mutex_);
  std::uint64_t next_ GUARDED_BY(mutex_) = 1;
  Timer timer_;
};

}  // namespace mediafs::tier
