#include "common/writers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>

namespace mediafs {

namespace {

// Size and modification time: what each write changes.
using Content = std::array<char, 64>;
std::string_view content_of(int fd, Content& into) noexcept {
  struct stat st {};
  if (fstat(fd, &st) != 0) return {};
  const int size =
      std::snprintf(into.data(), into.size(), "%lld %lld.%09ld", static_cast<long long>(st.st_size),
                    static_cast<long long>(st.st_mtim.tv_sec), st.st_mtim.tv_nsec);
  return {into.data(), static_cast<std::size_t>(size)};
}

}  // namespace

bool has_writer(int fd) noexcept {
  if (fcntl(fd, F_SETSIG, SIGURG) != 0) return false;  // SIGIO would end us when a writer comes
  if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
  fcntl(fd, F_SETLEASE, F_UNLCK);
  return false;
}

bool mark_unfinished(int fd) noexcept {
  return fsetxattr(fd, kUnfinishedAttribute.data(), "1", 1, 0) == 0;
}

void mark_closed(int fd) noexcept {
  Content content;
  const std::string_view now = content_of(fd, content);
  static_cast<void>(fsetxattr(fd, kUnfinishedAttribute.data(), now.data(), now.size(), XATTR_REPLACE));
}

void clear_unfinished(int fd) noexcept {
  static_cast<void>(fremovexattr(fd, kUnfinishedAttribute.data()));
}

bool is_unfinished(int fd) noexcept {
  Content closed_as, content;
  const ssize_t size = fgetxattr(fd, kUnfinishedAttribute.data(), closed_as.data(), closed_as.size());
  if (size < 0) return errno == ERANGE;
  return std::string_view(closed_as.data(), static_cast<std::size_t>(size)) != content_of(fd, content);
}

}  // namespace mediafs
