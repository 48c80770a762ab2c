#include "tier/vault/ranged_reads.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <vector>

#include "common/log.h"
#include "common/path.h"

namespace mediafs::tier {

namespace {

// A connection that gave as much is worth taking up again, however often.
constexpr std::uint64_t kGoodProgress = 1 << 20;
constexpr int kTries = 3;

}  // namespace

Timer::Timer() : thread_([this] { run(); }) {}

Timer::~Timer() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Timer::post(Time at, std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    tasks_.emplace(at, std::move(task));
  }
  wake_.notify_all();
}

void Timer::run() noexcept {
  ::pthread_setname_np(::pthread_self(), "mediafs-retry");
  for (;;) {
    std::function<void()> task;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && (tasks_.empty() || tasks_.begin()->first > std::chrono::steady_clock::now())) {
        if (tasks_.empty()) {
          wake_.wait(mutex_);
        } else {
          wake_.wait_until(mutex_, tasks_.begin()->first);
        }
      }
      if (stopping_) return;
      task = std::move(tasks_.begin()->second);
      tasks_.erase(tasks_.begin());
    }
    try {
      task();
    } catch (const std::exception& e) {
      log::error("vault read failed", {{"error", e.what()}});
    } catch (...) {
      log::error("vault read failed", {{"error", "unknown exception"}});
    }
  }
}

struct RangedReads::Read {
  explicit Read(ReadServer& of) : server(of) {}
  ReadServer& server;
  std::uint64_t id = 0;
  ReadRequest request;
  std::function<bool(std::span<const std::byte>)> on_bytes;
  std::function<void(Status)> on_done;
  std::string what;

  // Used by one attempt at a time: its callbacks, then its end, then the next attempt.
  std::uint64_t given = 0;         // bytes handed on
  std::uint64_t given_before = 0;  // when this attempt began
  int fruitless = 0;               // attempts since the last one that got on well
  std::string etag;                // the version that they are of
  std::optional<Error> refused;

  Mutex mutex;
  int attempt GUARDED_BY(mutex) = 1;
  std::optional<std::uint64_t> transfer GUARDED_BY(mutex);  // none: between two attempts, or not started yet
  bool cancelled GUARDED_BY(mutex) = false;
  bool done GUARDED_BY(mutex) = false;

  bool is_cancelled() EXCLUDES(mutex) {
    MutexLock lock(mutex);
    return cancelled;
  }
  std::uint64_t left() const { return request.size_bytes - given; }
  bool accept_head(const http::Response& head);
  bool accept_bytes(std::span<const std::byte> bytes);
  std::string range() const {
    return std::to_string(request.offset + given) + "-" +
           std::to_string(request.offset + request.size_bytes - 1);
  }
};

bool RangedReads::Read::accept_head(const http::Response& head) {
  if (head.status < 200 || head.status >= 300) return true;  // explained when it has ended
  const std::string got = server.version(head, etag);
  if (!etag.empty() && got.empty() && !server.may_be_silent()) {
    refused = make_error(ErrorCode::unsupported, what, "the server does not say which version it sends");
    return false;
  }
  if (!etag.empty() && !got.empty() && got != etag) {  // a server that ignores If-Match
    refused = make_error(ErrorCode::changed, what, "it is not the version that was known");
    return false;
  }
  if (etag.empty()) etag = got;
  const std::string length = std::to_string(left());
  const std::string_view announced = head.header("content-length");
  const std::string_view range_header = head.header("content-range");
  const bool whole = head.status == 200 && request.offset + given == 0 && announced == length;
  const bool part = head.status == 206 && range_header.starts_with("bytes " + range() + "/") &&
                    (announced.empty() || announced == length);
  if (whole || part) return true;
  const bool shorter = head.status == 206 && range_header.starts_with("bytes ");
  refused =
      shorter ? make_error(ErrorCode::changed, what, "it is shorter than the range that was asked for")
              : make_error(ErrorCode::unsupported, what,
                           "the server answered HTTP " + std::to_string(head.status) + " without the range");
  return false;
}

bool RangedReads::Read::accept_bytes(std::span<const std::byte> bytes) {
  if (is_cancelled()) return false;
  if (bytes.size() > left()) {
    refused = make_error(ErrorCode::io, what, "the server sent more than the range");
    return false;
  }
  given += bytes.size();
  if (on_bytes(bytes)) return true;
  refused = make_error(ErrorCode::cancelled, what, "asked to stop");
  return false;
}

RangedReads::~RangedReads() {
  std::vector<ReadPtr> running;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, read] : reads_) running.push_back(read);
  }
  for (const ReadPtr& read : running) cancel_read(read);
  MutexLock lock(mutex_);
  while (!reads_.empty()) none_left_.wait(mutex_);
}

