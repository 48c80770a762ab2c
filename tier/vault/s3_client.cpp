#include "tier/vault/s3_client.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "common/fd.h"
#include "common/path.h"
#include "tier/vault/names.h"
#include "tier/vault/s3_errors.h"
#include "tier/vault/s3_xml.h"

namespace mediafs::tier::s3 {

namespace {

constexpr std::size_t kReadConnections = 64;
constexpr std::size_t kSendConnections = 96;
constexpr std::uint64_t kSlowestLine = 8 * 1024;  // bytes a second

std::string base64_of_hex(std::string_view hex) {
  auto nibble = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  std::string raw;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    raw += static_cast<char>(nibble(hex[i]) << 4U | nibble(hex[i + 1]));
  }
  return http::base64(raw);
}

// Feeds a file's piece to curl. Bytes that are sent a second time are not counted as progress again.
class BodyReader {
 public:
  explicit BodyReader(const FileBody& file) : file_(file) {}
  std::optional<std::size_t> read(std::span<std::byte> into) {
    const auto want =
        static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), file_.size_bytes - sent_));
    auto got = read_some(file_.fd, into.first(want), file_.offset + sent_);
    if (!got || *got < want) {
      *file_.failure =
          got ? make_error(ErrorCode::changed, {}, "the file became shorter meanwhile") : got.error();
      return std::nullopt;
    }
    sent_ += want;
    if (sent_ == file_.size_bytes) *file_.all_sent = true;
    if (sent_ > most_ && file_.progress) file_.progress(sent_ - most_);
    most_ = std::max(most_, sent_);
    return want;
  }
  bool rewind() {
    sent_ = 0;
    return true;
  }

 private:
  const FileBody& file_;
  std::uint64_t sent_ = 0;
  std::uint64_t most_ = 0;
};

}  // namespace

S3Client::S3Client(Options options)
    : options_(std::move(options)),
      access_(options_),
      reading_({.max_connections = kReadConnections, .user_agent = "mediafs", .ca_file = options_.ca_file}),
      sending_({.max_connections = kSendConnections, .user_agent = "mediafs", .ca_file = options_.ca_file}) {}

std::string S3Client::object_key(const std::string& key) const {
  auto stored = key_of_path(key);
  return join_path(options_.prefix, stored ? *stored : key);
}

std::string S3Client::list_prefix(const std::string& folder) const {
  const std::string full = object_key(folder);
  return full.empty() ? full : full + "/";
}

std::string S3Client::copy_source(const std::string& key) const {
  return "/" + http::percent_encode(options_.bucket, false) + "/" +
         http::percent_encode(object_key(key), true);
}

std::string S3Client::url_for_people() const {
  return "s3://" + options_.bucket + (options_.prefix.empty() ? "" : "/" + printable(options_.prefix)) +
         " at " + (options_.tls ? "https://" : "http://") + options_.host + options_.base_path;
}

