// Mount options as /etc/fstab and mount(8) write them, and mount(8)'s way to call a helper.
// Threads:    one: the program's main thread.
// Errors:     config: an option that nobody knows, named; or its value.
// Source:     mount(8), "EXTERNAL HELPERS"; mount.fuse3(8).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/config.h"
#include "common/result.h"

namespace mediafs::app {

struct MountOptions {
  std::string config, share, vault;  // what a source that is no configuration lacks
  std::optional<bool> allow_other, read_only;
  std::optional<std::string> fsname, subtype, umask;
  std::optional<int> uid, gid;
  std::vector<std::string> kernel;  // in their order: of two that contradict each other the later one counts
};

// `sloppy`: what is unknown is ignored (mount -s).
Result<MountOptions> parse_mount_options(const std::string& text, bool sloppy);
void apply(const MountOptions& options, Config::Mount& mount);

// As `mount.mediafs SOURCE DIR -o ...`, `mount.fuse.mediafs ...` or, by mount.fuse, `mediafs SOURCE DIR -o ...`: the
// arguments as `mediafs mount` takes them. Empty: an ordinary call.
std::vector<std::string> helper_arguments(const std::vector<std::string>& arguments);

}  // namespace mediafs::app
