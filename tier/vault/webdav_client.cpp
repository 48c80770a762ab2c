#include "tier/vault/webdav_client.h"

#include <algorithm>
#include <charconv>

#include "common/fd.h"
#include "common/path.h"
#include "tier/vault/http_refusal.h"
#include "tier/vault/webdav_xml.h"

namespace mediafs::tier::webdav {

namespace {

constexpr std::size_t kReadConnections = 64;
constexpr std::size_t kSendConnections = 64;
constexpr std::uint64_t kSlowestLine = 8 * 1024;  // bytes a second

// Feeds a file's piece to curl. Bytes that are sent a second time are not counted as progress again.
class BodyReader {
 public:
  explicit BodyReader(FileBody& file) : file_(file) { rewind(); }
  std::optional<std::size_t> read(std::span<std::byte> into) {
    const auto want =
        static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), file_.size_bytes - sent_));
    auto got = read_some(file_.fd, into.first(want), file_.offset + sent_);
    if (!got || *got < want) {
      file_.failure =
          got ? make_error(ErrorCode::changed, {}, "the file became shorter meanwhile") : got.error();
      return std::nullopt;
    }
    file_.hasher->update(into.first(want));
    sent_ += want;
    if (sent_ > file_.most && file_.progress) file_.progress(sent_ - file_.most);
    file_.most = std::max(file_.most, sent_);
    return want;
  }
  bool rewind() {
    sent_ = 0;
    file_.hasher = std::make_unique<Hasher>(Hasher::Want{});
    return true;
  }

 private:
  FileBody& file_;
  std::uint64_t sent_ = 0;
};

std::string_view advice_for(int status) {
  if (status >= 300 && status < 400) return "the server sends us elsewhere: correct vault.url";
  switch (status) {
    case 401:
      return "check user and password in the file that vault.credentials names";
    case 403:
      return "this user may not do that here";
    case 409:
      return "a folder above it is missing";
    case 416:
      return "it is shorter than the range that was asked for";
    case 423:
      return "the server has locked it";
    case 507:
      return "the server is full, or the quota is used up";
    default:
      return "";
  }
}

}  // namespace

Error error_of(int status, const std::string& message, std::string_view retry_after) {
  Error error = error_of_status(status, retry_after);
  if (status == 409) error.code = ErrorCode::not_found;  // a folder above it
  error.cause = "HTTP " + std::to_string(status);
  if (!message.empty()) error.cause += ": " + message;
  if (const auto advice = advice_for(status); !advice.empty())
    error.cause.append(" (").append(advice).append(")");
  return error;
}

bool DavClient::may_help(const Error& error) {
  switch (error.code) {
    case ErrorCode::offline:
    case ErrorCode::throttled:
    case ErrorCode::timeout:
    case ErrorCode::io:
    case ErrorCode::busy:
      return true;
    default:
      return false;
  }
}

DavClient::DavClient(Options options)
    : options_(std::move(options)),
      nextcloud_(nextcloud_of(options_.root)),
      authorization_(options_.user.empty() && options_.password.empty()
                         ? std::string()
                         : "authorization: Basic " + http::base64(options_.user + ":" + options_.password)),
      reading_({.max_connections = kReadConnections, .user_agent = "mediafs", .ca_file = options_.ca_file}),
      sending_({.max_connections = kSendConnections, .user_agent = "mediafs", .ca_file = options_.ca_file}) {}

std::string DavClient::path_of(const std::string& key) const {
  return join_path(options_.root, key);
}

std::string DavClient::folder_of(const std::string& key) const {
  const std::string path = path_of(key);
  return path.empty() ? path : path + "/";
}

std::string DavClient::url_of(const std::string& path) const {
  return (options_.tls ? "https://" : "http://") + options_.host + "/" + http::percent_encode(path, true);
}

std::string DavClient::url_for_people() const {
  return (options_.tls ? "webdavs://" : "webdav://") + options_.host + "/" + printable(options_.root);
}

http::Request DavClient::prepare_call(const Call& call) {
  http::Request request;
  request.method = call.method;
  request.url = url_of(call.path);
  request.headers = call.headers;
  if (!authorization_.empty()) request.headers.push_back(authorization_);
  request.body_text = call.body_text;
  if (!call.body_text.empty()) request.headers.emplace_back("content-type: application/xml; charset=utf-8");
  if (call.file != nullptr) {
    auto reader = std::make_shared<BodyReader>(*call.file);
    request.body_size = call.file->size_bytes;
    request.body = [reader](std::span<std::byte> into) { return reader->read(into); };
    request.rewind = [reader] { return reader->rewind(); };
    request.send_limit = options_.limits->upload.bytes_per_second();
  }
  request.connect_timeout = options_.connect_timeout;
  request.stall_timeout = call.stall.count() > 0 ? call.stall : options_.stall_timeout;
  request.deadline = deadline_of(call);
  request.stop = call.stop;
  return request;
}

// Far beyond what any of it should take: so that a server that trickles can't hold a call for ever.
std::chrono::milliseconds DavClient::deadline_of(const Call& call) const {
  std::uint64_t slowest = kSlowestLine;
  const std::uint64_t limit = options_.limits->upload.bytes_per_second();
  if (call.file != nullptr && limit > 0) slowest = std::min(slowest, std::max<std::uint64_t>(limit / 4, 1));
  const std::uint64_t bytes = call.reply_bytes + (call.file != nullptr ? call.file->size_bytes : 0);
  return options_.deadline + 4 * call.stall + std::chrono::milliseconds(bytes * 1000 / slowest);
}

