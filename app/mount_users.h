// Who uses a mount: programs that have files of it open, mapped or running, or that stand in one of its directories, in
// whatever mount namespace. Found in /proc alone: the mount itself, which may hang, is never touched.
// Threads:    one; forks, so the program's main thread before it makes others.
// Errors:     none: what can't be seen (other users' processes, unless root) is not told.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace mediafs::app {

struct MountUser {
  int pid = 0;
  std::string command;
  std::string how;   // "has open", "works in", "runs", "has mapped", "has as root"
  std::string path;  // as the process sees it
};

struct MountUsers {
  std::vector<MountUser> users;  // each process once, with what was found first
  bool complete = true;          // false: time was up
};

// `daemon`: it and its children are left out.
MountUsers find_mount_users(const std::string& mountpoint, int daemon,
                            std::chrono::milliseconds limit = std::chrono::seconds(10));

}  // namespace mediafs::app
