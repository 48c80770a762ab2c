#include "tier/vault/dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <thread>

#include "common/crash.h"
#include "common/path.h"
#include "common/pool.h"
#include "tier/vault/dir_files.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kPieceBytes = 1 << 20;
constexpr std::size_t kReadThreads = 8;

Error cancelled(std::string what) {
  return make_error(ErrorCode::cancelled, std::move(what), "asked to stop");
}

Status check_key(const std::string& key) {
  if (key.empty()) return make_error(ErrorCode::invalid, "vault object", "its key is empty");
  MEDIAFS_TRY(check_path(key));
  if (is_within(key, dir::kTemp)) {
    return make_error(ErrorCode::invalid, "vault object " + printable(key),
                      "this folder is the driver's own");
  }
  return {};
}

class DirVault final : public Vault {
 public:
  DirVault(std::string root, std::shared_ptr<Limits> limits)
      : root_(std::move(root)), limits_(std::move(limits)), pool_({"vault-read", kReadThreads, 1U << 20}) {}
  ~DirVault() override {
    MutexLock lock(mutex_);
    for (auto& [id, flag] : reads_) flag->store(true);
  }
  DirVault(const DirVault&) = delete;
  DirVault& operator=(const DirVault&) = delete;

  std::string describe() const override { return "file://" + printable(root_.path()); }
  Status probe() override;
  Result<PutResult> put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                        std::stop_token stop) override;
  Result<ObjectInfo> head(const std::string& key) override;
  std::uint64_t start_read(ReadRequest request, std::function<bool(std::span<const std::byte>)> on_bytes,
                           std::function<void(Status)> on_done) override;
  void cancel(std::uint64_t read) override;
  Result<ObjectInfo> copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                          std::stop_token stop) override;
  Status remove(const std::string& key) override;
  Status list(const std::string& prefix, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
              std::stop_token stop) override;
  Status collect_garbage() override;

 private:
  Result<Xxh128> send(const std::string& key, const PutSource& source, int to, const std::stop_token& stop);
  Status read_range(const ReadRequest& request,
                    const std::function<bool(std::span<const std::byte>)>& on_bytes,
                    const std::atomic<bool>& cancelled_flag);
  Result<ObjectInfo> publish(int root, const std::string& key, dir::TempFile& temp, std::uint64_t size_bytes,
                             const ObjectMeta& meta, bool only_new = false);

  dir::DirRoot root_;
  const std::shared_ptr<Limits> limits_;
  Mutex mutex_;
  std::map<std::uint64_t, std::shared_ptr<std::atomic<bool>>> reads_ GUARDED_BY(mutex_);  // true: cancelled
  std::uint64_t next_read_ GUARDED_BY(mutex_) = 1;
  Pool pool_;  // last: its threads end before what they use
};

Status DirVault::probe() {
  MEDIAFS_ASSIGN(const Fd root, root_.open(true));
  if (::faccessat(root.get(), ".", R_OK | W_OK | X_OK, AT_EACCESS) != 0) {
    const int saved = errno;
    return dir::failed(saved, "vault directory " + printable(root_.path()));
  }
  return {};
}

Result<Xxh128> DirVault::send(const std::string& key, const PutSource& source, int to,
                              const std::stop_token& stop) {
  Hasher hasher(Hasher::Want{});
  std::vector<std::byte> buffer(
      std::min<std::uint64_t>(kPieceBytes, std::max<std::uint64_t>(source.size_bytes, 1)));
  for (std::uint64_t offset = 0; offset < source.size_bytes;) {
    if (stop.stop_requested()) return cancelled("put " + printable(key));
    const auto want =
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), source.size_bytes - offset));
    MEDIAFS_TRY(limits_->upload.acquire(want, stop));
    MEDIAFS_ASSIGN(const std::size_t got, read_some(source.fd, std::span(buffer).first(want), offset));
    if (got < want)
      return make_error(ErrorCode::changed, "put " + printable(key), "the file became shorter meanwhile");
    const auto piece = std::span<const std::byte>(buffer).first(got);
    hasher.update(piece);
    if (auto written = write_all(to, piece, offset); !written)
      return dir::from_mount(std::move(written).error());
    offset += got;
    if (source.progress) source.progress(got);
  }
  return hasher.finish().xxh128;
}

