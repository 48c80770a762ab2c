// Whether the vault answers, for status: asked now and then, more often while it does not.
// Threads:    start/stop on the owner's thread; the rest from any. The probe runs on a thread of its own.
// Borrows:    Vault (outlives it).
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/sync.h"
#include "tier/vault/vault.h"

namespace mediafs::app {

struct Health {
  bool known = false;
  bool ok = false;
  std::string error;  // why not
  WallNs since_ns = 0;
};

class VaultHealth {
 public:
  // `first_contact` runs once, when the vault answers for the first time, until it succeeds.
  VaultHealth(tier::Vault& vault, Clock& clock, std::function<Status(std::stop_token)> first_contact);
  ~VaultHealth();
  VaultHealth(const VaultHealth&) = delete;
  VaultHealth& operator=(const VaultHealth&) = delete;
  void start();
  void stop();
  Health health() const EXCLUDES(mutex_);

 private:
  void run(const std::stop_token& stop) noexcept;
  void note(const Status& status) EXCLUDES(mutex_);

  tier::Vault& vault_;
  Clock& clock_;
  std::function<Status(std::stop_token)> first_contact_;
  mutable Mutex mutex_;
  CondVar changed_;
  Health health_ GUARDED_BY(mutex_);
  SteadyTime asked_ GUARDED_BY(mutex_) = SteadyTime::max();  // when the probe under way began
  WallNs asked_ns_ GUARDED_BY(mutex_) = 0;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace mediafs::app
