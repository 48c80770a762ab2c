// Looks after the catalogue while it is in use: a check that the start had no time for, and the snapshots in the vault.
// Threads:    start/stop on the owner's thread; the work runs on a thread of its own.
// Borrows:    Branches and the vault's guard (outlive it).
#pragma once

#include <functional>
#include <thread>

#include "common/sync.h"
#include "tier/mover.h"

namespace mediafs::app {

class CatalogueKeeper {
 public:
  // `may_write`: the vault is there and ours.
  CatalogueKeeper(tier::Branches& branches, bool checked, std::function<bool()> may_write);
  ~CatalogueKeeper();
  CatalogueKeeper(const CatalogueKeeper&) = delete;
  CatalogueKeeper& operator=(const CatalogueKeeper&) = delete;
  void start();
  void stop();

 private:
  void run(const std::stop_token& stop) noexcept;
  bool wait(std::chrono::milliseconds time) EXCLUDES(mutex_);  // false: the end

  tier::Branches& branches_;
  const bool checked_;
  const std::function<bool()> may_write_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace mediafs::app
