// Empties the vault's trash of what has been there for [vault] trash, now and then.
// Invariants: (1) nothing expires by a clock that was set within the last hour (or a tenth of that time, if it is less): a
//             machine may start with a wrong one.
// Threads:    start/stop on the owner's thread; sweeps on one of its own.
// Borrows:    Trash (outlives it).
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <thread>

#include "app/pause.h"
#include "common/clock.h"
#include "tier/trash.h"

namespace mediafs::app {

class TrashSweep {
 public:
  // `ready`: the vault answers and is ours.
  TrashSweep(tier::Trash& trash, std::chrono::milliseconds kept_for, std::function<bool()> ready);
  ~TrashSweep();
  TrashSweep(const TrashSweep&) = delete;
  TrashSweep& operator=(const TrashSweep&) = delete;
  void start();
  void stop();

 private:
  void run(const std::stop_token& stop) noexcept;
  void sweep(const std::stop_token& stop);
  bool clock_holds();

  tier::Trash& trash_;
  const std::chrono::milliseconds every_;
  const std::chrono::milliseconds clock_holds_for_;
  std::chrono::nanoseconds clock_ahead_{};  // of the wall clock, before the steady one; the thread's own
  std::optional<SteadyTime> clock_held_since_;
  const std::function<bool()> ready_;
  bool told_ = false;  // of what failed; the thread's own
  Pause pause_;
  std::jthread thread_;
};

}  // namespace mediafs::app
