// Descriptors: RAII, and the system calls with EINTR and short transfers handled. errno becomes an Error here.
// Threads:    an Fd belongs to one owner; the functions are safe from any thread.
// Units:      offsets and sizes in bytes.
// Errors:     from errno (errno_error); `what` names the call and the path.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "common/result.h"

namespace mediafs {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept;  // closes; errors of close(2) are of no use here: fsync first where they matter

 private:
  int fd_ = -1;
};

// `dir` is a directory descriptor or AT_FDCWD; `path` is relative to it. "" as path means `dir` itself where noted.
Result<Fd> open_at(int dir, const std::string& path, int flags, unsigned mode = 0);
Result<struct stat> stat_at(int dir, const std::string& path);  // lstat; "" is dir itself
Result<struct stat> stat_fd(int fd);
Status mkdirs_at(int dir, const std::string& path, unsigned mode);                       // mkdir -p
Result<std::size_t> read_some(int fd, std::span<std::byte> into, std::uint64_t offset);  // till full or EOF
Status write_all(int fd, std::span<const std::byte> from, std::uint64_t offset);         // all of it
Status sync_fd(int fd);
// fsync of the directory that holds `path`, so that a rename or link into it is durable.
Status sync_parent(int dir, const std::string& path);
Result<std::string> read_file(int dir, const std::string& path, std::size_t limit_bytes);
// Publishes `bytes` under `path`: temp file in the same directory, fsync, rename, fsync of the directory.
Status write_file_atomic(int dir, const std::string& path, std::string_view bytes, unsigned mode);

}  // namespace mediafs
