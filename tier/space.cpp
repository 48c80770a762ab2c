#include "tier/space.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <memory>

#include "common/log.h"

namespace mediafs::tier {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::uint64_t kLow = 1ULL << 30;  // less than this above the reserve: measurements age quickly
constexpr std::uint64_t kLargestGrant = 64ULL << 20;  // bounds what a stale measurement can cost
constexpr std::uint64_t kSmallestGrant = 1ULL << 20;
constexpr std::uint64_t kLeastUnseen = 1ULL
                                       << 30;  // a writer that can't be held back may write so much at least
constexpr std::uint64_t kMostUnseen = 8ULL << 30;
constexpr milliseconds kLowLife{100};
constexpr milliseconds kUnwritten{20};  // admitted bytes may not show in statvfs for this long
constexpr milliseconds kPressureEvery{50};
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

std::int64_t steady_ns(SteadyTime time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

std::uint64_t minus(std::uint64_t a, std::uint64_t b) {
  return a > b ? a - b : 0;
}

Space::Measure measure_filesystem(const Config::Local& config) {
  struct Last {
    std::atomic<bool> failing{false};
  };
  return [config, last = std::make_shared<Last>()]() -> SpaceFigures {
    struct statvfs fs {};
    SpaceFigures figures;
    figures.reserve_bytes = config.reserve_bytes;
    if (::statvfs(config.path.c_str(), &fs) != 0) {
      const int saved = errno;
      // Without figures nothing is admitted: the branch that can't be asked can't be written safely either.
      if (!last->failing.exchange(true)) log::error("space", errno_error(saved, "statvfs " + config.path));
      return figures;
    }
    last->failing.store(false);
    figures.total_bytes = static_cast<std::uint64_t>(fs.f_blocks) * fs.f_frsize;
    figures.free_bytes = static_cast<std::uint64_t>(fs.f_bavail) * fs.f_frsize;
    figures.evict_below_bytes = config.evict_below_free.of(figures.total_bytes);
    figures.evict_until_bytes =
        std::max(config.evict_until_free.of(figures.total_bytes), figures.evict_below_bytes);
    return figures;
  };
}

}  // namespace

Space::Space(const Config::Local& config, std::function<void()> pressure)
    : Space(measure_filesystem(config), std::move(pressure)) {}

Space::Space(Measure measure, std::function<void()> pressure)
    : measure_(std::move(measure)),
      pressure_(std::move(pressure)),
      last_pressure_ns_(steady_ns(steady_clock::now() - kPressureEvery)) {}

// The fast path: one fetch_sub. A lost race is not given back, for that could add to a newer grant: it costs
// no more than an earlier measurement.
bool Space::take(std::uint64_t bytes) {
  const auto expires = expires_ns_.load(std::memory_order_relaxed);
  if (expires != kNever && steady_ns(steady_clock::now()) >= expires) return false;
  const auto wanted = static_cast<std::int64_t>(bytes);
  if (budget_.load(std::memory_order_relaxed) < wanted) return false;
  return budget_.fetch_sub(wanted, std::memory_order_relaxed) >= wanted;
}

bool Space::admit(std::uint64_t bytes) {
  if (bytes == 0 || take(bytes)) return true;
  return measure_and_admit(bytes);
}

SpaceFigures Space::measure(std::uint64_t bytes, bool* admitted) {
  const auto now = steady_clock::now();
  // Before the look, so that nothing is admitted during it that neither it nor the budget would show.
  const auto left = budget_.exchange(0);
  const auto figures = measure_();
  auto above = minus(figures.free_bytes, figures.reserve_bytes);
  if (now - measured_ < kUnwritten && granted_ > left)
    above = minus(above, static_cast<std::uint64_t>(granted_ - left));
  *admitted = bytes <= above;
  // Near the reserve the grants are small; the rest is handed out after the next look.
  const auto taken = *admitted ? bytes : 0;
  const auto rest = above - taken;
  const auto grant = std::min(kLargestGrant, std::max(rest / 4, std::min(rest, kSmallestGrant)));
  granted_ = static_cast<std::int64_t>(taken + grant);
  measured_ = now;
  expires_ns_.store(above < kLow ? steady_ns(now + kLowLife) : kNever, std::memory_order_relaxed);
  budget_.store(static_cast<std::int64_t>(grant), std::memory_order_relaxed);
  return figures;
}

bool Space::measure_and_admit(std::uint64_t bytes) {
  bool admitted = false;
  bool pressed = false;
  {
    MutexLock lock(mutex_);
    if (take(bytes)) return true;  // another thread measured meanwhile
    const auto figures = measure(bytes, &admitted);
    pressed = !admitted || figures.free_bytes < figures.evict_below_bytes;
  }
  if (pressed) press();
  return admitted;
}

void Space::press() {
  if (!pressure_) return;
  const auto now = steady_ns(steady_clock::now());
  auto last = last_pressure_ns_.load(std::memory_order_relaxed);
  const auto every = std::chrono::duration_cast<std::chrono::nanoseconds>(kPressureEvery).count();
  if (now - last < every || !last_pressure_ns_.compare_exchange_strong(last, now)) return;
  pressure_();
}

Status Space::await(std::uint64_t bytes, std::chrono::milliseconds limit) {
  if (admit(bytes)) return {};
  const auto deadline = steady_clock::now() + limit;
  waiting_.fetch_add(bytes, std::memory_order_relaxed);
  for (;;) {
    std::uint64_t seen = 0;
    {
      MutexLock lock(mutex_);
      seen = frees_;
    }
    const bool admitted = admit(bytes);
    if (admitted || steady_clock::now() >= deadline) {
      waiting_.fetch_sub(bytes, std::memory_order_relaxed);
      if (admitted) return {};
      return make_error(
          ErrorCode::no_space, "write " + std::to_string(bytes) + " bytes",
          "the local branch is at its reserve and nothing more could be evicted in time (add space, lower "
          "local.reserve or unpin files)");
    }
    press();
    MutexLock lock(mutex_);
    const auto until = std::min(deadline, steady_clock::now() + kLowLife);
    while (frees_ == seen && freed_cv_.wait_until(mutex_, until)) {
    }
  }
}

bool Space::admit_cache(std::uint64_t bytes) {
  MutexLock lock(mutex_);
  if (steady_clock::now() - cache_measured_ >= kLowLife || cache_budget_ < bytes) {
    bool ignored = false;
    const auto figures = measure(0, &ignored);
    const auto keep = std::max(figures.reserve_bytes, figures.evict_below_bytes / 2);
    const auto above = minus(figures.free_bytes, keep);
    cache_budget_ = std::min(kLargestGrant, std::max(above / 4, std::min(above, kSmallestGrant)));
    cache_measured_ = measured_;
  }
  if (cache_budget_ < bytes || !take(bytes)) return false;
  cache_budget_ -= bytes;
  return true;
}

void Space::freed() {
  MutexLock lock(mutex_);
  ++frees_;
  budget_.store(0, std::memory_order_relaxed);
  granted_ = 0;
  cache_budget_ = 0;
  freed_cv_.notify_all();
}

SpaceFigures Space::figures() {
  MutexLock lock(mutex_);
  bool ignored = false;
  return measure(0, &ignored);
}

bool Space::ample(std::uint64_t writers) {
  const auto now = figures();
  const auto each = std::clamp(now.total_bytes / 64, kLeastUnseen, kMostUnseen);
  return minus(now.free_bytes, now.reserve_bytes) / each >= writers;
}

void Space::look() {
  if (under_pressure()) press();
}

bool Space::under_pressure() {
  const auto now = figures();
  return now.free_bytes < now.evict_below_bytes;
}

std::uint64_t Space::wanted_bytes() {
  const auto now = figures();
  const auto waiting = waiting_bytes();
  if (now.free_bytes < now.evict_below_bytes) return now.evict_until_bytes - now.free_bytes + waiting;
  return waiting > 0 ? minus(now.reserve_bytes + waiting, now.free_bytes) : 0;
}

}  // namespace mediafs::tier
