// What a kill left of evictions: files that had been moved aside.
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>

#include <memory>

#include "common/crash.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/reconcile.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kPage = 1000;
constexpr int kMostKept = 100;  // of one name

}  // namespace

// At each scan, and once the vault answers: until then nobody knows what it holds.
void Reconcile::recover_evicted(const std::stop_token& stop) {
  const std::string temp(kTempDir);
  const std::string own = "evict-" + temp_token() + "-";
  const int fd = openat(b_.local_root.get(), temp.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(fd < 0 ? nullptr : fdopendir(fd), &closedir);
  while (dir) {
    const dirent* entry = readdir(dir.get());
    if (!entry) return;
    const std::string_view name(entry->d_name);
    if (name.starts_with("evict-") && !name.starts_with(own)) recover(join_path(temp, name), stop);
  }
}

// It goes only if the store says that it holds these bytes; while it says nothing, it stays for the next time.
void Reconcile::recover(const std::string& aside, const std::stop_token& stop) {
  const int root = b_.local_root.get();
  const auto claim = b_.claims->claim(aside);  // a scan, or the vault's first answer
  auto fd = open_at(root, aside, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (!claim || (!fd && fd.err().code == ErrorCode::not_found)) return;
  auto sums = fd ? hash_fd(fd->get(), {}, stop) : Result<Checksums>(fd.err());
  if (!sums) return log::warning("can't read what an eviction left", sums.err(), {{"path", aside}});
  auto held = vault_holds(*sums);
  if (!held) return log::warning("can't place what an eviction left", held.err(), {{"path", aside}});
  if (!*held) return keep_evicted(aside, "recovered " + to_hex(sums->xxh128));
  crash_point("scan.before_recovered");
  if (unlinkat(root, aside.c_str(), 0) != 0)
    log::warning("can't remove what an eviction left", {{"path", aside}});
}

Result<bool> Reconcile::vault_holds(const Checksums& sums) {
  std::string after;
  Result<bool> held = false;
  for (;;) {
    MEDIAFS_ASSIGN(const auto page, b_.catalogue->walk("", after, kPage));
    if (page.empty()) return held;
    after = page.back().path;
    for (const Node& node : page) {
      if (!node.in_vault() || node.checksum != sums.xxh128 || node.size_bytes != sums.size_bytes) continue;
      if (b_.vault == nullptr) return make_error(ErrorCode::offline, "vault", "no vault is configured");
      auto stands = object_stands(*b_.vault, node);
      if (stands && *stands) return true;
      if (!stands && stands.err().code != ErrorCode::not_found) held = std::move(stands);
    }
  }
}

void Reconcile::keep_evicted(const std::string& aside, const std::string& name) {
  const int root = b_.local_root.get();
  const std::string& unsorted = b_.config.organize.unsorted;
  if (!mkdirs_at(root, unsorted, 0777)) return;
  for (int n = 1; n <= kMostKept; n++) {
    const std::string kept = join_path(unsorted, n == 1 ? name : name + " (" + std::to_string(n) + ")");
    const auto known = b_.catalogue->find(kept);
    if (!known || *known) continue;  // the name is that of a file which may be elsewhere
    if (renameat2(root, aside.c_str(), root, kept.c_str(), RENAME_NOREPLACE) != 0) continue;
    crash_point("scan.after_kept");
    return log::warning("a file that an eviction had moved aside is kept", {{"path", kept}});
  }
  log::warning("can't keep what an eviction left", {{"path", aside}});
}

}  // namespace mediafs::tier
