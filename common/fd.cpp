#include "common/fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <limits>

namespace mediafs {

namespace {

// The directory part as openat(2) takes it: "." for a bare name, "/" for one below the root.
std::string directory_of(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Removes a temp file unless it was published.
class TempFile {
 public:
  TempFile(int dir, std::string path) : dir_(dir), path_(std::move(path)) {}
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  ~TempFile() {
    if (!path_.empty()) ::unlinkat(dir_, path_.c_str(), 0);
  }
  void published() { path_.clear(); }

 private:
  int dir_;
  std::string path_;
};

std::string temp_name(const std::string& path) {
  static std::atomic<unsigned> counter{0};
  char name[64];
  std::snprintf(name, sizeof name, ".mediafs-tmp.%d.%u", ::getpid(), counter.fetch_add(1));
  const auto slash = path.find_last_of('/');
  return slash == std::string::npos ? name : path.substr(0, slash + 1) + name;
}

Status mkdir_one(int dir, const std::string& path, unsigned mode) {
  if (::mkdirat(dir, path.c_str(), mode) == 0) return {};
  const int saved = errno;
  if (saved != EEXIST) return errno_error(saved, "mkdir " + path);
  struct stat st {};
  if (::fstatat(dir, path.c_str(), &st, 0) == 0 && S_ISDIR(st.st_mode)) return {};
  return errno_error(ENOTDIR, "mkdir " + path);
}

}  // namespace

void Fd::reset() noexcept {
  // No retry on EINTR: Linux has released the descriptor by then, another thread may own the number.
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<Fd> open_at(int dir, const std::string& path, int flags, unsigned mode) {
  const char* name = path.empty() ? "." : path.c_str();
  for (;;) {
    const int fd = ::openat(dir, name, flags | O_CLOEXEC, mode);
    const int saved = errno;
    if (fd >= 0) return Fd(fd);
    if (saved != EINTR) return errno_error(saved, std::string("open ") + name);
  }
}

Result<struct stat> stat_at(int dir, const std::string& path) {
  struct stat st {};
  const int rc = ::fstatat(dir, path.c_str(), &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
  const int saved = errno;
  if (rc != 0) return errno_error(saved, "stat " + (path.empty() ? std::string(".") : path));
  return st;
}

Result<struct stat> stat_fd(int fd) {
  struct stat st {};
  const int rc = ::fstat(fd, &st);
  const int saved = errno;
  if (rc != 0) return errno_error(saved, "fstat");
  return st;
}

Status mkdirs_at(int dir, const std::string& path, unsigned mode) {
  if (path.empty()) return {};
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    MEDIAFS_TRY(mkdir_one(dir, path.substr(0, slash), mode));
  }
  if (path.back() == '/') return {};
  return mkdir_one(dir, path, mode);
}

Result<std::size_t> read_some(int fd, std::span<std::byte> into, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    const int saved = errno;
    if (n < 0 && saved == EINTR) continue;
    if (n < 0) return errno_error(saved, "read");
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

Status write_all(int fd, std::span<const std::byte> from, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < from.size()) {
    const ssize_t n = ::pwrite(fd, from.data() + done, from.size() - done, static_cast<off_t>(offset + done));
    const int saved = errno;
    if (n < 0 && saved == EINTR) continue;
    if (n < 0) return errno_error(saved, "write");
    if (n == 0) return make_error(ErrorCode::io, "write", "the system wrote nothing");
    done += static_cast<std::size_t>(n);
  }
  return {};
}

Status sync_fd(int fd) {
  for (;;) {
    const int rc = ::fsync(fd);
    const int saved = errno;
    if (rc == 0) return {};
    if (saved != EINTR) return errno_error(saved, "fsync");
  }
}

Status sync_parent(int dir, const std::string& path) {
  const std::string parent = directory_of(path);
  MEDIAFS_ASSIGN(const Fd fd, open_at(dir, parent, O_RDONLY | O_DIRECTORY));
  auto synced = sync_fd(fd.get());
  if (!synced) synced.error().what = "fsync " + parent;
  return synced;
}

Result<std::string> read_file(int dir, const std::string& path, std::size_t limit_bytes) {
  MEDIAFS_ASSIGN(const Fd fd, open_at(dir, path, O_RDONLY));
  std::string text;
  // One byte more than allowed tells "too large" from "just fits"; sizes that stat reports are 0 in /proc.
  const std::size_t most =
      limit_bytes == std::numeric_limits<std::size_t>::max() ? limit_bytes : limit_bytes + 1;
  while (text.size() < most) {
    const std::size_t before = text.size();
    text.resize(before + std::min<std::size_t>(most - before, 64 * 1024));
    auto got = read_some(fd.get(), std::as_writable_bytes(std::span(text).subspan(before)), before);
    if (!got) {
      got.error().what = "read " + path;
      return std::move(got).error();
    }
    const bool end = before + *got < text.size();
    text.resize(before + *got);
    if (end) break;
  }
  if (text.size() > limit_bytes) {
    return make_error(ErrorCode::too_large, "read " + path,
                      "larger than " + std::to_string(limit_bytes) + " bytes");
  }
  return text;
}

Status write_file_atomic(int dir, const std::string& path, std::string_view bytes, unsigned mode) {
  std::string temp;
  Result<Fd> fd = make_error(ErrorCode::exists, "open " + path);
  do {  // a name left over by a killed process that had our pid is passed over
    temp = temp_name(path);
    fd = open_at(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  } while (!fd && fd.error().code == ErrorCode::exists);
  if (!fd) return std::move(fd).error();
  TempFile guard(dir, temp);
  auto written = write_all(fd->get(), std::as_bytes(std::span(bytes)), 0);
  if (written && ::fchmod(fd->get(), mode) != 0) {
    const int saved = errno;
    written = errno_error(saved, "chmod");
  }
  if (written) written = sync_fd(fd->get());
  if (!written) {
    written.error().what += " " + temp;
    return written;
  }
  fd->reset();
  const int rc = ::renameat(dir, temp.c_str(), dir, path.c_str());
  const int saved = errno;
  if (rc != 0) return errno_error(saved, "rename " + temp + " to " + path);
  guard.published();
  return sync_parent(dir, path);
}

}  // namespace mediafs
