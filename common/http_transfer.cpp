#include "common/http_transfer.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstring>
#include <limits>

#include "common/log.h"
#include "common/path.h"

namespace mediafs::http {

namespace {

constexpr std::size_t kBodyLimit = 64U << 20;
constexpr std::size_t kErrorBodyLimit = 64U << 10;
constexpr std::uint64_t kExpectAbove = 1U << 20;
constexpr long kCurlBuffer = 256L << 10;
constexpr std::uint64_t kLeastUploadBuffer = 16U << 10;  // curl takes no less
constexpr std::uint64_t kMostDrained = 1U << 20;
constexpr std::chrono::milliseconds kConnectCheck{100};
constexpr std::chrono::milliseconds kNoStall = std::chrono::hours(24 * 365);

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string url_part(CURLU* url, CURLUPart part, unsigned flags) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK || text == nullptr) return {};
  std::string out = text;
  curl_free(text);
  return out;
}

// "host:port/path": what a message may show. User names, passwords and queries (signatures) stay out.
std::string shown_url(const std::string& text) {
  const std::unique_ptr<CURLU, FreeUrl> url(curl_url());
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_PATH_AS_IS) != CURLUE_OK) {
    return "(malformed URL)";
  }
  return printable(url_part(url.get(), CURLUPART_HOST, 0) + ":" +
                   url_part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT) +
                   url_part(url.get(), CURLUPART_PATH, 0));
}

std::string lower(std::string_view text) {
  std::string out;
  for (const char c : text) out.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  return out;
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

ErrorCode code_of(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_INTERFACE_FAILED:
    case CURLE_PROXY:
      return ErrorCode::offline;
    case CURLE_OPERATION_TIMEDOUT:
      return ErrorCode::timeout;
    case CURLE_ABORTED_BY_CALLBACK:
      return ErrorCode::cancelled;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_FUNCTION_ARGUMENT:
      return ErrorCode::invalid;
    case CURLE_OUT_OF_MEMORY:
      return ErrorCode::busy;
    case CURLE_FAILED_INIT:
    case CURLE_UNKNOWN_OPTION:
      return ErrorCode::internal;
    default:
      return ErrorCode::io;
  }
}

curl_off_t moved_bytes(CURL* easy) {
  curl_off_t down = 0;
  curl_off_t up = 0;
  long headers = 0;
  curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
  curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &up);
  curl_easy_getinfo(easy, CURLINFO_HEADER_SIZE, &headers);
  return down + up + headers;
}

}  // namespace

Transfer::Transfer(std::uint64_t id, Request request, Client::Done done)
    : id_(id),
      request_(std::move(request)),
      done_(std::move(done)),
      started_(std::chrono::steady_clock::now()),
      due_(request_.deadline.count() > 0 ? started_ + request_.deadline : SteadyTime::max()) {
  if (request_.stall_timeout.count() <= 0) request_.stall_timeout = kNoStall;
}

Error Transfer::failure(ErrorCode code, std::string cause) const {
  return make_error(code, request_.method + " " + shown_url(request_.url), std::move(cause));
}

Status Transfer::prepare(const ClientOptions& options) {
  easy_.reset(curl_easy_init());
  if (!easy_) return failure(ErrorCode::busy, "out of memory");
  admitted_ = last_progress_ = std::chrono::steady_clock::now();
  set_common_options(options);
  set_method();
  MEDIAFS_TRY(set_headers());
  schedule(admitted_);
  return {};
}

void Transfer::set_common_options(const ClientOptions& options) {
  CURL* const easy = easy_.get();
  curl_easy_setopt(easy, CURLOPT_PRIVATE, this);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, curl_message_.data());
  curl_easy_setopt(easy, CURLOPT_URL, request_.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 0L);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kCurlBuffer);
  set_send_limit();
  curl_easy_setopt(easy, CURLOPT_USERAGENT, options.user_agent.c_str());
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request_.connect_timeout.count()));
  // Otherwise giving up on a name that doesn't resolve blocks the engine until the resolver answers.
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
  if (!options.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Transfer::header_callback);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Transfer::write_callback);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
}

