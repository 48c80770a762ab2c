#include "tier/vault/breaker.h"

#include <algorithm>

#include "common/log.h"
#include "common/path.h"

namespace mediafs::tier {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{1'000};
constexpr milliseconds kRefusedPause{5'000};
constexpr milliseconds kLongestPause{30'000};  // a server that heals is used again within this time
constexpr std::int64_t kMostBelievedMs = 60'000;
constexpr milliseconds kTrial{10'000};  // a large upload may be one: then the next is let through
constexpr int kDenials = 3;

// Whether the server has said something of the object, and not of us or of itself.
bool answered(ErrorCode code) {
  switch (code) {
    case ErrorCode::offline:
    case ErrorCode::timeout:
    case ErrorCode::cancelled:
    case ErrorCode::io:
    case ErrorCode::internal:
      return false;
    default:
      return true;
  }
}

}  // namespace

BreakerVault::BreakerVault(std::unique_ptr<Vault> driver, Clock& clock)
    : clock_(clock), driver_(std::move(driver)) {}
BreakerVault::~BreakerVault() = default;

std::unique_ptr<Vault> with_breaker(std::unique_ptr<Vault> driver) {
  return std::make_unique<BreakerVault>(std::move(driver));
}

Result<BreakerVault::Turn> BreakerVault::admit(const std::string& what) {
  MutexLock lock(mutex_);
  if (!why_) return Turn::usual;
  const SteadyTime now = clock_.steady();
  if (now >= until_) {
    until_ = now + kTrial;
    return Turn::trial;
  }
  Error error = *why_;
  error.what = what;
  error.retry_after_ms = std::max<std::int64_t>(
      std::chrono::duration_cast<milliseconds>(until_ - now).count(), kFirstPause.count());
  return error;
}

void BreakerVault::heard(Turn turn, const Error* error) {
  MutexLock lock(mutex_);
  if (error == nullptr || (answered(error->code) && error->code != ErrorCode::permission)) denied_ = 0;
  const bool refused =
      error != nullptr && (error->code == ErrorCode::throttled || error->code == ErrorCode::credentials ||
                           (error->code == ErrorCode::permission && ++denied_ >= kDenials));
  // What began before it opened says nothing about now.
  if (why_ && turn == Turn::usual) return;
  if (refused) return open(*error);
  if (!why_) return;
  if (error == nullptr || answered(error->code)) return close();
  until_ = clock_.steady();  // nothing was learnt: the next may try
}

void BreakerVault::open(const Error& error) {
  const milliseconds least = error.code == ErrorCode::throttled ? kFirstPause : kRefusedPause;
  pause_ = why_ ? std::min(std::max(pause_ * 2, least), kLongestPause) : least;
  pause_ = std::max(pause_, milliseconds(std::min(error.retry_after_ms, kMostBelievedMs)));
  until_ = clock_.steady() + pause_;
  if (!why_) {
    log::warning("the vault is left alone for a while", error, {{"delay_ms", std::int64_t{pause_.count()}}});
  }
  why_ = error;
}

void BreakerVault::close() {
  why_.reset();
  denied_ = 0;
  log::info("the vault answers again as it should");
}

template <class Call>
auto BreakerVault::guarded(const std::string& what, const Call& call) -> decltype(call()) {
  MEDIAFS_ASSIGN(const Turn turn, admit(what));
  auto result = call();
  heard(turn, result ? nullptr : &result.error());
  return result;
}

Status BreakerVault::probe() {
  return guarded("vault " + describe(), [&] { return driver_->probe(); });
}

Result<PutResult> BreakerVault::put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                                    std::stop_token stop) {
  return guarded("put vault object " + printable(key),
                 [&] { return driver_->put(key, source, meta, std::move(stop)); });
}

Result<ObjectInfo> BreakerVault::head(const std::string& key) {
  return guarded("head vault object " + printable(key), [&] { return driver_->head(key); });
}

std::uint64_t BreakerVault::start_read(ReadRequest request,
                                       std::function<bool(std::span<const std::byte>)> on_bytes,
                                       std::function<void(Status)> on_done) {
  auto turn = admit("read vault object " + printable(request.key));
  if (!turn) {
    on_done(std::move(turn).error());
    return 0;
  }
  return driver_->start_read(std::move(request), std::move(on_bytes),
                             [this, turn = *turn, on_done = std::move(on_done)](Status status) {
                               heard(turn, status ? nullptr : &status.error());
                               on_done(std::move(status));
                             });
}

Result<ObjectInfo> BreakerVault::copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                                      std::stop_token stop) {
  return guarded("copy vault object " + printable(from),
                 [&] { return driver_->copy(from, to, meta, std::move(stop)); });
}

Status BreakerVault::remove(const std::string& key) {
  return guarded("remove vault object " + printable(key), [&] { return driver_->remove(key); });
}

Status BreakerVault::list(const std::string& prefix,
                          const std::function<bool(std::vector<ObjectInfo>&&)>& page, std::stop_token stop) {
  return guarded("list " + describe(), [&] { return driver_->list(prefix, page, std::move(stop)); });
}

Status BreakerVault::list_after(const std::string& after,
                                const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                                std::stop_token stop) {
  return guarded("list " + describe(), [&] { return driver_->list_after(after, page, std::move(stop)); });
}

Status BreakerVault::collect_garbage() {
  return guarded("clear " + describe(), [&] { return driver_->collect_garbage(); });
}

}  // namespace mediafs::tier
