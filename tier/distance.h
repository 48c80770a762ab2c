// How far away the vault is, by how long the first byte of a reply takes. Pure: no I/O, no clock.
// Threads:    values; the caller brings the lock.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>

namespace mediafs::tier {

class Distance {
 public:
  static constexpr std::size_t kSamples = 8;
  static constexpr std::chrono::milliseconds kFar{25};

  void first_byte_after(std::chrono::nanoseconds time) {
    last_[count_ % kSamples] = time;
    ++count_;
  }
  // The shortest of the last few: one that had to wait for a connection, or for a busy server, says nothing.
  bool far() const { return count_ >= kSamples && *std::min_element(last_.begin(), last_.end()) >= kFar; }

 private:
  std::array<std::chrono::nanoseconds, kSamples> last_{};
  std::size_t count_ = 0;
};

}  // namespace mediafs::tier
