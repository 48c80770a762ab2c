// The vault in a bucket of AWS S3 or a compatible server.
// Threads:    as vault.h. Callbacks of reads run on the HTTP client's thread or the retry timer's.
// Shapes:     an object's key in the bucket = prefix + "/" + what key_of_path(key) is (names.h). Metadata: x-amz-meta-mtime as rclone writes it, and
//             x-amz-meta-mediafs-{mode,uid,gid,checksum,sha1}. An etag is kept without its quotes.
// Units:      bytes.
// Errors:     as vault.h; texts come from the server's Code and Message, bounded, never with a secret.
// Crash:      an unfinished multipart upload is invisible. One that is noted (notes_folder) is gone on with by the next
//             put of the same bytes and metadata under its key; collect_garbage() aborts the others below the prefix,
//             and the noted ones that no put touched for 7 days.
// Invariants: (1) nothing outside the prefix is read or written; (2) every body goes with a checksum that the server
//             verifies (Content-MD5, and over plain HTTP x-amz-content-sha256).
// Source:     Amazon S3 API Reference; AWS Signature Version 4.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "tier/vault/rate.h"
#include "tier/vault/vault.h"

namespace mediafs::tier::s3 {

struct Options {
  bool tls = true;
  std::string host;       // with the port, unless it is the scheme's own
  std::string base_path;  // of the endpoint: "" or "/path"
  std::string bucket;
  std::string prefix;  // "" or without slashes at its ends
  std::string region = "us-east-1";
  bool path_style = true;
  Credentials credentials = {};
  std::function<Result<Credentials>()> read_credentials = {};  // again, once the server refuses those
  std::shared_ptr<Limits> limits = std::make_shared<Limits>();
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds stall_timeout{30'000};
  // Of one request, beside the time that its bytes may take.
  std::chrono::milliseconds deadline{60'000};
  // A copy or a completion may take the server long before it says a word.
  std::chrono::milliseconds slow_answer{300'000};
  std::string ca_file = {};  // "": the system's
  // Where uploads under way are noted, so that a restart goes on with them. "": a failed or killed one begins anew.
  std::string notes_folder = {};
  // Sizes that tests lower.
  std::uint64_t multipart_above = 64ULL << 20;  // up to this: one PUT
  std::uint64_t min_part = 16ULL << 20;
  std::uint64_t copy_above = 5ULL << 30;  // up to this: one copy
  std::uint64_t copy_part = 512ULL << 20;
  int list_page = 1000;
  int parallel_parts = 4;
};

Result<Options> options_from(const Config& config, const Credentials& credentials);
std::unique_ptr<Vault> open_s3_vault(Options options);

}  // namespace mediafs::tier::s3
