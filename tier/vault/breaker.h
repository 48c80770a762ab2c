// A fuse before any driver that talks to a server: once that asks us to slow down or refuses who we are, nothing is
// asked for a while but by one call now and then, which shows whether it has changed. The others fail at once.
// Threads:    as vault.h.
// Owns:       the driver. Borrows Clock (outlives it).
// Errors:     the driver's; while open, the error that opened it, with the time left in retry_after_ms.
// Invariants: (1) throttled and credentials open it at once, permission when it is all that was heard three times: one
//             object may well be denied where the others are not; (2) any other answer of the server closes it.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "common/clock.h"
#include "common/sync.h"
#include "tier/vault/vault.h"

namespace mediafs::tier {

class BreakerVault final : public Vault {
 public:
  explicit BreakerVault(std::unique_ptr<Vault> driver, Clock& clock = Clock::system());
  ~BreakerVault() override;
  BreakerVault(const BreakerVault&) = delete;
  BreakerVault& operator=(const BreakerVault&) = delete;

  std::string describe() const override { return driver_->describe(); }
  Status probe() override;
  Result<PutResult> put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                        std::stop_token stop) override;
  Result<ObjectInfo> head(const std::string& key) override;
  std::uint64_t start_read(ReadRequest request, std::function<bool(std::span<const std::byte>)> on_bytes,
                           std::function<void(Status)> on_done) override;
  void cancel(std::uint64_t read) override { driver_->cancel(read); }
  Result<ObjectInfo> copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                          std::stop_token stop) override;
  Status remove(const std::string& key) override;
  Status list(const std::string& prefix, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
              std::stop_token stop) override;
  Status list_after(const std::string& after, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                    std::stop_token stop) override;
  Status collect_garbage() override;

 private:
  enum class Turn : std::uint8_t { usual, trial };
  Result<Turn> admit(const std::string& what) EXCLUDES(mutex_);
  void heard(Turn turn, const Error* error) EXCLUDES(mutex_);
  void open(const Error& error) REQUIRES(mutex_);
  void close() REQUIRES(mutex_);
  template <class Call>
  auto guarded(const std::string& what, const Call& call) -> decltype(call());

  Clock& clock_;
  Mutex mutex_;
  std::optional<Error> why_ GUARDED_BY(mutex_);  // set: open
  SteadyTime until_ GUARDED_BY(mutex_);          // then one call may try
  std::chrono::milliseconds pause_ GUARDED_BY(mutex_){0};
  int denied_ GUARDED_BY(mutex_) = 0;    // in a row
  const std::unique_ptr<Vault> driver_;  // last: its reads end with it, and say so to the others
};

std::unique_ptr<Vault> with_breaker(std::unique_ptr<Vault> driver);

}  // namespace mediafs::tier
