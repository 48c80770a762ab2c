// One plain directory tree, below a root descriptor: the system calls that the mount makes on the local branch and on
// the share. Every path is opened beneath the root and no symbolic link on it is followed.
// Threads:    safe from any thread. Each call blocks for as long as the filesystem below does.
// Shapes:     paths as in common/path.h; "" is the root itself.
// Errors:     from errno.
#pragma once

#include <sys/stat.h>
#include <time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/fd.h"
#include "common/result.h"

namespace mediafs::fs::tree {

struct Item {
  std::string name;
  mode_t type = 0;  // S_IFMT bits
  std::uint64_t inode = 0;
};

struct Changes {  // what a setattr asks for
  std::optional<mode_t> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<std::uint64_t> size_bytes;
  std::optional<struct timespec> atime, mtime;  // tv_nsec may be UTIME_NOW
  uid_t writer = 0;                             // who truncates: see drop_set_id
};

// The directory that holds a path, opened, and the path's last name.
struct Place {
  Fd held;
  int dir = -1;
  std::string name;
};
Result<Place> place(int root, const std::string& path);  // REQUIRES: path is not ""
// Unset: the directory is not there.
Result<std::optional<Place>> place_if_there(int root, const std::string& path);
Place beside(const Place& at, std::string_view name);  // another name in the same directory; borrows `at`
// What several questions about one place, or changes of it, need: the way to it is walked once.
Result<std::optional<struct stat>> stat_if_there(const Place& at);
bool is_file(const Place& at, const std::string& name);  // a regular file stands beside it
Status unlink(const Place& at);
Status rename(const Place& from, const Place& to, unsigned flags);

Result<struct stat> stat(int root, const std::string& path);
std::optional<struct timespec> birth(int fd);  // when the open file was born, where the filesystem knows
Result<Fd> open_node(int root, const std::string& path);  // O_PATH, of anything, a symbolic link itself too
Result<Fd> open_directory(int root, const std::string& path);
// Never follows a link, never waits for a lease: EWOULDBLOCK, unless `patient`.
Result<Fd> open_file(int root, const std::string& path, int flags, bool patient);
// As open_file(patient), for a share: also to read where it may be, since some can't look at what is only written.
Result<Fd> open_to_change(int root, const std::string& path, int flags);
Result<Fd> create_file(int root, const std::string& path, int flags, mode_t mode);  // with O_EXCL
Result<std::vector<Item>> list(int root, const std::string& path);                  // without . and ..
Result<std::string> read_link(int root, const std::string& path);
Status make_directory(int root, const std::string& path, mode_t mode);
Status make_node(int root, const std::string& path, mode_t mode, dev_t device);
Status make_symlink(int root, const std::string& path, const std::string& target);
Status link(int root, const std::string& from, const std::string& to);
Status unlink(int root, const std::string& path);
Status remove_directory(int root, const std::string& path);
Status rename(int root, const std::string& from, const std::string& to, unsigned flags);

// Owner first, then mode: chown takes set-id bits away.
Status apply(int fd, const Changes& changes);  // of an open file
Status apply(int root, const std::string& path, const Changes& changes, bool patient);
// What a write by other than root does to set-id bits, which the kernel leaves to us (HANDLE_KILLPRIV_V2).
Status drop_set_id(int fd, uid_t writer);
bool has_set_id(const struct stat& st) noexcept;
mode_t without_set_id(const struct stat& st) noexcept;  // the permissions that a write leaves
// Gives a new file to its maker, keeping the group that a set-gid directory gave it. `mode` is set again where
// chown took bits from it.
Status give_to(int root, const std::string& path, uid_t uid, gid_t gid, mode_t mode);

Result<std::string> get_xattr(int root, const std::string& path, const std::string& name);
Result<std::string> get_xattr(int fd, const std::string& name);  // of an open file
Result<std::string> list_xattr(int root, const std::string& path);
Status set_xattr(int root, const std::string& path, const std::string& name, std::string_view value,
                 int flags);
Status remove_xattr(int root, const std::string& path, const std::string& name);
Result<std::string> list_xattr(int fd);
Status set_xattr(int fd, const std::string& name, std::string_view value, int flags);
Status remove_xattr(int fd, const std::string& name);
bool has_acls(int root);      // whether the filesystem keeps POSIX ACLs
std::string fd_path(int fd);  // /proc/self/fd/N

// A new file without a name in the directory `path`, which a link may give one.
struct Owner {
  uid_t uid;
  gid_t gid;
};
Result<Fd> create_nameless(int root, const std::string& path, int flags, mode_t mode, const Owner& owner);
Status link(int fd, int root, const std::string& to);  // gives a name to what is open

// New files get exactly the mode asked for: this thread's umask is its own, and 0. False: it can't be had.
bool own_umask();
// What this thread makes in its scope is masked, by the filesystem, which knows where a default ACL counts instead.
class Umask {
 public:
  explicit Umask(mode_t umask);
  ~Umask();
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;
  mode_t applied(mode_t mode) const { return mode & ~left_; }  // the mode to ask for

 private:
  mode_t left_ = 0;  // what is for us to mask
};

}  // namespace mediafs::fs::tree
