#include "tier/vault/s3_read.h"

#include <pthread.h>

#include <exception>
#include <vector>

#include "common/log.h"
#include "common/path.h"
#include "tier/vault/s3_xml.h"

namespace mediafs::tier::s3 {

namespace {

// A connection that gave as much is worth taking up again, however often.
constexpr std::uint64_t kGoodProgress = 1 << 20;

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

struct Reads::Read {
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

bool Reads::Read::accept_head(const http::Response& head) {
  if (head.status < 200 || head.status >= 300) return true;  // explained when it has ended
  const std::string got = unquote_etag(head.header("etag"));
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

bool Reads::Read::accept_bytes(std::span<const std::byte> bytes) {
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

Reads::~Reads() {
  std::vector<ReadPtr> running;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, read] : reads_) running.push_back(read);
  }
  for (const ReadPtr& read : running) cancel_read(read);
  MutexLock lock(mutex_);
  while (!reads_.empty()) none_left_.wait(mutex_);
}

std::uint64_t Reads::start(ReadRequest request, std::function<bool(std::span<const std::byte>)> on_bytes,
                           std::function<void(Status)> on_done, std::optional<Error> refused) {
  auto read = std::make_shared<Read>();
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

void Reads::launch(const ReadPtr& read, int attempt) {
  Call call;
  call.key = read->request.key;
  call.what = read->what;
  call.headers.emplace_back("range", "bytes=" + read->range());
  if (!read->etag.empty()) call.headers.emplace_back("if-match", "\"" + read->etag + "\"");
  call.reply_bytes = read->left();
  call.access = client_.access_version();
  http::Request request = client_.prepare(call);
  request.on_head = [read](const http::Response& head) { return read->accept_head(head); };
  request.on_body = [read](std::span<const std::byte> bytes) { return read->accept_bytes(bytes); };
  const std::uint64_t transfer = client_.reading().start(
      std::move(request), [this, read, call](Result<http::Response> outcome) { ended(read, call, outcome); });
  bool cancel = false;
  {
    MutexLock lock(read->mutex);
    if (read->attempt == attempt && !read->done) {  // else this attempt has ended already
      read->transfer = transfer;
      cancel = read->cancelled;
    }
  }
  if (cancel) client_.reading().cancel(transfer);
}

void Reads::ended(const ReadPtr& read, const Call& call, const Result<http::Response>& outcome) {
  const bool fine = outcome && outcome->status >= 200 && outcome->status < 300;
  if (fine && read->left() == 0) {
    client_.budget().went_well();
    return finish(read, {});
  }
  if (read->is_cancelled())
    return finish(read, make_error(ErrorCode::cancelled, read->what, "asked to stop"));
  if (read->refused) return finish(read, *read->refused);
  Verdict verdict = fine ? Verdict{make_error(ErrorCode::io, read->what, "the reply ended early"), true}
                         : client_.judge(call, outcome);
  read->fruitless = read->given - read->given_before >= kGoodProgress ? 1 : read->fruitless + 1;
  read->given_before = read->given;
  int next = 0;
  bool cancelled = false;
  {
    MutexLock lock(read->mutex);
    next = ++read->attempt;
    read->transfer.reset();
    cancelled = read->cancelled;
  }
  const auto wait = S3Client::pause(read->fruitless, verdict.error);
  const bool versioned = read->given == 0 || !read->etag.empty();  // else going on could mix two versions
  if (cancelled || !verdict.again || !versioned || read->fruitless >= kTries || !wait ||
      !client_.budget().take()) {
    if (cancelled) verdict.error.code = ErrorCode::cancelled;
    return finish(read, std::move(verdict.error));
  }
  timer_.post(std::chrono::steady_clock::now() + *wait, [this, read, next] {
    if (!read->is_cancelled()) return launch(read, next);
    finish(read, make_error(ErrorCode::cancelled, read->what, "asked to stop"));
  });
}

void Reads::cancel(std::uint64_t id) {
  ReadPtr read;
  {
    MutexLock lock(mutex_);
    const auto it = reads_.find(id);
    if (it == reads_.end()) return;
    read = it->second;
  }
  cancel_read(read);
}

void Reads::cancel_read(const ReadPtr& read) {
  std::optional<std::uint64_t> transfer;
  {
    MutexLock lock(read->mutex);
    if (read->done) return;
    read->cancelled = true;
    transfer = read->transfer;
  }
  if (transfer) return client_.reading().cancel(*transfer);
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

void Reads::finish(const ReadPtr& read, Status status) {
  {
    MutexLock lock(read->mutex);
    if (std::exchange(read->done, true)) return;
  }
  read->on_done(std::move(status));
  MutexLock lock(mutex_);
  reads_.erase(read->id);
  none_left_.notify_all();  // under the lock: the destructor may go once it sees none
}

}  // namespace mediafs::tier::s3
