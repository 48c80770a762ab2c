// mediafs rebuild: a lost catalogue is made again, while no daemon serves the library.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/cli.h"
#include "app/predecessor.h"
#include "common/fd.h"
#include "common/path.h"
#include "tier/rebuild.h"

namespace mediafs::app {

namespace {

struct RebuildArguments {
  std::string vault_id;
  bool force = false;
  bool no_metadata = false;
};

// A line a step on a pipe; on a terminal the numbers move.
class Steps {
 public:
  explicit Steps(bool silent) : silent_(silent), terminal_(isatty(STDERR_FILENO) == 1) {}
  ~Steps() {
    if (!silent_ && terminal_ && !step_.empty()) std::cerr << "\n";
  }
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;
  void show(const tier::RebuildProgress& p) {
    if (silent_) return;
    const bool next = p.step != step_;
    if (!next && !terminal_) return;
    if (terminal_) std::cerr << (next && !step_.empty() ? "\n" : "\r");
    step_ = p.step;
    std::cerr << p.step;
    if (p.done > 0) std::cerr << ": " << p.done;
    std::cerr << (terminal_ ? " " : "\n") << std::flush;
  }

 private:
  const bool silent_, terminal_;
  std::string step_;
};

Json paths_json(const std::vector<std::string>& paths) {
  Json list = Json::array();
  for (const std::string& path : paths) list.push_back(printable(path));
  return list;
}

void print_some(const std::vector<std::string>& paths, std::uint64_t count) {
  for (const std::string& path : paths) std::cout << "    " << printable(path) << "\n";
  if (count > paths.size()) std::cout << "    ...\n";
}

void print(const tier::RebuildReport& report) {
  const tier::Recovered& r = report.recovered;
  if (report.resumed) {
    std::cout << "the catalogue had been rebuilt; the rest of the objects' metadata is read now\n";
  } else {
    std::cout << "rebuilt " << (report.snapshot.empty() ? "without a snapshot" : "from " + report.snapshot)
              << ": " << r.kept << " files as they were, " << r.refreshed << " looked at anew, " << r.adopted
              << " found in the vault\n";
  }
  if (!report.aside.empty()) std::cout << "what was there before: " << printable(report.aside) << "\n";
  if (r.gone > 0) {
    std::cout
        << r.gone
        << " files of the snapshot are neither here nor in the vault (deleted or renamed since then):\n";
    print_some(r.some_gone, r.gone);
  }
  if (r.back > 0) {
    std::cout << r.back
              << " files are back that had been deleted or renamed just before (delete them again if so):\n";
    print_some(r.some_back, r.back);
  }
  std::cout << "data version " << report.version << "; mount it now: mediafs mount\n";
}

Json to_json(const tier::RebuildReport& report) {
  const tier::Recovered& r = report.recovered;
  return {{"snapshot", report.snapshot.empty() ? Json(nullptr) : Json(report.snapshot)},
          {"aside", report.aside.empty() ? Json(nullptr) : Json(printable(report.aside))},
          {"resumed", report.resumed},
          {"kept", r.kept},
          {"refreshed", r.refreshed},
          {"adopted", r.adopted},
          {"gone", r.gone},
          {"gone_paths", paths_json(r.some_gone)},
          {"back", r.back},
          {"back_paths", paths_json(r.some_back)},
          {"metadata", report.metadata},
          {"data_version", report.version}};
}

Result<tier::RebuildReport> rebuild_library(const Config& config, const Context& context,
                                            const RebuildArguments& args, const std::stop_token& stop) {
  if (config.vault.url.empty())
    return make_error(ErrorCode::config, "rebuild",
                      "no vault is configured: mediafs mount makes the catalogue from the local files alone");
  MEDIAFS_ASSIGN(const Credentials credentials, load_credentials(config, process_environment()));
  tier::Branches branches;
  tier::Claims claims;
  branches.config = config;
  branches.claims = &claims;
  MEDIAFS_ASSIGN(branches.local_root,
                 open_at(AT_FDCWD, config.local.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  MEDIAFS_TRY(mkdirs_at(AT_FDCWD, config.local.state, 0700));
  MEDIAFS_TRY(clear_predecessor(config.local.state));
  MEDIAFS_ASSIGN(const Fd lock, lock_state(config.local.state));
  MEDIAFS_TRY(lock_local(branches.local_root.get(), config.local.path));
  MEDIAFS_ASSIGN(const auto vault, tier::open_vault(config, credentials));
  Steps steps(context.json);
  return tier::rebuild(branches, *vault,
                       {.database = config.local.state + "/catalogue.db",
                        .vault_id = args.vault_id,
                        .force = args.force,
                        .metadata = !args.no_metadata,
                        .on_progress = [&steps](const tier::RebuildProgress& p) { steps.show(p); }},
                       stop);
}

int run(const Context& context, const RebuildArguments& args) {
  auto config = load_config(context);
  if (!config) return fail(context, config.err());
  auto report = rebuild_library(*config, context, args, {});
  if (!report) return fail(context, report.err());
  if (context.json) {
    print_json(to_json(*report));
  } else {
    print(*report);
  }
  return kDone;
}

}  // namespace

void add_rebuild(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand(
      "rebuild",
      "make a lost catalogue again, from its snapshot in the vault, the vault's listing and the local files");
  add_common(*command, context);
  auto args = std::make_shared<RebuildArguments>();
  command->add_option("--vault-id", args->vault_id,
                      "this library is the owner of the vault with this id (where nothing else says so)");
  command->add_flag("--force", args->force, "though the catalogue is whole");
  command->add_flag(
      "--no-metadata", args->no_metadata,
      "do not ask for each object's times and mode now: they are read when a file is first opened");
  command->callback([args, &context] { context.run = [args, &context] { return run(context, *args); }; });
}

}  // namespace mediafs::app
