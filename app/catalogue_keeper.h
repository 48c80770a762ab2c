// Looks after the catalogue while it is in use: a check that the start had no time for, and the snapshots in the vault.
// Threads:    start/stop on the owner's thread; the work runs on a thread of its own.
// Borrows:    Branches and the vault's guard (outlive it).
#pragma once

#include <functional>
#include <thread>

#include "app/pause.h"
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

  tier::Branches& branches_;
  const bool checked_;
  const std::function<bool()> may_write_;
  Pause pause_;
  std::jthread thread_;
};

}  // namespace mediafs::app
