#include "fs/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "common/path.h"

namespace mediafs::fs::tree {
namespace {

Error failed(int saved_errno, const char* call, const std::string& path) {
  return errno_error(saved_errno, std::string(call) + " " + printable(path));
}

// openat2, which keeps the whole walk beneath the root; on kernels without it the plain call.
int open_once(int root, const char* path, int flags, mode_t mode) {
  struct open_how how {};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno == ENOSYS) return openat(root, path, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    if (errno != EINTR && errno != EAGAIN) return -1;
    // EAGAIN: the tree was renamed during the walk, or the file is leased: only the former goes away by itself.
    if (errno == EAGAIN && (flags & O_NONBLOCK) != 0) return -1;
  }
}

// A path in the tree may be longer than the kernel takes at once: whoever made it stood deep within.
int open_beneath(int root, std::string_view path, int flags, mode_t mode) {
  constexpr std::size_t kAtOnce = PATH_MAX - NAME_MAX - 2;
  Fd held;
  int at = root;
  while (path.size() > kAtOnce) {
    const std::size_t end = path.rfind('/', kAtOnce);
    if (end == std::string_view::npos || end == 0) break;  // the kernel will say that a name is too long
    held = Fd(open_once(at, std::string(path.substr(0, end)).c_str(), O_PATH | O_DIRECTORY, 0));
    if (!held) return -1;
    at = held.get();
    path.remove_prefix(end + 1);
  }
  return open_once(at, std::string(path).c_str(), flags, mode);
}

template <class Call>
Status at_place(int root, const std::string& path, const char* what, Call call) {
  MEDIAFS_ASSIGN(const Place at, place(root, path));
  if (call(at) == 0) return {};
  return failed(errno, what, path);
}

}  // namespace

bool own_umask() {
  thread_local const bool own = [] {
    // Without its own fs struct the umask would be the process's: other threads' files would change.
    if (unshare(CLONE_FS) != 0) return false;
    umask(0);
    return true;
  }();
  return own;
}

Umask::Umask(mode_t mask) : left_(mask) {
  if (!own_umask()) return;
  umask(mask);
  left_ = 0;
}

Umask::~Umask() {
  if (own_umask()) umask(0);
}

