#include "app/trash_sweep.h"

#include <algorithm>
#include <exception>

#include "common/log.h"

namespace mediafs::app {

namespace {

constexpr std::chrono::milliseconds kOftenest{1000};
constexpr std::chrono::milliseconds kLeastOften{600'000};
constexpr std::chrono::hours kLongestWait{1};
constexpr std::chrono::minutes kClockStep{1};

// What is kept for a short time goes in time.
std::chrono::milliseconds interval(std::chrono::milliseconds kept_for) {
  return kept_for.count() == 0 ? kLeastOften : std::clamp(kept_for / 10, kOftenest, kLeastOften);
}

}  // namespace

TrashSweep::TrashSweep(tier::Trash& trash, std::chrono::milliseconds kept_for, std::function<bool()> ready)
    : trash_(trash),
      every_(interval(kept_for)),
      clock_holds_for_(std::min<std::chrono::milliseconds>(kept_for / 10, kLongestWait)),
      ready_(std::move(ready)) {}

TrashSweep::~TrashSweep() {
  stop();
}

void TrashSweep::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void TrashSweep::stop() {
  pause_.end();
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

bool TrashSweep::clock_holds() {
  const SteadyTime now = std::chrono::steady_clock::now();
  const std::chrono::nanoseconds ahead =
      std::chrono::nanoseconds(Clock::system().wall_ns()) - now.time_since_epoch();
  if (!clock_held_since_ || std::chrono::abs(ahead - clock_ahead_) > kClockStep) {
    clock_ahead_ = ahead;
    clock_held_since_ = now;
  }
  return now - *clock_held_since_ >= clock_holds_for_;
}

void TrashSweep::sweep(const std::stop_token& stop) {
  const auto swept = trash_.sweep(stop, clock_holds());
  if (!swept && !told_) log::warning("the trash is emptied later", swept.err());
  told_ = !swept;
  if (swept && swept->files > 0)
    log::info("removed from the trash for good", {{"files", swept->files}, {"bytes", swept->bytes}});
}

void TrashSweep::run(const std::stop_token& stop) noexcept {
  try {
    auto time = kOftenest;  // until the vault has answered
    while (pause_.wait(time)) {
      if (!ready_()) continue;
      sweep(stop);
      time = every_;
    }
  } catch (const std::exception& e) {
    log::error("the trash is not emptied any more", {{"cause", e.what()}});
  }
}

}  // namespace mediafs::app
