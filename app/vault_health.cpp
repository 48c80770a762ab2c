#include "app/vault_health.h"

#include <exception>

#include "common/log.h"

namespace mediafs::app {

namespace {

constexpr std::chrono::seconds kWhileOk{60};
constexpr std::chrono::seconds kWhileNot{5};

}  // namespace

VaultHealth::VaultHealth(tier::Vault& vault, Clock& clock,
                         std::function<Status(std::stop_token)> first_contact)
    : vault_(vault), clock_(clock), first_contact_(std::move(first_contact)) {}
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

Health VaultHealth::health() const {
  MutexLock lock(mutex_);
  return health_;
}

void VaultHealth::note(const Status& status) {
  MutexLock lock(mutex_);
  const bool turned = !health_.known || health_.ok != status.has_value();
  health_.error = status ? "" : status.err().message();
  health_.ok = status.has_value();
  health_.known = true;
  if (!turned) return;
  health_.since_ns = clock_.wall_ns();
  lock.unlock();
  if (status) {
    log::info("the vault answers", {{"vault", vault_.describe()}});
  } else {
    log::warning("the vault does not answer; what needs it waits", status.err(),
                 {{"vault", vault_.describe()}});
  }
}

void VaultHealth::run(const std::stop_token& stop) noexcept {
  try {
    bool met = false;
    for (;;) {
      Status status = vault_.probe();
      if (status && !met) {
        status = first_contact_(stop);
        met = status.has_value();
      }
      if (stop.stop_requested()) return;
      note(status);
      const auto until = std::chrono::steady_clock::now() + (status ? kWhileOk : kWhileNot);
      MutexLock lock(mutex_);
      while (!stopping_ && changed_.wait_until(mutex_, until)) {
      }
      if (stopping_) return;
    }
  } catch (const std::exception& e) {
    log::error("the vault's watch ended", {{"cause", e.what()}});
  }
}

}  // namespace mediafs::app
