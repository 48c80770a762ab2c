#include "tier/vault/rate.h"

#include <algorithm>
#include <random>
#include <utility>

namespace mediafs::tier {

Status RateLimit::acquire(std::uint64_t size_bytes, const std::stop_token& stop) {
  if (rate_ == 0 || size_bytes == 0) return {};
  const std::chrono::duration<double> cost(static_cast<double>(size_bytes) / static_cast<double>(rate_));
  std::chrono::steady_clock::time_point turn;
  {
    MutexLock lock(mutex_);
    turn = std::max(paid_until_, std::chrono::steady_clock::now());
    paid_until_ = turn + std::chrono::duration_cast<std::chrono::steady_clock::duration>(cost);
  }
  if (wait_unless_stopped(stop, turn)) return {};
  MutexLock lock(mutex_);
  paid_until_ -= std::chrono::duration_cast<std::chrono::steady_clock::duration>(cost);
  return make_error(ErrorCode::cancelled, "upload", "asked to stop");
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
