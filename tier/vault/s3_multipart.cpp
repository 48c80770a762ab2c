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
constexpr std::uint64_t kMaxObject = 5ULL << 40;
constexpr std::uint64_t kPartStep = 1 << 20;
// A copy or a completion may take the server long before it says a word.
constexpr std::chrono::milliseconds kSlowAnswer{300'000};

std::uint64_t divided_up(std::uint64_t size, std::uint64_t by) {
  return (size + by - 1) / by;
}

// The smallest size, a multiple of kPartStep unless it is `least` itself, with which `size` fits in kMaxParts.
std::uint64_t part_size(std::uint64_t size, std::uint64_t least) {
  return std::max(least, divided_up(divided_up(size, kMaxParts), kPartStep) * kPartStep);
}

// AWS's and Ceph's ETag of a multipart object: the MD5 of its parts' MD5s, and their number.
std::string md5_of_md5s(const std::vector<std::string>& md5s) {
  std::string raw;
  for (const std::string& hex : md5s) {
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
      raw += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
  }
  return digest_hex(Digest::md5, raw) + "-" + std::to_string(md5s.size());
}

bool is_multipart_md5(std::string_view etag) {
  const auto dash = etag.find('-');
  return dash != std::string_view::npos && is_md5(etag.substr(0, dash));
}

}  // namespace

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
      auto call = parts_.next(i);
      if (!call) {
        fail(std::move(call).error());
        break;
      }
      call->stop = stop_.get_token();
      MutexLock lock(mutex_);
      ready_.emplace_back(i, std::move(*call));
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

Result<ObjectInfo> S3Vault::complete_upload(const std::string& key, const std::string& upload,
                                            const std::vector<std::string>& etags, const ObjectInfo& expected,
                                            const std::string& what, const std::stop_token& stop) {
  Call call;
  call.method = "POST";
  call.key = key;
  call.query = {{"uploadId", upload}};
  call.headers = {{"content-type", "application/xml"}};
  call.body_text = complete_body(etags);
  call.stop = stop;
  call.stall = kSlowAnswer;
  call.what = what;
  auto response = client_.call(call);
  if (response) {
    auto etag = parse_result_etag(response->body);
    if (!etag) return std::move(etag).error();
    return prove(key, expected, what);
  }
  // The reply of a done completion may be lost: what is there decides. Refusals that say the upload stands are final.
  const ErrorCode code = response.error().code;
  const bool unclear = code == ErrorCode::not_found || code == ErrorCode::io || code == ErrorCode::offline ||
                       code == ErrorCode::timeout;
  if (unclear && !stop.stop_requested()) {
    if (auto found = prove(key, expected, what)) return found;
  }
  abort_upload(key, upload);
  return std::move(response).error();
}

