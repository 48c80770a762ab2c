// Who we are to the server, and in which region the bucket is. Both may change while we run: keys are renewed in their
// file, and a server may know better where the bucket is.
// Threads:    safe from any thread. renew() may read small files.
// Secrets:    scrub() takes those in use, and those that were, out of a text.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "common/sync.h"
#include "tier/vault/s3.h"

namespace mediafs::tier::s3 {

class Access {
 public:
  struct Now {
    Credentials credentials;
    std::string region;
    std::string host;
    std::uint64_t version = 0;  // grows with each change of the others
  };
  explicit Access(const Options& options);
  Now now() const EXCLUDES(mutex_);
  std::uint64_t version() const EXCLUDES(mutex_);
  // After a refusal of what `seen` stood for: reads the credentials anew. True: there are others now.
  bool renew(std::uint64_t seen) EXCLUDES(mutex_);
  // After the server named the bucket's region. True: it is another one than `seen` stood for.
  bool move_to(const std::string& region, std::uint64_t seen) EXCLUDES(mutex_);
  std::string scrub(std::string text) const EXCLUDES(mutex_);

 private:
  void note_secrets() REQUIRES(mutex_);

  const std::function<Result<Credentials>()> read_again_;
  const bool of_amazon_;
  mutable Mutex mutex_;
  CondVar read_;
  Now now_ GUARDED_BY(mutex_);
  std::vector<std::string> secrets_ GUARDED_BY(mutex_);  // the latest few
  bool reading_ GUARDED_BY(mutex_) = false;
  SteadyTime not_before_ GUARDED_BY(mutex_) = SteadyTime::min();
};

// Amazon's host for a region.
std::string amazon_host(const std::string& region);

}  // namespace mediafs::tier::s3
