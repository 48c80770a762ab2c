// mediafs unmount: ends a daemon, after its uploads if asked.
#include <signal.h>
#include <sys/mount.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/cli.h"

namespace mediafs::app {

namespace {

struct UnmountArguments {
  std::string mountpoint;
  bool drain = false;
};

bool alive(int pid) {
  return kill(pid, 0) == 0 || errno == EPERM;
}

int run(const Context& context, const UnmountArguments& args) {
  std::vector<std::string> paths;
  if (!args.mountpoint.empty()) paths.push_back(args.mountpoint);
  auto daemon = daemon_for(context, paths);
  if (daemon && !args.mountpoint.empty() && !path_in_tree(*daemon, args.mountpoint)) {
    daemon = make_error(ErrorCode::offline, "daemon of " + args.mountpoint,
                        "none is running there (mediafs status lists it)");
  }
  if (!daemon) return fail(context, daemon.err());
  if (args.drain) {
    auto drained = call(context, *daemon, "drain", Json::object());
    if (!drained) return fail(context, drained.err());
  }
  auto stopped = call(context, *daemon, "stop", Json::object());
  if (!stopped) return fail(context, stopped.err());
  while (alive(daemon->pid)) std::this_thread::sleep_for(std::chrono::milliseconds(20));
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
  command->callback([args, &context] { context.run = [args, &context] { return run(context, *args); }; });
}

}  // namespace mediafs::app