std::optional<std::chrono::milliseconds> DavClient::further_try(int attempt, const Error& last) {
  const auto wait = quick_pause(attempt, last);
  return wait && budget_.take() ? wait : std::nullopt;
}

std::optional<std::chrono::milliseconds> DavClient::pause(int attempt, const Error& last) {
  return further_try(attempt, last);
}

http::Request DavClient::prepare(const Range& range) {
  Call call;
  call.path = path_of(range.key);
  // No If-Match: apache fails it for a file that is younger than a second, others ignore it, and the reply's own version
  // is compared before a byte of it is taken.
  call.headers = {"range: bytes=" + std::to_string(range.first) + "-" + std::to_string(range.last)};
  call.reply_bytes = range.last - range.first + 1;
  return prepare_call(call);
}

Result<http::Response> DavClient::call(const Call& call) {
  // The caller's token or our own end stops the call, whichever comes first.
  std::stop_source either;
  const auto forward = [&either] { either.request_stop(); };
  const std::stop_callback by_caller(call.stop, forward);
  const std::stop_callback by_us(stopping(), forward);
  Call mine = call;
  mine.stop = either.get_token();
  http::Client& client = call.file != nullptr ? sending_ : reading_;
  for (int attempt = 1;; ++attempt) {
    if (mine.stop.stop_requested()) return make_error(ErrorCode::cancelled, call.what, "asked to stop");
    if (call.file != nullptr) MEDIAFS_TRY(options_.limits->upload.acquire(call.file->size_bytes, mine.stop));
    Result<http::Response> outcome = client.perform(prepare_call(mine));
    if (outcome) {
      if (!nextcloud_ && outcome->header("server").starts_with("nginx")) nginx_ = true;
      const auto& accept = call.accept;
      if ((outcome->status >= 200 && outcome->status < 300) ||
          std::find(accept.begin(), accept.end(), outcome->status) != accept.end()) {
        budget_.went_well();
        return outcome;
      }
    }
    Verdict verdict = judge_call(mine, outcome);
    if (!verdict.again || call.once || attempt >= kTries) return std::move(verdict.error);
    const auto wait = further_try(attempt, verdict.error);
    if (!wait) return std::move(verdict.error);
    wait_unless_stopped(mine.stop, std::chrono::steady_clock::now() + *wait);
  }
}

ReadServer::Verdict DavClient::judge_call(const Call& call, const Result<http::Response>& outcome) const {
  if (outcome) {
    Error error = explain(call.what, *outcome);
    const bool again = may_help(error);
    return {std::move(error), again};
  }
  Error error = outcome.error();
  error.what = call.what;
  error.cause = scrub(error.cause);
  if (call.file != nullptr && call.file->failure) {
    error = *call.file->failure;
    error.what = call.what;
    return {std::move(error), false};
  }
  if (call.stop.stop_requested()) error.code = ErrorCode::cancelled;
  // A stall has cost its whole timeout already: the job's next try is soon enough.
  const bool again = error.code == ErrorCode::offline || error.code == ErrorCode::io;
  return {std::move(error), again};
}

ReadServer::Verdict DavClient::judge(const std::string& what, std::uint64_t mark,
                                     const Result<http::Response>& outcome) {
  Call call;
  call.what = what;
  Verdict verdict = judge_call(call, outcome);
  // A folder: nginx sends us to its name with a slash, Go's servers don't let it be read.
  const bool folder = outcome && (outcome->status == 405 ||
                                  (outcome->status == 301 && outcome->header("location").ends_with('/')));
  if (folder) verdict = {make_error(ErrorCode::not_found, what, "a folder stands there"), false};
  // apache says 403 when the file goes away between its looking and its opening.
  const bool gap = verdict.error.code == ErrorCode::not_found || verdict.error.code == ErrorCode::permission;
  if (gap && replaced_since(mark)) verdict.again = verdict.free = true;
  return verdict;
}

std::string DavClient::version(const http::Response& head, const std::string& wanted) const {
  const bool made_up = is_made_up(wanted);
  const std::string_view etag = head.header("etag");
  if (!made_up && (!etag.empty() || !wanted.empty())) return etag_of(etag, std::nullopt, "");
  // "bytes 0-9/100", or the whole with its length
  std::string_view total = head.header("content-length");
  if (const std::string_view range = head.header("content-range"); !range.empty()) {
    const auto slash = range.find('/');
    total = slash == std::string_view::npos ? std::string_view() : range.substr(slash + 1);
  }
  std::uint64_t size = 0;
  const auto [end, error] = std::from_chars(total.data(), total.data() + total.size(), size);
  if (total.empty() || error != std::errc{} || end != total.data() + total.size()) return {};
  return etag_of("", size, head.header("last-modified"));
}

Error DavClient::explain(const std::string& what, const http::Response& response) const {
  Error error = error_of(response.status, error_message(response.body), response.header("retry-after"));
  error.what = what;
  error.cause = scrub(std::move(error.cause));
  return error;
}

std::string DavClient::scrub(std::string text) const {
  const std::string encoded = authorization_.substr(authorization_.rfind(' ') + 1);
  for (const std::string* secret : {&options_.password, &encoded}) {
    if (secret->size() < 4) continue;
    for (auto at = text.find(*secret); at != std::string::npos; at = text.find(*secret, at + 3)) {
      text.replace(at, secret->size(), "***");
    }
  }
  return text;
}

}  // namespace mediafs::tier::webdav