std::uint64_t RangedReads::start(ReadRequest request,
                                 std::function<bool(std::span<const std::byte>)> on_bytes,
                                 std::function<void(Status)> on_done, std::optional<Error> refused) {
  auto read = std::make_shared<Read>(server_);
  read->what = "read vault object " + printable(request.key);
  read->etag = request.if_match;
  read->request = std::move(request);
  read->on_bytes = std::move(on_bytes);
  read->on_done = std::move(on_done);
  {
    MutexLock lock(mutex_);
    read->id = next_++;
    reads_.emplace(read->id, read);
  }
  const std::uint64_t id = read->id;
  if (refused) {  // on a thread of ours: the caller may hold a lock that on_done takes
    timer_.post({}, [this, read, error = std::move(*refused)] { finish(read, error); });
  } else {
    launch(read, 1);
  }
  return id;
}

void RangedReads::launch(const ReadPtr& read, int attempt) {
  if (const auto wait = server_.limit().take(read->left()); wait.count() > 0) {
    timer_.post(std::chrono::steady_clock::now() + wait, [this, read, attempt] {
      if (!read->is_cancelled()) return launch(read, attempt);
      finish(read, make_error(ErrorCode::cancelled, read->what, "asked to stop"));
    });
    return;
  }
  const std::uint64_t mark = server_.mark();
  http::Request request = server_.prepare({.key = read->request.key,
                                           .first = read->request.offset + read->given,
                                           .last = read->request.offset + read->request.size_bytes - 1,
                                           .etag = read->etag});
  request.reply_size = read->left();
  request.on_head = [read](const http::Response& head) { return read->accept_head(head); };
  request.on_body = [read](std::span<const std::byte> bytes) { return read->accept_bytes(bytes); };
  const std::uint64_t transfer = server_.client().start(
      std::move(request), [this, read, mark](Result<http::Response> outcome) { ended(read, mark, outcome); });
  bool cancel = false;
  {
    MutexLock lock(read->mutex);
    if (read->attempt == attempt && !read->done) {  // else this attempt has ended already
      read->transfer = transfer;
      cancel = read->cancelled;
    }
  }
  if (cancel) server_.client().cancel(transfer);
}

void RangedReads::ended(const ReadPtr& read, std::uint64_t mark, const Result<http::Response>& outcome) {
  const bool fine = outcome && outcome->status >= 200 && outcome->status < 300;
  if (fine && read->left() == 0) {
    server_.went_well();
    return finish(read, {});
  }
  if (read->is_cancelled())
    return finish(read, make_error(ErrorCode::cancelled, read->what, "asked to stop"));
  if (read->refused) return finish(read, *read->refused);
  ReadServer::Verdict verdict =
      fine ? ReadServer::Verdict{make_error(ErrorCode::io, read->what, "the reply ended early"), true}
           : server_.judge(read->what, mark, outcome);
  const bool progress = read->given - read->given_before >= kGoodProgress;
  read->fruitless = progress ? 1 : verdict.free ? std::max(read->fruitless, 1) : read->fruitless + 1;
  read->given_before = read->given;
  int next = 0;
  bool cancelled = false;
  {
    MutexLock lock(read->mutex);
    next = ++read->attempt;
    read->transfer.reset();
    cancelled = read->cancelled;
  }
  const bool versioned = read->given == 0 || !read->etag.empty();  // else going on could mix two versions
  const bool again = !cancelled && verdict.again && versioned && read->fruitless < kTries;
  const auto wait = again ? server_.pause(read->fruitless, verdict.error) : std::nullopt;
  if (!wait) {
    if (cancelled) verdict.error.code = ErrorCode::cancelled;
    return finish(read, std::move(verdict.error));
  }
  timer_.post(std::chrono::steady_clock::now() + *wait, [this, read, next] {
    if (!read->is_cancelled()) return launch(read, next);
    finish(read, make_error(ErrorCode::cancelled, read->what, "asked to stop"));
  });
}

void RangedReads::cancel(std::uint64_t id) {
  ReadPtr read;
  {
    MutexLock lock(mutex_);
    const auto it = reads_.find(id);
    if (it == reads_.end()) return;
    read = it->second;
  }
  cancel_read(read);
}

void RangedReads::cancel_read(const ReadPtr& read) {
  std::optional<std::uint64_t> transfer;
  {
    MutexLock lock(read->mutex);
    if (read->done) return;
    read->cancelled = true;
    transfer = read->transfer;
  }
  if (transfer) return server_.client().cancel(*transfer);
  // Between two attempts, or just before the first is known. The timer's thread starts the later ones, so what is seen
  // from it does not change meanwhile; the first one's launcher looks at `cancelled` by itself.
  timer_.post({}, [this, read] {
    bool waiting = false;
    {
      MutexLock lock(read->mutex);
      waiting = !read->transfer && read->attempt > 1;
    }
    if (waiting) finish(read, make_error(ErrorCode::cancelled, read->what, "asked to stop"));
  });
}

void RangedReads::finish(const ReadPtr& read, Status status) {
  {
    MutexLock lock(read->mutex);
    if (std::exchange(read->done, true)) return;
  }
  read->on_done(std::move(status));
  MutexLock lock(mutex_);
  reads_.erase(read->id);
  none_left_.notify_all();  // under the lock: the destructor may go once it sees none
}

}  // namespace mediafs::tier
