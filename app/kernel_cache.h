// What the watcher sees at once, told to the mount: so that the kernel may keep what it was told until then.
// Threads:    noticed() on the watcher's thread; watched() from any.
// Borrows:    Watcher and Mount, through the functions (they outlive it).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "fs/mount.h"
#include "watcher/watcher.h"

namespace mediafs::app {

class KernelCache {
 public:
  KernelCache(std::function<watcher::Stats()> stats, std::function<fs::Mount*()> mount)
      : stats_(std::move(stats)), mount_(std::move(mount)) {}
  void noticed(const watcher::RawEvent& event);
  // What stands at `path` is to be looked at again, whoever changed it; "": everywhere.
  void forgotten(const std::string& path);
  // Every directory is watched, and nothing was lost since the last whole scan.
  bool watched() const;
  void end() { ended_ = true; }  // the watcher has, and the mount goes on

 private:
  const std::function<watcher::Stats()> stats_;
  const std::function<fs::Mount*()> mount_;
  std::atomic<std::uint64_t> scans_wanted_{1};
  std::atomic<bool> ended_{false};
};

}  // namespace mediafs::app
