// HTTP: a pooled client on libcurl's multi interface. One thread drives all transfers; callers wait or are called.
// Threads:    perform() blocks the caller; start() returns at once. on_body, body and on_done run on the engine's
//             thread: they must not block and must not call perform().
// Owns:       its curl handles and thread.
// Shapes:     header names are lower case in Response.
// Units:      bytes, milliseconds.
// Errors:     offline (no connection), timeout (connect, stall or deadline), cancelled, io (broken reply, TLS).
//             Any HTTP status is a Response, not an Error.
// Source:     RFC 9110, RFC 9112.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace mediafs::http {

struct Response;

struct Request {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers = {};  // "name: value"
  // The body: `body_text`, or with `body` set `body_size` bytes that `body` fills (returns bytes written, 0 only at
  // the end, nullopt to abort). `rewind` restarts it from its beginning when curl must send again.
  std::string body_text = {};
  std::optional<std::uint64_t> body_size = {};
  std::function<std::optional<std::size_t>(std::span<std::byte>)> body = {};
  std::function<bool()> rewind = {};
  // Called once with status and headers (body empty) before the first byte of a reply's body; false aborts with
  // `cancelled`. May be unset.
  std::function<bool(const Response&)> on_head = {};
  // Takes the reply's body piece by piece; false aborts with `cancelled`. Unset: Response.body (at most 64 MiB).
  // Called only for 2xx; other statuses' bodies go to Response.body (at most 64 KiB).
  std::function<bool(std::span<const std::byte>)> on_body = {};
  std::uint64_t reply_size =
      0;  // of the reply's body, where it is known: what is cancelled near its end is drained
  std::uint64_t send_limit = 0;  // the body's bytes a second at most; 0: none
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds stall_timeout{30'000};  // no byte moved either way for this long: timeout
  std::chrono::milliseconds deadline{0};            // the whole request; 0: none
  std::stop_token stop = {};
};

struct Response {
  int status = 0;
  std::map<std::string, std::string> headers;  // the last of equal names
  std::string body;
  std::string_view header(const std::string& lower_case_name) const;  // "" if absent
};

struct ClientOptions {
  std::size_t max_connections = 64;  // in all; more wait for a free one
  std::string user_agent = "mediafs";
  std::string ca_file = {};  // empty: the system's
  // For how long the small rest of a cancelled reply is read in vain, so that its connection serves the next request.
  std::chrono::milliseconds drain_time{200};
};

class Client {
 public:
  using Done = std::function<void(Result<Response>)>;
  explicit Client(ClientOptions options = {});
  ~Client();  // cancels what runs
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  Result<Response> perform(Request request);
  // The number cancels; on_done is called exactly once, and soon after cancel() whatever the server does.
  std::uint64_t start(Request request, Done on_done);
  void cancel(std::uint64_t transfer);

 private:
  struct Engine;
  std::unique_ptr<Engine> engine_;
};

std::string percent_encode(std::string_view bytes, bool keep_slash);
std::string percent_decode(std::string_view text);
std::string base64(std::string_view bytes);

}  // namespace mediafs::http
