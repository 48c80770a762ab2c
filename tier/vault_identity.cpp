#include "tier/vault_identity.h"

#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "common/crash.h"
#include "common/fd.h"
#include "common/log.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kIdLength = 32;
constexpr std::size_t kSample = 8;
constexpr std::string_view kOfferedId = "vault.id_offered";  // a setting: of the marker that is being written

bool is_id(std::string_view text) {
  return text.size() == kIdLength && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<std::string> new_id() {
  std::array<std::uint8_t, kIdLength / 2> bytes{};
  const ssize_t n = getrandom(bytes.data(), bytes.size(), 0);
  const int saved = errno;
  if (n != static_cast<ssize_t>(bytes.size())) return errno_error(saved, "random bytes for the vault's id");
  return to_hex(bytes);
}

Error not_reached(const Vault& vault) {
  return make_error(ErrorCode::offline, "vault " + vault.describe(), "it has not been reached yet");
}

}  // namespace

std::string_view to_string(VaultState state) noexcept {
  switch (state) {
    case VaultState::unknown:
      return "unknown";
    case VaultState::ours:
      return "ours";
    case VaultState::missing:
      return "missing";
    case VaultState::other:
      return "other";
    case VaultState::incomplete:
      return "incomplete";
  }
  return "";
}

Result<std::optional<std::string>> read_vault_marker(Vault& vault) {
  std::array<std::byte, kIdLength + 1> bytes{};
  auto got =
      vault.read({.key = kVaultMarker, .offset = 0, .size_bytes = bytes.size(), .if_match = {}}, bytes);
  if (!got && got.err().code == ErrorCode::not_found) return std::optional<std::string>{};
  if (!got && got.err().code == ErrorCode::changed)
    return std::optional<std::string>{"damaged"};  // too short
  if (!got) return std::move(got).error();
  std::string text;
  for (const std::byte b : bytes) text += static_cast<char>(b);
  if (text.back() == '\n') text.pop_back();
  if (!is_id(text)) text = "damaged";
  return std::optional<std::string>{std::move(text)};
}

Result<VaultState> look_at_vault(Vault& vault, std::string_view known_id) {
  MEDIAFS_ASSIGN(const auto marker, read_vault_marker(vault));
  if (!marker) return VaultState::missing;
  return *marker == known_id ? VaultState::ours : VaultState::other;
}

Error not_our_vault(const Vault& vault, VaultState state) {
  if (state == VaultState::incomplete)
    return make_error(
        ErrorCode::offline, "vault " + vault.describe(),
        "the catalogue was lost or is damaged, so that nothing there is changed or believed (mediafs "
        "unmount, mediafs rebuild, mediafs mount: the files are listed again, and nothing is lost)");
  const std::string why =
      state == VaultState::missing
          ? std::string("it is not the vault that this library was uploaded to: it has no ") + kVaultMarker
          : std::string("it is another library's vault: its ") + kVaultMarker + " is not ours";
  return make_error(
      ErrorCode::offline, "vault " + vault.describe(),
      why +
          " (mount its disk, or check the bucket and vault.url; nothing is uploaded, evicted or "
          "deleted meanwhile. Only if the vault was really replaced, or this library takes the place of one "
          "that no "
          "mediafs serves any more: mediafs mount --new-vault)");
}

GuardedVault::GuardedVault(std::unique_ptr<Vault> driver, Catalogue& catalogue, Options options)
    : driver_(std::move(driver)),
      catalogue_(catalogue),
      on_doubt_(std::move(options.on_doubt)),
      accept_new_(options.accept_new) {}
GuardedVault::~GuardedVault() = default;

VaultState GuardedVault::state() const {
  if (catalogue_.damaged()) return VaultState::incomplete;
  MutexLock lock(mutex_);
  return state_;
}

void GuardedVault::settle(VaultState state) {
  MutexLock lock(mutex_);
  state_ = state;
}

