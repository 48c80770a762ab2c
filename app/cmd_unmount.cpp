// mediafs unmount: ends a daemon, after its uploads if asked.
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli.h"
#include "common/fd.h"

namespace mediafs::app {

namespace {

struct UnmountArguments {
  std::string mountpoint;
  bool drain = false;
};

// A descriptor of the process tells its end, even while nobody has collected its status.
void wait_for_end(const Fd& process) {
  pollfd p{.fd = process.get(), .events = POLLIN, .revents = 0};
  while (process && poll(&p, 1, -1) < 0 && errno == EINTR) {
  }
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
  const Fd process(static_cast<int>(syscall(SYS_pidfd_open, daemon->pid, 0)));
  auto stopped = call(context, *daemon, "stop", Json::object());
  if (!stopped) return fail(context, stopped.err());
  wait_for_end(process);
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
