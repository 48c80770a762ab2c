// mediafs unmount: ends a daemon, after its uploads if asked.
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli.h"
#include "app/mount_users.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/mounts.h"
#include "common/path.h"
#include "fs/mountpoint.h"

namespace mediafs::app {

namespace {

struct UnmountArguments {
  std::string mountpoint;
  bool drain = false;
  bool lazy = false;
  bool force = false;
};

constexpr int kForceAfter_ms = 15'000;
constexpr std::chrono::seconds kDetachWithin{30};  // jobs that run are ended first

// A descriptor of the process tells its end, even while nobody has collected its status.
bool wait_for_end(const Fd& process, int limit_ms) {
  pollfd p{.fd = process.get(), .events = POLLIN, .revents = 0};
  int ready = 0;
  while (process && (ready = poll(&p, 1, limit_ms)) < 0 && errno == EINTR) {
  }
  return !process || ready > 0;
}

// The tree is gone while what is open of it goes on, or the daemon ended. The kernel tells each change of the table,
// which may be another one than the daemon's: a namespace of its own keeps its copy.
Status wait_until_detached(const Fd& process, const std::string& mountpoint) {
  const Fd table(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  const SteadyTime until = std::chrono::steady_clock::now() + kDetachWithin;
  for (;;) {
    const auto mounts = mounts_of();
    const MountRecord* there = mounts ? mounted_at(*mounts, mountpoint) : nullptr;
    if (there == nullptr || !there->is_fuse()) return {};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !table)
      return make_error(
          ErrorCode::timeout, "unmount " + printable(mountpoint),
          "it was asked for, but the tree is still mounted here (mediafs status says more; in another "
          "mount namespace: umount it there, too)");
    pollfd p[] = {{.fd = process.get(), .events = POLLIN, .revents = 0},
                  {.fd = table.get(), .events = POLLPRI, .revents = 0}};
    if (!process || (poll(p, 2, static_cast<int>(left.count())) < 0 && errno != EINTR) || p[0].revents != 0)
      return {};
  }
}

int fail_busy(const Context& context, const std::string& mountpoint, const MountUsers& found) {
  const std::size_t count = found.users.size();
  const Error error = make_error(
      ErrorCode::busy, "unmount " + printable(mountpoint),
      "in use by " + std::to_string(count) + (count == 1 ? " process" : " processes") +
          " (end them; or --lazy: they keep what they have open; or --force: it is taken from them)");
  Json users = Json::array();
  for (const MountUser& user : found.users) {
    users.push_back({{"pid", user.pid}, {"command", user.command}, {"how", user.how}, {"path", user.path}});
  }
  if (context.json) {
    print_json(
        {{"error",
          {{"code", std::string(to_string(error.code))}, {"what", error.what}, {"cause", error.cause}}},
         {"users", users},
         {"complete", found.complete}});
  }
  std::cerr << "mediafs: " << error.message() << "\n";
  for (const MountUser& user : found.users)
    std::cerr << "    pid " << user.pid << " " << user.command << " " << user.how << " " << user.path << "\n";
  return kFailed;
}

// As mount tables have it, without asking the mount.
std::string place_of(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const std::string parent(parent_path(path));
  char resolved[PATH_MAX];
  const std::string folder = !path.starts_with('/') ? (parent.empty() ? "." : parent)
                             : parent.empty()       ? "/"
                                                    : parent;
  if (realpath(folder.c_str(), resolved) == nullptr) return path;
  return (std::string_view(resolved) == "/" ? "" : std::string(resolved)) + "/" +
         std::string(base_name(path));
}

// A mount that no daemon of this user serves: a killed one's, or another user's.
int end_abandoned(const Context& context, const UnmountArguments& args, const Error& none) {
  const std::string place = place_of(args.mountpoint);
  const auto mounts = mounts_of();
  const MountRecord* there = mounts ? mounted_at(*mounts, place) : nullptr;
  // Another type was asked for in a configuration that is not at hand.
  if (there == nullptr || (there->type != "fuse.mediafs" && there->type != "fuse"))
    return fail(context, none);
  if (!args.lazy && !args.force) {
    Error error = none;
    error.cause +=
        "; what stands there a killed one may have left (mediafs mount clears it, and so does --force)";
    return fail(context, error);
  }
  if (args.force) {
    if (auto ended = fs::abort_connection(there->minor); !ended && ended.err().code != ErrorCode::not_found)
      return fail(context, ended.err());
  }
  if (auto detached = fs::detach_mount(place); !detached) return fail(context, detached.err());
  if (context.json) {
    print_json({{"mountpoint", place}, {"unmounted", true}, {"drained", false}});
  } else {
    std::cout << "unmounted " << place << "\n";
  }
  return kDone;
}

// It was asked to end, and does not.
Status force(const RunningDaemon& daemon) {
  const auto mounts = mounts_of();
  const MountRecord* there = mounts ? mounted_at(*mounts, daemon.mountpoint) : nullptr;
  if (there != nullptr && there->is_fuse()) {
    MEDIAFS_TRY(fs::abort_connection(there->minor));
    MEDIAFS_TRY(fs::detach_mount(daemon.mountpoint));
  }
  return make_error(ErrorCode::timeout, "unmount " + printable(daemon.mountpoint),
                    "it is unmounted, but its daemon (pid " + std::to_string(daemon.pid) +
                        ") does not end (run: kill -9 " + std::to_string(daemon.pid) + ")");
}

Status end_daemon(const Context& context, const RunningDaemon& daemon, const UnmountArguments& args) {
  const Fd process(static_cast<int>(syscall(SYS_pidfd_open, daemon.pid, 0)));
  if (args.force) {  // not by its socket, which it may have ceased to serve
    if (process) syscall(SYS_pidfd_send_signal, process.get(), SIGTERM, nullptr, 0);
    return wait_for_end(process, kForceAfter_ms) ? Status() : force(daemon);
  }
  auto stopped = call(context, daemon, "stop", {{"lazily", args.lazy}});
  if (!stopped) return std::move(stopped).error();
  if (args.lazy) return wait_until_detached(process, daemon.mountpoint);
  wait_for_end(process, -1);
  return {};
}

int run(const Context& context, const UnmountArguments& args) {
  std::vector<std::string> paths;
  if (!args.mountpoint.empty()) paths.push_back(args.mountpoint);
  auto daemon = daemon_for(context, paths);
  // Another one's, or several others'.
  const bool elsewhere =
      daemon ? !path_in_tree(*daemon, args.mountpoint).has_value() : daemon.err().code == ErrorCode::invalid;
  if (!args.mountpoint.empty() && elsewhere) {
    daemon = make_error(ErrorCode::offline, "daemon of " + args.mountpoint,
                        "none is running there (mediafs status lists it)");
  }
  if (!daemon) {
    return args.mountpoint.empty() ? fail(context, daemon.err()) : end_abandoned(context, args, daemon.err());
  }
  const auto in_use = [&] {
    return args.lazy || args.force ? MountUsers{} : find_mount_users(daemon->mountpoint, daemon->pid);
  };
  if (const auto found = in_use(); !found.users.empty()) return fail_busy(context, daemon->mountpoint, found);
  if (args.drain) {
    auto drained = call(context, *daemon, "drain", Json::object());
    if (!drained) return fail(context, drained.err());
    if (const auto found = in_use(); !found.users.empty())
      return fail_busy(context, daemon->mountpoint, found);
  }
  if (auto ended = end_daemon(context, *daemon, args); !ended) return fail(context, ended.err());
  if (context.json) {
    print_json({{"mountpoint", daemon->mountpoint}, {"unmounted", true}, {"drained", args.drain}});
  } else {
    std::cout << "unmounted " << daemon->mountpoint << "\n";
  }
  return kDone;
}

}  // namespace

void add_unmount(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("unmount", "unmount the tree and end its daemon");
  add_common(*command, context);
  auto args = std::make_shared<UnmountArguments>();
  command->add_option("MOUNTPOINT", args->mountpoint, "which, if several are mounted");
  command->add_flag("--drain", args->drain,
                    "first wait until everything is in the vault (Ctrl-C stops waiting only)");
  command->add_flag(
      "-l,--lazy", args->lazy,
      "at once, though it is in use: programs keep what they have open, and the daemon ends with the last");
  command->add_flag("--force", args->force,
                    "at once, though it is in use: what is open answers errors from then on");
  command->callback([args, &context] { context.run = [args, &context] { return run(context, *args); }; });
}

}  // namespace mediafs::app
