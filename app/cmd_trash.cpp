// mediafs trash: deleted files that the vault still keeps.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli.h"
#include "app/progress.h"
#include "app/report.h"
#include "common/http.h"

namespace mediafs::app {

namespace {

struct TrashArguments {
  std::vector<std::string> paths;    // of list
  std::vector<std::string> targets;  // of restore: numbers and paths
  std::vector<std::int64_t> ids;     // of empty
  std::string to;
  std::string older_than;
  std::size_t limit = TrashQuery().limit;
};

std::string total_of(const Json& j) {
  return std::to_string(j.value("files", std::uint64_t{0})) + " files, " +
         human_bytes(j.value("bytes", std::uint64_t{0}));
}

// What only reads works without a daemon too. Paths are told by where the configuration says that the tree is.
Result<Json> list_offline(const Context& context, const TrashArguments& args) {
  MEDIAFS_ASSIGN(auto catalogue, read_catalogue(context, args.paths));
  const auto config = load_config(context);
  std::vector<std::string> paths;
  if (args.paths.empty()) paths.emplace_back();
  for (const auto& path : args.paths) {
    if (!config) return config.err();
    RunningDaemon place;
    place.mountpoint = config->mount.path;
    place.local = config->local.path;
    MEDIAFS_ASSIGN(paths.emplace_back(), path_in_tree(place, path));
  }
  return trash_report(*catalogue, {.paths = std::move(paths),
                                   .kept_for = config ? std::optional(config->vault.trash) : std::nullopt,
                                   .limit = args.limit});
}

Result<Json> list_of(const Context& context, const TrashArguments& args) {
  auto daemon = daemon_for(context, args.paths);
  if (!daemon) return list_offline(context, args);
  MEDIAFS_ASSIGN(const Json paths, tree_paths(*daemon, args.paths));
  return call(context, *daemon, "trash_list", {{"paths", paths}, {"limit", args.limit}});
}

int list(const Context& context, const TrashArguments& args) {
  const auto j = list_of(context, args);
  if (!j) return fail(context, j.err());
  if (context.json) {
    print_json(*j);
    return kDone;
  }
  for (const auto& e : (*j)["trash"]) {
    printf("%6lld  %s  %10s  %s%s\n", static_cast<long long>(e.value("id", std::int64_t{0})),
           e["deleted"].is_string() ? e["deleted"].get<std::string>().c_str() : "",
           human_bytes(e.value("size_bytes", std::uint64_t{0})).c_str(), e.value("path", "").c_str(),
           e["state"] == "waiting" ? "  (its object is moved when the vault answers)" : "");
  }
  std::cout << total_of(*j)
            << (j->value("more", false) ? " shown; there are more (--limit N)\n" : " in the trash\n");
  return kDone;
}

// The id that the text is, if it is one; a file of that name can be called ./17.
std::optional<std::int64_t> id_of(const std::string& text) {
  std::int64_t id = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, id);
  const bool whole = error == std::errc{} && at == end && id > 0;
  return whole ? std::optional(id) : std::nullopt;
}

int report_failures(const Context& context, const char* what, const Json& j, const std::string& done) {
  if (context.json) {
    print_json(j);
  } else {
    for (const auto& e : j["failed"]) std::cerr << "mediafs: " << what << ": " << e.value("why", "") << "\n";
    std::cout << done << "\n";
  }
  return j["failed"].empty() ? kDone : kFailed;
}

int restore(const Context& context, const TrashArguments& args) {
  std::vector<std::string> paths;
  Json ids = Json::array();
  for (const auto& target : args.targets) {
    const auto id = id_of(target);
    if (id) {
      ids.push_back(*id);
    } else {
      paths.push_back(target);
    }
  }
  if (!args.to.empty() && args.targets.size() != 1)
    return fail(context, make_error(ErrorCode::invalid, "trash restore --to " + args.to,
                                    "it is for one ID or PATH (give one command for each)"));
  std::vector<std::string> named = paths;
  if (named.empty() && !args.to.empty()) named.push_back(args.to);
  auto daemon = daemon_for(context, named);
  if (!daemon) return fail(context, daemon.err());
  auto in_tree = tree_paths(*daemon, paths);
  if (!in_tree) return fail(context, in_tree.err());
  Json request = {{"ids", ids}, {"paths", *in_tree}};
  if (!args.to.empty()) {
    auto to = tree_paths(*daemon, {args.to});
    if (!to) return fail(context, to.err());
    request["to"] = (*to)[0];
  }
  const auto j = call(context, *daemon, "trash_restore", request);
  if (!j) return fail(context, j.err());
  if (!context.json) {
    for (const auto& e : (*j)["restored"]) std::cout << e.value("path", "") << "\n";
  }
  return report_failures(context, "restore", *j, total_of(*j) + " restored");
}

int empty(const Context& context, const TrashArguments& args) {
  Json request = {{"ids", args.ids}};
  if (!args.older_than.empty()) {
    auto age = parse_duration(args.older_than);
    if (!age)
      return fail(context,
                  make_error(ErrorCode::invalid, "--older-than " + args.older_than, age.err().cause));
    request["older_than_ms"] = age->count();
  }
  if (!args.older_than.empty() && !args.ids.empty())
    return fail(context, make_error(ErrorCode::invalid, "trash empty", "either IDs or --older-than"));
  auto daemon = daemon_for(context, {});
  if (!daemon) return fail(context, daemon.err());
  const auto j = call(context, *daemon, "trash_empty", request);
  if (!j) return fail(context, j.err());
  return report_failures(context, "empty the trash", *j, total_of(*j) + " removed for good");
}

}  // namespace

void add_trash(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("trash", "deleted files that the vault still keeps");
  add_common(*command, context);
  auto args = std::make_shared<TrashArguments>();
  command->callback([args, &context, command] {
    if (command->get_subcommands().empty()) context.run = [args, &context] { return list(context, *args); };
  });
  const auto add = [&](const char* name, const char* help, auto fn) {
    auto* sub = command->add_subcommand(name, help);
    add_common(*sub, context);
    sub->callback(
        [args, &context, fn] { context.run = [args, &context, fn] { return fn(context, *args); }; });
    return sub;
  };
  auto* all = add("list", "what is in it, the newest first", list);
  all->add_option("PATH", args->paths, "only these files, or what was below these directories");
  all->add_option("--limit", args->limit, "at most this many");
  auto* back = add("restore", "bring files back, as files that the vault alone has", restore);
  back->add_option("ID|PATH", args->targets,
                   "numbers of the list, or paths: the newest of a file, or all below a directory")
      ->required();
  back->add_option("--to", args->to, "under another path in the tree");
  auto* gone = add("empty", "remove files from the vault for good: all, or those named; asks nothing", empty);
  gone->add_option("ID", args->ids, "numbers of the list");
  gone->add_option("--older-than", args->older_than, "what was deleted at least this long ago, such as 7d");
}

}  // namespace mediafs::app