std::string fd_path(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

Result<Place> place(int root, const std::string& path) {
  const std::string_view parent = parent_path(path);
  Place at;
  at.name = std::string(base_name(path));
  if (parent.empty()) {
    at.dir = root;
    return at;
  }
  const std::string dir(parent);
  at.held = Fd(open_beneath(root, dir, O_PATH | O_DIRECTORY, 0));
  if (!at.held) return failed(errno, "open", dir);
  at.dir = at.held.get();
  return at;
}

Result<std::optional<Place>> place_if_there(int root, const std::string& path) {
  auto at = place(root, path);
  if (at) return std::optional<Place>(std::move(*at));
  const ErrorCode code = at.err().code;
  if (code == ErrorCode::not_found || code == ErrorCode::not_directory) return std::optional<Place>{};
  return std::move(at).error();
}

Place beside(const Place& at, std::string_view name) {
  return Place{Fd(), at.dir, std::string(name)};
}

Result<std::optional<struct stat>> stat_if_there(const Place& at) {
  struct stat st {};
  if (fstatat(at.dir, at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return std::optional<struct stat>(st);
  if (errno == ENOENT || errno == ENOTDIR) return std::optional<struct stat>{};
  return failed(errno, "stat", at.name);
}

bool is_file(const Place& at, const std::string& name) {
  struct stat st {};
  return fstatat(at.dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

Status unlink(const Place& at) {
  if (unlinkat(at.dir, at.name.c_str(), 0) == 0) return {};
  return failed(errno, "unlink", at.name);
}

Status rename(const Place& from, const Place& to, unsigned flags) {
  if (renameat2(from.dir, from.name.c_str(), to.dir, to.name.c_str(), flags) == 0) return {};
  return failed(errno, "rename", from.name);
}

Result<struct stat> stat(int root, const std::string& path) {
  struct stat st {};
  if (path.empty()) {
    if (fstat(root, &st) != 0) return failed(errno, "stat", path);
    return st;
  }
  MEDIAFS_ASSIGN(const Place at, place(root, path));
  if (fstatat(at.dir, at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return failed(errno, "stat", path);
  return st;
}

std::optional<struct timespec> birth(int fd) {
  struct statx st {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) != 0 || (st.stx_mask & STATX_BTIME) == 0)
    return std::nullopt;
  return timespec{.tv_sec = st.stx_btime.tv_sec, .tv_nsec = st.stx_btime.tv_nsec};
}

Result<Fd> open_node(int root, const std::string& path) {
  MEDIAFS_ASSIGN(const Place at, place(root, path));
  Fd fd(openat(at.dir, at.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return failed(errno, "open", path);
  return fd;
}

Result<Fd> open_directory(int root, const std::string& path) {
  Fd fd(open_beneath(root, path.empty() ? std::string_view(".") : path, O_RDONLY | O_DIRECTORY, 0));
  if (!fd) return failed(errno, "open", path);
  return fd;
}

Result<Fd> open_file(int root, const std::string& path, int flags, bool patient) {
  const int wait = patient ? 0 : O_NONBLOCK;
  MEDIAFS_ASSIGN(const Place at, place(root, path));
  for (;;) {
    Fd fd(openat(at.dir, at.name.c_str(), flags | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC | wait));
    if (fd) return fd;
    if (errno != EINTR) return failed(errno, "open", path);
  }
}

Result<Fd> open_to_change(int root, const std::string& path, int flags) {
  if ((flags & O_ACCMODE) != O_WRONLY) return open_file(root, path, flags, true);
  auto both = open_file(root, path, (flags & ~O_ACCMODE) | O_RDWR, true);
  if (both || both.error().sys_errno != EACCES) return both;
  return open_file(root, path, flags, true);
}

Result<Fd> create_file(int root, const std::string& path, int flags, mode_t mode) {
  own_umask();
  MEDIAFS_ASSIGN(const Place at, place(root, path));
  Fd fd(openat(at.dir, at.name.c_str(), flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, mode));
  if (!fd) return failed(errno, "create", path);
  return fd;
}

Result<std::vector<Item>> list(int root, const std::string& path) {
  MEDIAFS_ASSIGN(Fd fd, open_directory(root, path));
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(fdopendir(fd.get()), closedir);
  if (!dir) return failed(errno, "list", path);
  static_cast<void>(fd.release());
  std::vector<Item> items;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(dir.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    mode_t type = DTTOIF(entry->d_type);
    if (entry->d_type == DT_UNKNOWN) {
      struct stat st {};
      if (fstatat(dirfd(dir.get()), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) continue;
        return failed(errno, "list", path);  // a shorter listing would be a lie
      }
      type = st.st_mode & S_IFMT;
    }
    items.push_back(Item{std::string(name), type, entry->d_ino});
  }
  if (errno != 0) return failed(errno, "list", path);
  return items;
}

Result<std::string> read_link(int root, const std::string& path) {
  MEDIAFS_ASSIGN(const Place at, place(root, path));
  std::array<char, 4097> target;
  const ssize_t size = readlinkat(at.dir, at.name.c_str(), target.data(), target.size());
  if (size < 0) return failed(errno, "readlink", path);
  return std::string(target.data(), static_cast<std::size_t>(size));
}

Status make_directory(int root, const std::string& path, mode_t mode) {
  own_umask();
  return at_place(root, path, "mkdir",
                  [&](const Place& at) { return mkdirat(at.dir, at.name.c_str(), mode); });
}

Status make_node(int root, const std::string& path, mode_t mode, dev_t device) {
  own_umask();
  return at_place(root, path, "mknod",
                  [&](const Place& at) { return mknodat(at.dir, at.name.c_str(), mode, device); });
}

Status make_symlink(int root, const std::string& path, const std::string& target) {
  return at_place(root, path, "symlink",
                  [&](const Place& at) { return symlinkat(target.c_str(), at.dir, at.name.c_str()); });
}

Status link(int root, const std::string& from, const std::string& to) {
  MEDIAFS_ASSIGN(const Place source, place(root, from));
  return at_place(root, to, "link", [&](const Place& at) {
    return linkat(source.dir, source.name.c_str(), at.dir, at.name.c_str(), 0);
  });
}

Status link(int fd, int root, const std::string& to) {
  return at_place(root, to, "link", [&](const Place& at) {
    return linkat(AT_FDCWD, fd_path(fd).c_str(), at.dir, at.name.c_str(), AT_SYMLINK_FOLLOW);
  });
}

Status unlink(int root, const std::string& path) {
  return at_place(root, path, "unlink", [](const Place& at) { return unlinkat(at.dir, at.name.c_str(), 0); });
}

Status remove_directory(int root, const std::string& path) {
  return at_place(root, path, "rmdir",
                  [](const Place& at) { return unlinkat(at.dir, at.name.c_str(), AT_REMOVEDIR); });
}

Status rename(int root, const std::string& from, const std::string& to, unsigned flags) {
  MEDIAFS_ASSIGN(const Place source, place(root, from));
  return at_place(root, to, "rename", [&](const Place& at) {
    return renameat2(source.dir, source.name.c_str(), at.dir, at.name.c_str(), flags);
  });
}

namespace {

bool sets_times(const Changes& c) {
  return c.atime || c.mtime;
}

// A change of nothing is what a chown to nobody else comes as: that counts as a change, too.
bool sets_owner(const Changes& c) {
  return c.uid || c.gid || (!c.size_bytes && !c.mode && !sets_times(c));
}

std::array<struct timespec, 2> times_of(const Changes& c) {
  const struct timespec omit = {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  return {c.atime.value_or(omit), c.mtime.value_or(omit)};
}

}  // namespace

bool has_set_id(const struct stat& st) noexcept {
  constexpr mode_t kGroup = S_ISGID | S_IXGRP;  // set-gid alone marks mandatory locking
  return S_ISREG(st.st_mode) && ((st.st_mode & S_ISUID) != 0 || (st.st_mode & kGroup) == kGroup);
}

mode_t without_set_id(const struct stat& st) noexcept {
  if (!has_set_id(st)) return st.st_mode & 07777;
  const mode_t drop = S_ISUID | ((st.st_mode & S_IXGRP) != 0 ? S_ISGID : mode_t{0});
  return st.st_mode & 07777 & ~drop;
}

Status drop_set_id(int fd, uid_t writer) {
  if (writer == 0) return {};
  MEDIAFS_ASSIGN(const struct stat st, stat_fd(fd));
  if (!has_set_id(st)) return {};
  if (fchmod(fd, without_set_id(st)) != 0) return errno_error(errno, "drop set-id bits");
  return {};
}

namespace {

Status change_owner(const Place& at, const Changes& c) {
  if (!c.uid && !c.gid && c.writer != 0) {  // another's set-id bits don't go for that
    struct stat st {};
    if (fstatat(at.dir, at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0)
      return failed(errno, "chown", at.name);
    if (has_set_id(st) && st.st_uid != c.writer) return {};
  }
  const uid_t uid = c.uid.value_or(uid_t(-1));
  const gid_t gid = c.gid.value_or(gid_t(-1));
  if (fchownat(at.dir, at.name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) == 0) return {};
  return failed(errno, "chown", at.name);
}

}  // namespace

Status apply(int fd, const Changes& c) {
  if (c.size_bytes && ftruncate(fd, static_cast<off_t>(*c.size_bytes)) != 0)
    return failed(errno, "truncate", "");
  if (c.size_bytes) MEDIAFS_TRY(drop_set_id(fd, c.writer));
  if (sets_owner(c)) MEDIAFS_TRY(change_owner(Place{Fd(), fd, ""}, c));
  if (c.mode && fchmod(fd, *c.mode & 07777) != 0) return failed(errno, "chmod", "");
  if (sets_times(c) && futimens(fd, times_of(c).data()) != 0) return failed(errno, "utimens", "");
  return {};
}

Status apply(int root, const std::string& path, const Changes& c, bool patient) {
  if (c.size_bytes) {
    MEDIAFS_ASSIGN(const Fd file,
                   patient ? open_to_change(root, path, O_WRONLY) : open_file(root, path, O_WRONLY, false));
    struct stat st {};
    if (fstat(file.get(), &st) != 0) return failed(errno, "truncate", path);
    if (st.st_nlink == 0) return failed(ESTALE, "truncate", path);  // evicted while we waited for it
    if (ftruncate(file.get(), static_cast<off_t>(*c.size_bytes)) != 0) return failed(errno, "truncate", path);
    MEDIAFS_TRY(drop_set_id(file.get(), c.writer));
  }
  if (!sets_owner(c) && !c.mode && !sets_times(c)) return {};
  Place at;
  if (path.empty()) {
    at.dir = root;
    at.name = ".";
  } else {
    MEDIAFS_ASSIGN(at, place(root, path));
  }
  if (sets_owner(c)) MEDIAFS_TRY(change_owner(at, c));
  if (c.mode) {
    // fchmodat can't refuse to follow a link before Linux 6.6; a descriptor of the node itself can't be one.
    const Fd node(openat(at.dir, at.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!node || ::chmod(fd_path(node.get()).c_str(), *c.mode & 07777) != 0)
      return failed(errno, "chmod", path);
  }
  if (sets_times(c) && utimensat(at.dir, at.name.c_str(), times_of(c).data(), AT_SYMLINK_NOFOLLOW) != 0) {
    return failed(errno, "utimens", path);
  }
  return {};
}

Status give_to(int root, const std::string& path, uid_t uid, gid_t gid, mode_t mode) {
  if (geteuid() != 0) return {};  // only root gives files away; an unprivileged mount's files are its owner's
  MEDIAFS_ASSIGN(const Place at, place(root, path));
  struct stat st {};
  struct stat above {};
  if (fstatat(at.dir, at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 || fstat(at.dir, &above) != 0) {
    return failed(errno, "stat", path);
  }
  const bool group_given = (above.st_mode & S_ISGID) != 0;
  const gid_t wanted = group_given ? st.st_gid : gid;
  if (st.st_uid == uid && st.st_gid == wanted) return {};
  if (fchownat(at.dir, at.name.c_str(), uid, wanted, AT_SYMLINK_NOFOLLOW) != 0)
    return failed(errno, "chown", path);
  if ((mode & (S_ISUID | S_ISGID)) == 0 || !S_ISREG(st.st_mode)) return {};
  return apply(root, path,
               Changes{.mode = st.st_mode, .uid = {}, .gid = {}, .size_bytes = {}, .atime = {}, .mtime = {}},
               true);
}

Result<Fd> create_nameless(int root, const std::string& path, int flags, mode_t mode, const Owner& owner) {
  own_umask();
  MEDIAFS_ASSIGN(const Fd dir, open_directory(root, path));
  Fd fd(openat(dir.get(), ".", flags | O_TMPFILE | O_CLOEXEC, mode));
  if (!fd) return failed(errno, "create a file without a name", path);
  if (geteuid() != 0) return fd;
  MEDIAFS_ASSIGN(const struct stat above, stat_fd(dir.get()));
  MEDIAFS_ASSIGN(const struct stat st, stat_fd(fd.get()));
  const bool group_given = (above.st_mode & S_ISGID) != 0;
  if (fchown(fd.get(), owner.uid, group_given ? st.st_gid : owner.gid) != 0)
    return failed(errno, "chown", path);
  if (has_set_id(st) && fchmod(fd.get(), st.st_mode & 07777) != 0) return failed(errno, "chmod", path);
  return fd;
}

}  // namespace mediafs::fs::tree
