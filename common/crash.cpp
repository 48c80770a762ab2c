#include "common/crash.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/fd.h"
#include "common/sync.h"

namespace mediafs {

namespace {

struct Point {
  std::string_view name;
  long passes = 1;
};

Point parse(std::string_view text) {
  Point point{text};
  if (const auto colon = text.rfind(':'); colon != std::string_view::npos) {
    const std::string_view count = text.substr(colon + 1);
    std::from_chars(count.data(), count.data() + count.size(), point.passes);
    point.name = text.substr(0, colon);
  }
  return point;
}

// Read once, while the program is single-threaded: nothing changes the environment later.
struct Armed {
  const char* file = nullptr;
  std::string_view name;
  std::atomic<long> passes_left{0};
  std::atomic<bool> armed{false};

  Armed() noexcept {
    const char* text = std::getenv("MEDIAFS_CRASH");
    if (text == nullptr || *text == '\0') return;
    if (*text == '@') {
      file = text + 1;
    } else {
      const Point point = parse(text);
      name = point.name;
      passes_left = point.passes;
    }
    armed.store(true, std::memory_order_relaxed);
  }

  bool strikes(std::string_view passed) noexcept {
    return file != nullptr ? file_strikes(passed) : name == passed && passes_left.fetch_sub(1) == 1;
  }

 private:
  bool file_strikes(std::string_view passed) noexcept EXCLUDES(mutex_) {
    std::array<char, 128> text{};
    const Fd fd(::open(file, O_RDONLY | O_CLOEXEC));
    const ssize_t n = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
    if (n <= 0) return false;
    const std::string_view said(text.data(), static_cast<std::size_t>(n));
    MutexLock lock(mutex_);
    if (said != std::string_view(said_.data(), said_size_)) {
      said_ = text;
      said_size_ = said.size();
      passed_ = 0;
    }
    const Point point = parse(said);
    return point.name == passed && ++passed_ == point.passes;
  }

  Mutex mutex_;
  std::array<char, 128> said_ GUARDED_BY(mutex_){};
  std::size_t said_size_ GUARDED_BY(mutex_) = 0;
  long passed_ GUARDED_BY(mutex_) = 0;
};

Armed g_armed;

}  // namespace

void crash_point(const char* name) noexcept {
  if (!g_armed.armed.load(std::memory_order_relaxed) || !g_armed.strikes(name)) return;
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

}  // namespace mediafs
