// Progress of long work: a bar that redraws itself on a terminal, a line now and then elsewhere.
// Threads:    one at a time.
// Units:      bytes or files, as the caller says.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mediafs::app {

std::string human_bytes(std::uint64_t bytes);      // "1.5 GiB"
std::string human_seconds(std::uint64_t seconds);  // "2 h 03 min"

class Progress {
 public:
  enum class Unit : std::uint8_t { bytes, files };
  explicit Progress(std::string what);
  ~Progress();  // ends the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void show(std::uint64_t done, std::uint64_t total, Unit unit, const std::string& note);

 private:
  std::string what_;
  bool terminal_;
  bool drawn_ = false;
  std::uint64_t first_done_ = 0;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point shown_{};
};

}  // namespace mediafs::app
