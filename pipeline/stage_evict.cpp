#include <algorithm>
#include <exception>

#include "common/log.h"
#include "common/path.h"
#include "pipeline/eviction.h"

namespace mediafs::pipeline {

namespace {

constexpr std::size_t kCandidates = 512;
constexpr std::chrono::seconds kTimer{5};         // free space shrinks without telling when others write
constexpr std::chrono::milliseconds kGather{50};  // wakes come in bursts
constexpr std::chrono::seconds kChosenFor{20};

}  // namespace

Handler evict_stage(Tools& tools) {
  return [&tools](const tier::Job& job, std::stop_token) -> Status {
    Status evicted = tools.mover.evict(job.file_id, job.generation);
    if (evicted) {
      log::info("evicted", {{"path", printable(job.path)}, {"job", job.id}});
      return enqueue_hooks(tools, "evicted", job.path);
    }
    // Open, linked twice, not as it was: behind all others in line, or a few of them would be chosen for ever.
    tools.branches.catalogue->opened(job.file_id, tools.branches.clock->wall_ns());
    if (evicted.err().code == ErrorCode::busy) {
      return make_error(ErrorCode::changed, evicted.err().what, evicted.err().cause);
    }
    return evicted;
  };
}

EvictionPlanner::EvictionPlanner(Tools& tools) : tools_(tools) {}
EvictionPlanner::~EvictionPlanner() {
  stop();
}

void EvictionPlanner::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void EvictionPlanner::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void EvictionPlanner::wake() {
  MutexLock lock(mutex_);
  woken_ = true;
  changed_.notify_one();
}

void EvictionPlanner::run(const std::stop_token&) noexcept {
  try {
    for (;;) {
      {
        MutexLock lock(mutex_);
        const auto until = std::chrono::steady_clock::now() + kTimer;
        while (!woken_ && !stopping_ && changed_.wait_until(mutex_, until)) {
        }
        if (stopping_) return;
        const auto gathered = std::chrono::steady_clock::now() + kGather;
        while (!stopping_ && changed_.wait_until(mutex_, gathered)) {
        }
        if (stopping_) return;
        woken_ = false;
      }
      if (auto planned = plan(); !planned) log::warning("can't plan an eviction", planned.err());
    }
  } catch (const std::exception& e) {
    log::error("the eviction planner ended", {{"cause", e.what()}});
  }
}

Status EvictionPlanner::plan() {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(chosen_, [&](const auto& entry) { return now - entry.second > kChosenFor; });
  std::uint64_t wanted = tools_.branches.space->wanted_bytes();
  if (wanted == 0 || tools_.branches.vault == nullptr) return {};
  if (tools_.streams != nullptr && tools_.branches.space->waiting_bytes() > 0) {
    const std::uint64_t freed = tools_.streams->shrink(wanted);
    if (freed > 0) tools_.branches.space->freed();
    wanted -= std::min(wanted, freed);
  }
  MEDIAFS_ASSIGN(auto candidates, tools_.branches.catalogue->evictable(kCandidates));
  std::vector<tier::JobSpec> jobs;
  std::uint64_t planned = 0;
  for (const tier::Node& node : candidates) {
    if (planned >= wanted) break;
    if (auto chosen = chosen_.find(node.id); chosen != chosen_.end()) {
      // In flight or open: what is in flight counts as planned for a moment, so that a burst of wakes evicts
      // no more than was wanted.
      if (now - chosen->second < std::chrono::seconds(2)) planned += node.size_bytes;
      continue;
    }
    chosen_[node.id] = now;
    planned += node.size_bytes;
    jobs.push_back({.stage = std::string(tier::kStageEvict),
                    .file_id = node.id,
                    .generation = node.generation,
                    .path = node.path});
  }
  if (jobs.empty()) return {};
  return tools_.branches.catalogue->jobs().enqueue(jobs);
}

}  // namespace mediafs::pipeline