Result<ObjectInfo> DirVault::publish(int root, const std::string& key, dir::TempFile& temp,
                                     std::uint64_t size_bytes, const ObjectMeta& meta, bool only_new) {
  MEDIAFS_TRY(dir::apply_meta(temp.fd(), meta));
  MEDIAFS_TRY(temp.publish(root, key, only_new));
  MEDIAFS_ASSIGN(const auto st, stat_fd(temp.fd()));
  if (static_cast<std::uint64_t>(st.st_size) != size_bytes) {
    return make_error(
        ErrorCode::corrupt, "put " + printable(key),
        "the vault holds " + std::to_string(st.st_size) + " bytes of " + std::to_string(size_bytes));
  }
  return dir::describe_file(key, temp.fd(), st);
}

Result<PutResult> DirVault::put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                                std::stop_token stop) {
  MEDIAFS_TRY(check_key(key));
  MEDIAFS_ASSIGN(const Fd root, root_.open(true));
  MEDIAFS_ASSIGN(dir::TempFile temp, dir::TempFile::create(root.get()));
  root_.marked();
  MEDIAFS_ASSIGN(const Xxh128 sent, send(key, source, temp.fd(), stop));
  if (meta.checksum && *meta.checksum != sent) {
    return make_error(ErrorCode::changed, "put " + printable(key),
                      "the file is not the one that was checksummed");
  }
  ObjectMeta complete = meta;
  complete.checksum = sent;
  MEDIAFS_ASSIGN(ObjectInfo info,
                 publish(root.get(), key, temp, source.size_bytes, complete, source.only_new));
  return PutResult{std::move(info), sent};
}

Result<ObjectInfo> DirVault::head(const std::string& key) {
  MEDIAFS_TRY(check_key(key));
  MEDIAFS_ASSIGN(const Fd root, root_.open(false));
  MEDIAFS_ASSIGN(const Fd file, dir::open_file(root.get(), key));
  MEDIAFS_ASSIGN(const auto st, stat_fd(file.get()));
  return dir::describe_file(key, file.get(), st);
}

Status DirVault::read_range(const ReadRequest& request,
                            const std::function<bool(std::span<const std::byte>)>& on_bytes,
                            const std::atomic<bool>& cancelled_flag) {
  const std::string what = "read vault object " + printable(request.key);
  MEDIAFS_TRY(check_key(request.key));
  if (request.size_bytes == 0) return make_error(ErrorCode::invalid, what, "the range is empty");
  for (;;) {
    const auto wait = limits_->download.take(request.size_bytes);
    if (cancelled_flag.load()) return cancelled(what);
    if (wait.count() == 0) break;
    std::this_thread::sleep_for(wait);
  }
  MEDIAFS_ASSIGN(const Fd root, root_.open(false));
  MEDIAFS_ASSIGN(const Fd file, dir::open_file(root.get(), request.key));
  auto check_same = [&]() -> Status {
    MEDIAFS_ASSIGN(const auto st, stat_fd(file.get()));
    if (request.if_match.empty() || dir::etag_of(st) == request.if_match) return {};
    return make_error(ErrorCode::changed, what, "it is not the version that was known");
  };
  MEDIAFS_TRY(check_same());
  std::vector<std::byte> buffer(
      static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, request.size_bytes)));
  for (std::uint64_t done = 0; done < request.size_bytes;) {
    if (cancelled_flag.load()) return cancelled(what);
    const auto want =
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), request.size_bytes - done));
    auto got = read_some(file.get(), std::span(buffer).first(want), request.offset + done);
    if (!got) return dir::from_mount(std::move(got).error());
    if (*got < want)
      return make_error(ErrorCode::changed, what, "it is shorter than the range that was asked for");
    // Before the bytes go out: a file that is changed in place must not mix its versions.
    MEDIAFS_TRY(check_same());
    if (cancelled_flag.load() || !on_bytes(std::span<const std::byte>(buffer).first(want)))
      return cancelled(what);
    done += want;
  }
  return {};
}