// curl keeps a rate by pausing between buffers: small ones for a small rate, or the pauses look like a stall.
void Transfer::set_send_limit() {
  long buffer = kCurlBuffer;
  if (request_.send_limit > 0) {
    const auto most = static_cast<std::uint64_t>(std::numeric_limits<curl_off_t>::max());
    curl_easy_setopt(easy_.get(), CURLOPT_MAX_SEND_SPEED_LARGE,
                     static_cast<curl_off_t>(std::min(request_.send_limit, most)));
    buffer = static_cast<long>(
        std::clamp<std::uint64_t>(request_.send_limit / 4, kLeastUploadBuffer, kCurlBuffer));
  }
  curl_easy_setopt(easy_.get(), CURLOPT_UPLOAD_BUFFERSIZE, buffer);
}

bool Transfer::sends_body() const {
  return request_.body || !request_.body_text.empty() || request_.method == "PUT" ||
         request_.method == "POST";
}

std::optional<std::uint64_t> Transfer::announced_size() const {
  if (request_.body) return request_.body_size;
  return request_.body_text.size();
}

void Transfer::set_method() {
  CURL* const easy = easy_.get();
  if (request_.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    return;
  }
  if (sends_body()) {
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, &Transfer::read_callback);
    curl_easy_setopt(easy, CURLOPT_READDATA, this);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, &Transfer::seek_callback);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, this);
    const auto size = announced_size();
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, size ? static_cast<curl_off_t>(*size) : curl_off_t{-1});
  }
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
}

Status Transfer::set_headers() {
  // A small body costs less than the round trip that "Expect: 100-continue" asks for.
  expects_continue_ = sends_body() && announced_size().value_or(kExpectAbove + 1) > kExpectAbove;
  std::vector<std::string> lines = request_.headers;
  if (!expects_continue_) lines.emplace_back("Expect:");
  for (const std::string& line : lines) {
    if (line.find_first_of("\r\n") != std::string::npos) {
      return failure(ErrorCode::invalid, "a header contains a line break");
    }
    // curl drops a header without a value; with a semicolon for its colon it sends the name alone.
    const auto colon = line.find(':');
    const bool bare = line != "Expect:" && colon != std::string::npos && trim(line.substr(colon + 1)).empty();
    curl_slist* const longer =
        curl_slist_append(headers_.get(), (bare ? line.substr(0, colon) + ";" : line).c_str());
    if (longer == nullptr) return failure(ErrorCode::busy, "out of memory");
    [[maybe_unused]] const auto* same = headers_.release();
    headers_.reset(longer);
  }
  curl_easy_setopt(easy_.get(), CURLOPT_HTTPHEADER, headers_.get());
  return {};
}

// Without the query and the headers, which may carry what nobody else is to know.
void Transfer::log_end(const Result<Response>& result) const {
  if (!log::enabled(log::Level::debug)) return;
  const auto took = std::chrono::steady_clock::now() - started_;
  log::debug(
      "request",
      {{"method", request_.method},
       {"url", request_.url.substr(0, request_.url.find('?'))},
       {"outcome", result ? std::to_string(result->status) : std::string(to_string(result.error().code))},
       {"ms", std::int64_t{std::chrono::duration_cast<std::chrono::milliseconds>(took).count()}}});
}

void Transfer::schedule(SteadyTime now) {
  due_ = last_progress_ + request_.stall_timeout;
  if (due_ <= now) due_ = now + std::min(request_.stall_timeout, kConnectCheck);
  if (request_.deadline.count() > 0) due_ = std::min(due_, started_ + request_.deadline);
}

