#include "tier/vault/s3_access.h"

#include <algorithm>

#include "common/log.h"

namespace mediafs::tier::s3 {

namespace {

// Files that did not help are not read again for each refused request.
constexpr std::chrono::seconds kReadPause{1};
constexpr std::size_t kSecrets = 8;
constexpr std::size_t kLongestRegion = 40;

bool is_region(const std::string& text) {
  return !text.empty() && text.size() <= kLongestRegion &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
}

bool same(const Credentials& a, const Credentials& b) {
  return a.access_key == b.access_key && a.secret_key == b.secret_key && a.session_token == b.session_token;
}

}  // namespace

std::string amazon_host(const std::string& region) {
  return "s3." + region + ".amazonaws.com" + (region.starts_with("cn-") ? ".cn" : "");
}

Access::Access(const Options& options)
    : read_again_(options.read_credentials),
      of_amazon_(options.host == amazon_host(options.region)),
      now_{options.credentials, options.region, options.host, 0} {
  MutexLock lock(mutex_);
  note_secrets();
}

Access::Now Access::now() const {
  MutexLock lock(mutex_);
  return now_;
}

std::uint64_t Access::version() const {
  MutexLock lock(mutex_);
  return now_.version;
}

bool Access::renew(std::uint64_t seen) {
  MutexLock lock(mutex_);
  while (reading_) read_.wait(mutex_);  // a few small files
  if (now_.version != seen) return true;
  if (!read_again_ || std::chrono::steady_clock::now() < not_before_) return false;
  reading_ = true;
  lock.unlock();
  auto found = read_again_();
  lock.lock();
  reading_ = false;
  not_before_ = std::chrono::steady_clock::now() + kReadPause;
  read_.notify_all();
  if (!found || found->access_key.empty() || same(*found, now_.credentials)) return false;
  now_.credentials = std::move(*found);
  ++now_.version;
  note_secrets();
  lock.unlock();
  log::info(
      "the vault's credentials were renewed: those that the server refused are not those in the file any "
      "more");
  return true;
}

bool Access::move_to(const std::string& region, std::uint64_t seen) {
  MutexLock lock(mutex_);
  if (now_.version != seen) return true;
  if (!is_region(region) || region == now_.region) return false;
  const std::string before = std::exchange(now_.region, region);
  if (of_amazon_) now_.host = amazon_host(region);
  ++now_.version;
  lock.unlock();
  log::warning("the bucket is in another region, which is used from now on (set vault.region)",
               {{"region", region}, {"configured", before}});
  return true;
}

void Access::note_secrets() {
  for (const std::string* secret : {&now_.credentials.secret_key, &now_.credentials.session_token}) {
    if (secret->size() >= 4) secrets_.push_back(*secret);
  }
  if (secrets_.size() > kSecrets) secrets_.erase(secrets_.begin(), secrets_.end() - kSecrets);
}

std::string Access::scrub(std::string text) const {
  MutexLock lock(mutex_);
  for (const std::string& secret : secrets_) {
    for (auto at = text.find(secret); at != std::string::npos; at = text.find(secret, at + 3)) {
      text.replace(at, secret.size(), "***");
    }
  }
  return text;
}

}  // namespace mediafs::tier::s3
