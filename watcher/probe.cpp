#include "watcher/probe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "common/writers.h"

namespace mediafs::watcher {
namespace {

constexpr std::size_t kChunkBytes = 3500;  // under PATH_MAX, with room for one component
constexpr int kOpenDir = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

}  // namespace

Result<Fd> open_dir_below(int root, const std::string& path) {
  if (path.empty()) return open_at(root, ".", kOpenDir);
  Fd held;
  int at = root;
  std::size_t begin = 0;
  while (path.size() - begin > kChunkBytes) {
    const std::size_t end = path.rfind('/', begin + kChunkBytes);
    if (end == std::string::npos || end <= begin) break;
    MEDIAFS_ASSIGN(
        held, open_at(at, path.substr(begin, end - begin), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    at = held.get();
    begin = end + 1;
  }
  return open_at(at, path.substr(begin), kOpenDir);
}

Writer probe_writer(int dir, const std::string& name, struct stat& info) {
  auto fd = open_at(dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
  if (!fd) {
    switch (fd.err().sys_errno) {
      case EAGAIN:  // somebody else's write lease
      case EMFILE:  // can't tell now: as if there were one, so that we look again
      case ENFILE:
        return Writer::open;
      case EACCES:
      case EPERM:
        return Writer::unknown;
      default:
        return Writer::changed;
    }
  }
  auto now = stat_fd(fd->get());
  if (!now || !S_ISREG(now->st_mode)) return Writer::changed;
  info = *now;
  // The lease's owner is this thread, where SIGIO is blocked: without it the kernel would signal the whole process
  // when a writer comes by in this very moment, and SIGIO kills by default.
  f_owner_ex owner{F_OWNER_TID, ::gettid()};
  static_cast<void>(::fcntl(fd->get(), F_SETOWN_EX, &owner));
  const int taken = ::fcntl(fd->get(), F_SETLEASE, F_RDLCK);
  const int saved = errno;
  if (taken != 0) return saved == EAGAIN ? Writer::open : Writer::unknown;
  static_cast<void>(::fcntl(fd->get(), F_SETLEASE, F_UNLCK));
  return is_unfinished(fd->get()) ? Writer::cut_off : Writer::none;
}

void forget_cut_off(int dir, const std::string& name) {
  auto fd = open_at(dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
  if (fd) clear_unfinished(fd->get());
}

}  // namespace mediafs::watcher
