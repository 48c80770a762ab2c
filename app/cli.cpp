#include "app/cli.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/control.h"
#include "app/progress.h"
#include "common/http.h"
#include "common/path.h"

namespace mediafs::app {

namespace {

int exit_of(const Error& error, bool no_daemon) {
  if (no_daemon) return kNoDaemon;
  return error.code == ErrorCode::config || error.code == ErrorCode::invalid ? kUsage : kFailed;
}

}  // namespace

void add_common(CLI::App& command, Context& context) {
  command.add_option("-c,--config", context.config_file, "the configuration file");
  command.add_flag("--json", context.json, "print one JSON object");
}

int fail(const Context& context, const Error& error) {
  // Only what looks for the daemon answers offline with this subject.
  const bool no_daemon =
      error.code == ErrorCode::offline &&
      (error.what.starts_with("daemon") || error.what.starts_with("connect to the daemon"));
  if (context.json) {
    print_json(
        {{"error",
          {{"code", std::string(to_string(error.code))}, {"what", error.what}, {"cause", error.cause}}}});
  }
  std::cerr << "mediafs: " << error.message() << "\n";
  return exit_of(error, no_daemon);
}

int watched(bool watch, const std::function<int()>& print) {
  constexpr std::chrono::seconds kEvery{1};
  constexpr const char* kFromTheTop = "\033[H\033[2J";
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  for (;;) {
    if (watch && terminal) fputs(kFromTheTop, stdout);
    const int exit = print();
    if (!watch || exit != kDone) return exit;
    if (fflush(stdout) != 0) return kFailed;  // nobody reads any more
    std::cout.flush();
    std::this_thread::sleep_for(kEvery);
  }
}

void print_json(const Json& json) {
  std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
}

Result<Config> load_config(const Context& context) {
  const Environment env = process_environment();
  const std::string file = context.config_file.empty() ? default_config_file(env) : context.config_file;
  if (file.empty()) {
    return make_error(ErrorCode::config, "configuration",
                      "none found (write /etc/mediafs/mediafs.toml, or name one with -c)");
  }
  return mediafs::load_config(file, env);
}

Result<RunningDaemon> daemon_for(const Context& context, const std::vector<std::string>& paths) {
  const Environment env = process_environment();
  // A configuration that was named decides; the default one only between several daemons.
  const auto variable = env.find("MEDIAFS_CONFIG");
  const bool named = !context.config_file.empty() || (variable != env.end() && !variable->second.empty());
  const std::string path = paths.empty() ? "" : paths.front();
  if (named) {
    MEDIAFS_ASSIGN(const Config config, load_config(context));
    return find_daemon(path, config.mount.path);
  }
  auto found = find_daemon(path, "");
  if (found || found.err().code != ErrorCode::invalid || default_config_file(env).empty()) return found;
  auto config = load_config(context);
  return config ? find_daemon("", config->mount.path) : std::move(found);
}

Result<Json> tree_paths(const RunningDaemon& daemon, const std::vector<std::string>& paths) {
  Json out = Json::array();
  for (const auto& path : paths) {
    MEDIAFS_ASSIGN(const std::string in_tree, path_in_tree(daemon, path));
    out.push_back(http::percent_encode(in_tree, true));
  }
  return out;
}

Result<Json> call(const Context& context, const RunningDaemon& daemon, const std::string& command,
                  const Json& args) {
  if (context.json) return control_call(daemon.socket, command, args, {});
  std::unique_ptr<Progress> bar;
  return control_call(daemon.socket, command, args, [&](const Json& p) {
    if (!bar) bar = std::make_unique<Progress>(command.substr(command.find('_') + 1));
    if (p.contains("total_bytes")) {
      std::string note = p.value("path", "");
      if (p.contains("dirty_files"))
        note = std::to_string(p.value("dirty_files", std::uint64_t{0})) + " files to upload";
      if (const auto trouble = p.find("trouble"); trouble != p.end() && trouble->is_string())
        note += "; " + trouble->get<std::string>();
      bar->show(p.value("done_bytes", std::uint64_t{0}), p.value("total_bytes", std::uint64_t{0}),
                Progress::Unit::bytes, note);
    } else if (p.contains("total_files")) {
      bar->show(p.value("done_files", std::uint64_t{0}), p.value("total_files", std::uint64_t{0}),
                Progress::Unit::files, p.value("path", ""));
    }
  });
}

Result<std::unique_ptr<tier::Catalogue>> read_catalogue(const Context& context,
                                                        const std::vector<std::string>& paths) {
  std::string file;
  if (auto daemon = daemon_for(context, paths)) {
    file = daemon->socket.substr(0, daemon->socket.rfind('/')) + "/catalogue.db";
  } else {
    auto config = load_config(context);
    if (!config) return context.config_file.empty() ? std::move(daemon).error() : std::move(config).error();
    file = config->local.state + "/catalogue.db";
  }
  return tier::Catalogue::open({.path = file, .read_only = true});
}

}  // namespace mediafs::app
