#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/path.h"
#include "pipeline/tree.h"
#include "pipeline/tree_wire.h"

namespace mediafs::pipeline {

namespace {

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

Result<std::string> checksum(int root, const std::string& path) {
  MEDIAFS_ASSIGN(auto fd, open_at(root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  MEDIAFS_ASSIGN(const auto sums, hash_fd(fd.get(), {}));
  return to_hex(sums.xxh128);
}

Result<std::string> carry_out(const wire::Request& request) {
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
      return checksum(root.get(), request.a);
    default:
      return make_error(ErrorCode::internal, "tree agent", "unknown operation");
  }
}

}  // namespace

std::string carry_out_encoded(const wire::Request& request) {
  return wire::encode(carry_out(request));
}

int run_tree_agent(int socket) {
  for (;;) {
    auto message = wire::receive(socket);
    if (!message) return 0;
    auto request = wire::decode_request(*message);
    if (!request) return 1;
    if (!wire::send_message(socket, carry_out_encoded(*request))) return 0;
  }
}

}  // namespace mediafs::pipeline
