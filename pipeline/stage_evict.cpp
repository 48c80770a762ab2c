#include <algorithm>
#include <exception>

#include "common/log.h"
#include "common/path.h"
#include "pipeline/eviction.h"

namespace mediafs::pipeline {

namespace {

constexpr std::size_t kCandidates = 512;
constexpr std::size_t kPagesARound = 8;
constexpr std::chrono::seconds kTimer{5};         // free space shrinks without telling when others write
constexpr std::chrono::milliseconds kGather{50};  // wakes come in bursts
constexpr std::chrono::seconds kChosenFor{20};
constexpr std::chrono::seconds kInFlightFor{2};

}  // namespace

Handler evict_stage(Tools& tools) {
  return [&tools](const tier::Job& job, std::stop_token) -> Status {
    Status evicted = tools.mover.evict(job.file_id, job.generation);
    if (evicted) {
      log::info("evicted", {{"path", printable(job.path)}, {"job", job.id}});
      return {};
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
  std::erase_if(chosen_, [&](const auto& entry) { return now - entry.second.when > kChosenFor; });
  std::uint64_t wanted = tools_.branches.space->wanted_bytes();
  if (wanted == 0 || tools_.branches.vault == nullptr) return {};
  if (tools_.streams != nullptr && tools_.branches.space->waiting_bytes() > 0) {
    const std::uint64_t freed = tools_.streams->shrink(wanted);
    if (freed > 0) tools_.branches.space->freed();
    wanted -= std::min(wanted, freed);
  }
  return choose(wanted, in_flight(now), now);
}

// What is in flight counts as planned for a moment, so that a burst of wakes evicts no more than was wanted.
std::uint64_t EvictionPlanner::in_flight(SteadyTime now) {
  std::uint64_t bytes = 0;
  for (const auto& [id, chosen] : chosen_) {
    if (now - chosen.when < kInFlightFor) bytes += chosen.size_bytes;
  }
  return bytes;
}

// Page by page past those that were chosen lately (in flight, open, or refused by the vault). A round is bounded: the
// next one goes on where it ended.
Status EvictionPlanner::choose(std::uint64_t wanted, std::uint64_t planned, SteadyTime now) {
  std::vector<tier::JobSpec> jobs;
  bool all_seen = false;
  for (std::size_t page = 0; page < kPagesARound && planned < wanted && !all_seen; page++) {
    MEDIAFS_ASSIGN(auto candidates, tools_.branches.catalogue->evictable(kCandidates, &from_));
    all_seen = candidates.size() < kCandidates;
    for (const tier::Node& node : candidates) {
      if (planned >= wanted) break;
      if (!chosen_.try_emplace(node.id, Chosen{now, node.size_bytes}).second) continue;
      planned += node.size_bytes;
      jobs.push_back({.stage = std::string(tier::kStageEvict),
                      .file_id = node.id,
                      .generation = node.generation,
                      .path = node.path});
    }
  }
  if (planned >= wanted || all_seen) {
    from_ = {};
  } else {
    wake();
  }
  if (jobs.empty()) return {};
  return tools_.branches.catalogue->jobs().enqueue(jobs);
}

}  // namespace mediafs::pipeline
