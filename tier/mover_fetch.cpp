// Fetch: a whole file comes back from the vault, checked before it counts.
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/mover.h"

namespace mediafs::tier {

namespace {

constexpr std::chrono::minutes kSpaceWait{5};
constexpr std::chrono::milliseconds kSpaceSlice{500};

std::string fetch_claim(const std::string& path) {
  return "\x01"
         "fetch/" +
         path;
}

// What one transfer writes (without a descriptor it only reads) and how it ended. Shared with the driver's thread,
// which may outlive an impatient caller.
struct Incoming {
  int fd = -1;
  std::uint64_t offset = 0;
  Hasher hasher{Hasher::Want{}};
  Status written;
  std::function<void(std::uint64_t)> progress;
  Mutex mutex;
  CondVar ended_cv;
  bool ended GUARDED_BY(mutex) = false;
  Status outcome GUARDED_BY(mutex);
};

// Removes the temporary file; one that was renamed into place is not there any more.
class TempFile {
 public:
  TempFile(int dir, std::string path) : dir_(dir), path_(std::move(path)) {}
  ~TempFile() { unlinkat(dir_, path_.c_str(), 0); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  int dir_;
  const std::string path_;
};

Status apply_attributes(int fd, const Node& node) {
  if (geteuid() == 0 && fchown(fd, node.uid, node.gid) != 0) {
    return errno_error(errno, "chown of fetched " + printable(node.path));
  }
  if (fchmod(fd, node.mode & 07777) != 0)
    return errno_error(errno, "chmod of fetched " + printable(node.path));
  const struct timespec mtime = timespec_of(node.mtime_ns);
  const struct timespec times[2] = {mtime, mtime};
  if (futimens(fd, times) != 0) return errno_error(errno, "utimens of fetched " + printable(node.path));
  return sync_fd(fd);
}

}  // namespace

// An object that only a listing has shown says more of itself at its first HEAD.
Result<Node> Mover::refined(Node node) {
  if (node.vault->checksum) return node;
  auto asked = b_.vault->head(node.vault->key);
  if (!asked && asked.err().code == ErrorCode::not_found && !node.local) {
    MEDIAFS_TRY(find_again(node.id));
    return make_error(ErrorCode::busy, "read " + printable(node.path),
                      "its object moved just now (try again)");
  }
  if (!asked) return std::move(asked).error();
  const ObjectInfo head = std::move(*asked);
  if (!head.meta_known) return node;
  VaultCopy copy = *node.vault;
  copy.size_bytes = head.size_bytes;
  copy.etag = head.etag;
  copy.mtime_ns = head.meta.mtime_ns;
  copy.checksum = head.meta.checksum;
  MEDIAFS_TRY(b_.catalogue->refine_vault(node.id, copy, head.meta.mode, head.meta.uid, head.meta.gid));
  MEDIAFS_ASSIGN(auto again, b_.catalogue->find(node.id));
  if (!again || !again->vault)
    return make_error(ErrorCode::not_found, printable(node.path), "it was deleted");
  return std::move(*again);
}

Result<Checksums> Mover::download(const Node& node, int fd, const Progress& progress, std::stop_token stop) {
  auto state = std::make_shared<Incoming>();
  state->fd = fd;
  Transfers::Scope scope(transfers_, fd < 0 ? "verify" : "fetch", node.path, node.size_bytes,
                         b_.clock->wall_ns());
  state->progress = [&](std::uint64_t n) {
    const std::uint64_t done = scope.add(n);
    if (progress) progress(done, node.size_bytes);
  };
  if (node.vault->size_bytes == 0) return state->hasher.finish();
  auto on_bytes = [state](std::span<const std::byte> bytes) {
    if (state->fd >= 0) state->written = write_all(state->fd, bytes, state->offset);
    if (!state->written) return false;
    state->hasher.update(bytes);
    state->offset += bytes.size();
    state->progress(bytes.size());
    return true;
  };
  auto on_done = [state](Status status) {
    MutexLock lock(state->mutex);
    state->outcome = std::move(status);
    state->ended = true;
    state->ended_cv.notify_all();
  };
  const std::uint64_t read = b_.vault->start_read({.key = node.vault->key,
                                                   .offset = 0,
                                                   .size_bytes = node.vault->size_bytes,
                                                   .if_match = node.vault->etag},
                                                  on_bytes, on_done);
  std::stop_callback on_stop(stop, [&] { b_.vault->cancel(read); });
  MutexLock lock(state->mutex);
  while (!state->ended) state->ended_cv.wait(state->mutex);  // the driver's stall timeout ends it
  if (!state->written) return std::move(state->written).error();
  if (!state->outcome) return std::move(state->outcome).error();
  lock.unlock();
  return state->hasher.finish();
}

Result<bool> Mover::verify_object(const Node& node, std::stop_token stop) {
  if (!node.vault || !node.vault->checksum) return false;
  if (node.vault->lost) {
    return make_error(ErrorCode::io, printable(node.path), "the vault has lost its object");
  }
  MEDIAFS_ASSIGN(const auto sums, download(node, -1, {}, std::move(stop)));
  if (sums.size_bytes == node.vault->size_bytes && sums.xxh128 == *node.vault->checksum) return true;
  return make_error(ErrorCode::corrupt, printable(node.path),
                    "its object in the vault is xxh128:" + to_hex(sums.xxh128) +
                        ", expected xxh128:" + to_hex(*node.vault->checksum));
}

// What a killed eviction had not unlinked yet, or somebody put there underneath. It is local again, and is read anew
// before it is believed: the row's bytes become proven, others are its newest content. Nothing is overwritten.
// REQUIRES: the claim of `path`.
Status Mover::take_standing(const std::string& path) {
  MEDIAFS_ASSIGN(const auto st, stat_at(b_.local_root.get(), path));
  if (!S_ISREG(st.st_mode)) {
    return make_error(ErrorCode::exists, "fetch " + printable(path),
                      "something that is no file has its name on the local branch (rename that)");
  }
  log::info("fetch found the file on the local branch", {{"path", printable(path)}});
  return adopt_claimed(path);
}

Status Mover::publish_fetched(const Node& node, int fd, const std::string& temp) {
  MEDIAFS_TRY(apply_attributes(fd, node));
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(node.path));
  MEDIAFS_ASSIGN(auto now, current(node.id, node.generation));
  if (now.path != node.path) {
    return make_error(ErrorCode::busy, "fetch " + printable(node.path),
                      "it was renamed just now (try again)");
  }
  const int root = b_.local_root.get();
  const std::string parent(parent_path(node.path));
  if (!parent.empty()) MEDIAFS_TRY(mkdirs_at(root, parent, 0755));
  crash_point("fetch.before_publish");
  if (renameat2(root, temp.c_str(), root, node.path.c_str(), RENAME_NOREPLACE) != 0) {
    const int saved = errno;
    if (saved == EEXIST) return take_standing(node.path);
    return errno_error(saved, "fetch " + printable(node.path));
  }
  crash_point("fetch.after_publish");
  MEDIAFS_TRY(sync_parent(root, node.path));
  MEDIAFS_ASSIGN(auto st, stat_fd(fd));
  MEDIAFS_TRY(moved_on(b_.catalogue->restore_local(node.id, node.generation, fingerprint_of(st))));
  crash_point("fetch.after_commit");
  if (node.checksum) return {};
  // An object that others put there has no checksum of ours: without one it could never be evicted again.
  return b_.catalogue->jobs().enqueue(JobSpec{.stage = std::string(kStageChecksum),
                                              .file_id = node.id,
                                              .generation = node.generation,
                                              .path = node.path});
}

// In slices, so that whoever asked may give up.
Status Mover::await_space(std::uint64_t bytes, const std::stop_token& stop) {
  if (b_.space == nullptr) return {};
  const auto deadline = b_.clock->steady() + kSpaceWait;
  for (;;) {
    Status room = b_.space->await(bytes, kSpaceSlice);
    if (room || b_.clock->steady() >= deadline) return room;
    if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "fetch", "asked to stop");
  }
}

