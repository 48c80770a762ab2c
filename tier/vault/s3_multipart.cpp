#include <algorithm>
#include <deque>
#include <thread>

#include "common/log.h"
#include "common/path.h"
#include "tier/vault/s3_vault.h"
#include "tier/vault/s3_xml.h"

namespace mediafs::tier::s3 {

namespace {

constexpr std::uint64_t kMaxParts = 10'000;
constexpr std::uint64_t kPartStep = 1 << 20;

}  // namespace

std::uint64_t divided_up(std::uint64_t size, std::uint64_t by) {
  return (size + by - 1) / by;
}

std::uint64_t part_size(std::uint64_t size, std::uint64_t least) {
  return std::max(least, divided_up(divided_up(size, kMaxParts), kPartStep) * kPartStep);
}

// Bounded hand-over from the thread that makes calls to those that perform them.
class S3Vault::PartRun {
 public:
  PartRun(S3Client& client, const Parts& parts, const std::stop_token& stop)
      : client_(client), parts_(parts), etags_(parts.count), outer_(stop, [this] { stop_.request_stop(); }) {}

  Result<std::vector<std::string>> run() EXCLUDES(mutex_) {
    const std::size_t most = static_cast<std::size_t>(std::max(client_.options().parallel_parts, 1));
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < std::min(most, parts_.count); ++i) threads.emplace_back([this] { work(); });
    for (std::size_t i = 0; i < parts_.count && wait_for_room(most); ++i) {
      auto part = parts_.next(i);
      if (!part) {
        fail(std::move(part).error());
        break;
      }
      MutexLock lock(mutex_);
      if (!part->etag.empty()) {
        etags_[i] = std::move(part->etag);
        continue;
      }
      part->call.stop = stop_.get_token();
      ready_.emplace_back(i, std::move(part->call));
      changed_.notify_all();
    }
    {
      MutexLock lock(mutex_);
      complete_ = true;
      changed_.notify_all();
    }
    threads.clear();  // joins
    MutexLock lock(mutex_);
    if (failed_) return *failed_;
    if (stop_.stop_requested()) return make_error(ErrorCode::cancelled, parts_.what, "asked to stop");
    return std::move(etags_);
  }

 private:
  // One hashed part waits for each thread at most: its pages are still in memory when it is sent.
  bool wait_for_room(std::size_t most) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (ready_.size() + busy_ >= most && !stop_.stop_requested()) {
      changed_.wait_for(mutex_, std::chrono::milliseconds(200));  // the outer token has no condition variable
    }
    return !stop_.stop_requested();
  }

  void fail(Error error) EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      if (!failed_) failed_ = std::move(error);
    }
    stop_.request_stop();
  }

  void work() noexcept EXCLUDES(mutex_) {
    try {
      while (work_on_one()) {
      }
    } catch (const std::exception& e) {
      fail(make_error(ErrorCode::internal, parts_.what, e.what()));
    }
  }

  bool work_on_one() EXCLUDES(mutex_) {
    std::pair<std::size_t, Call> part;
    {
      MutexLock lock(mutex_);
      while (ready_.empty() && !complete_) changed_.wait(mutex_);
      if (ready_.empty() || stop_.stop_requested()) return false;
      part = std::move(ready_.front());
      ready_.pop_front();
      ++busy_;
    }
    auto response = client_.call(part.second);
    auto etag =
        response ? parts_.etag(part.first, *response) : Result<std::string>(std::move(response).error());
    if (!etag) fail(std::move(etag).error());
    MutexLock lock(mutex_);
    --busy_;
    if (etag) etags_[part.first] = std::move(*etag);
    changed_.notify_all();
    return true;
  }

  S3Client& client_;
  const Parts& parts_;
  std::stop_source stop_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::pair<std::size_t, Call>> ready_ GUARDED_BY(mutex_);
  std::size_t busy_ GUARDED_BY(mutex_) = 0;
  bool complete_ GUARDED_BY(mutex_) = false;
  std::optional<Error> failed_ GUARDED_BY(mutex_);
  std::vector<std::string> etags_ GUARDED_BY(mutex_);
  std::stop_callback<std::function<void()>> outer_;  // last: it uses the others
};

Result<std::vector<std::string>> S3Vault::run_parts(const Parts& parts, const std::stop_token& stop) {
  return PartRun(client_, parts, stop).run();
}

Result<std::string> S3Vault::create_upload(const std::string& key, const ObjectMeta& meta,
                                           const std::string& what, const std::stop_token& stop) {
  Call call;
  call.method = "POST";
  call.key = key;
  call.query = {{"uploads", ""}};
  call.headers = meta_headers(meta);
  call.headers.emplace_back("content-type", content_type(key));
  call.stop = stop;
  call.what = what;
  MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
  return parse_upload_id(response.body);
}