std::uint64_t DirVault::start_read(ReadRequest request,
                                   std::function<bool(std::span<const std::byte>)> on_bytes,
                                   std::function<void(Status)> on_done) {
  auto flag = std::make_shared<std::atomic<bool>>(false);
  std::uint64_t id = 0;
  {
    MutexLock lock(mutex_);
    id = next_read_++;
    reads_.emplace(id, flag);
  }
  auto task = [this, id, flag, request = std::move(request), on_bytes = std::move(on_bytes), on_done] {
    Status status = flag->load() ? Status(cancelled("read vault object " + printable(request.key)))
                                 : read_range(request, on_bytes, *flag);
    {
      MutexLock lock(mutex_);
      reads_.erase(id);
    }
    on_done(std::move(status));
  };
  if (auto queued = pool_.submit(std::move(task)); !queued) {  // a million reads wait already
    {
      MutexLock lock(mutex_);
      reads_.erase(id);
    }
    on_done(std::move(queued).error());
  }
  return id;
}

void DirVault::cancel(std::uint64_t read) {
  MutexLock lock(mutex_);
  if (auto it = reads_.find(read); it != reads_.end()) it->second->store(true);
}

// Inside the filesystem where it can (reflinks, server-side copy on NFS and SMB), else through memory.
Status copy_bytes(int from, int to, std::uint64_t size_bytes, const std::string& what,
                  const std::stop_token& stop) {
  bool by_kernel = true;
  std::vector<std::byte> buffer;
  for (std::uint64_t done = 0; done < size_bytes;) {
    if (stop.stop_requested()) return cancelled(what);
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(size_bytes - done, 64 * kPieceBytes));
    if (by_kernel) {
      auto in = static_cast<off64_t>(done);
      auto out = in;
      const ssize_t n = ::copy_file_range(from, &in, to, &out, want, 0);
      const int saved = errno;
      if (n > 0) {
        done += static_cast<std::uint64_t>(n);
        continue;
      }
      if (n < 0 && saved == EINTR) continue;
      if (n < 0 && (saved == ENOSPC || saved == EDQUOT || saved == EIO)) return dir::failed(saved, what);
      by_kernel = false;  // not here; or the file ended, which reading will say
    }
    buffer.resize(kPieceBytes);
    const auto piece = std::span(buffer).first(std::min(want, buffer.size()));
    MEDIAFS_ASSIGN(const std::size_t got, read_some(from, piece, done));
    if (got < piece.size()) return make_error(ErrorCode::changed, what, "it became shorter meanwhile");
    if (auto written = write_all(to, piece, done); !written)
      return dir::from_mount(std::move(written).error());
    done += got;
  }
  return {};
}

bool same_meta(const ObjectMeta& one, const ObjectMeta& other) {
  return one.mtime_ns == other.mtime_ns && one.mode == (other.mode & 07777U) && one.uid == other.uid &&
         one.gid == other.gid && one.checksum == other.checksum && one.sha1_hex == other.sha1_hex;
}

