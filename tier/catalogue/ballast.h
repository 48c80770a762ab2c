// Some of the disk, held so that the catalogue can give it up when there is no room left for what it has to write: what
// the disk already did must be catalogued, or nobody could be told of it.
// Threads:    the writer's alone.
// Owns:       its file.
// Units:      bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/clock.h"

namespace mediafs::tier {

class Ballast {
 public:
  // 0 bytes: none is ever held.
  Ballast(std::string file, std::uint64_t bytes) : file_(std::move(file)), bytes_(bytes) {}
  void hold();     // again, a while after it was released, if there is room enough
  bool release();  // false: there was none

 private:
  const std::string file_;
  const std::uint64_t bytes_;
  bool held_ = false;
  std::optional<SteadyTime> released_ = {};
};

}  // namespace mediafs::tier
