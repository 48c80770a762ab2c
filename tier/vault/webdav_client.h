// One WebDAV request: tried again when that may help, and its failure put into our words.
// Threads:    safe from any thread. call() blocks; the ReadServer's functions serve the asynchronous reads.
// Owns:       two HTTP clients, so that uploads never take the connections that readers wait for.
// Errors:     as vault.h.
// Secrets:    scrubbed from every text that leaves here.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/hash.h"
#include "common/http.h"
#include "tier/vault/ranged_reads.h"
#include "tier/vault/rate.h"
#include "tier/vault/webdav.h"
#include "tier/vault/webdav_path.h"

namespace mediafs::tier::webdav {

// A piece of a file as a request's body, hashed as it is sent.
struct FileBody {
  int fd = -1;
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
  std::function<void(std::uint64_t)> progress = {};

  // Filled by the call.
  std::optional<Error> failure = {};  // why reading the file failed
  std::unique_ptr<Hasher> hasher = {};
  std::uint64_t most = 0;  // bytes that progress has heard of
};

struct Call {
  std::string method = "GET";
  std::string path;  // decoded, from the server's root, without a slash in front; a folder's ends in one
  std::vector<std::string> headers = {};
  std::string body_text = {};
  FileBody* file = nullptr;
  std::vector<int> accept = {};  // statuses besides 2xx that the caller understands
  bool once = false;  // it may have been done when its reply is lost: the caller looks before it tries again
  std::stop_token stop = {};
  std::chrono::milliseconds stall{0};  // 0: the driver's
  std::uint64_t reply_bytes = 0;       // of a large reply
  std::string what = {};               // for messages: "put vault object a/b"
};

inline constexpr int kTries = 3;

class DavClient final : public ReadServer {
 public:
  explicit DavClient(Options options);
  const Options& options() const { return options_; }
  void stop() { stop_.request_stop(); }
  std::stop_token stopping() const { return stop_.get_token(); }

  std::string path_of(const std::string& key) const;    // of an object
  std::string folder_of(const std::string& key) const;  // of a folder, "" for the root
  std::string url_of(const std::string& path) const;
  std::string url_for_people() const;
  const std::optional<Nextcloud>& nextcloud() const { return nextcloud_; }
  // nginx's own WebDAV, as far as it has been heard of. Its listings leave out names that begin with a dot.
  bool is_nginx() const { return nginx_.load(); }

  // 2xx or what the caller accepts; else an Error.
  Result<http::Response> call(const Call& call);
  static bool may_help(const Error& error);  // a further try
  Error explain(const std::string& what, const http::Response& response) const;

  // While an object is replaced its key may be empty for a moment: a read that finds nothing then asks again.
  class Replacing {
   public:
    explicit Replacing(DavClient& client) : client_(client) { ++client_.replacing_; }
    ~Replacing() {
      ++client_.replaced_;
      --client_.replacing_;
    }
    Replacing(const Replacing&) = delete;
    Replacing& operator=(const Replacing&) = delete;

   private:
    DavClient& client_;
  };
  bool replaced_since(std::uint64_t mark) const { return replacing_ > 0 || replaced_ != mark; }

  http::Client& client() override { return reading_; }
  RateLimit& limit() override { return options_.limits->download; }
  http::Request prepare(const Range& range) override;
  std::uint64_t mark() override { return replaced_; }
  Verdict judge(const std::string& what, std::uint64_t mark, const Result<http::Response>& outcome) override;
  std::string version(const http::Response& head, const std::string& wanted) const override;
  bool may_be_silent() const override { return false; }
  std::optional<std::chrono::milliseconds> pause(int attempt, const Error& last) override;
  void went_well() override { budget_.went_well(); }
  // Before a further try of one request, out of what all of them have; nullopt: there is none.
  std::optional<std::chrono::milliseconds> further_try(int attempt, const Error& last);

 private:
  http::Request prepare_call(const Call& call);
  std::chrono::milliseconds deadline_of(const Call& call) const;
  Verdict judge_call(const Call& call, const Result<http::Response>& outcome) const;
  std::string scrub(std::string text) const;

  const Options options_;
  const std::optional<Nextcloud> nextcloud_;
  const std::string authorization_;  // "" without a user
  RetryBudget budget_;
  std::atomic<bool> nginx_{false};
  std::atomic<int> replacing_{0};
  std::atomic<std::uint64_t> replaced_{0};
  std::stop_source stop_;
  http::Client reading_;
  http::Client sending_;
};

// What a server's status means. Pure; `what` is left empty.
Error error_of(int status, const std::string& message, std::string_view retry_after);

}  // namespace mediafs::tier::webdav
