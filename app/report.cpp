#include "app/report.h"

#include <unistd.h>

#include <nlohmann/json.hpp>
#include <set>

#include "common/path.h"

namespace mediafs::app {

namespace {

constexpr std::size_t kTrashPage = 1000;

Json time_json(WallNs ns) {
  return ns == 0 ? Json(nullptr) : Json(rfc3339(ns));
}

Json totals_json(const tier::BranchTotals& t) {
  return {{"files", t.files}, {"bytes", t.bytes}};
}

// Bytes a second and seconds left, as far as they can be told.
Json transfer_json(const tier::Transfer& t, WallNs now_ns) {
  const double seconds = static_cast<double>(now_ns - t.started_ns) / 1e9;
  const double speed = seconds > 0 ? static_cast<double>(t.done_bytes) / seconds : 0;
  Json j = {{"kind", t.kind},
            {"path", printable(t.path)},
            {"done_bytes", t.done_bytes},
            {"total_bytes", t.total_bytes},
            {"bytes_per_second", static_cast<std::uint64_t>(speed)},
            {"seconds_left", nullptr}};
  if (speed > 0 && t.total_bytes >= t.done_bytes) {
    j["seconds_left"] = static_cast<std::uint64_t>(static_cast<double>(t.total_bytes - t.done_bytes) / speed);
  }
  return j;
}

Json vault_json(const View& view) {
  if (view.branches.vault == nullptr) return nullptr;
  Json j = {{"vault", view.branches.vault->describe()},
            {"state", "unknown"},
            {"identity", "unknown"},
            {"error", nullptr},
            {"since", nullptr},
            {"first_listing_objects", nullptr}};
  if (view.reconcile != nullptr) {
    if (const auto listing = view.reconcile->listing(); listing.running)
      j["first_listing_objects"] = listing.objects;
  }
  if (view.guard != nullptr) j["identity"] = tier::to_string(view.guard->state());
  if (view.vault_health == nullptr) return j;
  const Health health = view.vault_health->health();
  if (!health.known) return j;
  j["state"] = health.ok ? "ok" : "unreachable";
  j["since"] = time_json(health.since_ns);
  if (!health.ok) j["error"] = health.error;
  return j;
}

Json catalogue_json(const View& view) {
  const tier::Catalogue& catalogue = *view.branches.catalogue;
  const std::string why = catalogue.incomplete();
  Json j = {{"state", "whole"}, {"why", nullptr}, {"advice", nullptr}};
  if (!why.empty()) {
    j = {{"state", "incomplete"},
         {"why", printable(why)},
         {"advice",
          "what only the vault has is not listed, and the vault is left alone: mediafs unmount, mediafs "
          "rebuild, mediafs mount"}};
  }
  if (catalogue.damaged()) {
    j = {{"state", "damaged"},
         {"why", "the database was found damaged while it was in use"},
         {"advice",
          "the vault is left alone: mediafs unmount and mediafs mount look at all of it and set it aside if "
          "it is so; then mediafs rebuild"}};
  }
  return j;
}

Json space_json(const View& view) {
  if (view.branches.space == nullptr) return nullptr;
  const auto f = view.branches.space->figures();
  return {{"total_bytes", f.total_bytes},
          {"free_bytes", f.free_bytes},
          {"reserve_bytes", f.reserve_bytes},
          {"evict_below_bytes", f.evict_below_bytes},
          {"evict_until_bytes", f.evict_until_bytes},
          {"waiting_bytes", view.branches.space->waiting_bytes()}};
}

Json watcher_json(const View& view) {
  if (view.watcher == nullptr) return nullptr;
  const auto s = view.watcher->stats();
  return {{"directories", s.directories},
          {"unwatched", s.unwatched},
          {"pending", s.pending},
          {"overflows", s.overflows},
          {"advice", s.advice}};
}

Json passthrough_json(const View& view) {
  if (view.mount == nullptr) return nullptr;
  auto state = view.mount->passthrough();
  return {{"on", state.on},
          {"why_not", state.on ? Json(nullptr) : Json(std::move(state.why))},
          {"files_open_for_writing", state.writers}};
}

Json too_long_json(const View& view) {
  if (view.reconcile == nullptr) return nullptr;
  const tier::TooLong met = view.reconcile->too_long();
  Json paths = Json::array();
  for (const std::string& path : met.some) paths.push_back(printable(path));
  return {{"files", met.count}, {"paths", std::move(paths)}};
}

Json cache_json(const View& view) {
  if (view.streams == nullptr) return nullptr;
  const auto s = view.streams->stats();
  return {{"bytes", s.cached_bytes},
          {"limit_bytes", s.limit_bytes},
          {"requests", s.requests},
          {"fetched_bytes", s.fetched_bytes},
          {"served_bytes", s.served_bytes}};
}

Result<Json> counts_json(const View& view) {
  MEDIAFS_ASSIGN(const auto counts, view.branches.catalogue->jobs().counts());
  Json out = Json::object();
  for (const auto& c : counts) {
    out[c.stage] = {{"queued", c.queued}, {"waiting", c.waiting}, {"running", c.running},
                    {"dead", c.dead},     {"done", c.done},       {"paused", c.paused}};
  }
  return out;
}

Result<Json> last_errors(const View& view) {
  MEDIAFS_ASSIGN(const auto jobs, view.branches.catalogue->jobs().list(std::nullopt, 200));
  Json out = Json::array();
  for (const auto& job : jobs) {
    if (job.error.empty() || job.state == tier::JobState::done) continue;
    out.push_back(job_json(job));
    if (out.size() == 5) break;
  }
  return out;
}

Json transfers_json(const View& view) {
  Json out = Json::array();
  if (view.mover == nullptr) return out;
  for (const auto& t : view.mover->transfers().list())
    out.push_back(transfer_json(t, view.branches.clock->wall_ns()));
  return out;
}

}  // namespace

std::string_view to_string(tier::JobState state) {
  switch (state) {
    case tier::JobState::queued:
      return "queued";
    case tier::JobState::running:
      return "running";
    case tier::JobState::dead:
      return "dead";
    case tier::JobState::done:
      return "done";
  }
  return "";
}

std::optional<tier::JobState> job_state_from(std::string_view text) {
  for (auto s :
       {tier::JobState::queued, tier::JobState::running, tier::JobState::dead, tier::JobState::done}) {
    if (text == to_string(s)) return s;
  }
  return std::nullopt;
}

Json job_json(const tier::Job& job) {
  return {{"id", job.id},
          {"stage", job.stage},
          {"state", std::string(to_string(job.state))},
          {"path", printable(job.path)},
          {"tries", job.tries},
          {"created", time_json(job.created_ns)},
          {"changed", time_json(job.changed_ns)},
          {"not_before", time_json(job.not_before_ns)},
          {"error", job.error.empty() ? Json(nullptr) : Json(printable(job.error))},
          {"error_code", job.error_code.empty() ? Json(nullptr) : Json(job.error_code)}};
}

Json node_json(const tier::Node& node) {
  Json copies = Json::array();
  if (node.local) {
    copies.push_back({{"branch", "local"},
                      {"state", node.in_vault() ? "synced" : "dirty"},
                      {"since", time_json(node.local->since_ns)}});
  }
  if (node.vault) {
    const bool newest = node.vault->generation == node.generation;
    copies.push_back({{"branch", "vault"},
                      {"state", node.vault->lost       ? "lost"
                                : !newest              ? "outdated"
                                : node.vault->checksum ? "proven"
                                                       : "listed"},
                      {"since", time_json(node.vault->since_ns)},
                      {"key", printable(node.vault->key)},
                      {"etag", node.vault->etag}});
  }
  return {{"path", printable(node.path)},
          {"size_bytes", node.size_bytes},
          {"mtime", time_json(node.mtime_ns)},
          {"checksum", node.checksum ? Json("xxh128:" + to_hex(*node.checksum)) : Json(nullptr)},
          {"sha1", node.sha1_hex.empty() ? Json(nullptr) : Json(node.sha1_hex)},
          {"pinned", node.pinned},
          {"last_open", time_json(node.last_open_ns)},
          {"copies", std::move(copies)}};
}

Json change_json(const tier::Change& change) {
  static constexpr const char* kKinds[] = {"", "added", "changed", "renamed", "deleted"};
  Json j = {{"version", change.version},
            {"kind", kKinds[static_cast<std::size_t>(change.kind)]},
            {"path", printable(change.path)},
            {"at", time_json(change.at_ns)}};
  if (!change.from.empty()) j["from"] = printable(change.from);
  return j;
}

Json trash_json(const tier::TrashEntry& entry, std::optional<std::chrono::milliseconds> kept_for) {
  const bool waiting = entry.state == tier::TrashState::waiting;
  return {{"id", entry.id},
          {"path", printable(entry.path)},
          {"state", waiting ? "waiting" : "kept"},
          {"deleted", time_json(entry.at_ns)},
          {"expires", kept_for ? time_json(entry.at_ns + kept_for->count() * 1'000'000) : Json(nullptr)},
          {"size_bytes", entry.size_bytes},
          {"mtime", time_json(entry.mtime_ns)},
          {"checksum", entry.checksum ? Json("xxh128:" + to_hex(*entry.checksum)) : Json(nullptr)},
          {"key", printable(waiting ? entry.source : entry.key)}};
}

Json limits_json(const View& view) {
  return {{"upload_bytes_per_second", view.limits->upload.bytes_per_second()},
          {"download_bytes_per_second", view.limits->download.bytes_per_second()}};
}

Json share_json(const View& view) {
  const std::string& path = view.branches.config.share.path;
  if (path.empty()) return nullptr;
  Json j = {{"path", path}, {"state", nullptr}};
  if (view.mount == nullptr) return j;
  if (const auto answers = view.mount->share_answers()) j["state"] = *answers ? "ok" : "absent";
  return j;
}

Result<Json> status_report(const View& view) {
  MEDIAFS_ASSIGN(const auto totals, view.branches.catalogue->totals());
  MEDIAFS_ASSIGN(auto counts, counts_json(view));
  MEDIAFS_ASSIGN(auto errors, last_errors(view));
  Json local = {{"path", view.branches.config.local.path}, {"space", space_json(view)}};
  local.update(totals_json(totals.local));
  Json vault = vault_json(view);
  if (vault.is_object()) {
    vault.update(totals_json(totals.vault));
    vault["lost"] = totals_json(totals.lost);
    vault["trash"] = totals_json(totals.trash);
    vault["escaped"] = totals_json(totals.escaped);
    vault["limits"] = view.limits == nullptr ? Json(nullptr) : limits_json(view);
  }
  return Json{{"mountpoint", view.mountpoint},
              {"program_version", MEDIAFS_VERSION},
              {"pid", getpid()},
              {"started", time_json(view.started_ns)},
              {"data_version", view.branches.catalogue->version()},
              {"passthrough", passthrough_json(view)},
              {"catalogue", catalogue_json(view)},
              {"local", std::move(local)},
              {"share", share_json(view)},
              {"vault", std::move(vault)},
              {"cache", cache_json(view)},
              {"dirty", totals_json(totals.dirty)},
              {"too_long", too_long_json(view)},
              {"jobs", std::move(counts)},
              {"transfers", transfers_json(view)},
              {"watcher", watcher_json(view)},
              {"last_errors", std::move(errors)}};
}

Result<Json> tier_report(const View& view) {
  MEDIAFS_ASSIGN(const auto totals, view.branches.catalogue->totals());
  Json dirty = totals_json(totals.dirty);
  dirty["oldest"] = time_json(totals.oldest_dirty_ns);
  const WallNs age =
      totals.oldest_dirty_ns == 0 ? 0 : view.branches.clock->wall_ns() - totals.oldest_dirty_ns;
  dirty["oldest_age_seconds"] = totals.oldest_dirty_ns == 0 ? Json(nullptr) : Json(age / 1'000'000'000);
  Json local = totals_json(totals.local);
  local["space"] = space_json(view);
  Json vault = vault_json(view);
  if (vault.is_object()) {
    vault.update(totals_json(totals.vault));
    vault["lost"] = totals_json(totals.lost);
    vault["trash"] = totals_json(totals.trash);
    vault["escaped"] = totals_json(totals.escaped);
    vault["limits"] = view.limits == nullptr ? Json(nullptr) : limits_json(view);
  }
  return Json{{"local", std::move(local)},
              {"vault", std::move(vault)},
              {"dirty", std::move(dirty)},
              {"pinned", totals_json(totals.pinned)},
              {"evictable", totals_json(totals.evictable)},
              {"cache", cache_json(view)},
              {"transfers", transfers_json(view)}};
}

Result<Json> trash_report(tier::Catalogue& catalogue, const TrashQuery& query) {
  Json list = Json::array();
  std::uint64_t bytes = 0;
  std::set<std::int64_t> listed;  // the paths may lie within each other
  bool more = false;
  for (const std::string& path : query.paths) {
    for (std::int64_t before = 0; !more;) {
      MEDIAFS_ASSIGN(const auto page, catalogue.trash(path, before, kTrashPage));
      if (page.empty()) break;
      before = page.back().id;
      for (const auto& entry : page) {
        if (!listed.insert(entry.id).second) continue;
        more = list.size() >= query.limit;
        if (more) break;
        list.push_back(trash_json(entry, query.kept_for));
        bytes += entry.size_bytes;
      }
    }
  }
  const std::size_t files = list.size();
  return Json{{"trash", std::move(list)}, {"files", files}, {"bytes", bytes}, {"more", more}};
}

Result<Json> jobs_report(const View& view, std::optional<tier::JobState> state, std::size_t limit) {
  MEDIAFS_ASSIGN(auto counts, counts_json(view));
  MEDIAFS_ASSIGN(const auto jobs, view.branches.catalogue->jobs().list(state, limit));
  Json list = Json::array();
  for (const auto& job : jobs) list.push_back(job_json(job));
  return Json{{"stages", std::move(counts)}, {"jobs", std::move(list)}};
}

}  // namespace mediafs::app
