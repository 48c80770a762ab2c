// One S3 request: signed, tried again when that may help, and its failure put into our words.
// Threads:    safe from any thread. call() blocks; prepare() and judge() serve the asynchronous reads.
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

#include "common/http.h"
#include "tier/vault/rate.h"
#include "tier/vault/s3.h"
#include "tier/vault/s3_access.h"
#include "tier/vault/sigv4.h"

namespace mediafs::tier::s3 {

// A piece of a file as a request's body, hashed before it is sent: the server refuses other bytes.
struct FileBody {
  int fd = -1;
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
  std::string md5_hex;
  std::string sha256_hex;  // "" where the transport protects the bytes
  std::function<void(std::uint64_t)> progress = {};
  // Why reading the file failed, when it did.
  std::shared_ptr<std::optional<Error>> failure = std::make_shared<std::optional<Error>>();
  std::shared_ptr<std::atomic<bool>> all_sent = std::make_shared<std::atomic<bool>>(false);
};

struct Call {
  std::string method = "GET";
  std::optional<std::string> key = {};  // in the tree; none: the bucket itself
  Pairs query = {};
  Pairs headers = {};
  std::string body_text = {};
  const FileBody* file = nullptr;
  std::stop_token stop = {};
  std::chrono::milliseconds stall{0};  // 0: the driver's
  std::uint64_t reply_bytes = 0;       // of a large reply
  // Asked once the whole body went out and no answer came: the answer, if the server has done it.
  std::function<std::optional<http::Response>()> landed = {};
  std::uint64_t access = 0;  // Access::version that it is signed with
  std::string what = {};     // for messages: "put vault object a/b"
};

inline constexpr int kTries = 3;

// What a failed try means for the next one.
struct Verdict {
  Error error;
  bool again = false;  // a quick further try makes sense
};

class S3Client {
 public:
  explicit S3Client(Options options);
  const Options& options() const { return options_; }
  http::Client& reading() { return reading_; }
  std::stop_token stopping() const { return stop_.get_token(); }
  void stop() { stop_.request_stop(); }

  // As the bucket has it. REQUIRES: a key that key_of_path() takes.
  std::string object_key(const std::string& key) const;
  std::string list_prefix(const std::string& folder) const;
  std::string copy_source(const std::string& key) const;
  std::string url_for_people() const;

  // 2xx, or an Error. A 200 whose body is an error document is an Error too.
  Result<http::Response> call(const Call& call);
  http::Request prepare(const Call& call);
  Verdict judge(const Call& call, const Result<http::Response>& outcome);
  RetryBudget& budget() { return budget_; }
  RateLimit& download_limit() { return options_.limits->download; }
  std::uint64_t access_version() const { return access_.version(); }

 private:
  Error explain(const Call& call, const http::Response& response) const;
  std::chrono::milliseconds deadline_of(const Call& call) const;
  bool other_access(const Call& call, const http::Response& response, const std::string& code);
  void learn_clock(const http::Response& response);

  const Options options_;
  Access access_;
  RetryBudget budget_;
  std::atomic<std::int64_t> clock_offset_s_{0};  // the server's clock minus ours, once it complained
  std::stop_source stop_;
  http::Client reading_;
  http::Client sending_;
};

}  // namespace mediafs::tier::s3
