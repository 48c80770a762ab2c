// Whether the vault answers and is ours: asked now and then, more often while it does not or is not.
// Threads:    start/stop on the owner's thread; the rest from any. The probe runs on a thread of its own.
// Borrows:    GuardedVault (outlives it).
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/sync.h"
#include "tier/vault_identity.h"

namespace mediafs::app {

struct Health {
  bool known = false;
  bool ok = false;
  std::string error;  // why not
  WallNs since_ns = 0;
};

class VaultHealth {
 public:
  // `first_contact` runs once, when the vault answers for the first time, until it succeeds. `back` each time that the
  // vault is there and ours again, the first time too.
  VaultHealth(tier::GuardedVault& vault, Clock& clock, std::function<Status(std::stop_token)> first_contact,
              std::function<void()> back);
  ~VaultHealth();
  VaultHealth(const VaultHealth&) = delete;
  VaultHealth& operator=(const VaultHealth&) = delete;
  void start();
  void stop();
  void look_now() EXCLUDES(mutex_);  // does not wait for the answer
  Health health() const EXCLUDES(mutex_);

 private:
  void run(const std::stop_token& stop) noexcept;
  void note(const Status& status) EXCLUDES(mutex_);

  tier::GuardedVault& vault_;
  Clock& clock_;
  std::function<Status(std::stop_token)> first_contact_;
  std::function<void()> back_;
  mutable Mutex mutex_;
  CondVar changed_;
  Health health_ GUARDED_BY(mutex_);
  SteadyTime asked_ GUARDED_BY(mutex_) = SteadyTime::max();  // when the probe under way began
  WallNs asked_ns_ GUARDED_BY(mutex_) = 0;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool asap_ GUARDED_BY(mutex_) = false;
  tier::VaultState told_ GUARDED_BY(mutex_) = tier::VaultState::unknown;  // what the log has last
  std::jthread thread_;
};

}  // namespace mediafs::app
