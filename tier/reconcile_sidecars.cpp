// Sidecars whose file was renamed or removed just before a kill, or underneath.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/reconcile.h"

namespace mediafs::tier {

namespace {

constexpr std::array<std::string_view, 3> kAlgorithms{"sha1", "sha256", "xxh128"};
constexpr std::size_t kNewest = 1000;  // changes: more than are under way at a time
constexpr std::size_t kLongest = 256;  // of a sidecar

// What the file's sidecar must say; "" where there is none, or the catalogue does not know.
std::string digest_of(const Node& node, std::string_view algorithm) {
  if (algorithm == "sha1") return node.sha1_hex;
  return algorithm == "xxh128" && node.checksum ? to_hex(*node.checksum) : std::string();
}

bool is_sidecar_file(int root, const std::string& path) {
  const auto st = stat_at(root, path);
  return st && S_ISREG(st->st_mode) && static_cast<std::size_t>(st->st_size) <= kLongest;
}

}  // namespace

// The name is nobody's any more: its sidecar is the renamed file's, or nobody's too.
Status Reconcile::sidecars_follow(const std::string& from, const std::string& to) {
  const int root = b_.local_root.get();
  MEDIAFS_ASSIGN(const auto claim, to.empty() ? b_.claims->claim(from) : b_.claims->claim({from, to}));
  MEDIAFS_ASSIGN(const auto left, b_.catalogue->find(from));
  const bool gone = !left && !stat_at(root, from);
  MEDIAFS_ASSIGN(const auto file, b_.catalogue->find(to));
  const bool renamed = !to.empty() && file && file->kind == NodeKind::file;
  for (const std::string_view algorithm : kAlgorithms) {
    const std::string old = sidecar_path(from, algorithm);
    if (!gone || !is_sidecar_file(root, old)) continue;
    crash_point("scan.before_sidecar");
    const std::string now = renamed ? sidecar_path(to, algorithm) : std::string();
    if (renamed && check_path(now) && ::renameat(root, old.c_str(), root, now.c_str()) == 0) continue;
    if (::unlinkat(root, old.c_str(), 0) != 0) return errno_error(errno, "remove sidecar " + printable(old));
  }
  return renamed ? put_sidecar_right(*file) : Status();
}

// It may be that of a file which had the name before, or was exchanged with this one. Others' kinds are left alone.
Status Reconcile::put_sidecar_right(const Node& node) {
  const int root = b_.local_root.get();
  const std::string& algorithm = b_.config.checksum.sidecar;
  const std::string sidecar = sidecar_path(node.path, algorithm);
  const std::string digest = digest_of(node, algorithm);
  if (b_.config.mount.read_only || digest.empty() || !is_sidecar_file(root, sidecar)) return {};
  MEDIAFS_ASSIGN(const std::string text, read_file(root, sidecar, kLongest));
  if (text == digest + "\n") return {};
  return write_file_atomic(root, sidecar, digest + "\n", 0644);
}

// The mount moves a sidecar right after it has told the catalogue: of whatever was under way, that is among the newest
// changes. Oldest first: one file may have been renamed more than once.
void Reconcile::sidecars_follow_changes() {
  const auto changes = b_.catalogue->changes(0, kNewest, true);
  if (!changes) return log::warning("can't look at the newest changes", changes.error());
  for (auto change = changes->rbegin(); change != changes->rend(); ++change) {
    Status followed;
    if (change->kind == ChangeKind::renamed) followed = sidecars_follow(change->from, change->path);
    if (change->kind == ChangeKind::deleted) followed = sidecars_follow(change->path, {});
    if (!followed)
      log::warning("a sidecar did not follow its file", followed.err(), {{"path", printable(change->path)}});
  }
}

// Adopted under its new name.
void Reconcile::sidecars_follow_adopted(const std::string& to) {
  constexpr std::size_t kLately = 64;
  const auto changes = b_.catalogue->changes(0, kLately, true);
  if (!changes) return;
  for (const Change& change : *changes) {
    if (change.kind != ChangeKind::renamed || change.path != to) continue;
    if (auto followed = sidecars_follow(change.from, to); !followed)
      log::warning("a sidecar did not follow its file", followed.err(), {{"path", printable(to)}});
    return;
  }
}

}  // namespace mediafs::tier
