#include "watcher/inotify.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace mediafs::watcher {
namespace {

constexpr std::uint32_t kMask = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE |
                                IN_ATTRIB | IN_DELETE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK;
constexpr std::size_t kBufferBytes = 64 * 1024;

}  // namespace

Status Inotify::open() {
  const int fd = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  const int saved = errno;
  if (fd < 0) {
    Error error = errno_error(saved, "inotify_init1");
    if (saved == EMFILE) {
      error.code = ErrorCode::no_space;
      error.cause =
          "too many inotify instances (raise the sysctl fs.inotify.max_user_instances, or the limit of open "
          "files)";
    }
    return error;
  }
  fd_ = Fd(fd);
  return {};
}

Result<int> Inotify::add(int dir_fd) {
  // By descriptor and not by path: the path may name another directory by now, and the scan that follows reads
  // this descriptor.
  const std::string path = "/proc/self/fd/" + std::to_string(dir_fd);
  const int wd = ::inotify_add_watch(fd_.get(), path.c_str(), kMask);
  const int saved = errno;
  if (wd < 0) {
    Error error = errno_error(saved, "inotify_add_watch " + path);
    if (saved == ENOENT) error.cause += " (is /proc mounted?)";
    return error;
  }
  return wd;
}

void Inotify::remove(int wd) {
  // Fails where the kernel dropped the watch with its directory: nothing is left to do then.
  static_cast<void>(::inotify_rm_watch(fd_.get(), wd));
}

bool Inotify::unread() const {
  int bytes = 0;
  return ::ioctl(fd_.get(), FIONREAD, &bytes) == 0 && bytes > 0;
}

void Inotify::read_into(std::deque<Notice>& inbox, std::size_t limit) {
  alignas(inotify_event) std::array<char, kBufferBytes> buffer;
  while (inbox.size() < limit) {
    const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
    const int saved = errno;
    if (got < 0 && saved == EINTR) continue;
    if (got <= 0) return;
    const SteadyTime now = std::chrono::steady_clock::now();
    std::size_t at = 0;
    while (at + sizeof(inotify_event) <= static_cast<std::size_t>(got)) {
      inotify_event head;
      std::memcpy(&head, buffer.data() + at, sizeof head);
      const char* name = buffer.data() + at + sizeof head;
      inbox.push_back({head.wd, head.mask, head.cookie, std::string(name, ::strnlen(name, head.len)), now});
      at += sizeof head + head.len;
    }
  }
}

std::string watch_limit_advice() {
  constexpr std::uint64_t kAmple = 1'048'576;
  std::uint64_t limit = 0;
  if (auto text = read_file(AT_FDCWD, "/proc/sys/fs/inotify/max_user_watches", 64)) {
    limit = std::strtoull(text->c_str(), nullptr, 10);
  }
  const std::string want = std::to_string(std::max(kAmple, limit * 2));
  return "raise fs.inotify.max_user_watches (now " + std::to_string(limit) +
         "): sysctl -w fs.inotify.max_user_watches=" + want;
}

}  // namespace mediafs::watcher