Status Mover::fetch(const std::string& path, const Progress& progress, std::stop_token stop) {
  MEDIAFS_ASSIGN(auto one_at_a_time, b_.claims->claim({fetch_claim(path)}, std::chrono::hours(1)));
  bool moved = false;
  Status fetched = fetch_now(path, progress, stop, &moved);
  return moved ? fetch_now(path, progress, stop, &moved) : std::move(fetched);
}

// REQUIRES: the claim of fetching `path`.
Status Mover::fetch_now(const std::string& path, const Progress& progress, const std::stop_token& stop,
                        bool* moved) {
  MEDIAFS_ASSIGN(auto found, b_.catalogue->find(path));
  if (!found || found->kind != NodeKind::file) {
    if (stat_at(b_.local_root.get(), path)) return {};  // local only, or a directory that is there
    return make_error(ErrorCode::not_found, "fetch " + printable(path), "no such file in the tree");
  }
  if (found->local) return {};
  if (stat_at(b_.local_root.get(), path)) {
    MEDIAFS_ASSIGN(auto claim, b_.claims->claim(path));
    if (stat_at(b_.local_root.get(), path)) return take_standing(path);
  }
  if (!found->vault || !b_.vault) {
    return make_error(ErrorCode::not_found, "fetch " + printable(path), "no branch has its bytes");
  }
  if (found->vault->lost) {
    MEDIAFS_TRY(find_again(found->id));
    MEDIAFS_ASSIGN(found, b_.catalogue->find(path));
    if (!found || !found->vault || found->local)
      return make_error(ErrorCode::busy, "fetch " + printable(path), "it changed just now (try again)");
  }
  MEDIAFS_ASSIGN(const Node node, refined(std::move(*found)));
  const int root = b_.local_root.get();
  MEDIAFS_TRY(mkdirs_at(root, std::string(kTempDir), 0700));
  MEDIAFS_TRY(await_space(node.size_bytes, stop));
  TempFile temp(root, std::string(kTempDir) + "/fetch-" + temp_token() + "-" + std::to_string(next_temp_++));
  MEDIAFS_ASSIGN(auto fd,
                 open_at(root, temp.path(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  auto got = download(node, fd.get(), progress, stop);
  if (!got && (got.err().code == ErrorCode::not_found || got.err().code == ErrorCode::changed)) {
    MEDIAFS_TRY(find_again(node.id));
    *moved = true;
    return make_error(ErrorCode::busy, "fetch " + printable(path), "its object moved just now (try again)");
  }
  if (!got) return std::move(got).error();
  const Checksums sums = std::move(*got);
  crash_point("fetch.after_data");
  if (sums.size_bytes != node.size_bytes || (node.checksum && sums.xxh128 != *node.checksum)) {
    return make_error(
        ErrorCode::corrupt, "fetch " + printable(path),
        "the vault's bytes are not those that were uploaded (mediafs verify --vault shows the extent)");
  }
  return publish_fetched(node, fd.get(), temp.path());
}

}  // namespace mediafs::tier
