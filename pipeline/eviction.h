// The eviction planner: decides when space is short and which files go, least recently opened first; each
// becomes an evict job.
// Threads:    wake() from any thread, never blocks; the planning runs on a thread of its own.
// Borrows:    Tools (outlives it).
// Units:      bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <thread>

#include "common/sync.h"
#include "pipeline/stages.h"

namespace mediafs::pipeline {

class EvictionPlanner {
 public:
  explicit EvictionPlanner(Tools& tools);
  ~EvictionPlanner();
  EvictionPlanner(const EvictionPlanner&) = delete;
  EvictionPlanner& operator=(const EvictionPlanner&) = delete;
  void start();
  void stop();
  void wake();

 private:
  void run(const std::stop_token& stop) noexcept;
  Status plan();
  std::uint64_t in_flight(SteadyTime now);
  Status choose(std::uint64_t wanted, std::uint64_t planned, SteadyTime now);

  Tools& tools_;
  Mutex mutex_;
  CondVar changed_;
  bool woken_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  // Chosen lately, with when: an evict job that found its file open is not planned again at once.
  struct Chosen {
    SteadyTime when;
    std::uint64_t size_bytes = 0;
  };
  std::map<std::int64_t, Chosen> chosen_;
  tier::EvictCursor from_;  // where a round ended that had looked at enough
  std::jthread thread_;
};

}  // namespace mediafs::pipeline
