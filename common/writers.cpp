#include "common/writers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/xattr.h>

#include <cerrno>

namespace mediafs {

bool has_writer(int fd) noexcept {
  if (fcntl(fd, F_SETSIG, SIGURG) != 0) return false;  // SIGIO would end us when a writer comes
  if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
  fcntl(fd, F_SETLEASE, F_UNLCK);
  return false;
}

bool mark_unfinished(int fd) noexcept {
  return fsetxattr(fd, kUnfinishedAttribute.data(), "1", 1, 0) == 0;
}

void clear_unfinished(int fd) noexcept {
  static_cast<void>(fremovexattr(fd, kUnfinishedAttribute.data()));
}

bool is_unfinished(int fd) noexcept {
  return fgetxattr(fd, kUnfinishedAttribute.data(), nullptr, 0) >= 0;
}

}  // namespace mediafs
