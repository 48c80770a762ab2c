#include "app/drain.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/progress.h"
#include "app/waiting.h"
#include "common/path.h"

namespace mediafs::app {

namespace {

constexpr std::size_t kJobsLooked = 1000;
constexpr std::size_t kJobsNamed = 5;

// What is on its way: files that have not settled, events, jobs that are due or run; in the order in which one becomes
// the other, so that none is missed.
Result<std::uint64_t> pending(const HandlerParts& parts) {
  std::uint64_t n = parts.view.watcher != nullptr ? parts.view.watcher->stats().pending : 0;
  n += parts.outstanding_events ? parts.outstanding_events() : 0;
  MEDIAFS_ASSIGN(const auto counts, parts.tools.branches.catalogue->jobs().counts());
  for (const auto& c : counts) {
    if (!c.paused) n += static_cast<std::uint64_t>(c.queued + c.running);
  }
  return n;
}

bool leads_to_vault(const tier::Job& job) {
  return job.stage == tier::kStageChecksum || job.stage == tier::kStageUpload;
}

// Why nothing moves, as far as it is known; "" if nothing is in the way.
Result<std::string> trouble(const HandlerParts& parts) {
  if (parts.view.vault_health != nullptr) {
    const Health health = parts.view.vault_health->health();
    if (health.known && !health.ok) return health.error;
  }
  MEDIAFS_ASSIGN(const auto jobs,
                 parts.tools.branches.catalogue->jobs().list(tier::JobState::queued, kJobsLooked));
  for (const auto& job : jobs) {
    if (leads_to_vault(job) && !job.error.empty()) return job.error;
  }
  return std::string();
}

// Nothing is on its way, and not everything is in the vault.
Result<Json> stuck(const HandlerParts& parts, const tier::BranchTotals& dirty) {
  auto& queue = parts.tools.branches.catalogue->jobs();
  std::string why;
  std::size_t named = 0, dead = 0;
  MEDIAFS_ASSIGN(const auto jobs, queue.list(tier::JobState::dead, kJobsLooked));
  for (const auto& job : jobs) {
    if (!leads_to_vault(job) || ++dead > kJobsNamed) continue;
    why += (named++ == 0 ? "" : "; ") + ("job " + std::to_string(job.id)) + " " + job.stage + " " +
           printable(job.path) + " is dead: " + printable(job.error);
  }
  if (dead > named) why += "; and " + std::to_string(dead - named) + " more";
  std::string advice = dead > 0 ? "mediafs jobs retry ID or --dead, then again" : "";
  MEDIAFS_ASSIGN(const auto counts, queue.counts());
  for (const auto& c : counts) {
    if (!c.paused || c.queued + c.running == 0) continue;
    why += (why.empty() ? "" : "; ") + c.stage + " is paused";
    advice += (advice.empty() ? "" : "; ") + ("mediafs jobs resume " + c.stage);
  }
  if (why.empty()) {
    why = "no job is queued for them";
    advice = "mediafs tier --status; a file that is touched is uploaded again";
  }
  return make_error(ErrorCode::busy, "drain",
                    std::to_string(dirty.files) + (dirty.files == 1 ? " file (" : " files (") +
                        human_bytes(dirty.bytes) + (dirty.files == 1 ? ") is" : ") are") +
                        " not in the vault, and waiting does not help: " + why + " (" + advice +
                        "; the tree stays mounted; without --drain they stay on the local disk)");
}

}  // namespace

Result<Json> wait_for_jobs(const HandlerParts& parts, const ProgressSink& progress,
                           const std::stop_token& stop) {
  const auto look = [&](Json& now) -> Result<bool> {
    MEDIAFS_ASSIGN(const auto left, pending(parts));
    now = {{"pending", left}};
    return left == 0;
  };
  MEDIAFS_TRY(wait_until_done(*parts.activity, look, progress, stop));
  return Json{{"pending", 0}};
}

Result<Json> drain(const HandlerParts& parts, const ProgressSink& progress, const std::stop_token& stop) {
  std::uint64_t most = 0;
  tier::BranchTotals dirty;
  const auto look = [&](Json& now) -> Result<bool> {
    MEDIAFS_ASSIGN(const auto left, pending(parts));
    MEDIAFS_ASSIGN(const auto totals, parts.tools.branches.catalogue->totals());
    dirty = totals.dirty;
    most = std::max(most, dirty.bytes);
    now = {{"dirty_files", dirty.files},
           {"dirty_bytes", dirty.bytes},
           {"done_bytes", most - dirty.bytes},
           {"total_bytes", most},
           {"pending", left}};
    if (left != 0) {
      MEDIAFS_ASSIGN(const auto why, trouble(parts));
      now["trouble"] = why.empty() ? Json(nullptr) : Json(printable(why));
    }
    return left == 0;
  };
  MEDIAFS_TRY(wait_until_done(*parts.activity, look, progress, stop));
  if (dirty.files != 0 && parts.tools.branches.vault != nullptr) return stuck(parts, dirty);
  return Json{{"dirty_files", 0}, {"dirty_bytes", 0}};
}

}  // namespace mediafs::app
