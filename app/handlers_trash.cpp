// The trash's commands.
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "app/handlers.h"
#include "common/http.h"
#include "common/path.h"

namespace mediafs::app {

namespace {

constexpr std::size_t kPage = 1000;

using Entries = std::vector<tier::TrashEntry>;

struct Wanted {
  tier::TrashEntry entry;
  std::string to;  // "": where it was
};

Error not_in_trash(std::string what) {
  return make_error(ErrorCode::not_found, std::move(what), "it is not in the trash (mediafs trash list)");
}

Status require_vault(const HandlerParts& parts) {
  if (parts.view.branches.vault == nullptr)
    return make_error(ErrorCode::config, "trash", "no vault is configured (set vault.url)");
  const bool ours = parts.view.guard == nullptr || parts.view.guard->state() == tier::VaultState::ours;
  if (ours) return {};
  return make_error(ErrorCode::offline, "trash",
                    "the vault does not answer, or is not ours (mediafs status says which)");
}

Result<Entries> entries_at(tier::Catalogue& catalogue, const std::string& path) {
  Entries all;
  for (std::int64_t before = 0;;) {
    MEDIAFS_ASSIGN(auto page, catalogue.trash(path, before, kPage));
    if (page.empty()) return all;
    before = page.back().id;
    std::move(page.begin(), page.end(), std::back_inserter(all));
  }
}

// The newest of this path; or, if it was a directory, the newest of each file below it.
Status add_path(tier::Catalogue& catalogue, const std::string& path, const std::string& to,
                std::vector<Wanted>& wanted) {
  MEDIAFS_ASSIGN(const auto all, entries_at(catalogue, path));
  if (all.empty()) return not_in_trash(printable(path));
  for (const auto& entry : all) {
    if (entry.path != path) continue;
    wanted.push_back({entry, to});
    return {};
  }
  std::set<std::string> seen;
  for (const auto& entry : all) {
    if (!seen.insert(entry.path).second) continue;
    const std::size_t below = path.empty() ? 0 : path.size() + 1;
    wanted.push_back({entry, to.empty() ? "" : join_path(to, entry.path.substr(below))});
  }
  return {};
}

Status add_id(tier::Catalogue& catalogue, std::int64_t id, const std::string& to,
              std::vector<Wanted>& wanted) {
  MEDIAFS_ASSIGN(const auto entry, catalogue.trash_entry(id));
  if (!entry || entry->state == tier::TrashState::going) return not_in_trash("entry " + std::to_string(id));
  wanted.push_back({*entry, to});
  return {};
}

Result<std::vector<Wanted>> wanted_of(tier::Catalogue& catalogue, const Json& args) {
  std::vector<Wanted> wanted;
  const std::string to = http::percent_decode(args.value("to", ""));
  for (const auto& id : args.value("ids", Json::array()))
    MEDIAFS_TRY(add_id(catalogue, id.get<std::int64_t>(), to, wanted));
  MEDIAFS_ASSIGN(const auto paths, paths_of(args));
  for (const auto& path : paths) MEDIAFS_TRY(add_path(catalogue, path, to, wanted));
  return wanted;
}

Result<Entries> to_be_emptied(const HandlerParts& parts, const Json& args) {
  tier::Catalogue& catalogue = *parts.view.branches.catalogue;
  if (const Json ids = args.value("ids", Json::array()); !ids.empty()) {
    MEDIAFS_ASSIGN(const auto wanted, wanted_of(catalogue, {{"ids", ids}}));
    Entries entries;
    for (const auto& w : wanted) entries.push_back(w.entry);
    return entries;
  }
  MEDIAFS_ASSIGN(auto entries, entries_at(catalogue, ""));
  const WallNs before =
      parts.view.branches.clock->wall_ns() - args.value("older_than_ms", std::int64_t{0}) * 1'000'000;
  std::erase_if(entries, [before](const auto& entry) { return entry.at_ns > before; });
  return entries;
}

}  // namespace

Result<Json> trash_list(const HandlerParts& parts, const Json& args, const ProgressSink&,
                        const std::stop_token&) {
  MEDIAFS_ASSIGN(auto paths, paths_of(args));
  if (paths.empty()) paths.emplace_back();
  return trash_report(*parts.view.branches.catalogue, {.paths = std::move(paths),
                                                       .kept_for = parts.view.branches.config.vault.trash,
                                                       .limit = args.value("limit", TrashQuery().limit)});
}

Result<Json> trash_restore(const HandlerParts& parts, const Json& args, const ProgressSink& progress,
                           const std::stop_token& stop) {
  MEDIAFS_TRY(require_vault(parts));
  if (parts.view.branches.config.mount.read_only)
    return make_error(ErrorCode::read_only, "restore",
                      "the tree is mounted read-only (mount.read_only = false, and mount again)");
  MEDIAFS_ASSIGN(const auto wanted, wanted_of(*parts.view.branches.catalogue, args));
  Json restored = Json::array();
  Json failed = Json::array();
  std::uint64_t bytes = 0;
  std::size_t seen = 0;
  for (const auto& [entry, to] : wanted) {
    if (stop.stop_requested())
      return make_error(ErrorCode::cancelled, "restore", "it was stopped; what is done stays done");
    progress({{"path", printable(entry.path)}, {"done_files", seen++}, {"total_files", wanted.size()}});
    const auto path = parts.tools.mover.trash().restore(entry.id, to, stop);
    if (path) {
      restored.push_back({{"id", entry.id}, {"path", printable(*path)}});
      bytes += entry.size_bytes;
    } else {
      failed.push_back({{"id", entry.id}, {"path", printable(entry.path)}, {"why", path.err().message()}});
    }
  }
  return Json{{"restored", restored}, {"failed", failed}, {"files", restored.size()}, {"bytes", bytes}};
}

Result<Json> trash_empty(const HandlerParts& parts, const Json& args, const ProgressSink& progress,
                         const std::stop_token& stop) {
  MEDIAFS_TRY(require_vault(parts));
  MEDIAFS_ASSIGN(const auto entries, to_be_emptied(parts, args));
  Json failed = Json::array();
  std::uint64_t files = 0, bytes = 0;
  std::size_t seen = 0;
  for (const auto& entry : entries) {
    if (stop.stop_requested())
      return make_error(ErrorCode::cancelled, "empty the trash", "it was stopped; what is done stays done");
    progress({{"path", printable(entry.path)}, {"done_files", seen++}, {"total_files", entries.size()}});
    const auto removed = parts.tools.mover.trash().remove(entry);
    if (removed) {
      files += removed->files;
      bytes += removed->bytes;
      continue;
    }
    failed.push_back({{"id", entry.id}, {"path", printable(entry.path)}, {"why", removed.err().message()}});
    if (removed.err().code == ErrorCode::offline || removed.err().code == ErrorCode::timeout) break;
  }
  return Json{{"failed", failed}, {"files", files}, {"bytes", bytes}};
}

}  // namespace mediafs::app
