// mediafs tier: where bytes live, and moving them.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli.h"
#include "app/progress.h"
#include "app/report.h"
#include "common/config.h"

namespace mediafs::app {

namespace {

struct TierArguments {
  bool status = false;
  bool watch = false;
  std::vector<std::string> paths;
  bool dry_run = false;
  std::string older_than;
  std::string upload, download;
};

std::string line_of(const Json& j) {
  return std::to_string(j.value("files", std::uint64_t{0})) + " files, " +
         human_bytes(j.value("bytes", std::uint64_t{0}));
}

int status(const Context& context) {
  auto daemon = daemon_for(context, {});
  if (!daemon) return fail(context, daemon.err());
  auto j = call(context, *daemon, "tier_status", Json::object());
  if (!j) return fail(context, j.err());
  if (context.json) {
    print_json(*j);
    return kDone;
  }
  printf("%-10s %s", "local", line_of((*j)["local"]).c_str());
  if (const Json& s = (*j)["local"]["space"]; s.is_object()) {
    printf(", %s free", human_bytes(s.value("free_bytes", std::uint64_t{0})).c_str());
  }
  printf("\n");
  if ((*j)["vault"].is_object()) {
    printf("%-10s %s (%s)\n", "vault", line_of((*j)["vault"]).c_str(),
           (*j)["vault"].value("state", "").c_str());
    if ((*j)["vault"]["error"].is_string())
      printf("%-10s %s\n", "", (*j)["vault"]["error"].get<std::string>().c_str());
    if ((*j)["vault"]["lost"].value("files", 0) > 0)
      printf("%-10s %s (mediafs tier where PATH)\n", "lost", line_of((*j)["vault"]["lost"]).c_str());
    if ((*j)["vault"]["trash"].value("files", 0) > 0)
      printf("%-10s %s (mediafs trash list)\n", "trash", line_of((*j)["vault"]["trash"]).c_str());
  }
  const Json& dirty = (*j)["dirty"];
  printf("%-10s %s", "dirty", line_of(dirty).c_str());
  if (dirty["oldest_age_seconds"].is_number()) {
    printf(", the oldest for %s", human_seconds(dirty["oldest_age_seconds"].get<std::uint64_t>()).c_str());
  }
  printf("\n%-10s %s\n%-10s %s\n", "pinned", line_of((*j)["pinned"]).c_str(), "evictable",
         line_of((*j)["evictable"]).c_str());
  for (const auto& t : (*j)["transfers"]) {
    printf("%-10s %s  %s of %s, %s/s", t.value("kind", "").c_str(), t.value("path", "").c_str(),
           human_bytes(t.value("done_bytes", std::uint64_t{0})).c_str(),
           human_bytes(t.value("total_bytes", std::uint64_t{0})).c_str(),
           human_bytes(t.value("bytes_per_second", std::uint64_t{0})).c_str());
    if (t["seconds_left"].is_number())
      printf(", %s left", human_seconds(t["seconds_left"].get<std::uint64_t>()).c_str());
    printf("\n");
  }
  return kDone;
}

// Prints what was done and what was not; failed if anything was not that should have been.
int report_moves(const Context& context, const Json& j, const char* done_key, const char* left_key) {
  if (context.json) {
    print_json(j);
  } else {
    for (const auto& e : j[left_key]) {
      std::cerr << "mediafs: " << e.value("path", "") << ": " << e.value("why", "") << "\n";
    }
    std::cout << j[done_key].size() << " files, " << human_bytes(j.value("bytes", std::uint64_t{0})) << " "
              << done_key << (j.value("dry_run", false) ? " (dry run: nothing was done)" : "") << "\n";
  }
  return j[left_key].empty() ? kDone : kFailed;
}

int move(const Context& context, const TierArguments& args, bool evict) {
  Json request = {{"dry_run", args.dry_run}};
  if (!args.older_than.empty()) {
    auto age = parse_duration(args.older_than);
    if (!age)
      return fail(context,
                  make_error(ErrorCode::invalid, "--all-older-than " + args.older_than, age.err().cause));
    request["older_than_ms"] = age->count();
  } else if (args.paths.empty()) {
    return fail(context, make_error(ErrorCode::invalid, evict ? "tier evict" : "tier fetch",
                                    "which files? (name paths in the tree)"));
  }
  auto daemon = daemon_for(context, args.paths);
  if (!daemon) return fail(context, daemon.err());
  auto paths = args.paths.empty() ? Result<Json>(Json::array({""})) : tree_paths(*daemon, args.paths);
  if (!paths) return fail(context, paths.err());
  request["paths"] = *paths;
  auto j = call(context, *daemon, evict ? "tier_evict" : "tier_fetch", request);
  if (!j) return fail(context, j.err());
  return evict ? report_moves(context, *j, "evicted", "skipped")
               : report_moves(context, *j, "fetched", "failed");
}

int pin(const Context& context, const TierArguments& args, bool pinned) {
  auto daemon = daemon_for(context, args.paths);
  if (!daemon) return fail(context, daemon.err());
  auto paths = tree_paths(*daemon, args.paths);
  if (!paths) return fail(context, paths.err());
  auto j = call(context, *daemon, pinned ? "tier_pin" : "tier_unpin", {{"paths", *paths}});
  if (!j) return fail(context, j.err());
  if (context.json) {
    print_json(*j);
  } else {
    std::cout << j->value("files", 0) << " files " << (pinned ? "pinned" : "unpinned") << "\n";
  }
  return kDone;
}

void print_where(const Json& node) {
  std::cout << node.value("path", "") << "  " << human_bytes(node.value("size_bytes", std::uint64_t{0}))
            << "\n";
  for (const auto& copy : node["copies"]) {
    std::cout << "  " << copy.value("branch", "") << "  " << copy.value("state", "");
    if (copy["since"].is_string()) std::cout << " since " << copy["since"].get<std::string>();
    std::cout << "\n";
  }
  if (node.value("pinned", false)) std::cout << "  pinned\n";
  if (node["checksum"].is_string()) std::cout << "  " << node["checksum"].get<std::string>() << "\n";
}

// From the catalogue: with a daemon or without.
int where(const Context& context, const TierArguments& args) {
  auto daemon = daemon_for(context, args.paths);
  if (!daemon) return fail(context, daemon.err());
  auto paths = tree_paths(*daemon, args.paths);
  if (!paths) return fail(context, paths.err());
  auto j = call(context, *daemon, "tier_where", {{"paths", *paths}});
  if (!j) return fail(context, j.err());
  if (context.json) {
    print_json(*j);
  } else {
    for (const auto& node : (*j)["files"]) print_where(node);
  }
  return kDone;
}

std::string rate_text(std::uint64_t bytes_per_second) {
  return bytes_per_second == 0 ? "no limit" : human_bytes(bytes_per_second) + "/s";
}

int limit(const Context& context, const TierArguments& args) {
  Json request = Json::object();
  for (const auto& [name, text] : {std::pair("upload", args.upload), std::pair("download", args.download)}) {
    if (text.empty()) continue;
    auto rate = parse_size(text);
    if (!rate)
      return fail(context,
                  make_error(ErrorCode::invalid, "--" + std::string(name) + " " + text, rate.err().cause));
    request[name] = *rate;
  }
  auto daemon = daemon_for(context, {});
  if (!daemon) return fail(context, daemon.err());
  auto j = call(context, *daemon, "tier_limit", request);
  if (!j) return fail(context, j.err());
  if (context.json) {
    print_json(*j);
  } else {
    std::cout << "upload    " << rate_text(j->value("upload_bytes_per_second", std::uint64_t{0}))
              << "\ndownload  " << rate_text(j->value("download_bytes_per_second", std::uint64_t{0})) << "\n";
  }
  return kDone;
}

}  // namespace

void add_tier(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("tier", "where bytes live, and moving them");
  add_common(*command, context);
  auto args = std::make_shared<TierArguments>();
  command->add_flag("--status", args->status, "per branch: files, bytes, dirty, evictable; what moves now");
  command->add_flag("--watch", args->watch, "again each second, until Ctrl-C");
  command->callback([args, &context, command] {
    if (!command->get_subcommands().empty()) return;
    context.run = [args, &context] { return watched(args->watch, [&context] { return status(context); }); };
  });
  const auto add = [&](const char* name, const char* help, auto fn) {
    auto* sub = command->add_subcommand(name, help);
    add_common(*sub, context);
    sub->add_option("PATH", args->paths, "files or directories in the tree");
    sub->callback(
        [args, &context, fn] { context.run = [args, &context, fn] { return fn(context, *args); }; });
    return sub;
  };
  auto* evict = add("evict", "drop the SSD copies of files that are proven to be in the vault",
                    [](const Context& c, const TierArguments& a) { return move(c, a, true); });
  evict->add_flag("--dry-run", args->dry_run, "say what would go");
  evict->add_option("--all-older-than", args->older_than,
                    "all that was not opened for this long, such as 720h");
  auto* fetch = add("fetch", "bring files back from the vault whole",
                    [](const Context& c, const TierArguments& a) { return move(c, a, false); });
  fetch->add_flag("--dry-run", args->dry_run, "say what would come");
  add("pin", "keep files on the SSD; a directory: with all that is or will be below it",
      [](const Context& c, const TierArguments& a) { return pin(c, a, true); })
      ->get_option("PATH")
      ->required();
  add("unpin", "let files be evicted",
      [](const Context& c, const TierArguments& a) { return pin(c, a, false); })
      ->get_option("PATH")
      ->required();
  auto* limits = command->add_subcommand(
      "limit",
      "how fast the vault is written and read, at once and until the next start; without options: tell");
  add_common(*limits, context);
  limits->add_option("--upload", args->upload,
                     "bytes a second for all uploads together, such as 5M; 0: no limit");
  limits->add_option("--download", args->download, "the same for all that is read from the vault");
  limits->callback([args, &context] { context.run = [args, &context] { return limit(context, *args); }; });
  add("where", "which branches have a file, in which state, since when", where)
      ->get_option("PATH")
      ->required();
}

}  // namespace mediafs::app
