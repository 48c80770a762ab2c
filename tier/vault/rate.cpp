#include "tier/vault/rate.h"

#include <algorithm>
#include <random>
#include <utility>

namespace mediafs::tier {

namespace {

constexpr std::uint64_t kSmall = 64U << 10;
constexpr std::chrono::milliseconds kAskAgain{250};
constexpr std::chrono::hours kMostDebt{24};

}  // namespace

std::uint64_t RateLimit::bytes_per_second() const {
  MutexLock lock(mutex_);
  return rate_;
}

void RateLimit::set(std::uint64_t bytes_per_second) {
  MutexLock lock(mutex_);
  rate_ = bytes_per_second;
  paid_until_ = {};
  ++set_;
  changed_.notify_all();
}

RateLimit::Time RateLimit::charge(std::uint64_t size_bytes) {
  const std::chrono::duration<double> cost(static_cast<double>(size_bytes) / static_cast<double>(rate_));
  const auto now = std::chrono::steady_clock::now();
  const Time turn = std::max(paid_until_, now);
  const Time until = turn + std::chrono::duration_cast<Time::duration>(
                                std::min<std::chrono::duration<double>>(cost, kMostDebt));
  paid_until_ = std::min(until, now + kMostDebt);
  return turn;
}

Status RateLimit::acquire(std::uint64_t size_bytes, const std::stop_token& stop) {
  const std::stop_callback on_stop(stop, [this] {
    { MutexLock lock(mutex_); }  // so that the wake-up can't fall between the check and the wait
    changed_.notify_all();
  });
  MutexLock lock(mutex_);
  for (;;) {
    if (rate_ == 0 || size_bytes == 0) return {};
    const std::uint64_t before = set_;
    const Time turn = charge(size_bytes);
    const Time::duration cost = paid_until_ - turn;
    while (!stop.stop_requested() && set_ == before && std::chrono::steady_clock::now() < turn)
      changed_.wait_until(mutex_, turn);
    if (stop.stop_requested()) {
      if (set_ == before) paid_until_ -= cost;
      return make_error(ErrorCode::cancelled, "upload", "asked to stop");
    }
    if (set_ == before) return {};
  }
}

std::chrono::milliseconds RateLimit::take(std::uint64_t size_bytes) {
  MutexLock lock(mutex_);
  if (rate_ == 0 || size_bytes == 0) return {};
  const auto debt = paid_until_ - std::chrono::steady_clock::now();
  if (debt > Time::duration::zero() && size_bytes > kSmall)
    return std::min(kAskAgain, std::chrono::ceil<std::chrono::milliseconds>(debt));
  charge(size_bytes);
  return {};
}

void RetryBudget::refill() {
  constexpr double kEachSecond = 1;
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - std::exchange(filled_, now)).count();
  tokens_ = std::min(kMost, tokens_ + seconds * kEachSecond);
}

bool RetryBudget::take() {
  MutexLock lock(mutex_);
  refill();
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

void RetryBudget::went_well() {
  constexpr double kEachSuccess = 0.1;
  MutexLock lock(mutex_);
  refill();
  tokens_ = std::min(kMost, tokens_ + kEachSuccess);
}

std::optional<std::chrono::milliseconds> quick_pause(int attempt, const Error& last) {
  constexpr std::chrono::milliseconds kFirst{150};
  constexpr std::int64_t kLongestMs = 5'000;
  if (last.retry_after_ms > kLongestMs) return std::nullopt;
  thread_local std::minstd_rand random{std::random_device{}()};
  const auto most = kFirst * (1 << attempt);
  const std::chrono::milliseconds jitter(
      std::uniform_int_distribution<std::int64_t>(0, most.count())(random));
  return std::chrono::milliseconds(last.retry_after_ms) + jitter;
}

bool wait_unless_stopped(const std::stop_token& stop, std::chrono::steady_clock::time_point until) {
  Mutex mutex;
  CondVar wake;
  const std::stop_callback on_stop(stop, [&] {
    { MutexLock lock(mutex); }  // so that the wake-up can't fall between the check and the wait
    wake.notify_all();
  });
  MutexLock lock(mutex);
  while (!stop.stop_requested() && std::chrono::steady_clock::now() < until) wake.wait_until(mutex, until);
  return !stop.stop_requested();
}

}  // namespace mediafs::tier