Status GuardedVault::probe() {
  const SteadyTime began = std::chrono::steady_clock::now();
  if (catalogue_.damaged() || (!accept_new_ && !catalogue_.incomplete().empty())) {
    if (!catalogue_.damaged()) settle(VaultState::incomplete);
    return not_our_vault(*driver_, VaultState::incomplete);
  }
  bool probed = false;
  auto state = identify(&probed);
  if (!state) {
    // One that asks us to slow down is still the one that it was.
    if (state.err().code != ErrorCode::throttled) settle(VaultState::unknown);
    return std::move(state).error();
  }
  if (*state != VaultState::ours) {
    settle(*state);
    MEDIAFS_TRY(driver_->probe());  // a bucket that is not there says more than a missing marker
    return not_our_vault(*driver_, *state);
  }
  MEDIAFS_ASSIGN(std::string id, catalogue_.setting(kVaultId));
  {
    MutexLock lock(mutex_);
    state_ = VaultState::ours;
    id_ = std::move(id);
    fresh_ = began;
  }
  accept_new_ = false;
  return probed ? Status() : driver_->probe();
}

// A root that was never seen is made by the driver's probe: so a vault that is known is asked for its marker first.
Result<VaultState> GuardedVault::identify(bool* probed) {
  MEDIAFS_ASSIGN(const std::string known, catalogue_.setting(kVaultId));
  *probed = known.empty() || accept_new_;
  if (*probed) MEDIAFS_TRY(driver_->probe());
  MEDIAFS_ASSIGN(auto marker, read_vault_marker(*driver_));
  if (!known.empty() && marker == known) return VaultState::ours;
  if (accept_new_) {
    MEDIAFS_TRY(accept(std::move(marker)));
    return VaultState::ours;
  }
  if (known.empty()) return first_meeting(marker);
  return marker ? VaultState::other : VaultState::missing;
}

Result<VaultState> GuardedVault::first_meeting(const std::optional<std::string>& marker) {
  // A catalogue of an older mediafs: it knows files, but no id.
  MEDIAFS_ASSIGN(const auto sample, catalogue_.vault_sample(kSample));
  if (!sample.empty()) {
    MEDIAFS_ASSIGN(const bool known, holds_known_files(sample));
    if (!known) return marker ? VaultState::other : VaultState::missing;
  }
  MEDIAFS_ASSIGN(std::string id, catalogue_.setting(kOfferedId));
  // Two libraries over one vault would overwrite what the other alone knows.
  if (marker && sample.empty() && *marker != id) return VaultState::other;
  if (marker && !is_id(*marker)) return VaultState::other;
  if (marker) {
    id = *marker;
  } else {
    MEDIAFS_ASSIGN(id, new_id());
    MEDIAFS_TRY(catalogue_.set_setting(kOfferedId, id));
    MEDIAFS_TRY(catalogue_.sync());
    crash_point("vault_id.after_offer");
    MEDIAFS_ASSIGN(const std::string stands, write_marker(id));
    crash_point("vault_id.after_marker");
    if (stands != id) return VaultState::other;
  }
  MEDIAFS_TRY(catalogue_.set_setting(kVaultId, id));
  crash_point("vault_id.after_commit");
  log::info("the vault is this library's from now on", {{"vault", describe()}, {"id", id}});
  return VaultState::ours;
}

Result<bool> GuardedVault::holds_known_files(const std::vector<VaultFile>& sample) {
  for (const VaultFile& file : sample) {
    auto head = driver_->head(file.key);
    if (head && head->size_bytes == file.size_bytes) return true;
    if (!head && head.err().code != ErrorCode::not_found) return std::move(head).error();
  }
  return false;
}

Status GuardedVault::accept(std::optional<std::string> marker) {
  if (marker && !is_id(*marker)) {
    return make_error(ErrorCode::offline, "vault " + describe(),
                      std::string(kVaultMarker) + " in it is damaged (remove that object, then mount again)");
  }
  if (!marker) {
    MEDIAFS_ASSIGN(const std::string id, new_id());
    MEDIAFS_ASSIGN(marker, write_marker(id));
  }
  crash_point("new_vault.after_marker");
  MEDIAFS_TRY(catalogue_.vault_replaced());
  crash_point("new_vault.after_losses");
  MEDIAFS_TRY(catalogue_.set_setting(kVaultId, *marker));
  if (!catalogue_.incomplete().empty()) MEDIAFS_TRY(catalogue_.completed());
  log::warning(
      "a new vault is accepted: what is on this machine is uploaded to it, what is not counts as lost "
      "until it is found there",
      {{"vault", describe()}, {"id", *marker}});
  return {};
}

