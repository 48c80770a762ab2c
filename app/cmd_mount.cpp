// mediafs mount: starts the daemon.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <thread>

#include "app/cli.h"
#include "app/daemon.h"
#include "app/daemonize.h"
#include "common/log.h"
#include "common/path.h"

namespace mediafs::app {

namespace {

struct MountArguments {
  bool foreground = false;
  bool new_vault = false;
  std::string local, share, vault, mountpoint;
};

Result<std::string> absolute_directory(const std::string& path, const char* what) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) != nullptr) return std::string(resolved);
  const int saved = errno;
  // A mount point whose server is gone can't be resolved, and is cleared later.
  if (saved == ENOTCONN && !path.empty() && path[0] == '/') return path;
  Error error = errno_error(saved, std::string(what) + " " + path);
  if (saved == ENOENT) error.cause = "no such directory (create it first)";
  return error;
}

Result<Config> config_of(const Context& context, const MountArguments& args) {
  Config config;
  if (args.local.empty() && args.mountpoint.empty()) {
    MEDIAFS_ASSIGN(config, load_config(context));
  } else {
    if (args.local.empty() || args.mountpoint.empty()) {
      return make_error(ErrorCode::config, "mount",
                        "--local DIR and MOUNTPOINT go together (or use -c CONFIG)");
    }
    MEDIAFS_ASSIGN(config.local.path, absolute_directory(args.local, "--local"));
    config.mount.path = args.mountpoint;
    config.mount.allow_other = geteuid() == 0;
    if (!args.share.empty()) {
      MEDIAFS_ASSIGN(config.share.path, absolute_directory(args.share, "--share"));
    }
    config.vault.url = args.vault;
    MEDIAFS_TRY(finish_config(config));
  }
  MEDIAFS_ASSIGN(config.mount.path, absolute_directory(config.mount.path, "mount point"));
  return config;
}

log::Level level_of(const std::string& text) {
  if (text == "debug") return log::Level::debug;
  if (text == "warning") return log::Level::warning;
  return text == "error" ? log::Level::error : log::Level::info;
}

// Signals become a stop; blocked in every thread, taken by one.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    for (int s : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set_, s);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    std::signal(SIGIO, SIG_IGN);  // of leases: nobody waits for it, and its default is to end the process
  }
  void watch(Daemon& daemon) {
    thread_ = std::jthread([this, &daemon](const std::stop_token& stop) {
      const timespec look{.tv_sec = 0, .tv_nsec = 200'000'000};
      while (!stop.stop_requested()) {
        if (sigtimedwait(&set_, nullptr, &look) > 0) daemon.request_stop();
      }
    });
  }
  void ignore() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  sigset_t set_{};
  std::jthread thread_;
};

int run(const Context& context, const MountArguments& args) {
  auto config = config_of(context, args);
  if (!config) return fail(context, config.err());
  if (args.new_vault && config->vault.url.empty()) {
    return fail(context,
                make_error(ErrorCode::config, "--new-vault", "no vault is configured (set vault.url)"));
  }
  auto credentials = load_credentials(*config, process_environment());
  if (!credentials) return fail(context, credentials.err());
  std::optional<Background> background;
  if (!args.foreground) {
    auto entered =
        Background::enter(config->log.file.empty() ? config->local.state + "/mediafs.log" : config->log.file);
    if (!entered) return fail(context, entered.err());
    background = std::move(*entered);
  }
  log::setup(
      {.level = level_of(config->log.level), .file = args.foreground ? config->log.file : std::string()});
  StopSignals signals;
  const std::string mountpoint = config->mount.path;
  auto daemon = Daemon::start(
      {.config = std::move(*config), .credentials = std::move(*credentials), .new_vault = args.new_vault});
  if (!daemon) return fail(context, daemon.err());
  signals.watch(**daemon);
  auto served = (*daemon)->serve([&] {
    if (background) background->ready();
  });
  signals.ignore();
  daemon->reset();
  if (!served) return fail(context, served.err());
  return kDone;
}

}  // namespace

void add_mount(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("mount", "mount and serve the tree");
  add_common(*command, context);
  auto args = std::make_shared<MountArguments>();
  command->add_flag("-f,--foreground", args->foreground, "stay in the foreground");
  command->add_flag("--new-vault", args->new_vault,
                    "once, after the vault was replaced: the one that is met becomes this library's");
  command->add_option("--local", args->local, "the local branch: a directory on the SSD");
  command->add_option("--share", args->share, "the share branch: a directory where a share is mounted");
  command->add_option("--vault", args->vault, "the vault's URL: file:///path or s3://bucket/prefix");
  command->add_option("MOUNTPOINT", args->mountpoint, "where the tree appears");
  command->callback([args, &context] { context.run = [args, &context] { return run(context, *args); }; });
}

}  // namespace mediafs::app
