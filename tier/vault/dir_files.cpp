#include "tier/vault/dir_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>

#include "common/crash.h"
#include "common/path.h"

namespace mediafs::tier::dir {

namespace {

constexpr const char* kChecksumAttr = "user.mediafs.checksum";
constexpr const char* kSha1Attr = "user.mediafs.sha1";
constexpr const char* kOfAttr = "user.mediafs.of";
constexpr std::string_view kXxhPrefix = "xxh128:";
constexpr unsigned kFolderMode = 0755;

std::int64_t mtime_of(const struct stat& st) {
  return static_cast<std::int64_t>(st.st_mtim.tv_sec) * 1'000'000'000 + st.st_mtim.tv_nsec;
}

timespec to_timespec(WallNs ns) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  std::int64_t sec = ns / kSecond;
  std::int64_t rest = ns % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --sec;
  }
  return {static_cast<time_t>(sec), static_cast<long>(rest)};
}

std::string attribute(int fd, const char* name, int* saved_errno) {
  std::array<char, 256> buffer{};
  const ssize_t n = ::fgetxattr(fd, name, buffer.data(), buffer.size());
  *saved_errno = n < 0 ? errno : 0;
  return n < 0 ? std::string() : std::string(buffer.data(), static_cast<std::size_t>(n));
}

bool no_attributes(int saved_errno) {
  return saved_errno == EOPNOTSUPP || saved_errno == ENOSYS;
}

// Success too where the filesystem has no attributes: describe_file then says so.
Status set_attribute(int fd, const char* name, const std::string& value) {
  const int rc =
      value.empty() ? ::fremovexattr(fd, name) : ::fsetxattr(fd, name, value.data(), value.size(), 0);
  const int saved = errno;
  if (rc == 0 || no_attributes(saved) || (value.empty() && saved == ENODATA)) return {};
  Error error = failed(saved, std::string("set ") + name);
  error.cause += " (the vault's filesystem must keep extended attributes, or refuse them with EOPNOTSUPP)";
  return error;
}

std::string stamp(const struct stat& st) {
  return std::to_string(st.st_size) + "-" + std::to_string(mtime_of(st));
}

Status sync_folder(int folder) {
  MEDIAFS_ASSIGN(const Fd fd, open_at(folder, "", O_RDONLY | O_DIRECTORY));
  if (auto synced = sync_fd(fd.get()); !synced) return from_mount(std::move(synced).error());
  return {};
}

// New folders are durable only once their own parents are.
Status sync_folders_above(int root, std::string_view folder) {
  while (!folder.empty()) {
    folder = parent_path(folder);
    auto above = open_dir(root, std::string(folder), false);
    if (!above) break;
    MEDIAFS_TRY(sync_folder(above->get()));
  }
  return {};
}

}  // namespace

Error from_mount(Error error) {
  switch (error.sys_errno) {
    case ENOTCONN:  // a FUSE mount without its daemon
    case ENODEV:
    case ENXIO:
    case ESTALE:
    case EHOSTDOWN:
    case EREMOTEIO:
    case ESHUTDOWN:
      error.code = ErrorCode::offline;
      error.cause += " (is the disk or share still mounted?)";
      break;
    case EDQUOT:
      error.code = ErrorCode::no_space;
      break;
    default:
      break;
  }
  return error;
}

Error failed(int saved_errno, std::string what) {
  return from_mount(errno_error(saved_errno, std::move(what)));
}

Result<Fd> DirRoot::open(bool create) {
  const std::string what = "vault directory " + printable(path_);
  int fd = ::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  int saved = errno;
  bool seen = false;
  {
    MutexLock lock(mutex_);
    seen = seen_;
  }
  if (fd < 0 && saved == ENOENT && create && !seen) {
    const int rc = ::mkdir(path_.c_str(), kFolderMode);
    saved = errno;
    if (rc != 0 && saved != EEXIST && saved != ENOENT) return failed(saved, what);
    fd = ::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    saved = errno;
  }
  if (fd < 0 && saved == ENOENT) {
    return make_error(ErrorCode::offline, what,
                      "it is not there (mount its disk, or create the directory if the path is right)");
  }
  if (fd < 0 && saved == ENOTDIR)
    return make_error(ErrorCode::config, what, "it is not a directory (set vault.url)");
  if (fd < 0) return failed(saved, what);
  Fd root(fd);
  MEDIAFS_TRY(check_same(root.get()));
  return root;
}

void DirRoot::marked() {
  MutexLock lock(mutex_);
  had_own_ = true;
}