void S3Vault::abort_upload(const std::string& key, const std::string& upload) {
  Call call;
  call.method = "DELETE";
  call.key = key;
  call.query = {{"uploadId", upload}};
  call.what = "abort the upload of vault object " + printable(key);
  if (auto done = client_.call(call); !done && done.error().code != ErrorCode::not_found) {
    log::warning("unfinished upload stays until garbage is collected", done.error(),
                 {{"path", printable(key)}});
  }
}

Result<ObjectInfo> S3Vault::complete_upload(const std::string& upload, const std::vector<std::string>& etags,
                                            const ObjectInfo& expected, bool only_new,
                                            const std::string& what, const std::stop_token& stop) {
  const std::string& key = expected.key;
  Call call;
  call.method = "POST";
  call.key = key;
  call.query = {{"uploadId", upload}};
  call.headers = {{"content-type", "application/xml"}};
  call.body_text = complete_body(etags);
  call.stop = stop;
  call.stall = client_.options().slow_answer;
  call.what = what;
  auto response = only_new ? send_if_new(call, key) : client_.call(call);
  if (response) {
    auto etag = parse_result_etag(response->body);
    if (etag) return prove(key, expected, what);
    response = std::move(etag).error();
  }
  // The reply of a done completion may be lost: what is there decides. Refusals that say the upload stands are final.
  const ErrorCode code = response.error().code;
  const bool unclear = code == ErrorCode::not_found || code == ErrorCode::io || code == ErrorCode::offline ||
                       code == ErrorCode::timeout || code == ErrorCode::exists;
  if (unclear && !stop.stop_requested()) {
    if (auto found = prove(key, expected, what)) return found;
  }
  return std::move(response).error();
}

Result<ObjectInfo> S3Vault::copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                                 std::stop_token stop) {
  MEDIAFS_TRY(check_key(to));
  MEDIAFS_ASSIGN(const ObjectInfo source, head(from));
  ObjectMeta complete = meta;
  if (!complete.checksum) complete.checksum = source.meta.checksum;
  if (complete.sha1_hex.empty()) complete.sha1_hex = source.meta.sha1_hex;
  if (source.size_bytes > client_.options().copy_above) return copy_multipart(source, to, complete, stop);
  Call call;
  call.method = "PUT";
  call.key = to;
  call.headers = meta_headers(complete);
  call.headers.emplace_back("content-type", content_type(to));
  call.headers.emplace_back("x-amz-copy-source", client_.copy_source(from));
  call.headers.emplace_back("x-amz-copy-source-if-match", "\"" + source.etag + "\"");
  call.headers.emplace_back("x-amz-metadata-directive", "REPLACE");
  call.stop = stop;
  call.stall = client_.options().slow_answer;
  call.what = "copy vault object " + printable(from);
  MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
  MEDIAFS_ASSIGN(const std::string etag, parse_result_etag(response.body));
  if (is_md5(etag) && is_md5(source.etag) && etag != source.etag)
    return make_error(ErrorCode::changed, call.what, "it is not the version that was known");
  const ObjectInfo expected{.key = to, .size_bytes = source.size_bytes, .etag = etag, .meta = complete};
  return prove(to, expected, call.what);
}

Result<ObjectInfo> S3Vault::copy_multipart(const ObjectInfo& from, const std::string& to,
                                           const ObjectMeta& meta, const std::stop_token& stop) {
  const std::string what = "copy vault object " + printable(from.key);
  const std::uint64_t size = part_size(from.size_bytes, client_.options().copy_part);
  MEDIAFS_ASSIGN(const std::string upload, create_upload(to, meta, what, stop));
  Parts parts{.what = what,
              .count = static_cast<std::size_t>(divided_up(from.size_bytes, size)),
              .next = {},
              .etag = {}};
  parts.next = [&](std::size_t i) -> Result<Part> {
    const std::uint64_t offset = i * size;
    const std::uint64_t last = std::min(offset + size, from.size_bytes) - 1;
    Call call;
    call.method = "PUT";
    call.key = to;
    call.query = {{"partNumber", std::to_string(i + 1)}, {"uploadId", upload}};
    call.headers = {
        {"x-amz-copy-source", client_.copy_source(from.key)},
        {"x-amz-copy-source-if-match", "\"" + from.etag + "\""},
        {"x-amz-copy-source-range", "bytes=" + std::to_string(offset) + "-" + std::to_string(last)}};
    call.stall = client_.options().slow_answer;
    call.what = what;
    return Part{.call = std::move(call), .etag = {}};
  };
  parts.etag = [](std::size_t, const http::Response& response) { return parse_result_etag(response.body); };
  auto etags = run_parts(parts, stop);
  const ObjectInfo expected{.key = to, .size_bytes = from.size_bytes, .etag = {}, .meta = meta};
  auto done = etags ? complete_upload(upload, *etags, expected, false, what, stop)
                    : Result<ObjectInfo>(std::move(etags).error());
  if (!done) abort_upload(to, upload);
  return done;
}

}  // namespace mediafs::tier::s3
