// Whether the figures of [local] fit the disk: said at the mount and by doctor.
// Threads:    functions; warn_of_misfits() asks the disk for its size.
// Units:      bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/config.h"

namespace mediafs::app {

struct Misfit {
  std::string what, advice;
};
// REQUIRES: total_bytes > 0, the disk's size.
std::vector<Misfit> space_misfits(const Config::Local& config, std::uint64_t total_bytes);
// In the log, at the mount.
void warn_of_misfits(const Config::Local& config);

}  // namespace mediafs::app