Status DirRoot::check_same(int root) {
  struct stat st {};
  const bool own = ::fstatat(root, ".mediafs", &st, AT_SYMLINK_NOFOLLOW) == 0;
  MutexLock lock(mutex_);
  if (had_own_ && !own) {
    return make_error(ErrorCode::offline, "vault directory " + printable(path_),
                      "its .mediafs is gone, so this is not the vault that was here (mount its disk again)");
  }
  seen_ = true;
  had_own_ = own;
  return {};
}

Result<Fd> open_dir(int root, const std::string& path, bool create, bool* made) {
  Fd at(::fcntl(root, F_DUPFD_CLOEXEC, 0));
  int saved = errno;
  if (!at) return failed(saved, "open the vault directory");
  std::size_t begin = 0;
  while (begin < path.size()) {
    const std::size_t slash = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, slash - begin);
    constexpr int kFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = ::openat(at.get(), name.c_str(), kFlags);
    saved = errno;
    if (fd < 0 && saved == ENOENT && create) {
      if (::mkdirat(at.get(), name.c_str(), kFolderMode) != 0 && errno != EEXIST) {
        saved = errno;
        return failed(saved, "mkdir " + printable(path.substr(0, slash)));
      }
      if (made != nullptr) *made = true;
      fd = ::openat(at.get(), name.c_str(), kFlags);
      saved = errno;
    }
    if (fd < 0 && saved == ENOTDIR) {
      return make_error(ErrorCode::not_directory, "open " + printable(path.substr(0, slash)),
                        "a file or a symlink is where a folder is needed");
    }
    if (fd < 0) return failed(saved, "open " + printable(path.substr(0, slash)));
    at = Fd(fd);
    begin = slash + 1;
  }
  return at;
}

Result<Fd> open_file(int root, const std::string& key) {
  auto missing = [&] {
    return make_error(ErrorCode::not_found, "vault object " + printable(key), "it is not there");
  };
  auto parent = open_dir(root, std::string(parent_path(key)), false);
  if (!parent) {
    const ErrorCode code = parent.error().code;
    if (code == ErrorCode::not_found || code == ErrorCode::not_directory) return missing();
    return std::move(parent).error();
  }
  const std::string name(base_name(key));
  // O_NONBLOCK: a FIFO under the key must not hold us.
  const int fd = ::openat(parent->get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  const int saved = errno;
  if (fd < 0 && (saved == ENOENT || saved == ELOOP)) return missing();
  if (fd < 0) return failed(saved, "open vault object " + printable(key));
  Fd file(fd);
  struct stat st {};
  if (::fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) return missing();
  return file;
}

Status remove_empty_parents(int root, const std::string& key) {
  for (std::string_view folder = parent_path(key); !folder.empty() && folder != ".mediafs";
       folder = parent_path(folder)) {
    auto above = open_dir(root, std::string(parent_path(folder)), false);
    if (!above) return {};
    const std::string name(base_name(folder));
    if (::unlinkat(above->get(), name.c_str(), AT_REMOVEDIR) != 0)
      return {};  // not empty, or somebody was faster
  }
  return {};
}

std::string etag_of(const struct stat& st) {
  return stamp(st) + "-" + std::to_string(st.st_ino);
}

ObjectInfo describe_listed(std::string key, const struct stat& st) {
  ObjectInfo info;
  info.key = std::move(key);
  info.size_bytes = static_cast<std::uint64_t>(st.st_size);
  info.etag = etag_of(st);
  info.meta.mtime_ns = mtime_of(st);
  return info;
}

ObjectInfo describe_file(const std::string& key, int fd, const struct stat& st) {
  ObjectInfo info = describe_listed(key, st);
  int saved = 0;
  const std::string of = attribute(fd, kOfAttr, &saved);
  if (no_attributes(saved)) return info;
  info.meta_known = true;
  info.meta.mode = st.st_mode & 07777U;
  info.meta.uid = st.st_uid;
  info.meta.gid = st.st_gid;
  if (of != stamp(st)) return info;
  const std::string checksum = attribute(fd, kChecksumAttr, &saved);
  if (checksum.starts_with(kXxhPrefix)) {
    info.meta.checksum = xxh128_from_hex(std::string_view(checksum).substr(kXxhPrefix.size()));
  }
  info.meta.sha1_hex = attribute(fd, kSha1Attr, &saved);
  return info;
}

Status apply_meta(int fd, const ObjectMeta& meta) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) {
    const int saved = errno;
    return failed(saved, "stat");
  }
  if (::geteuid() == 0 && (st.st_uid != meta.uid || st.st_gid != meta.gid)) {
    // Filesystems without owners (FAT, some FUSE mounts) refuse; the bytes matter more.
    [[maybe_unused]] const int ignored = ::fchown(fd, meta.uid, meta.gid);
  }
  [[maybe_unused]] const int ignored = ::fchmod(fd, meta.mode & 07777U);
  st.st_mtim = to_timespec(meta.mtime_ns);
  const std::array<timespec, 2> times{timespec{0, UTIME_OMIT}, st.st_mtim};
  if (::futimens(fd, times.data()) != 0) {
    const int saved = errno;
    return failed(saved, "set the time of a vault object");
  }
  if (::fstat(fd, &st) != 0) {  // what the filesystem made of it: some keep whole seconds only
    const int saved = errno;
    return failed(saved, "stat");
  }
  MEDIAFS_TRY(set_attribute(fd, kChecksumAttr,
                            meta.checksum ? std::string(kXxhPrefix) + to_hex(*meta.checksum) : ""));
  MEDIAFS_TRY(set_attribute(fd, kSha1Attr, meta.sha1_hex));
  return set_attribute(fd, kOfAttr, stamp(st));
}