// Objects are never changed in place, here nor by rclone: where nothing is to be told anew a second name will do.
Result<ObjectInfo> DirVault::copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                                  std::stop_token stop) {
  const std::string what = "copy vault object " + printable(from);
  MEDIAFS_TRY(check_key(from));
  MEDIAFS_TRY(check_key(to));
  MEDIAFS_ASSIGN(const Fd root, root_.open(false));
  MEDIAFS_ASSIGN(const Fd source, dir::open_file(root.get(), from));
  MEDIAFS_ASSIGN(const auto before, stat_fd(source.get()));
  const ObjectInfo old = dir::describe_file(from, source.get(), before);
  ObjectMeta complete = meta;
  if (!complete.checksum) complete.checksum = old.meta.checksum;
  if (complete.sha1_hex.empty()) complete.sha1_hex = old.meta.sha1_hex;
  if (from != to && old.meta_known && same_meta(old.meta, complete)) {
    auto link = dir::TempFile::link(root.get(), Fd(::fcntl(source.get(), F_DUPFD_CLOEXEC, 0)));
    if (link) {
      root_.marked();
      MEDIAFS_TRY(link->publish(root.get(), to));
      return dir::describe_file(to, source.get(), before);
    }
  }
  // from == to goes this way too: attributes changed one by one would not be atomic.
  MEDIAFS_ASSIGN(dir::TempFile temp, dir::TempFile::create(root.get()));
  root_.marked();
  MEDIAFS_TRY(copy_bytes(source.get(), temp.fd(), old.size_bytes, what, stop));
  MEDIAFS_ASSIGN(const auto after, stat_fd(source.get()));
  if (dir::etag_of(after) != old.etag)
    return make_error(ErrorCode::changed, what, "it was changed meanwhile");
  return publish(root.get(), to, temp, old.size_bytes, complete);
}

Status DirVault::remove(const std::string& key) {
  MEDIAFS_TRY(check_key(key));
  MEDIAFS_ASSIGN(const Fd root, root_.open(false));
  auto parent = dir::open_dir(root.get(), std::string(parent_path(key)), false);
  if (!parent) {
    const ErrorCode code = parent.error().code;
    if (code == ErrorCode::not_found || code == ErrorCode::not_directory) return {};
    return std::move(parent).error();
  }
  const std::string name(base_name(key));
  struct stat st {};
  if (::fstatat(parent->get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) {
    return {};  // a folder or a link is no object
  }
  const int rc = ::unlinkat(parent->get(), name.c_str(), 0);
  const int saved = errno;
  if (rc != 0 && saved == ENOENT) return {};
  if (rc != 0) return dir::failed(saved, "remove vault object " + printable(key));
  MEDIAFS_ASSIGN(const Fd durable, open_at(parent->get(), "", O_RDONLY | O_DIRECTORY));
  if (auto synced = sync_fd(durable.get()); !synced) return dir::from_mount(std::move(synced).error());
  crash_point("dir_vault.after_remove");
  return dir::remove_empty_parents(root.get(), key);
}

Status DirVault::list(const std::string& prefix, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                      std::stop_token stop) {
  if (!prefix.empty()) MEDIAFS_TRY(check_path(prefix));
  MEDIAFS_ASSIGN(const Fd root, root_.open(true));
  return dir::walk(root.get(), {.prefix = prefix}, page, stop);
}

Status DirVault::collect_garbage() {
  MEDIAFS_ASSIGN(const Fd root, root_.open(true));
  auto temp = dir::open_dir(root.get(), dir::kTemp, false);
  if (!temp) return temp.error().code == ErrorCode::not_found ? Status{} : Status(std::move(temp).error());
  MEDIAFS_ASSIGN(const Fd readable, open_at(temp->get(), "", O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(::fcntl(readable.get(), F_DUPFD_CLOEXEC, 0)),
                                                    ::closedir);
  if (!entries) return dir::failed(errno, std::string("read folder ") + dir::kTemp);
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (::unlinkat(temp->get(), name.c_str(), 0) != 0 && errno != ENOENT && errno != EISDIR) {
      return dir::failed(errno, "remove " + std::string(dir::kTemp) + "/" + printable(name));
    }
  }
  return {};
}

}  // namespace

std::unique_ptr<Vault> open_dir_vault(std::string root, std::shared_ptr<Limits> limits) {
  return std::make_unique<DirVault>(std::move(root), std::move(limits));
}

}  // namespace mediafs::tier
