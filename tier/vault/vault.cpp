#include "tier/vault/vault.h"

#include <cstring>

#include "common/path.h"
#include "common/sync.h"
#include "tier/vault/breaker.h"
#include "tier/vault/dir.h"
#include "tier/vault/rate.h"
#include "tier/vault/s3.h"
#include "tier/vault/webdav.h"

namespace mediafs::tier {

namespace {

Error bad_url(const std::string& url, std::string why) {
  return make_error(ErrorCode::config, "vault.url " + printable(url), std::move(why));
}

// The path is taken as it stands: a person writes "/mnt/my disk", not "%20".
Result<std::unique_ptr<Vault>> open_dir_url(const Config& config, std::shared_ptr<Limits> limits) {
  const std::string& url = config.vault.url;
  std::string path = url.substr(std::strlen("file://"));
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path.empty() || path.front() != '/') return bad_url(url, "needs an absolute path: file:///path");
  if (path == "/") return bad_url(url, "the root directory can't be a vault");
  if (auto fine = check_path(std::string_view(path).substr(1)); !fine)
    return bad_url(url, fine.error().cause);
  return open_dir_vault(std::move(path), std::move(limits));
}

}  // namespace

std::shared_ptr<Limits> limits_from(const Config& config) {
  auto limits = std::make_shared<Limits>();
  limits->upload.set(config.vault.upload_limit);
  limits->download.set(config.vault.download_limit);
  return limits;
}

Result<std::unique_ptr<Vault>> open_vault(const Config& config, const Credentials& credentials,
                                          std::shared_ptr<Limits> limits) {
  if (!limits) limits = limits_from(config);
  const std::string& url = config.vault.url;
  if (url.empty()) return make_error(ErrorCode::config, "vault.url", "no vault is configured");
  if (url.starts_with("file://")) return open_dir_url(config, std::move(limits));
  if (url.starts_with("s3://")) {
    MEDIAFS_ASSIGN(s3::Options options, s3::options_from(config, credentials));
    options.limits = std::move(limits);
    options.read_credentials = [config] { return load_credentials(config, process_environment()); };
    return with_breaker(s3::open_s3_vault(std::move(options)));
  }
  if (url.starts_with("webdav://") || url.starts_with("webdavs://")) {
    MEDIAFS_ASSIGN(webdav::Options options, webdav::options_from(config, credentials));
    options.limits = std::move(limits);
    return with_breaker(webdav::open_webdav_vault(std::move(options)));
  }
  return bad_url(url, "unknown kind of vault (use file:///path, s3://bucket/prefix or webdavs://host/path)");
}

Result<std::size_t> Vault::read(ReadRequest request, std::span<std::byte> into) {
  struct Wait {
    Mutex mutex;
    CondVar wake;
    bool done GUARDED_BY(mutex) = false;
    Status status GUARDED_BY(mutex);
  } wait;
  const std::string what = "read vault object " + printable(request.key);
  if (request.size_bytes == 0) return std::size_t{0};
  if (request.size_bytes > into.size())
    return make_error(ErrorCode::invalid, what, "the buffer is too small");
  std::size_t filled = 0;  // the driver's callbacks come one after the other, and all before on_done
  const std::size_t size = static_cast<std::size_t>(request.size_bytes);
  start_read(
      std::move(request),
      [&](std::span<const std::byte> bytes) {
        if (bytes.size() > size - filled) return false;
        std::memcpy(into.data() + filled, bytes.data(), bytes.size());
        filled += bytes.size();
        return true;
      },
      [&](Status status) {
        MutexLock lock(wait.mutex);
        wait.status = std::move(status);
        wait.done = true;
        wait.wake.notify_all();  // under the lock: the waiter owns `wait` and may go once it sees done
      });
  MutexLock lock(wait.mutex);
  while (!wait.done) wait.wake.wait(wait.mutex);
  if (!wait.status) return std::move(wait.status).error();
  if (filled != size)
    return make_error(ErrorCode::internal, what, "the driver gave fewer bytes than it said");
  return filled;
}

}  // namespace mediafs::tier
