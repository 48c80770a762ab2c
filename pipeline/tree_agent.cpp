#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>
#include <vector>

#include "common/hash.h"
#include "common/path.h"
#include "pipeline/tree.h"
#include "pipeline/tree_wire.h"

namespace mediafs::pipeline {

namespace {

constexpr std::size_t kChunk = 1U << 20;
constexpr std::chrono::seconds kTellAlive{1};

// For *at() calls. What is below an empty mount point is nobody's.
Result<Fd> open_root(const wire::Request& request) {
  MEDIAFS_ASSIGN(auto fd, open_at(AT_FDCWD, request.root, O_PATH | O_DIRECTORY | O_CLOEXEC));
  MEDIAFS_ASSIGN(const auto st, stat_fd(fd.get()));
  if (request.device != 0 && st.st_dev != request.device) {
    return make_error(ErrorCode::offline, request.root, "the tree is not mounted");
  }
  return fd;
}

Result<std::string> meet(int root) {
  MEDIAFS_TRY(stat_at(root, ".mediafs/version"));
  MEDIAFS_ASSIGN(const auto st, stat_fd(root));
  return std::to_string(st.st_dev);
}

Result<std::string> rename_to(int root, const std::string& from, const std::string& to) {
  MEDIAFS_TRY(mkdirs_at(root, std::string(parent_path(to)), 0777));
  if (renameat2(root, from.c_str(), root, to.c_str(), RENAME_NOREPLACE) == 0) return std::string();
  return errno_error(errno, "rename " + printable(from) + " to " + printable(to));
}

Result<std::string> checksum(int root, const std::string& path, const std::function<void()>& alive) {
  MEDIAFS_ASSIGN(auto fd, open_at(root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  std::vector<std::byte> chunk(kChunk);
  Hasher hasher{Hasher::Want{}};
  auto told = std::chrono::steady_clock::now();
  for (std::uint64_t at = 0;;) {
    MEDIAFS_ASSIGN(const std::size_t n, read_some(fd.get(), chunk, at));
    if (n == 0) return to_hex(hasher.finish().xxh128);
    hasher.update(std::span(chunk).first(n));
    at += n;
    if (const auto now = std::chrono::steady_clock::now(); alive && now - told > kTellAlive) {
      told = now;
      alive();
    }
  }
}

Result<std::string> carry_out(const wire::Request& request, const std::function<void()>& alive) {
  MEDIAFS_ASSIGN(auto root, open_root(request));
  switch (request.operation) {
    case wire::kMeet:
      return meet(root.get());
    case wire::kStat: {
      MEDIAFS_ASSIGN(const auto st, stat_at(root.get(), request.a));
      return std::to_string(st.st_mode) + " " + std::to_string(st.st_size);
    }
    case wire::kRename:
      return rename_to(root.get(), request.a, request.b);
    case wire::kUnlink:
      if (unlinkat(root.get(), request.a.c_str(), 0) != 0)
        return errno_error(errno, "remove " + printable(request.a));
      return std::string();
    case wire::kWrite:
      MEDIAFS_TRY(write_file_atomic(root.get(), request.a, request.b, 0644));
      return std::string();
    case wire::kRead:
      return read_file(root.get(), request.a, 4096);
    case wire::kChecksum:
      return checksum(root.get(), request.a, alive);
    default:
      return make_error(ErrorCode::internal, "tree agent", "unknown operation");
  }
}

}  // namespace

std::string carry_out_encoded(const wire::Request& request, const std::function<void()>& alive) {
  return wire::encode(carry_out(request, alive));
}

int run_tree_agent(int socket) {
  for (;;) {
    auto message = wire::receive(socket);
    if (!message) return 0;
    auto request = wire::decode_request(*message);
    if (!request) return 1;
    const auto alive = [socket] { wire::send_message(socket, std::string(wire::kAlive)); };
    if (!wire::send_message(socket, carry_out_encoded(*request, alive))) return 0;
  }
}

}  // namespace mediafs::pipeline
