// The commands' common ground: options that all take, how errors and results are printed, exit statuses.
// Threads:    one: the program's main thread.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "app/registry.h"
#include "common/config.h"
#include "common/result.h"
#include "tier/catalogue/catalogue.h"

namespace CLI {
class App;
}

namespace mediafs::app {

using Json = nlohmann::json;

enum Exit : int { kDone = 0, kFailed = 1, kUsage = 2, kNoDaemon = 3 };

struct Context {
  std::string config_file;  // -c
  bool json = false;
  std::function<int()> run;  // what the chosen subcommand does
};

// Each adds its subcommand; one app/cmd_<name>.cpp each.
void add_mount(CLI::App& app, Context& context);
void add_unmount(CLI::App& app, Context& context);
void add_status(CLI::App& app, Context& context);
void add_tier(CLI::App& app, Context& context);
void add_trash(CLI::App& app, Context& context);
void add_jobs(CLI::App& app, Context& context);
void add_name(CLI::App& app, Context& context);
void add_verify(CLI::App& app, Context& context);
void add_version(CLI::App& app, Context& context);
void add_changelog(CLI::App& app, Context& context);
void add_config(CLI::App& app, Context& context);
void add_doctor(CLI::App& app, Context& context);
void add_vault(CLI::App& app, Context& context);
void add_rebuild(CLI::App& app, Context& context);

// -c and --json for a subcommand.
void add_common(CLI::App& command, Context& context);

// "mediafs: WHAT: WHY", or with --json one object {"error": …} on stdout; the exit status that fits.
int fail(const Context& context, const Error& error);
// --watch: `print` again each second until it fails or somebody ends it; on a terminal in the same place.
int watched(bool watch, const std::function<int()>& print);
void print_json(const Json& json);

Result<Config> load_config(const Context& context);
// For a command on `paths` (may be empty).
Result<RunningDaemon> daemon_for(const Context& context, const std::vector<std::string>& paths);
// Calls the daemon; shows progress as a bar (terminal) or lines unless --json.
Result<Json> call(const Context& context, const RunningDaemon& daemon, const std::string& command,
                  const Json& args);
// The paths as the control socket takes them.
Result<Json> tree_paths(const RunningDaemon& daemon, const std::vector<std::string>& paths);
// For what only reads: the catalogue of the daemon or of the configuration, read-only.
Result<std::unique_ptr<tier::Catalogue>> read_catalogue(const Context& context,
                                                        const std::vector<std::string>& paths);

}  // namespace mediafs::app
