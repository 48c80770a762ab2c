#include "tier/mover.h"

#include <fcntl.h>

#include "common/crash.h"
#include "common/path.h"

namespace mediafs::tier {

namespace {

// O_NONBLOCK: a lease that an eviction holds must answer busy, not hold us up.
constexpr int kReadFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;

}  // namespace

Result<Node> Mover::current(std::int64_t id, std::int64_t generation) {
  MEDIAFS_ASSIGN(auto found, b_.catalogue->find(id));
  if (!found) return make_error(ErrorCode::changed, "file " + std::to_string(id), "it is deleted");
  if (found->generation != generation) {
    return make_error(ErrorCode::changed, printable(found->path),
                      "it has new content, which has jobs of its own");
  }
  return std::move(*found);
}

Status Mover::moved_on(Status status) {
  if (!status && status.err().code == ErrorCode::not_found) {
    return make_error(ErrorCode::changed, status.err().what, "it was deleted meanwhile");
  }
  return status;
}

Result<Fd> Mover::open_local(const Node& node) {
  if (!node.local)
    return make_error(ErrorCode::changed, printable(node.path), "it is not on the local branch");
  auto fd = open_at(b_.local_root.get(), node.path, kReadFlags);
  if (!fd && fd.err().sys_errno == EWOULDBLOCK) {
    return make_error(ErrorCode::busy, printable(node.path), "an eviction is looking at it");
  }
  if (!fd && fd.err().code == ErrorCode::not_found) {
    return make_error(ErrorCode::busy, printable(node.path),
                      "its local file is missing; a reconcile decides");
  }
  return fd;
}

Status Mover::adopt_now(const std::string& path) {
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(path));
  return adopt_claimed(path);
}

Status Mover::adopt_claimed(const std::string& path) {
  MEDIAFS_ASSIGN(auto st, stat_at(b_.local_root.get(), path));
  auto adopted = b_.catalogue->adopt({path, st, b_.visible(path)}, [this](const std::string& old) {
    return bool(stat_at(b_.local_root.get(), old));
  });
  if (!adopted) return adopted.error();
  return {};
}

Result<Mover::Summed> Mover::checksum(std::int64_t id, std::int64_t generation, std::stop_token stop) {
  MEDIAFS_ASSIGN(auto node, current(id, generation));
  MEDIAFS_ASSIGN(auto fd, open_local(node));
  MEDIAFS_ASSIGN(auto st, stat_fd(fd.get()));
  const Fingerprint before = fingerprint_of(st);
  if (!before.same_content_hint(node.local->fingerprint)) {
    MEDIAFS_TRY(adopt_now(node.path));
    return make_error(ErrorCode::changed, printable(node.path),
                      "it has new content, which has jobs of its own");
  }
  const std::string& kind = b_.config.checksum.sidecar;
  MEDIAFS_ASSIGN(auto sums,
                 hash_fd(fd.get(), {.md5 = false, .sha1 = true, .sha256 = kind == "sha256"}, stop));
  MEDIAFS_ASSIGN(auto after, stat_fd(fd.get()));
  if (fingerprint_of(after) != before || sums.size_bytes != before.size_bytes) {
    return make_error(ErrorCode::busy, printable(node.path), "it changed while its checksum was computed");
  }
  crash_point("checksum.before_commit");
  MEDIAFS_TRY(moved_on(b_.catalogue->checksummed(id, generation, before, sums, b_.visible(node.path))));
  crash_point("checksum.after_commit");
  return Summed{node.path, std::move(sums)};
}

}  // namespace mediafs::tier
