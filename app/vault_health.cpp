#include "app/vault_health.h"

#include <exception>

#include "common/log.h"

namespace mediafs::app {

namespace {

constexpr std::chrono::seconds kWhileOk{30};
constexpr std::chrono::seconds kWhileNot{5};
constexpr std::chrono::seconds kPatience{10};  // a probe that takes longer is one that gets no answer

}  // namespace

VaultHealth::VaultHealth(tier::GuardedVault& vault, Clock& clock,
                         std::function<Status(std::stop_token)> first_contact, std::function<void()> back)
    : vault_(vault), clock_(clock), first_contact_(std::move(first_contact)), back_(std::move(back)) {}
VaultHealth::~VaultHealth() {
  stop();
}

void VaultHealth::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void VaultHealth::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void VaultHealth::look_now() {
  MutexLock lock(mutex_);
  asap_ = true;
  changed_.notify_all();
}

Health VaultHealth::health() const {
  MutexLock lock(mutex_);
  Health health = health_;
  if (asked_ == SteadyTime::max() || clock_.steady() - asked_ < kPatience || (health.known && !health.ok))
    return health;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(clock_.steady() - asked_).count();
  health.known = true;
  health.ok = false;
  health.since_ns = asked_ns_;
  health.error = vault_.describe() + ": no answer for " + std::to_string(seconds) + " s";
  return health;
}

void VaultHealth::note(const Status& status) {
  const tier::VaultState state = vault_.state();
  MutexLock lock(mutex_);
  asked_ = SteadyTime::max();
  const bool other =
      state != told_ && (state == tier::VaultState::missing || state == tier::VaultState::other ||
                         state == tier::VaultState::incomplete);
  const bool turned = !health_.known || health_.ok != status.has_value() || other;
  told_ = state;
  health_.error = status ? "" : status.err().message();
  health_.ok = status.has_value();
  health_.known = true;
  if (!turned) return;
  health_.since_ns = clock_.wall_ns();
  lock.unlock();
  if (status) {
    log::info("the vault answers", {{"vault", vault_.describe()}});
    back_();
  } else if (other) {
    log::error("the vault is not ours; what needs it waits", status.err());
  } else {
    const ErrorCode code = status.err().code;
    const bool silent =
        code == ErrorCode::offline || code == ErrorCode::timeout || code == ErrorCode::throttled;
    log::warning(silent ? "the vault does not answer; what needs it waits"
                        : "the vault can't be used; what needs it waits",
                 status.err(), {{"vault", vault_.describe()}});
  }
}

void VaultHealth::run(const std::stop_token& stop) noexcept {
  try {
    bool met = false;
    for (;;) {
      {
        MutexLock lock(mutex_);
        asked_ = clock_.steady();
        asked_ns_ = clock_.wall_ns();
      }
      Status status = vault_.probe();
      if (status && !met) {
        {
          MutexLock lock(mutex_);
          asked_ = SteadyTime::max();  // it answers; what follows may take long
        }
        status = first_contact_(stop);
        met = status.has_value();
      }
      if (stop.stop_requested()) return;
      note(status);
      const auto until = std::chrono::steady_clock::now() + (status ? kWhileOk : kWhileNot);
      MutexLock lock(mutex_);
      while (!stopping_ && !asap_ && changed_.wait_until(mutex_, until)) {
      }
      if (stopping_) return;
      asap_ = false;
    }
  } catch (const std::exception& e) {
    log::error("the vault's watch ended", {{"cause", e.what()}});
  }
}

}  // namespace mediafs::app
