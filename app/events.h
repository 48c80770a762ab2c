// Takes the watcher's events off its thread: each becomes a call to the reconcile or an organize job.
// Threads:    push() from the watcher's thread (waits while the queue is full); the calls run on a thread of
//             its own.
// Borrows:    Reconcile (outlives it).
// Errors:     logged; a lost event is made good by the next scan.
#pragma once

#include <deque>
#include <functional>
#include <thread>

#include "common/sync.h"
#include "tier/reconcile.h"
#include "watcher/watcher.h"

namespace mediafs::app {

class Events {
 public:
  // `rescan` has the watcher look at everything again, which ends with a `scanned` event.
  // `forgotten`: the catalogue has no directory there any more, which it had a moment ago; "": nor in other places.
  // `handled` is called after each event.
  Events(tier::Reconcile& reconcile, std::function<void()> rescan,
         std::function<void(const std::string& path)> forgotten, std::function<void()> handled = {})
      : reconcile_(reconcile),
        rescan_(std::move(rescan)),
        forgotten_(std::move(forgotten)),
        handled_(std::move(handled)) {}
  ~Events();
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  void start();
  void stop();
  void push(const watcher::Event& event) EXCLUDES(mutex_);
  std::size_t outstanding() EXCLUDES(mutex_);  // that wait or are being handled

 private:
  void run(const std::stop_token& stop) noexcept;
  void handle(const watcher::Event& event, const std::stop_token& stop);

  tier::Reconcile& reconcile_;
  std::function<void()> rescan_;
  std::function<void(const std::string& path)> forgotten_;
  std::function<void()> handled_;
  SteadyTime scan_due_{};  // of the event thread
  Mutex mutex_;
  CondVar changed_;
  std::deque<watcher::Event> queue_ GUARDED_BY(mutex_);
  bool handling_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace mediafs::app