std::optional<Error> Transfer::expired(SteadyTime now) {
  if (now < due_) return {};
  if (draining_) return cancelled();
  if (request_.deadline.count() > 0 && now >= started_ + request_.deadline) {
    return failure(ErrorCode::timeout,
                   "not finished within " + std::to_string(request_.deadline.count()) + " ms");
  }
  if (!easy_) return {};
  // The callbacks see bytes as they pass; what trickles out of curl's buffer to the network shows only here.
  const curl_off_t moved = moved_bytes(easy_.get());
  if (std::exchange(sampled_, moved) < moved && last_progress_ + request_.stall_timeout <= now)
    last_progress_ = now;
  curl_off_t connected_us = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_PRETRANSFER_TIME_T, &connected_us);
  if (connected_us > 0) {
    last_progress_ = std::max(last_progress_, admitted_ + std::chrono::microseconds(connected_us));
    if (now >= last_progress_ + request_.stall_timeout) {
      return failure(ErrorCode::timeout,
                     "nothing moved for " + std::to_string(request_.stall_timeout.count()) + " ms");
    }
  }  // until then curl's connect timeout watches
  schedule(now);
  return {};
}

// curl does so itself, but not when the close shows while it sends. A POST may have been carried out all the same.
bool Transfer::begin_again(CURLcode code) {
  const bool broken = code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING;
  if (!broken || abort_ || draining_ || began_again_ || request_.method == "POST" ||
      request_.method == "PATCH")
    return false;
  long connects = 0;
  long header_bytes = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_NUM_CONNECTS, &connects);
  curl_easy_getinfo(easy_.get(), CURLINFO_HEADER_SIZE, &header_bytes);
  if (connects != 0 || header_bytes != 0 || !rewind_body()) return false;
  began_again_ = true;
  response_ = {};
  head_whole_ = false;
  curl_message_.fill('\0');
  sampled_ = 0;
  received_ = 0;
  admitted_ = last_progress_ = std::chrono::steady_clock::now();
  schedule(admitted_);
  curl_easy_setopt(easy_.get(), CURLOPT_FRESH_CONNECT, 1L);
  return true;
}

bool Transfer::worth_draining() const {
  if (!easy_ || request_.reply_size < received_ || request_.reply_size - received_ > kMostDrained)
    return false;
  if (request_.reply_size == 0 || sends_body()) return false;
  long version = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_HTTP_VERSION, &version);
  return version < CURL_HTTP_VERSION_2_0;  // there only the stream ends
}

Client::Done Transfer::drain(SteadyTime until) {
  draining_ = true;
  due_ = until;
  request_.on_head = {};
  request_.on_body = {};
  return take_done();
}

Result<Response> Transfer::outcome(CURLcode code) {
  if (abort_) return std::move(*abort_);
  if (code != CURLE_OK) {
    const bool detail = curl_message_.front() != '\0';
    return failure(code_of(code), printable(detail ? curl_message_.data() : curl_easy_strerror(code)));
  }
  if (!head_whole_) return failure(ErrorCode::io, "the reply ended within its head");
  if (!show_head()) return std::move(*abort_);
  return std::move(response_);
}

// Tells on_head, once; false when it refuses.
bool Transfer::show_head() {
  if (std::exchange(head_shown_, true) || !request_.on_head || request_.on_head(response_)) return true;
  abort_ = cancelled();
  return false;
}

bool Transfer::take_header(std::string_view line) {
  if (line.starts_with("HTTP/")) {  // a new head: the one before was 100 Continue
    response_ = {};
    head_whole_ = false;
    const auto space = line.find(' ');
    for (std::size_t i = space; i != std::string_view::npos && ++i <= space + 3 && i < line.size();) {
      if (line[i] < '0' || line[i] > '9') break;
      response_.status = response_.status * 10 + (line[i] - '0');
    }
    return true;
  }
  if (trim(line).empty()) {
    const bool again = expects_continue_ && response_.status == 417;  // curl repeats it without "Expect"
    head_whole_ = response_.status >= 200;
    return response_.status < 200 || again || show_head();
  }
  const auto colon = line.find(':');
  if (colon != std::string_view::npos) {
    response_.headers[lower(trim(line.substr(0, colon)))] = trim(line.substr(colon + 1));
  }
  return true;
}

