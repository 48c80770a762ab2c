#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs/ops.h"

namespace mediafs::fs {
namespace {

constexpr std::size_t kCopyAtOnce = 64ULL
                                    << 20;  // a larger copy is answered in part; the caller asks for the rest

Status append_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    struct iovec rest {};
    rest.iov_base = const_cast<char*>(bytes.data());
    rest.iov_len = bytes.size();
    const ssize_t n = pwritev2(fd, &rest, 1, 0, RWF_APPEND);
    const int saved = errno;
    if (n < 0 && saved == EINTR) continue;
    if (n < 0) return errno_error(saved, "write");
    if (n == 0) return make_error(ErrorCode::io, "write", "the system wrote nothing");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

struct Place {
  off_t offset = 0;
  bool at_end = false;
  uid_t writer = 0;
};

Status write_file(int fd, std::string_view bytes, const Place& at) {
  MEDIAFS_TRY(tree::drop_set_id(fd, at.writer));
  if (at.at_end) return append_all(fd, bytes);
  return write_all(fd, std::as_bytes(std::span(bytes)), static_cast<std::uint64_t>(at.offset));
}

// The bytes' own copy, for a request that outlives its buffer.
void write_later(Core& core, WriteReply reply, std::shared_ptr<FileHandle> handle, std::string_view bytes,
                 const Place& at) {
  auto copy = std::make_shared<const std::string>(bytes);
  auto body = [&core, handle, copy, at](const May& may) -> Result<std::size_t> {
    if (handle->branch == Branch::local) {
      Status written = core.room_for(copy->size(), may);
      if (written) written = write_file(handle->fd.get(), *copy, at);
      handle->cut_short = !written && written.error().sys_errno == ENOSPC;
      MEDIAFS_TRY(std::move(written));
    } else {
      if (may.level < Level::share) return needs(Level::share);
      MEDIAFS_TRY(core.share->call_file<void>(
          handle->share, [copy, at](int fd) { return write_file(fd, *copy, at); }, may.stop));
    }
    return copy->size();
  };
  core.serve(std::move(reply), std::move(body), [](WriteReply& r, std::size_t size) { r.written(size); });
}

std::uint64_t grows_by(int mode, off_t size_bytes) {
  const bool frees = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE)) != 0;
  return frees ? 0 : static_cast<std::uint64_t>(size_bytes);
}

Status allocate(int fd, int mode, off_t offset, off_t size_bytes, uid_t writer) {
  MEDIAFS_TRY(tree::drop_set_id(fd, writer));
  while (fallocate(fd, mode, offset, size_bytes) != 0) {
    if (errno != EINTR) return errno_error(errno, "fallocate");
  }
  return {};
}

Status sync_file(int fd, bool data_only) {
  if ((data_only ? fdatasync(fd) : fsync(fd)) == 0) return {};
  return errno_error(errno, "fsync");
}

}  // namespace

void op_write(Core& core, WriteReply reply, std::string_view bytes, const WriteTo& to) {
  auto handle = core.files.get(to.handle);
  if (!handle || (handle->branch != Branch::local && handle->branch != Branch::share))
    return reply.fail(EBADF);
  // What was written through a mapping has its place, whichever open the kernel chose to write it back.
  const bool at_end = (handle->flags & O_APPEND) != 0 && !to.mapped;
  const Place at{.offset = to.offset, .at_end = at_end, .writer = reply.caller().uid};
  if (handle->branch == Branch::share || !core.room_for(bytes.size(), May{})) {
    return write_later(core, std::move(reply), std::move(handle), bytes, at);
  }
  auto written = write_file(handle->fd.get(), bytes, at);
  handle->cut_short = !written && written.error().sys_errno == ENOSPC;
  if (!written) return reply.fail(written.error());
  reply.written(bytes.size());
}

void op_fallocate(Core& core, StatusReply reply, int mode, off_t offset, off_t size_bytes, std::uint64_t id) {
  auto handle = core.files.get(id);
  if (!handle) return reply.fail(EBADF);
  auto body = [&core, handle, mode, offset, size_bytes,
               writer = reply.caller().uid](const May& may) -> Status {
    if (handle->branch == Branch::local) {
      MEDIAFS_TRY(core.room_for(grows_by(mode, size_bytes), may));
      return allocate(handle->fd.get(), mode, offset, size_bytes, writer);
    }
    if (handle->branch != Branch::share) return errno_error(EBADF, "fallocate");
    if (may.level < Level::share) return needs(Level::share);
    return core.share->call_file<void>(
        handle->share,
        [mode, offset, size_bytes, writer](int fd) { return allocate(fd, mode, offset, size_bytes, writer); },
        may.stop);
  };
  core.serve(std::move(reply), std::move(body), [](StatusReply& r) { r.ok(); });
}

void op_copy_file_range(Core& core, WriteReply reply, const CopyRange& range) {
  auto from = core.files.get(range.from_handle);
  auto to = core.files.get(range.to_handle);
  if (!from || !to) return reply.fail(EBADF);
  // Anything else the kernel copies by reading and writing.
  if (from->branch != Branch::local || to->branch != Branch::local) return reply.fail(EOPNOTSUPP);
  auto body = [&core, from, to, range, writer = reply.caller().uid](const May& may) -> Result<std::size_t> {
    const std::size_t size = std::min(range.size_bytes, kCopyAtOnce);
    MEDIAFS_TRY(core.room_for(size, may));
    MEDIAFS_TRY(tree::drop_set_id(to->fd.get(), writer));
    off_t from_offset = range.from_offset;
    off_t to_offset = range.to_offset;
    const ssize_t copied = copy_file_range(from->fd.get(), &from_offset, to->fd.get(), &to_offset, size, 0);
    if (copied < 0) return errno_error(errno, "copy_file_range");
    return static_cast<std::size_t>(copied);
  };
  core.serve(std::move(reply), std::move(body), [](WriteReply& r, std::size_t size) { r.written(size); });
}

void op_fsync(Core& core, StatusReply reply, bool data_only, std::uint64_t id) {
  auto handle = core.files.get(id);
  if (!handle) return reply.fail(EBADF);
  auto body = [&core, handle, data_only](const May& may) -> Status {
    if (handle->branch == Branch::local) return sync_file(handle->fd.get(), data_only);
    if (handle->branch != Branch::share) return {};
    if (may.level < Level::share) return needs(Level::share);
    return core.share->call_file<void>(
        handle->share, [data_only](int fd) { return sync_file(fd, data_only); }, may.stop);
  };
  core.serve(std::move(reply), std::move(body), [](StatusReply& r) { r.ok(); });
}

}  // namespace mediafs::fs
