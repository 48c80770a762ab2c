// Whether the vault that answers is the one that this library was uploaded to. The directory of a disk that is not
// mounted is empty too, and so is a bucket that was made anew: neither must be filled, believed or cleaned.
// The vault carries a marker, .mediafs/vault-id, with an id that the catalogue knows (setting kVaultId). GuardedVault
// stands before a driver and lets only our own vault be changed or believed.
// Threads:    as vault.h. probe() on one thread at a time.
// Owns:       the driver. Borrows Catalogue (outlives it).
// Shapes:     the marker is 32 hexadecimal digits and a newline.
// Errors:     as vault.h, and offline for whatever would change or ask a vault that is not known to be ours.
// Crash:      the id is offered in the catalogue, then the marker is written, then the catalogue knows it as its vault's:
//             the next probe takes a marker that it had offered.
// Invariants: (1) not_found from head() and copy() means that the object is gone from our vault: the marker was read
//             after the store had said so; (2) put, copy and remove follow a look at the marker that is at most
//             kMarkerAge old; (3) only probe() writes the marker or the catalogue's id.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/sync.h"
#include "tier/catalogue/catalogue.h"
#include "tier/vault/vault.h"

namespace mediafs::tier {

inline constexpr const char* kVaultMarker = ".mediafs/vault-id";
inline constexpr std::chrono::seconds kMarkerAge{1};

enum class VaultState : std::uint8_t {
  unknown,  // it has not answered yet, or not the last time
  ours,
  missing,     // the catalogue knows an id (or copies), the vault has no marker
  other,       // it has another one
  incomplete,  // the catalogue is: whose vault it is can't be said before it has been rebuilt
};
std::string_view to_string(VaultState state) noexcept;

// The marker as it stands there, without its newline; unset: none is there.
Result<std::optional<std::string>> read_vault_marker(Vault& vault);
// For a look without consequences (doctor). REQUIRES: !known_id.empty().
Result<VaultState> look_at_vault(Vault& vault, std::string_view known_id);
// What happened, where, and what to do. REQUIRES: missing, other or incomplete.
Error not_our_vault(const Vault& vault, VaultState state);

class GuardedVault final : public Vault {
 public:
  struct Options {
    bool accept_new = false;  // what the first probe meets becomes this library's vault
    std::function<void()> on_doubt =
        {};  // a call between two probes found that the vault is not ours any more
  };
  GuardedVault(std::unique_ptr<Vault> driver, Catalogue& catalogue, Options options);
  ~GuardedVault() override;
  GuardedVault(const GuardedVault&) = delete;
  GuardedVault& operator=(const GuardedVault&) = delete;

  VaultState state() const EXCLUDES(mutex_);
  // Reads the marker. Where catalogue and vault have not met yet, and no other library has: writes it.
  Status probe() override EXCLUDES(mutex_);

  std::string describe() const override { return driver_->describe(); }
  Result<PutResult> put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                        std::stop_token stop) override;
  Result<ObjectInfo> head(const std::string& key) override;
  // A vault that was never reached is asked: the etag says whether the object is the one that is meant.
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
  Result<VaultState> identify(bool* probed);
  Result<VaultState> first_meeting(const std::optional<std::string>& marker);
  Status accept(std::optional<std::string> marker);
  Result<std::string> write_marker(const std::string& id);
  Result<bool> holds_known_files(const std::vector<VaultFile>& sample);
  void settle(VaultState state) EXCLUDES(mutex_);
  Status require_ours() const EXCLUDES(mutex_);
  // The marker was read no earlier than `since`, and is ours.
  Status recheck(SteadyTime since) EXCLUDES(mutex_);
  Status recheck_lately();

  const std::unique_ptr<Vault> driver_;
  Catalogue& catalogue_;
  const std::function<void()> on_doubt_;
  bool accept_new_;  // probe()'s
  mutable Mutex mutex_;
  CondVar checked_;
  VaultState state_ GUARDED_BY(mutex_) = VaultState::unknown;
  std::string id_ GUARDED_BY(mutex_);                        // while ours
  SteadyTime fresh_ GUARDED_BY(mutex_) = SteadyTime::min();  // when the last good look began
  bool checking_ GUARDED_BY(mutex_) = false;
};

}  // namespace mediafs::tier
