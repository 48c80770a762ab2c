// mediafs: the program. Each subcommand stands in a cmd_<name>.cpp.
#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>
#include <string_view>

#include "app/cli.h"
#include "app/mount_options.h"
#include "pipeline/tree.h"

int main(int argc, char** argv) {
  using namespace mediafs::app;
  std::signal(SIGPIPE, SIG_IGN);
  // Not a command for people: see pipeline/tree.h.
  if (argc == 2 && std::string_view(argv[1]) == "tree-agent") return mediafs::pipeline::run_tree_agent(3);
  CLI::App app{"mediafs joins a local SSD, a share and a cloud vault into one tree for media servers."};
  app.set_version_flag("--version", std::string("mediafs ") + MEDIAFS_VERSION);
  app.require_subcommand(1);
  Context context;
  for (auto* add : {add_mount, add_unmount, add_status, add_tier, add_trash, add_jobs, add_name, add_verify,
                    add_version, add_changelog, add_config, add_doctor, add_vault, add_rebuild}) {
    add(app, context);
  }
  std::vector<std::string> arguments = helper_arguments({argv, argv + argc});
  try {
    if (arguments.empty()) {
      app.parse(argc, argv);
    } else {  // called by mount(8); CLI11 takes them from the last to the second
      app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend() - 1));
    }
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kDone : kUsage;
  }
  try {
    return context.run();
  } catch (const std::exception& e) {
    std::cerr << "mediafs: " << e.what() << "\n";
    return kFailed;
  }
}
