#include "fs/mountpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

#include "common/fd.h"
#include "common/log.h"
#include "common/mounts.h"
#include "common/path.h"

namespace mediafs::fs {
namespace {

constexpr const char* kType = "fuse.mediafs";
constexpr std::chrono::seconds kAnswerWithin{10};
constexpr int kMaxStale = 16;  // mounts of killed processes, one over the other

std::string with_path(const std::string& path) {
  return "mount " + printable(path);
}

Result<std::string> absolute(const std::string& path) {
  std::array<char, PATH_MAX> buffer;
  if (realpath(path.c_str(), buffer.data()) == nullptr) return errno_error(errno, with_path(path));
  return std::string(buffer.data());
}

// realpath() fails on a stale mount itself: its directory's is taken instead.
Result<std::string> absolute_of_stale(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) {
    MEDIAFS_ASSIGN(const std::string dir, absolute("."));
    return dir + "/" + path;
  }
  MEDIAFS_ASSIGN(const std::string dir, absolute(slash == 0 ? "/" : path.substr(0, slash)));
  return (dir == "/" ? "" : dir) + path.substr(slash);
}

Status check_empty(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(path.c_str()), closedir);
  if (!dir) return errno_error(errno, with_path(path));
  while (const dirent* entry = readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    return make_error(ErrorCode::not_empty, with_path(path),
                      "the mount point is not empty: it holds " + printable(name) +
                          ", which the mount would hide (move it away or choose another mount point)");
  }
  return {};
}

Status check_nesting(const std::string& path, const std::string& local_path) {
  auto local = absolute(local_path);
  if (!local) return {};  // whoever opened the local branch knows better
  auto within = [](const std::string& inner, const std::string& outer) {
    return inner == outer || inner.starts_with(outer == "/" ? outer : outer + "/");
  };
  if (within(path, *local)) {
    return make_error(
        ErrorCode::invalid, with_path(path),
        "it is within the local branch " + *local + ", which would show itself (choose another)");
  }
  if (within(*local, path)) {
    return make_error(ErrorCode::invalid, with_path(path),
                      "the local branch " + *local + " is within it and would be hidden (choose another)");
  }
  return {};
}

std::string find_program(const char* name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/bin:/bin:/usr/local/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::string file = folder + "/" + name;
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

Status run_fusermount(const std::string& mountpoint) {
  const std::string program = find_program("fusermount3");
  if (program.empty()) {
    return make_error(ErrorCode::permission, "unmount " + printable(mountpoint),
                      "fusermount3 is not installed (install the package fuse3, or run as root)");
  }
  std::string unmount = "-uz", end = "--", target = mountpoint, self = program;
  std::array<char*, 5> arguments{self.data(), unmount.data(), end.data(), target.data(), nullptr};
  pid_t child = 0;
  const int failed = posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments.data(), environ);
  if (failed != 0) return errno_error(failed, "run " + program);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return make_error(ErrorCode::permission, "unmount " + printable(mountpoint), "fusermount3 refused");
}

Status clear_stale(const std::string& path) {
  MEDIAFS_ASSIGN(const std::string place, absolute_of_stale(path));
  log::warning("clearing a stale mount", {{"path", printable(place)}});
  auto detached = detach_mount(place);
  if (detached) return {};
  return make_error(
      detached.error().code, with_path(path),
      "a mount that a killed process left is still there (Transport endpoint is not connected) and can't "
      "be cleared: " +
          detached.error().cause + " (run: umount -l " + place + ")");
}

// Where a FUSE filesystem is mounted, whoever serves it: asked once whether it answers at all.
Result<bool> check_mounted(const std::string& place) {
  MEDIAFS_ASSIGN(const auto mounts, mounts_of());
  const MountRecord* there = mounted_at(mounts, place);
  if (there == nullptr || !there->is_fuse()) return false;
  MEDIAFS_TRY(check_answers(place));
  return true;
}

Error mounted_already(const std::string& path, const std::string& place) {
  const auto mounts = mounts_of();
  const MountRecord* there = mounts ? mounted_at(*mounts, place) : nullptr;
  if (there != nullptr && there->type == kType) {
    return make_error(ErrorCode::busy, with_path(path),
                      "mediafs is mounted there already (run: mediafs unmount " + place + ")");
  }
  return make_error(ErrorCode::busy, with_path(path),
                    "a FUSE filesystem" + (there ? " (" + there->type + " of " + there->source + ")" : "") +
                        " is mounted there already (run: umount " + place + ")");
}

}  // namespace

