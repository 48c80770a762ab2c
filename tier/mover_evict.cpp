// Evict: the SSD copy of a proven file goes (invariant 2).
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "common/writers.h"
#include "tier/mover.h"

namespace mediafs::tier {

namespace {

// The share comes before the vault: other content of this name there would take the place of these bytes.
Status nothing_else_shows(const Branches& b, const Node& node) {
  if (b.config.share.path.empty()) return {};
  MEDIAFS_ASSIGN(const auto renames, b.catalogue->replacings());
  for (const Replacing& r : renames) {
    if (is_within(node.path, r.to))
      return make_error(ErrorCode::busy, "evict " + printable(node.path),
                        "the share has yet to follow its rename");
  }
  constexpr WallNs kCoarse_ns = 2'000'000'000;  // as some servers keep times
  MEDIAFS_ASSIGN(const auto shown, b.catalogue->share_entry(node.path));
  if (!shown) return {};
  const bool same = S_ISREG(shown->mode) && shown->size_bytes == node.size_bytes &&
                    std::abs(shown->mtime_ns - node.mtime_ns) < kCoarse_ns;
  if (same) return {};
  return make_error(ErrorCode::changed, "evict " + printable(node.path),
                    "the share has another version, which would be shown instead (remove one of the two)");
}

// A write lease is granted only while nobody else has the file open, through the mount or underneath, and
// makes whoever opens it meanwhile wait. The alternative, scanning /proc/*/fd, is slow and races.
Status take_lease(int fd, const std::string& path) {
  // SIGIO, the default, would kill us when somebody opens the file; SIGURG is ignored unless asked for.
  if (fcntl(fd, F_SETSIG, SIGURG) != 0) return errno_error(errno, "lease " + printable(path));
  if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) return {};
  const int saved = errno;
  if (saved == EAGAIN) return make_error(ErrorCode::busy, "evict " + printable(path), "it is open");
  Error error = errno_error(saved, "lease " + printable(path));
  error.cause +=
      " (eviction needs leases: local.path on ext4, xfs or btrfs, and mediafs as root or the files' owner)";
  return error;
}

bool lease_holds(int fd) {
  return fcntl(fd, F_GETLEASE) == F_WRLCK;
}

}  // namespace

bool has_attributes(int fd) {
  char names[4096];
  const ssize_t n = flistxattr(fd, names, sizeof(names));
  if (n < 0) return errno == ERANGE;
  for (const char* name = names; name < names + n; name += std::string_view(name).size() + 1) {
    const std::string_view text(name);
    if (text == kUnfinishedAttribute) continue;  // ours
    if (text.starts_with("user.") || text.starts_with("system.posix_acl")) return true;
  }
  return false;
}

Status Mover::confirm_in_vault(const Node& node) {
  const std::string what = "the vault's copy of " + printable(node.path);
  if (b_.vault == nullptr) return make_error(ErrorCode::offline, what, "no vault is configured");
  const auto stands = object_stands(*b_.vault, node);
  if (!stands && stands.err().code == ErrorCode::not_found) {
    log::warning("vault object is gone",
                 {{"path", printable(node.path)}, {"key", printable(node.vault->key)}});
    MEDIAFS_TRY(b_.catalogue->vault_lost(node.id, node.vault->key));
    return make_error(ErrorCode::changed, what, "its object is gone from the vault");
  }
  if (!stands) return stands.err();
  if (*stands) return {};
  return make_error(ErrorCode::corrupt, what, "the object in the vault is not the one that was uploaded");
}

// The name may stand for another file by now: one that was renamed over it underneath. So it is moved aside, looked at,
// and only then unlinked.
Status Mover::unlink_proven(int fd, const std::string& path) {
  const int root = b_.local_root.get();
  const std::string aside =
      std::string(kTempDir) + "/evict-" + temp_token() + "-" + std::to_string(next_temp_++);
  MEDIAFS_TRY(mkdirs_at(root, std::string(kTempDir), 0700));
  if (renameat2(root, path.c_str(), root, aside.c_str(), RENAME_NOREPLACE) != 0) {
    const int saved = errno;
    auto there = stat_at(root, path);
    if (!there && there.err().code == ErrorCode::not_found)
      return {};  // somebody removed it: the vault has it
    return errno_error(saved, "evict " + printable(path));
  }
  crash_point("evict.after_aside");
  MEDIAFS_ASSIGN(const auto proven, stat_fd(fd));
  auto moved = stat_at(root, aside);
  const bool same =
      moved && moved->st_dev == proven.st_dev && moved->st_ino == proven.st_ino && lease_holds(fd);
  if (same && unlinkat(root, aside.c_str(), 0) == 0) return {};
  if (renameat2(root, aside.c_str(), root, path.c_str(), RENAME_NOREPLACE) != 0) {
    const int saved = errno;
    return errno_error(saved, "put " + printable(path) + " back from " + aside);
  }
  return make_error(ErrorCode::busy, "evict " + printable(path), "it was opened or replaced just now");
}

Status Mover::evict(std::int64_t id, std::int64_t generation) {
  MEDIAFS_ASSIGN(auto node, current(id, generation));
  if (!node.local) return {};
  if (node.pinned) return make_error(ErrorCode::changed, "evict " + printable(node.path), "it is pinned");
  if (!node.in_vault() || !b_.vault) {
    return make_error(ErrorCode::changed, "evict " + printable(node.path), "it is not in the vault yet");
  }
  MEDIAFS_TRY(nothing_else_shows(b_, node));
  MEDIAFS_TRY(confirm_in_vault(node));  // before the claim: no path waits for the network
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(node.path));
  const std::string path = node.path;
  MEDIAFS_ASSIGN(node, current(id, generation));
  if (node.path != path || !node.local || !node.in_vault() || node.pinned) {
    return make_error(ErrorCode::busy, "evict " + printable(path), "it changed just now");
  }
  MEDIAFS_ASSIGN(auto fd, open_local(node));
  MEDIAFS_TRY(take_lease(fd.get(), path));
  MEDIAFS_ASSIGN(auto st, stat_fd(fd.get()));
  if (fingerprint_of(st) != node.local->fingerprint) {
    return make_error(ErrorCode::changed, "evict " + printable(path), "it changed on the disk");
  }
  if (st.st_nlink > 1) {
    return make_error(ErrorCode::changed, "evict " + printable(path),
                      "it has other hard links, which would keep its bytes");
  }
  if (has_attributes(fd.get())) {
    return make_error(ErrorCode::changed, "evict " + printable(path),
                      "it has extended attributes or an ACL, which the vault can't keep");
  }
  if (!lease_holds(fd.get()))
    return make_error(ErrorCode::busy, "evict " + printable(path), "it is being opened");
  crash_point("evict.before_commit");
  MEDIAFS_TRY(moved_on(b_.catalogue->drop_local(id, generation, node.local->fingerprint)));
  crash_point("evict.after_commit");
  if (auto gone = unlink_proven(fd.get(), path); !gone) {
    MEDIAFS_TRY(
        adopt_claimed(path));  // whatever stands there is local again, read anew before it is believed
    return gone;
  }
  crash_point("evict.after_unlink");
  fd.reset();  // the bytes are free only now
  if (b_.space) b_.space->freed();
  return {};
}

}  // namespace mediafs::tier
