// Ranged reads of S3 objects: what ranged_reads.h asks of a driver.
// Threads:    safe from any thread. Borrows the client, which outlives it.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "tier/vault/ranged_reads.h"
#include "tier/vault/s3_client.h"

namespace mediafs::tier::s3 {

class S3Reads final : public ReadServer {
 public:
  explicit S3Reads(S3Client& client) : client_(client) {}
  http::Client& client() override { return client_.reading(); }
  RateLimit& limit() override { return client_.download_limit(); }
  std::uint64_t mark() override { return client_.access_version(); }
  http::Request prepare(const Range& range) override;
  ReadServer::Verdict judge(const std::string& what, std::uint64_t mark,
                            const Result<http::Response>& outcome) override;
  std::string version(const http::Response& head, const std::string& wanted) const override;
  std::optional<std::chrono::milliseconds> pause(int attempt, const Error& last) override;
  void went_well() override { client_.budget().went_well(); }

 private:
  S3Client& client_;
};

}  // namespace mediafs::tier::s3
