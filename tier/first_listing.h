// First contact with a vault that the catalogue doesn't know: its listing becomes vault-only files, without a request for
// any one of them.
// Threads:    run() on one thread at a time; progress() from any.
// Borrows:    Branches (outlives it).
// Errors:     the vault's and the catalogue's.
// Crash:      a page and how far the listing came are one transaction: run again, it goes on from there where the store
//             lists in the order of its keys (Vault::list_after).
// Invariants: (1) memory holds a few pages, whatever the vault holds.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <utility>
#include <vector>

#include "tier/mover.h"

namespace mediafs::tier {

class FirstListing {
 public:
  // `named`, every few seconds of it, may be unset: the catalogue knows more names.
  FirstListing(Branches& branches, std::function<void()> named) : b_(branches), named_(std::move(named)) {}
  Status run(const std::stop_token& stop);  // nothing, if it was done once

  struct Progress {
    bool running = false;
    std::uint64_t objects = 0;  // that this process was shown
  };
  Progress progress() const { return {running_, objects_}; }

 private:
  Status take(std::vector<ObjectInfo>&& page);
  Branches& b_;
  const std::function<void()> named_;
  std::atomic<bool> running_{false};
  std::atomic<std::uint64_t> objects_{0};
  std::uint64_t found_ = 0;  // new ones
  SteadyTime told_{};        // of the progress
};

}  // namespace mediafs::tier
