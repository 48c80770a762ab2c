#include "app/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace mediafs::app {

namespace {

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kLine{5};

std::size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 40) return 80;
  return size.ws_col;
}

}  // namespace

std::string human_bytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    unit++;
  }
  char text[32];
  snprintf(text, sizeof(text), unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string human_seconds(std::uint64_t seconds) {
  char text[40];
  const auto s = static_cast<unsigned long long>(seconds);
  if (s < 60) {
    snprintf(text, sizeof(text), "%llu s", s);
  } else if (s < 3600) {
    snprintf(text, sizeof(text), "%llu min %02llu s", s / 60, s % 60);
  } else if (s < 172'800) {
    snprintf(text, sizeof(text), "%llu h %02llu min", s / 3600, s % 3600 / 60);
  } else {
    snprintf(text, sizeof(text), "%llu days", s / 86'400);
  }
  return text;
}

Progress::Progress(std::string what)
    : what_(std::move(what)),
      terminal_(isatty(STDERR_FILENO) == 1),
      started_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (terminal_ && drawn_) fputc('\n', stderr);
}

void Progress::show(std::uint64_t done, std::uint64_t total, Unit unit, const std::string& note) {
  const auto now = std::chrono::steady_clock::now();
  const bool last = total > 0 && done >= total;
  if (drawn_ && !last &&
      now - shown_ < (terminal_ ? std::chrono::milliseconds(kRedraw) : std::chrono::milliseconds(kLine))) {
    return;
  }
  if (!drawn_) first_done_ = done;
  shown_ = now;
  drawn_ = true;
  const double share = total == 0 ? 0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const double seconds = std::chrono::duration<double>(now - started_).count();
  const double speed =
      seconds > 0.2 && done >= first_done_ ? static_cast<double>(done - first_done_) / seconds : 0;
  std::string figures = unit == Unit::bytes
                            ? human_bytes(done) + " of " + human_bytes(total)
                            : std::to_string(done) + " of " + std::to_string(total) + " files";
  if (unit == Unit::bytes && speed > 0)
    figures += ", " + human_bytes(static_cast<std::uint64_t>(speed)) + "/s";
  if (speed > 0 && total > done) {
    figures +=
        ", " + human_seconds(static_cast<std::uint64_t>(static_cast<double>(total - done) / speed)) + " left";
  }
  char percent[8];
  snprintf(percent, sizeof(percent), "%3.0f %%", share * 100);
  if (!terminal_) {
    fprintf(stderr, "%s: %s, %s%s%s\n", what_.c_str(), percent, figures.c_str(), note.empty() ? "" : ", ",
            note.c_str());
    return;
  }
  constexpr std::size_t kBar = 24;
  const auto full = static_cast<std::size_t>(share * kBar);
  std::string line =
      what_ + " [" + std::string(full, '#') + std::string(kBar - full, '.') + "] " + percent + "  " + figures;
  if (!note.empty()) line += "  " + note;
  const std::size_t width = terminal_width() - 1;
  if (line.size() > width) line.resize(width);
  fprintf(stderr, "\r\033[K%s", line.c_str());
  fflush(stderr);
}

}  // namespace mediafs::app
