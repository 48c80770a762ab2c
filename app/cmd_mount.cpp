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
#include "app/mount_options.h"
#include "app/space_check.h"
#include "common/log.h"
#include "common/mounts.h"
#include "common/path.h"
#include "fs/mountpoint.h"

namespace mediafs::app {

namespace {

struct MountArguments {
  bool foreground = false;
  bool new_vault = false;
  std::string local, share, vault;
  std::vector<std::string> places;   // MOUNTPOINT, or as mount(8) has it SOURCE MOUNTPOINT
  std::vector<std::string> options;  // -o, in their order
  bool sloppy = false, fake = false;
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

// Without touching a FUSE mount that stands there: its server may be gone, or stuck.
Result<std::string> absolute_mountpoint(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const std::string parent(parent_path(path));
  char resolved[PATH_MAX];
  if (realpath(path.starts_with('/') ? (parent.empty() ? "/" : parent.c_str()) : ".", resolved) != nullptr) {
    std::string place =
        path.starts_with('/') ? join_path(resolved, base_name(path)) : join_path(resolved, path);
    const auto mounts = mounts_of();
    const MountRecord* there = mounts ? mounted_at(*mounts, place) : nullptr;
    if (there != nullptr && there->is_fuse()) return place;
  }
  return absolute_directory(path, "mount point");
}

Result<Config> without_file(const MountArguments& args, const std::string& local) {
  Config config;
  MEDIAFS_ASSIGN(config.local.path, absolute_directory(local, "--local"));
  MEDIAFS_ASSIGN(config.mount.path, absolute_mountpoint(args.places.back()));
  config.mount.allow_other = geteuid() == 0;
  if (!args.share.empty()) {
    MEDIAFS_ASSIGN(config.share.path, absolute_directory(args.share, "--share"));
  }
  config.vault.url = args.vault;
  return config;
}

// The place that was named goes over the file's.
Result<Config> from_file(const Context& context, const std::string& mountpoint) {
  Environment env = process_environment();
  const std::string file = context.config_file.empty() ? default_config_file(env) : context.config_file;
  if (file.empty()) return app::load_config(context);  // which says what is missing
  if (!mountpoint.empty()) {
    MEDIAFS_ASSIGN(env["MEDIAFS_MOUNT_PATH"], absolute_mountpoint(mountpoint));
  }
  return mediafs::load_config(file, env);
}

// As mount(8) has it: SOURCE is the configuration, or the SSD's directory; any other word means the usual one.
Result<Config> from_source(Context context, const MountArguments& args) {
  const std::string& source = args.places.front();
  struct stat st {};
  const bool there = stat(source.c_str(), &st) == 0;
  if (there && S_ISDIR(st.st_mode)) return without_file(args, source);
  if ((there && S_ISREG(st.st_mode)) || source.find('/') != std::string::npos || source.ends_with(".toml")) {
    context.config_file = source;
  } else if (context.config_file.empty() && default_config_file(process_environment()).empty()) {
    return make_error(
        ErrorCode::config, "mount " + printable(source),
        "no such configuration or directory, and no usual configuration either (name a file or a "
        "directory; or write /etc/mediafs/mediafs.toml)");
  }
  return from_file(context, args.places.back());
}

Result<Config> config_of(Context context, MountArguments args) {
  std::string all;
  for (const std::string& options : args.options) all += options + ",";
  MEDIAFS_ASSIGN(const MountOptions options, parse_mount_options(all, args.sloppy));
  if (!options.config.empty()) context.config_file = options.config;
  if (!options.share.empty()) args.share = options.share;
  if (!options.vault.empty()) args.vault = options.vault;
  Config config;
  if (args.places.size() == 2 && args.local.empty()) {
    MEDIAFS_ASSIGN(config, from_source(context, args));
    // What `mount -a` compares with /etc/fstab; but for names that libfuse can't pass on.
    const std::string& source = args.places.front();
    if (config.mount.fsname.empty() && source.find_first_of(", \\\t\n") == std::string::npos)
      config.mount.fsname = source;
  } else if (args.local.empty() && args.places.empty()) {
    MEDIAFS_ASSIGN(config, from_file(context, ""));
  } else if (args.local.empty() || args.places.size() != 1) {
    return make_error(ErrorCode::config, "mount",
                      "--local DIR and MOUNTPOINT go together (or use -c CONFIG)");
  } else {
    MEDIAFS_ASSIGN(config, without_file(args, args.local));
  }
  if (!config.file.empty() && !(options.share + options.vault).empty()) {
    return make_error(ErrorCode::config, options.share.empty() ? "mount option vault" : "mount option share",
                      "is for a mount without a configuration: " + config.file + " says it");
  }
  apply(options, config.mount);
  MEDIAFS_TRY(finish_config(config));
  MEDIAFS_ASSIGN(config.mount.path, absolute_mountpoint(config.mount.path));
  return config;
}

log::Level level_of(const std::string& text) {
  if (text == "debug") return log::Level::debug;
  if (text == "warning") return log::Level::warning;
  return text == "error" ? log::Level::error : log::Level::info;
}

// What works, and is hardly meant: also whom the tree is hidden from without anybody having asked for that.
void warn_of_settings(const Config& config) {
  if (config.file.empty() && !config.mount.allow_other && geteuid() != 0) {
    log::warning(
        "only this user sees the tree, no media server that runs as another one: allow_other is off",
        {{"advice", fs::user_allow_other()
                        ? "mount with -o allow_other"
                        : "add the line user_allow_other to /etc/fuse.conf, and mount with -o allow_other"}});
  }
  warn_of_misfits(config.local);
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
  if (args.fake) return kDone;
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
  const Config asked = *config;
  warn_of_settings(asked);  // to whoever mounts, and into the log
  auto daemon = Daemon::start(
      {.config = std::move(*config), .credentials = std::move(*credentials), .new_vault = args.new_vault});
  if (!daemon) return fail(context, daemon.err());
  signals.watch(**daemon);
  auto served = (*daemon)->serve([&] {
    if (!background) return;
    background->ready();
    warn_of_settings(asked);
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
  command->add_option("-o", args->options, "mount options, as in /etc/fstab: ro,uid=1000,umask=022")
      ->type_name("OPTION,...")
      ->allow_extra_args(false);
  command->add_flag("--sloppy", args->sloppy, "ignore mount options that are not known");
  command->add_flag("--fake", args->fake, "only check the arguments");
  command
      ->add_option(
          "PLACES", args->places,
          "where the tree appears; before it, as in /etc/fstab, a configuration or the SSD's directory")
      ->type_name("[SOURCE] MOUNTPOINT")
      ->expected(0, 2);
  command->callback([args, &context] { context.run = [args, &context] { return run(context, *args); }; });
}

}  // namespace mediafs::app
