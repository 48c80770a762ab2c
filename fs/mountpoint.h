// What must be right before a directory can be mounted on, said clearly where it is not.
// Threads:    safe from any thread; blocks on the disk.
// Errors:     not_found, not_directory, not_empty, busy (mounted already), permission, unsupported (no FUSE), invalid.
#pragma once

#include <string>

#include "common/result.h"

namespace mediafs::fs {

// The mount point's absolute path, ready to be mounted on; a stale mount on it is gone.
Result<std::string> prepare_mountpoint(const std::string& path, const std::string& local_path);
Status check_fuse(bool allow_other);
// Lazily: what is busy goes on until it is closed.
Status detach_mount(const std::string& mountpoint);
bool is_mounted(const std::string& mountpoint);  // by us, as /proc/self/mountinfo tells

}  // namespace mediafs::fs
