// The kernel's table of mounts, read from /proc: what is mounted where, without asking any of it.
// Threads:    functions on files in /proc; safe from any thread. Nothing here touches a mount.
// Source:     proc(5), /proc/PID/mountinfo.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace mediafs {

struct MountRecord {
  int id = 0;
  unsigned major = 0, minor = 0;  // a FUSE mount's minor is its connection's number
  std::string point;              // as the process whose table it is sees it
  std::string type, source;
  bool shared = false;  // what is mounted below it is told to its peers
  bool is_fuse() const { return type == "fuse" || type.starts_with("fuse."); }
};

std::vector<MountRecord> parse_mounts(std::string_view mountinfo);
// In the table's order, in which a later one covers an earlier one at the same point.
Result<std::vector<MountRecord>> mounts_of(const std::string& process = "self");
// The uppermost one at `point`; nullptr: nothing is mounted there.
const MountRecord* mounted_at(const std::vector<MountRecord>& mounts, std::string_view point);
// The one that holds `path`, without those at `path` itself.
const MountRecord* mount_above(const std::vector<MountRecord>& mounts, std::string_view path);

}  // namespace mediafs
