// inotify(7), wrapped: watches by directory descriptor, notices as values.
// Threads:    one at a time.
// Errors:     open: no_space (too many instances); add: no_space (too many watches), not_found, not_directory, permission.
// Invariants: a watch is put on the very directory that the descriptor has open, whatever its path is by now.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "common/clock.h"
#include "common/fd.h"
#include "common/result.h"

namespace mediafs::watcher {

struct Notice {
  int wd = -1;
  std::uint32_t mask = 0;
  std::uint32_t cookie = 0;
  std::string name;
  SteadyTime read_at{};
};

class Inotify {
 public:
  Status open();
  int fd() const { return fd_.get(); }
  // The same directory always answers the same number, until it is removed.
  Result<int> add(int dir_fd);
  void remove(int wd);
  bool unread() const;  // something waits in the kernel
  // Appends what waits in the kernel, until `inbox` holds `limit`.
  void read_into(std::deque<Notice>& inbox, std::size_t limit);

 private:
  Fd fd_;
};

// What to do when watches run out, with the present limit.
std::string watch_limit_advice();

}  // namespace mediafs::watcher
