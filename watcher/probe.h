// Looks at one file or directory without being misled by renames, symlinks or writers.
// Threads:    safe from any thread that has SIGIO blocked (probe_writer: a lease broken meanwhile raises it here).
// Errors:     from errno.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "common/fd.h"
#include "common/result.h"

namespace mediafs::watcher {

// Opens the directory at `path` below `root`, which may be longer than PATH_MAX. The last component is never followed.
Result<Fd> open_dir_below(int root, const std::string& path);

enum class Writer : std::uint8_t {
  none,     // nobody has it open for writing
  open,     // somebody has
  unknown,  // the filesystem or our rights give no leases
  changed,  // it is no regular file now, or not there
  cut_off,  // nobody has, but who had was not seen to close it: common/writers.h
};
// Takes a read lease and gives it back at once: the kernel refuses one while a writer has the file open.
// `info` is filled with fstat of what was probed, unless the answer is `changed`, or `unknown` because it can't be opened.
Writer probe_writer(int dir, const std::string& name, struct stat& info);

void forget_cut_off(int dir, const std::string& name);

}  // namespace mediafs::watcher
