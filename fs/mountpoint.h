// What must be right before a directory can be mounted on, said clearly where it is not.
// Threads:    safe from any thread; blocks on the disk, and for some seconds on a mount that does not answer.
// Errors:     not_found, not_directory, not_empty, busy (mounted already), permission, unsupported (no FUSE), invalid.
#pragma once

#include <string>

#include "common/result.h"

namespace mediafs::fs {

// The mount point's absolute path, ready to be mounted on; a stale mount on it is gone.
Result<std::string> prepare_mountpoint(const std::string& path, const std::string& local_path);
bool user_allow_other();  // whether /etc/fuse.conf lets users other than root show their mounts to others
Status check_fuse(bool allow_other);
// Lazily: what is busy goes on until it is closed.
Status detach_mount(const std::string& mountpoint);
// busy: what is mounted at `place` lets its callers wait. Whatever it answers counts, be it an error.
Status check_answers(const std::string& place);
// Ends what waits for a FUSE connection that nobody serves any more; its number is its mount's minor.
Status abort_connection(unsigned number);
// How much the kernel asks for at once of files that it reads through that connection. Needs root; INIT sets it anew.
Status read_ahead(unsigned number, std::uint64_t size_bytes);

}  // namespace mediafs::fs