http::Request S3Client::prepare(const Call& call) {
  const bool by_path = options_.path_style;
  const Access::Now access = access_.now();
  SignRequest to_sign;
  to_sign.method = call.method;
  to_sign.path = options_.base_path + (by_path ? "/" + http::percent_encode(options_.bucket, false) : "");
  if (call.key) to_sign.path += "/" + http::percent_encode(object_key(*call.key), true);
  if (to_sign.path.empty()) to_sign.path = "/";
  to_sign.query = call.query;
  to_sign.headers = call.headers;
  const std::string host = by_path ? access.host : options_.bucket + "." + access.host;
  to_sign.headers.emplace_back("host", host);
  if (call.file != nullptr) {
    to_sign.headers.emplace_back("content-md5", base64_of_hex(call.file->md5_hex));
    to_sign.payload_hash =
        call.file->sha256_hex.empty() ? std::string(kUnsignedPayload) : call.file->sha256_hex;
  } else {
    to_sign.payload_hash = digest_hex(Digest::sha256, call.body_text);
  }
  to_sign.at = std::time(nullptr) + clock_offset_s_.load();

  http::Request request;
  request.method = call.method;
  request.url = (options_.tls ? "https://" : "http://") + host + to_sign.path;
  if (!call.query.empty()) request.url += "?" + query_string(call.query);
  const Credentials& who = access.credentials;
  const SigningKey key{who.access_key, who.secret_key, who.session_token, access.region};
  for (const auto& [name, value] : sign(std::move(to_sign), key))
    request.headers.push_back(name + ": " + value);
  request.body_text = call.body_text;
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
std::chrono::milliseconds S3Client::deadline_of(const Call& call) const {
  std::uint64_t slowest = kSlowestLine;
  const std::uint64_t limit = options_.limits->upload.bytes_per_second();
  if (call.file != nullptr && limit > 0) slowest = std::min(slowest, std::max<std::uint64_t>(limit / 4, 1));
  const std::uint64_t bytes = call.reply_bytes + (call.file != nullptr ? call.file->size_bytes : 0);
  return options_.deadline + 4 * call.stall + std::chrono::milliseconds(bytes * 1000 / slowest);
}

Result<http::Response> S3Client::call(const Call& call) {
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
    mine.access = access_.version();
    Result<http::Response> outcome = client.perform(prepare(mine));
    if (!outcome && call.landed && *call.file->all_sent && !mine.stop.stop_requested()) {
      if (auto done = call.landed()) return std::move(*done);
    }
    const bool fine = outcome && outcome->status >= 200 && outcome->status < 300;
    // Copies and completions may fail after their 200 was sent.
    if (fine && (outcome->body.size() > 64 * 1024 || parse_error(outcome->body).code.empty())) {
      budget_.went_well();
      return outcome;
    }
    Verdict verdict = judge(mine, outcome);
    const auto wait = quick_pause(attempt, verdict.error);
    if (!verdict.again || attempt >= kTries || !wait || !budget_.take()) return std::move(verdict.error);
    wait_unless_stopped(mine.stop, std::chrono::steady_clock::now() + *wait);
  }
}

Verdict S3Client::judge(const Call& call, const Result<http::Response>& outcome) {
  if (!outcome) {
    Error error = outcome.error();
    error.what = call.what;
    error.cause = access_.scrub(error.cause);
    if (call.file != nullptr && *call.file->failure) {
      error = **call.file->failure;
      error.what = call.what;
      return {error, false};
    }
    if (call.stop.stop_requested()) error.code = ErrorCode::cancelled;
    // A stall has cost its whole timeout already: the job's next try is soon enough.
    return {error, error.code == ErrorCode::offline || error.code == ErrorCode::io};
  }
  Error error = explain(call, *outcome);
  const std::string code = parse_error(outcome->body).code;
  if (code == "RequestTimeTooSkewed") {
    const std::int64_t before = clock_offset_s_.load();
    learn_clock(*outcome);
    return {error, std::abs(clock_offset_s_.load() - before) > 60};
  }
  if (other_access(call, *outcome, code)) return {error, true};
  const ErrorCode kind = error.code;
  return {error, kind == ErrorCode::offline || kind == ErrorCode::throttled || kind == ErrorCode::timeout ||
                     (kind == ErrorCode::io && outcome->status != 200) || kind == ErrorCode::busy ||
                     code == "InternalError"};
}

Error S3Client::explain(const Call& call, const http::Response& response) const {
  const ErrorText text = parse_error(response.body);
  Error error = error_of(
      {response.status, text.code, text.message, text.region,
       std::string(response.header("x-amz-bucket-region")), std::string(response.header("retry-after"))},
      options_.bucket);
  error.what = call.what;
  error.cause = access_.scrub(std::move(error.cause));
  return error;
}

void S3Client::learn_clock(const http::Response& response) {
  const auto theirs = parse_http_date(response.header("date"));
  if (theirs) clock_offset_s_ = *theirs / 1'000'000'000 - std::time(nullptr);
}

// Whether we know better by now who we are, or where the bucket is, than when the request was signed.
bool S3Client::other_access(const Call& call, const http::Response& response, const std::string& code) {
  constexpr std::array<std::string_view, 5> kRefused{"ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
                                                     "TokenRefreshRequired", "SignatureDoesNotMatch"};
  if (std::find(kRefused.begin(), kRefused.end(), code) != kRefused.end()) return access_.renew(call.access);
  constexpr std::array<std::string_view, 4> kElsewhere{
      "", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"};
  const bool elsewhere = response.status == 301 || response.status == 307 || response.status == 400;
  if (!elsewhere || std::find(kElsewhere.begin(), kElsewhere.end(), code) == kElsewhere.end()) return false;
  const std::string named = parse_error(response.body).region;
  return access_.move_to(named.empty() ? std::string(response.header("x-amz-bucket-region")) : named,
                         call.access);
}

}  // namespace mediafs::tier::s3
