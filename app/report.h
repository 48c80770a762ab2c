// What the daemon says of itself, as JSON: for the commands and for the files below .mediafs/.
// Threads:    functions over parts that are safe from any thread.
// Shapes:     stable keys in snake_case, sizes in bytes, times as RFC 3339 in UTC.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/vault_health.h"
#include "common/clock.h"
#include "fs/mount.h"
#include "pipeline/workers.h"
#include "tier/mover.h"
#include "tier/reconcile.h"
#include "tier/stream.h"
#include "tier/vault/rate.h"
#include "tier/vault_identity.h"
#include "watcher/watcher.h"

namespace mediafs::app {

using Json = nlohmann::json;

// What may be reported on; a command without a daemon has the catalogue only.
struct View {
  const tier::Branches& branches;
  const tier::Mover* mover = nullptr;
  const tier::Streams* streams = nullptr;
  const pipeline::Workers* workers = nullptr;
  const tier::GuardedVault* guard = nullptr;  // what branches.vault is, in a daemon
  const VaultHealth* vault_health = nullptr;
  const watcher::Watcher* watcher = nullptr;
  const fs::Mount* mount = nullptr;
  const tier::Reconcile* reconcile = nullptr;
  tier::Limits* limits = nullptr;  // of the vault
  std::string mountpoint = {};
  WallNs started_ns = 0;
};

Result<Json> status_report(const View& view);
Result<Json> tier_report(const View& view);
Result<Json> jobs_report(const View& view, std::optional<tier::JobState> state, std::size_t limit);
struct TrashQuery {
  std::vector<std::string> paths;  // each file, or all below it ("": all), the newest first
  std::optional<std::chrono::milliseconds> kept_for;  // if it is known: when they expire
  std::size_t limit = 10'000;                         // of what is listed: an answer is held in memory
};
Result<Json> trash_report(tier::Catalogue& catalogue, const TrashQuery& query);
Json limits_json(const View& view);  // REQUIRES: view.limits
Json job_json(const tier::Job& job);
Json node_json(const tier::Node& node);  // for `tier where`
Json change_json(const tier::Change& change);
std::string_view to_string(tier::JobState state);
std::optional<tier::JobState> job_state_from(std::string_view text);

}  // namespace mediafs::app