// Somebody else may write one at the same time: whichever stands there afterwards counts.
Result<std::string> GuardedVault::write_marker(const std::string& id) {
  const std::string text = id + "\n";
  const Fd fd(memfd_create("vault-id", MFD_CLOEXEC));
  const int saved = errno;
  if (!fd) return errno_error(saved, "memory for the vault's marker");
  MEDIAFS_TRY(write_all(fd.get(), std::as_bytes(std::span(text)), 0));
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  ObjectMeta meta;
  meta.mtime_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  auto put =
      driver_->put(kVaultMarker, {.fd = fd.get(), .size_bytes = text.size(), .only_new = true}, meta, {});
  if (!put && put.err().code != ErrorCode::exists) return std::move(put).error();
  MEDIAFS_ASSIGN(auto stands, read_vault_marker(*driver_));
  if (stands && is_id(*stands)) return std::move(*stands);
  return make_error(ErrorCode::io, "vault " + describe(), "the marker that was written does not stand there");
}

Status GuardedVault::require_ours() const {
  const VaultState now = state();
  if (now == VaultState::ours) return {};
  return now == VaultState::unknown ? not_reached(*driver_) : not_our_vault(*driver_, now);
}

// One look serves all who began to wait before it.
Status GuardedVault::recheck(SteadyTime since) {
  MutexLock lock(mutex_);
  while (checking_ && fresh_ < since) checked_.wait(mutex_);  // the driver's timeouts end it
  if (state_ != VaultState::ours || fresh_ >= since) {
    lock.unlock();
    return require_ours();
  }
  checking_ = true;
  const std::string id = id_;
  lock.unlock();
  const SteadyTime began = std::chrono::steady_clock::now();
  auto seen = look_at_vault(*driver_, id);
  const bool doubt = seen && *seen != VaultState::ours;
  lock.lock();
  checking_ = false;
  if (seen && state_ == VaultState::ours) state_ = *seen;
  if (seen && !doubt) fresh_ = std::max(fresh_, began);
  checked_.notify_all();
  lock.unlock();
  if (!seen) return std::move(seen).error();
  if (doubt && on_doubt_) on_doubt_();
  return require_ours();
}

Status GuardedVault::recheck_lately() {
  return recheck(std::chrono::steady_clock::now() - kMarkerAge);
}

Result<PutResult> GuardedVault::put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                                    std::stop_token stop) {
  MEDIAFS_TRY(recheck_lately());
  return driver_->put(key, source, meta, std::move(stop));
}

Result<ObjectInfo> GuardedVault::head(const std::string& key) {
  MEDIAFS_TRY(require_ours());
  auto info = driver_->head(key);
  if (!info && info.err().code == ErrorCode::not_found)
    MEDIAFS_TRY(recheck(std::chrono::steady_clock::now()));
  return info;
}

std::uint64_t GuardedVault::start_read(ReadRequest request,
                                       std::function<bool(std::span<const std::byte>)> on_bytes,
                                       std::function<void(Status)> on_done) {
  VaultState now = VaultState::unknown;  // of the vault: what a damaged catalogue still says is tried
  {
    MutexLock lock(mutex_);
    now = state_;
  }
  if (now == VaultState::ours || now == VaultState::unknown)
    return driver_->start_read(std::move(request), std::move(on_bytes), std::move(on_done));
  on_done(not_our_vault(*driver_, now));
  return 0;
}

Result<ObjectInfo> GuardedVault::copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                                      std::stop_token stop) {
  MEDIAFS_TRY(recheck_lately());
  auto info = driver_->copy(from, to, meta, std::move(stop));
  if (!info && info.err().code == ErrorCode::not_found)
    MEDIAFS_TRY(recheck(std::chrono::steady_clock::now()));
  return info;
}

Status GuardedVault::remove(const std::string& key) {
  MEDIAFS_TRY(recheck_lately());
  return driver_->remove(key);
}

Status GuardedVault::list(const std::string& prefix,
                          const std::function<bool(std::vector<ObjectInfo>&&)>& page, std::stop_token stop) {
  MEDIAFS_TRY(require_ours());
  return driver_->list(prefix, page, std::move(stop));
}

Status GuardedVault::list_after(const std::string& after,
                                const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                                std::stop_token stop) {
  MEDIAFS_TRY(require_ours());
  return driver_->list_after(after, page, std::move(stop));
}

Status GuardedVault::collect_garbage() {
  MEDIAFS_TRY(recheck_lately());
  return driver_->collect_garbage();
}

}  // namespace mediafs::tier