bool Transfer::take_body(std::span<const std::byte> bytes) {
  received_ += bytes.size();
  if (gave_up_ || draining_) return received_ <= request_.reply_size;
  const bool success = response_.status >= 200 && response_.status < 300;
  if (success && request_.on_body) {
    if (request_.on_body(bytes)) return true;
    abort_ = cancelled();
    return gave_up_ = worth_draining();
  }
  const std::size_t limit = success ? kBodyLimit : kErrorBodyLimit;
  const std::size_t room = limit - std::min(limit, response_.body.size());
  if (success && bytes.size() > room) {
    abort_ = failure(ErrorCode::too_large, "the reply is larger than 64 MiB");
    return false;
  }
  const std::size_t old_size = response_.body.size();
  const std::size_t taken = std::min(room, bytes.size());
  response_.body.resize(old_size + taken);
  if (taken > 0) std::memcpy(response_.body.data() + old_size, bytes.data(), taken);
  return true;
}

std::size_t Transfer::give_body(std::span<std::byte> into) {
  const auto size = announced_size();
  if (size) into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), *size - sent_)));
  if (into.empty()) return 0;
  std::size_t given = into.size();
  if (request_.body) {
    const auto filled = request_.body(into);
    if (!filled) {
      abort_ = cancelled();
      return CURL_READFUNC_ABORT;
    }
    given = std::min(*filled, into.size());
  } else {
    std::memcpy(into.data(), request_.body_text.data() + sent_, given);
  }
  if (given == 0 && size) {
    abort_ = failure(ErrorCode::io, "the body ended after " + std::to_string(sent_) + " of " +
                                        std::to_string(*size) + " bytes");
    return CURL_READFUNC_ABORT;
  }
  sent_ += given;
  return given;
}

bool Transfer::rewind_body() {
  if (request_.body && sent_ > 0 && (!request_.rewind || !request_.rewind())) return false;
  sent_ = 0;
  return true;
}

std::size_t Transfer::header_callback(char* data, std::size_t size, std::size_t count, void* self) noexcept {
  auto* const transfer = static_cast<Transfer*>(self);
  try {
    transfer->last_progress_ = std::chrono::steady_clock::now();
    return transfer->take_header({data, size * count}) ? size * count : 0;
  } catch (...) {
    return 0;
  }
}

std::size_t Transfer::write_callback(char* data, std::size_t size, std::size_t count, void* self) noexcept {
  auto* const transfer = static_cast<Transfer*>(self);
  try {
    transfer->last_progress_ = std::chrono::steady_clock::now();
    const bool taken = transfer->take_body(std::as_bytes(std::span(data, size * count)));
    return taken ? size * count
                 : size * count + 1;  // any other number stops curl, 0 does not for an empty piece
  } catch (...) {
    return size * count + 1;
  }
}

std::size_t Transfer::read_callback(char* data, std::size_t size, std::size_t count, void* self) noexcept {
  auto* const transfer = static_cast<Transfer*>(self);
  try {
    transfer->last_progress_ = std::chrono::steady_clock::now();
    return transfer->give_body(std::as_writable_bytes(std::span(data, size * count)));
  } catch (...) {
    return CURL_READFUNC_ABORT;
  }
}

int Transfer::seek_callback(void* self, curl_off_t offset, int origin) noexcept {
  try {
    const bool to_start = offset == 0 && origin == SEEK_SET;
    return to_start && static_cast<Transfer*>(self)->rewind_body() ? CURL_SEEKFUNC_OK
                                                                   : CURL_SEEKFUNC_CANTSEEK;
  } catch (...) {
    return CURL_SEEKFUNC_FAIL;
  }
}

}  // namespace mediafs::http