// Asked by a process of its own, which waits as long as the mount does: for ever, where its server is stuck. It is made
// by another one that ends at once, so that nobody has to wait for it.
Status check_answers(const std::string& place) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, with_path(place));
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t child = fork();
  if (child < 0) return errno_error(errno, with_path(place));
  if (child == 0) {
    if (fork() == 0) {
      struct statvfs vfs {};
      dup2(writer.get(), 0);
      close_range(1, ~0U, 0);  // our lock and our sockets are not to live on with it
      ::statvfs(place.c_str(), &vfs);
      if (::write(0, "1", 1) != 1) _exit(1);
    }
    _exit(0);
  }
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  writer.reset();
  pollfd answer{.fd = reader.get(), .events = POLLIN, .revents = 0};
  const int ready = poll(&answer, 1, static_cast<int>(std::chrono::milliseconds(kAnswerWithin).count()));
  if (ready > 0) return {};
  return make_error(
      ErrorCode::busy, with_path(place),
      "what is mounted there does not answer (end its server; or run: mediafs unmount --force " + place +
          ")");
}

Status abort_connection(unsigned number) {
  const std::string file = "/sys/fs/fuse/connections/" + std::to_string(number) + "/abort";
  MEDIAFS_ASSIGN(const Fd fd, open_at(AT_FDCWD, file, O_WRONLY | O_CLOEXEC));
  if (::write(fd.get(), "1", 1) != 1) return errno_error(errno, "abort " + file);
  return {};
}

Status read_ahead(unsigned number, std::uint64_t size_bytes) {
  const std::string file = "/sys/class/bdi/0:" + std::to_string(number) + "/read_ahead_kb";
  MEDIAFS_ASSIGN(const Fd fd, open_at(AT_FDCWD, file, O_WRONLY | O_CLOEXEC));
  const std::string text = std::to_string(size_bytes >> 10U);
  const ssize_t written = ::write(fd.get(), text.data(), text.size());
  const int saved = errno;
  if (written < 0) return errno_error(saved, "write " + file);
  return {};
}

Status detach_mount(const std::string& mountpoint) {
  if (umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return {};
  const int saved = errno;
  if (saved != EPERM) return errno_error(saved, "unmount " + printable(mountpoint));
  return run_fusermount(mountpoint);
}

Result<std::string> prepare_mountpoint(const std::string& path, const std::string& local_path) {
  if (path.empty())
    return make_error(ErrorCode::invalid, "mount", "no mount point is given (set mount.path)");
  struct stat st {};
  struct statvfs vfs {};
  int attempts = 0;
  bool mounted = false;
  if (auto place = absolute_of_stale(path)) {
    MEDIAFS_ASSIGN(mounted, check_mounted(*place));
  }
  // The kernel may answer stat for a dead mount from its cache; statvfs always asks.
  while (::stat(path.c_str(), &st) != 0 || ::statvfs(path.c_str(), &vfs) != 0) {
    const int saved = errno;
    if (saved == ENOENT) {
      return make_error(ErrorCode::not_found, with_path(path),
                        "the mount point does not exist (run: mkdir -p " + path + ")");
    }
    if (saved != ENOTCONN && saved != ECONNABORTED) return errno_error(saved, with_path(path));
    if (++attempts > kMaxStale) return errno_error(saved, with_path(path));
    MEDIAFS_TRY(clear_stale(path));
    MEDIAFS_ASSIGN(mounted, check_mounted(*absolute_of_stale(path)));
  }
  if (!S_ISDIR(st.st_mode)) {
    return make_error(ErrorCode::not_directory, with_path(path), "the mount point is not a directory");
  }
  MEDIAFS_ASSIGN(std::string place, absolute(path));
  if (mounted) return mounted_already(path, place);
  MEDIAFS_TRY(check_nesting(place, local_path));
  MEDIAFS_TRY(check_empty(place));
  return place;
}

bool user_allow_other() {
  std::ifstream file("/etc/fuse.conf");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    if (words >> word && word == "user_allow_other") return true;
  }
  return false;
}

Status check_fuse(bool allow_other) {
  const char* device = "/dev/fuse";
  if (access(device, F_OK) != 0) {
    return make_error(
        ErrorCode::unsupported, device,
        "there is no FUSE device (run: modprobe fuse; in a container: start it with --device /dev/fuse "
        "--cap-add SYS_ADMIN)");
  }
  if (geteuid() == 0) return {};
  if (find_program("fusermount3").empty()) {
    return make_error(
        ErrorCode::permission, "mount",
        "fusermount3 is not installed, which mounting without root needs (install the package fuse3)");
  }
  if (access(device, R_OK | W_OK) != 0) {
    return make_error(ErrorCode::permission, device,
                      "this user may not open the FUSE device (chmod 666 /dev/fuse, or run as root)");
  }
  if (allow_other && !user_allow_other()) {
    return make_error(ErrorCode::permission, "mount with allow_other",
                      "only root may, unless /etc/fuse.conf has the line user_allow_other (add it, or set "
                      "mount.allow_other = false)");
  }
  return {};
}

}  // namespace mediafs::fs