Result<PutResult> S3Vault::put_multipart(const std::string& key, const PutSource& source, ObjectMeta meta,
                                         const std::stop_token& stop) {
  const std::string what = "put vault object " + printable(key);
  if (source.size_bytes > kMaxObject)
    return make_error(ErrorCode::too_large, what, "S3 takes objects of 5 TiB");
  if (!meta.checksum) {  // it goes with the request that opens the upload
    MEDIAFS_ASSIGN(const Checksums sums,
                   hash_piece(source.fd, 0, source.size_bytes, {}, nullptr, what, stop));
    meta.checksum = sums.xxh128;
  }
  const std::uint64_t size = part_size(source.size_bytes, client_.options().min_part);
  MEDIAFS_ASSIGN(const std::string upload, create_upload(key, meta, what, stop));

  Hasher whole(Hasher::Want{});
  const auto count = static_cast<std::size_t>(divided_up(source.size_bytes, size));
  std::vector<FileBody> bodies(count);
  Parts parts{.what = what, .count = count, .next = {}, .etag = {}};
  parts.next = [&](std::size_t i) -> Result<Call> {
    const std::uint64_t offset = i * size;
    const std::uint64_t bytes = std::min(size, source.size_bytes - offset);
    const Hasher::Want want{.md5 = true, .sha256 = !client_.options().tls};
    MEDIAFS_ASSIGN(const Checksums sums, hash_piece(source.fd, offset, bytes, want, &whole, what, stop));
    bodies[i] = {.fd = source.fd,
                 .offset = offset,
                 .size_bytes = bytes,
                 .md5_hex = sums.md5_hex,
                 .sha256_hex = sums.sha256_hex,
                 .progress = source.progress};
    Call call;
    call.method = "PUT";
    call.key = key;
    call.query = {{"partNumber", std::to_string(i + 1)}, {"uploadId", upload}};
    call.file = &bodies[i];
    call.what = what;
    return call;
  };
  parts.etag = [&](std::size_t, const http::Response& response) -> Result<std::string> {
    std::string etag = unquote_etag(response.header("etag"));
    if (etag.empty()) return make_error(ErrorCode::io, what, "the server's reply to a part has no ETag");
    return etag;
  };
  auto etags = run_parts(parts, stop);
  if (etags && whole.finish().xxh128 != *meta.checksum) {
    etags = make_error(ErrorCode::changed, what, "the file is not the one that was checksummed");
  }
  if (!etags) {
    abort_upload(key, upload);
    return std::move(etags).error();
  }
  ObjectInfo expected{
      .key = key, .size_bytes = source.size_bytes, .etag = {}, .meta = meta, .meta_known = true};
  const bool md5s =
      std::equal(etags->begin(), etags->end(), bodies.begin(),
                 [](const std::string& etag, const FileBody& body) { return etag == body.md5_hex; });
  const std::string computed = md5_of_md5s(*etags);
  MEDIAFS_ASSIGN(ObjectInfo info, complete_upload(key, upload, *etags, expected, what, stop));
  if (md5s && is_multipart_md5(info.etag) && info.etag != computed) {
    return make_error(ErrorCode::corrupt, what, "the server's checksum of the object is not the file's");
  }
  return PutResult{std::move(info), *meta.checksum};
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
  call.stall = kSlowAnswer;
  call.what = "copy vault object " + printable(from);
  MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
  MEDIAFS_ASSIGN(const std::string etag, parse_result_etag(response.body));
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
  parts.next = [&](std::size_t i) -> Result<Call> {
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
    call.stall = kSlowAnswer;
    call.what = what;
    return call;
  };
  parts.etag = [](std::size_t, const http::Response& response) { return parse_result_etag(response.body); };
  auto etags = run_parts(parts, stop);
  if (!etags) {
    abort_upload(to, upload);
    return std::move(etags).error();
  }
  const ObjectInfo expected{.key = to, .size_bytes = from.size_bytes, .etag = {}, .meta = meta};
  return complete_upload(to, upload, *etags, expected, what, stop);
}

Status S3Vault::collect_garbage() {
  const std::string base = client_.list_prefix("");
  Call call;
  call.what = "list the unfinished uploads of " + describe();
  UploadsPage page;
  do {
    // Without encoding-type: radosgw would encode the keys and not say so.
    call.query = {{"uploads", ""}, {"prefix", base}};
    if (!page.next_key.empty()) {
      call.query.emplace_back("key-marker", page.next_key);
      call.query.emplace_back("upload-id-marker", page.next_id);
    }
    MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
    const std::string before = page.next_key + "\n" + page.next_id;
    MEDIAFS_ASSIGN(page, parse_uploads(response.body));
    for (const Upload& upload : page.uploads) {
      if (!upload.key.starts_with(base) || upload.id.empty()) continue;
      const std::string key = upload.key.substr(base.size());
      if (check_path(key)) abort_upload(key, upload.id);
    }
    if (page.truncated && page.next_key + "\n" + page.next_id == before) {
      return make_error(ErrorCode::io, call.what, "the server repeats itself");
    }
  } while (page.truncated);
  return {};
}

}  // namespace mediafs::tier::s3
