// Which daemons run on this machine: one small JSON file each, mountpoint, socket and pid, in /run/mediafs
// (root) or $XDG_RUNTIME_DIR/mediafs. A command finds its daemon here by a path below a mount, by -c, or
// because it is the only one.
// Threads:    functions on files; safe from any thread.
// Errors:     offline: no daemon runs (exit status 3); invalid: several run and none was named.
#pragma once

#include <string>
#include <vector>

#include "common/result.h"

namespace mediafs::app {

struct RunningDaemon {
  std::string mountpoint;  // absolute, resolved
  std::string local;       // local.path, absolute
  std::string socket;
  std::string config;  // the file, "" without one
  int pid = 0;
};

class Registration {  // the entry stands while this lives
 public:
  static Result<Registration> make(const RunningDaemon& daemon);
  Registration(Registration&& other) noexcept;
  Registration& operator=(Registration&&) = delete;
  ~Registration();

 private:
  explicit Registration(std::string file) : file_(std::move(file)) {}
  std::string file_;
};

std::vector<RunningDaemon> running_daemons();  // those that are alive; entries of dead ones are removed
// The daemon whose mount (or local branch) holds `path`; with an empty path the one that `config_file` (a
// loaded config's mount.path) names; with both empty the only one.
Result<RunningDaemon> find_daemon(const std::string& path, const std::string& config_mountpoint);
// `path` (absolute or relative to the working directory) as a path in the tree of `daemon`.
Result<std::string> path_in_tree(const RunningDaemon& daemon, const std::string& path);

}  // namespace mediafs::app
