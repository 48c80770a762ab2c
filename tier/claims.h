// Claims: who is working on a path. An adoption, a rename, an unlink and an eviction of one path (or of what is below
// it) take turns, so that the disk and the catalogue change as one. Not a mutex: a claim may be held across I/O.
// Threads:    safe from any thread. claim() waits up to `timeout`.
// Errors:     busy when the time is up: WHAT is the path.
#pragma once

#include <chrono>
#include <list>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/sync.h"
#include "tier/vault/names.h"

namespace mediafs::tier {

class Claims {
 public:
  class Claim {
   public:
    Claim() = default;
    Claim(Claim&& other) noexcept;
    Claim& operator=(Claim&& other) noexcept;
    ~Claim();
    void release() noexcept;

   private:
    friend class Claims;
    Claims* claims_ = nullptr;
    std::list<std::vector<std::string>>::iterator held_;
  };

  // Waits until no other claim is on one of `paths`, above or below it; then holds all of them at once. Two claims of
  // one thread deadlock until the timeout: claim everything in one call.
  Result<Claim> claim(std::vector<std::string> paths,
                      std::chrono::milliseconds timeout = std::chrono::seconds(30)) EXCLUDES(mutex_);
  Result<Claim> claim(std::string path) { return claim(std::vector<std::string>{std::move(path)}); }
  // Vault keys are claimed in a space of their own, so that a key and the equal path don't meet; the marked names of an
  // object (vault/names.h) are one claim.
  static std::string key_claim(const std::string& key) { return "\x01vault/" + unmarked(key); }

 private:
  bool free(const std::vector<std::string>& paths) const REQUIRES(mutex_);
  Mutex mutex_;
  CondVar freed_;
  std::list<std::vector<std::string>> held_ GUARDED_BY(mutex_);
};

}  // namespace mediafs::tier