Result<TempFile> TempFile::create(int root) {
  static std::atomic<unsigned> counter{0};
  MEDIAFS_ASSIGN(Fd folder, open_dir(root, kTemp, true));
  TempFile temp;
  temp.dir_ = std::move(folder);
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::array<char, 64> name{};
    std::snprintf(name.data(), name.size(), "put.%d.%u", ::getpid(), counter.fetch_add(1));
    const int fd =
        ::openat(temp.dir_.get(), name.data(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    const int saved = errno;
    if (fd >= 0) {
      temp.fd_ = Fd(fd);
      temp.name_ = name.data();
      return temp;
    }
    if (saved != EEXIST) return failed(saved, std::string("create a file in ") + kTemp);
  }
  return make_error(ErrorCode::exists, std::string("create a file in ") + kTemp, "all names are taken");
}

Result<TempFile> TempFile::link(int root, Fd file) {
  static std::atomic<unsigned> counter{0};
  MEDIAFS_ASSIGN(Fd folder, open_dir(root, kTemp, true));
  const std::string name = "link." + std::to_string(::getpid()) + "." + std::to_string(counter.fetch_add(1));
  const std::string from = "/proc/self/fd/" + std::to_string(file.get());
  if (::linkat(AT_FDCWD, from.c_str(), folder.get(), name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    const int saved = errno;
    return failed(saved, std::string("make a link in ") + kTemp);
  }
  TempFile temp;
  temp.dir_ = std::move(folder);
  temp.fd_ = std::move(file);
  temp.name_ = name;
  temp.linked_ = true;
  return temp;
}

TempFile::TempFile(TempFile&& other) noexcept
    : dir_(std::move(other.dir_)),
      fd_(std::move(other.fd_)),
      name_(std::exchange(other.name_, {})),
      linked_(other.linked_) {}

TempFile::~TempFile() {
  if (!name_.empty()) ::unlinkat(dir_.get(), name_.c_str(), 0);
}

Status TempFile::publish(int root, const std::string& key, bool only_new) {
  if (auto synced = sync_fd(fd_.get()); !synced) return from_mount(std::move(synced).error());
  const std::string folder(parent_path(key));
  const std::string name(base_name(key));
  bool made = false;
  for (int attempt = 0;; ++attempt) {
    MEDIAFS_ASSIGN(const Fd parent, open_dir(root, folder, true, &made));
    crash_point("dir_vault.before_rename");
    int rc =
        ::renameat2(dir_.get(), name_.c_str(), parent.get(), name.c_str(), only_new ? RENAME_NOREPLACE : 0);
    if (rc != 0 && only_new && errno == EINVAL)  // a filesystem that can't refuse
      rc = ::renameat(dir_.get(), name_.c_str(), parent.get(), name.c_str());
    const int saved = errno;
    // A remove() beside us may have taken the empty folder away between the two calls.
    if (rc != 0 && saved == ENOENT && attempt < 16) continue;
    if (rc != 0) return failed(saved, "rename to vault object " + printable(key));
    if (linked_) ::unlinkat(dir_.get(), name_.c_str(), 0);  // over a name of its own a rename does nothing
    name_.clear();
    crash_point("dir_vault.after_rename");
    MEDIAFS_TRY(sync_folder(parent.get()));
    return made ? sync_folders_above(root, folder) : Status{};
  }
}

}  // namespace mediafs::tier::dir
