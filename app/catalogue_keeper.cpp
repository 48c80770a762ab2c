#include "app/catalogue_keeper.h"

#include <algorithm>
#include <exception>

#include "common/log.h"
#include "tier/snapshots.h"

namespace mediafs::app {

namespace {

constexpr std::chrono::milliseconds kFirst =
    std::chrono::minutes(10);  // what is new then is worth a snapshot
constexpr std::chrono::milliseconds kLook = std::chrono::minutes(1);

}  // namespace

CatalogueKeeper::CatalogueKeeper(tier::Branches& branches, bool checked, std::function<bool()> may_write)
    : branches_(branches), checked_(checked), may_write_(std::move(may_write)) {}
CatalogueKeeper::~CatalogueKeeper() {
  stop();
}

void CatalogueKeeper::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void CatalogueKeeper::stop() {
  pause_.end();
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void CatalogueKeeper::run(const std::stop_token& stop) noexcept {
  try {
    if (!checked_) {
      if (auto sound = branches_.catalogue->check(stop); !sound && !stop.stop_requested())
        log::error("the catalogue's check", sound.err());
    }
    const auto every = branches_.config.vault.snapshot_every;
    if (branches_.vault == nullptr || every.count() == 0) return;
    tier::Snapshots snapshots(branches_, branches_.config.local.state);
    bool told = false;
    for (auto time = std::min(every, kFirst); pause_.wait(time); time = std::min(every, kLook)) {
      if (!may_write_() || branches_.catalogue->damaged()) continue;
      const auto taken = snapshots.take_if_due(stop);
      if (!taken && !told && !stop.stop_requested())
        log::warning("no snapshot of the catalogue could be put into the vault; it is tried again",
                     taken.err());
      told = !taken;
    }
  } catch (const std::exception& e) {
    log::error("the catalogue's keeper ended", {{"cause", e.what()}});
  }
}

}  // namespace mediafs::app
