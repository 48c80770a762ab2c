#include "app/handlers.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "app/drain.h"
#include "common/http.h"
#include "common/log.h"
#include "common/path.h"

namespace mediafs::app {

namespace {

constexpr std::size_t kPage = 1000;

using Paths = std::vector<std::string>;

// Each file at or below the paths. A path that is no file of the catalogue is an error: a typo must not pass.
Result<std::vector<tier::Node>> files_below(tier::Catalogue& catalogue, const Paths& paths) {
  std::vector<tier::Node> out;
  for (const auto& path : paths) {
    MEDIAFS_ASSIGN(auto node, catalogue.find(path));
    if (node && node->kind == tier::NodeKind::file) {
      out.push_back(std::move(*node));
      continue;
    }
    if (!node && !path.empty()) {
      return make_error(
          ErrorCode::not_found, printable(path),
          "not in the library (a file is catalogued once it has settled and is outside Incoming)");
    }
    std::string after;
    for (;;) {
      MEDIAFS_ASSIGN(auto page, catalogue.walk(path, after, kPage));
      if (page.empty()) break;
      after = page.back().path;
      for (auto& n : page) {
        if (n.kind == tier::NodeKind::file) out.push_back(std::move(n));
      }
    }
  }
  return out;
}

bool opened_lately(const tier::Node& node, std::int64_t older_than_ms, WallNs now_ns) {
  if (older_than_ms <= 0) return false;
  const WallNs last = std::max({node.last_open_ns, node.mtime_ns, node.local ? node.local->since_ns : 0});
  return now_ns - last < older_than_ms * 1'000'000;
}

Result<Json> evict(const HandlerParts& parts, const Json& args, const ProgressSink& progress,
                   const std::stop_token& stop) {
  MEDIAFS_ASSIGN(const auto paths, paths_of(args));
  MEDIAFS_ASSIGN(const auto files, files_below(*parts.tools.branches.catalogue, paths));
  const bool dry = args.value("dry_run", false);
  const std::int64_t older_than_ms = args.value("older_than_ms", std::int64_t{0});
  Json evicted = Json::array();
  Json skipped = Json::array();
  std::uint64_t bytes = 0;
  std::size_t seen = 0;
  for (const auto& node : files) {
    if (stop.stop_requested())
      return make_error(ErrorCode::cancelled, "evict", "it was stopped; what is done stays done");
    progress({{"path", printable(node.path)}, {"done_files", seen++}, {"total_files", files.size()}});
    if (!node.local) continue;
    if (opened_lately(node, older_than_ms, parts.tools.branches.clock->wall_ns())) continue;
    Status done;
    if (!node.in_vault())
      done = make_error(ErrorCode::changed, printable(node.path), "it is not in the vault yet");
    if (done && node.pinned) done = make_error(ErrorCode::changed, printable(node.path), "it is pinned");
    if (done && !dry) done = parts.tools.mover.evict(node.id, node.generation);
    if (done) {
      evicted.push_back(printable(node.path));
      bytes += node.size_bytes;
    } else {
      skipped.push_back({{"path", printable(node.path)}, {"why", done.err().cause}});
    }
  }
  return Json{{"evicted", evicted}, {"skipped", skipped}, {"bytes", bytes}, {"dry_run", dry}};
}

Result<Json> fetch(const HandlerParts& parts, const Json& args, const ProgressSink& progress,
                   const std::stop_token& stop) {
  MEDIAFS_ASSIGN(const auto paths, paths_of(args));
  MEDIAFS_ASSIGN(const auto files, files_below(*parts.tools.branches.catalogue, paths));
  const bool dry = args.value("dry_run", false);
  std::uint64_t total = 0;
  std::uint64_t done_bytes = 0;
  for (const auto& node : files) total += node.local ? 0 : node.size_bytes;
  Json fetched = Json::array();
  Json failed = Json::array();
  for (const auto& node : files) {
    if (stop.stop_requested())
      return make_error(ErrorCode::cancelled, "fetch", "it was stopped; what is done stays done");
    if (node.local) continue;
    SteadyTime told{};
    const auto tell = [&](std::uint64_t done, std::uint64_t) {
      const auto now = std::chrono::steady_clock::now();
      if (now - told < std::chrono::milliseconds(100)) return;
      told = now;
      progress({{"path", printable(node.path)}, {"done_bytes", done_bytes + done}, {"total_bytes", total}});
    };
    const Status done = dry ? Status() : parts.tools.mover.fetch(node.path, tell, stop);
    if (done) {
      fetched.push_back(printable(node.path));
      done_bytes += node.size_bytes;
    } else {
      failed.push_back({{"path", printable(node.path)}, {"why", done.err().message()}});
    }
  }
  progress({{"path", ""}, {"done_bytes", done_bytes}, {"total_bytes", total}});
  return Json{{"fetched", fetched}, {"failed", failed}, {"bytes", done_bytes}, {"dry_run", dry}};
}

Result<Json> verify_vault(const HandlerParts& parts, const Json& args, const ProgressSink& progress,
                          const std::stop_token& stop) {
  MEDIAFS_ASSIGN(const auto paths, paths_of(args));
  MEDIAFS_ASSIGN(auto files, files_below(*parts.tools.branches.catalogue, paths));
  const std::int64_t since_s = args.value("since", std::int64_t{0});
  std::erase_if(files, [&](const auto& node) { return node.mtime_ns / 1'000'000'000 < since_s; });
  Json bad = Json::array();
  std::uint64_t verified = 0, bytes = 0, unknown = 0;
  std::size_t seen = 0;
  for (const auto& node : files) {
    if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "verify", "it was stopped");
    progress({{"path", printable(node.path)}, {"done_files", seen++}, {"total_files", files.size()}});
    const auto good = parts.tools.mover.verify_object(node, stop);
    if (!good) {
      bad.push_back({{"path", printable(node.path)}, {"why", good.err().message()}});
    } else if (*good) {
      ++verified;
      bytes += node.size_bytes;
    } else {
      ++unknown;
    }
  }
  return Json{{"files", verified}, {"bytes", bytes}, {"bad", bad}, {"without_checksum", unknown}};
}

Result<Json> set_pinned(const HandlerParts& parts, const Json& args, bool pinned) {
  MEDIAFS_ASSIGN(const auto paths, paths_of(args));
  MEDIAFS_ASSIGN(const auto files, files_below(*parts.tools.branches.catalogue, paths));
  auto& catalogue = *parts.tools.branches.catalogue;
  for (const auto& path : paths)
    MEDIAFS_TRY(pinned ? catalogue.set_pinned(path, true) : catalogue.unpin_below(path));
  return Json{{"files", files.size()}, {"pinned", pinned}};
}

Result<Json> where(const HandlerParts& parts, const Json& args) {
  MEDIAFS_ASSIGN(const auto paths, paths_of(args));
  MEDIAFS_ASSIGN(const auto files, files_below(*parts.tools.branches.catalogue, paths));
  Json out = Json::array();
  for (const auto& node : files) out.push_back(node_json(node));
  return Json{{"files", out}};
}

Result<Json> show_job(const HandlerParts& parts, const Json& args) {
  MEDIAFS_ASSIGN(const auto job,
                 parts.tools.branches.catalogue->jobs().show(args.value("id", std::int64_t{0})));
  return job_json(job);
}

void wake_all(const HandlerParts& parts) {
  for (const auto& s : parts.workers.stats()) parts.workers.wake(s.stage);
}

Result<Json> retry_jobs(const HandlerParts& parts, const Json& args) {
  auto& jobs = parts.tools.branches.catalogue->jobs();
  std::int64_t n = 0;
  if (args.value("dead", false)) {
    MEDIAFS_ASSIGN(n, jobs.retry_dead());
  }
  for (const auto& id : args.value("ids", Json::array())) {
    MEDIAFS_TRY(jobs.retry(id.get<std::int64_t>()));
    n++;
  }
  wake_all(parts);
  return Json{{"retried", n}};
}

Result<Json> drop_jobs(const HandlerParts& parts, const Json& args) {
  std::int64_t n = 0;
  for (const auto& id : args.value("ids", Json::array())) {
    MEDIAFS_TRY(parts.tools.branches.catalogue->jobs().drop(id.get<std::int64_t>()));
    n++;
  }
  return Json{{"dropped", n}};
}

Result<Json> pause_jobs(const HandlerParts& parts, const Json& args, bool paused) {
  const std::string stage = args.value("stage", "");
  bool known = stage.empty();
  for (const auto& s : parts.workers.stats()) known = known || s.stage == stage;
  if (!known) return make_error(ErrorCode::invalid, stage, "no such stage (mediafs jobs lists them)");
  MEDIAFS_TRY(parts.tools.branches.catalogue->jobs().pause(stage, paused));
  wake_all(parts);
  return Json{{"stage", stage}, {"paused", paused}};
}

// Until the next start: the configuration stays as it is.
Result<Json> set_limits(const HandlerParts& parts, const Json& args) {
  tier::Limits* limits = parts.view.limits;
  if (limits == nullptr) return make_error(ErrorCode::invalid, "tier limit", "no vault is configured");
  if (args.contains("upload")) limits->upload.set(args["upload"].get<std::uint64_t>());
  if (args.contains("download")) limits->download.set(args["download"].get<std::uint64_t>());
  Json now = limits_json(parts.view);
  if (!args.empty())
    log::info("the vault's limits were changed, until the next start", {{"now", now.dump()}});
  return now;
}

}  // namespace

Result<Paths> paths_of(const Json& args) {
  Paths out;
  for (const auto& p : args.value("paths", Json::array())) {
    out.push_back(http::percent_decode(p.get<std::string>()));
    if (!out.back().empty()) MEDIAFS_TRY(check_path(out.back()));
  }
  return out;
}

void add_handlers(ControlServer& server, const HandlerParts& parts) {
  const auto add = [&](const char* name, auto fn) {
    server.add(name,
               [parts, fn](const Json& args, const ProgressSink& progress,
                           std::stop_token stop) -> Result<Json> { return fn(parts, args, progress, stop); });
  };
  using P = const HandlerParts&;
  using J = const Json&;
  using S = const ProgressSink&;
  using T = const std::stop_token&;
  add("ping", [](P p, J, S, T) -> Result<Json> { return Json{{"mountpoint", p.view.mountpoint}}; });
  add("status", [](P p, J, S, T) { return status_report(p.view); });
  add("tier_status", [](P p, J, S, T) { return tier_report(p.view); });
  add("tier_evict", evict);
  add("tier_fetch", fetch);
  add("verify_vault", verify_vault);
  add("tier_pin", [](P p, J a, S, T) { return set_pinned(p, a, true); });
  add("tier_unpin", [](P p, J a, S, T) { return set_pinned(p, a, false); });
  add("tier_limit", [](P p, J a, S, T) { return set_limits(p, a); });
  add("tier_where", [](P p, J a, S, T) { return where(p, a); });
  add("trash_list", trash_list);
  add("trash_restore", trash_restore);
  add("trash_empty", trash_empty);
  add("jobs_list", [](P p, J a, S, T) {
    return jobs_report(p.view, job_state_from(a.value("state", "")), a.value("limit", std::size_t{100}));
  });
  add("jobs_show", [](P p, J a, S, T) { return show_job(p, a); });
  add("jobs_retry", [](P p, J a, S, T) { return retry_jobs(p, a); });
  add("jobs_drop", [](P p, J a, S, T) { return drop_jobs(p, a); });
  add("jobs_pause", [](P p, J a, S, T) { return pause_jobs(p, a, true); });
  add("jobs_resume", [](P p, J a, S, T) { return pause_jobs(p, a, false); });
  add("jobs_wait", [](P p, J, S s, T t) { return wait_for_jobs(p, s, t); });
  add("drain", [](P p, J, S s, T t) { return drain(p, s, t); });
  add("stop", [](P p, J a, S, T) -> Result<Json> {
    p.request_stop(a.value("lazily", false));
    return Json{{"stopping", true}};
  });
}

}  // namespace mediafs::app
