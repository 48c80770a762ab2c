#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs/ops.h"

namespace mediafs::fs {
namespace {

constexpr std::size_t kCopyAtOnce = 64ULL
                                    << 20;  // a larger copy is answered in part; the caller asks for the rest
constexpr std::chrono::milliseconds kSlice{1000};

// Room for `bytes` on the local branch: now, or on a thread that may wait for eviction (bounded).
Status room_for(Core& core, std::uint64_t bytes, const May& may) {
  if (core.b.space == nullptr || core.b.space->admit(bytes)) return {};
  const Error full = errno_error(ENOSPC, "write");
  if (core.b.vault == nullptr) return full;  // nothing can be evicted
  if (may.level != Level::space) return needs(Level::space);
  const SteadyTime deadline = std::chrono::steady_clock::now() + core.space_limit;
  while (!may.stop.stop_requested()) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left <= std::chrono::milliseconds(0)) return full;
    auto room = core.b.space->await(bytes, std::min(left, kSlice));
    if (room || room.error().code != ErrorCode::no_space) return room;
  }
  return make_error(ErrorCode::cancelled, "write");
}

Status write_file(int fd, std::string_view bytes, off_t offset) {
  return write_all(fd, std::as_bytes(std::span(bytes)), static_cast<std::uint64_t>(offset));
}

// The bytes' own copy, for a request that outlives its buffer.
void write_later(Core& core, WriteReply reply, std::shared_ptr<FileHandle> handle, std::string_view bytes,
                 off_t offset) {
  auto copy = std::make_shared<const std::string>(bytes);
  auto body = [&core, handle, copy, offset](const May& may) -> Result<std::size_t> {
    if (handle->branch == Branch::local) {
      Status written = room_for(core, copy->size(), may);
      if (written) written = write_file(handle->fd.get(), *copy, offset);
      handle->cut_short = !written && written.error().sys_errno == ENOSPC;
      MEDIAFS_TRY(std::move(written));
    } else {
      if (may.level == Level::now) return needs(Level::block);
      MEDIAFS_TRY(core.share->call_file<void>(
          handle->share, [copy, offset](int fd) { return write_file(fd, *copy, offset); }, may.stop));
    }
    return copy->size();
  };
  core.serve(std::move(reply), std::move(body), [](WriteReply& r, std::size_t size) { r.written(size); });
}

std::uint64_t grows_by(int mode, off_t size_bytes) {
  const bool frees = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE)) != 0;
  return frees ? 0 : static_cast<std::uint64_t>(size_bytes);
}

Status allocate(int fd, int mode, off_t offset, off_t size_bytes) {
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

void op_write(Core& core, WriteReply reply, std::string_view bytes, off_t offset, std::uint64_t id) {
  auto handle = core.files.get(id);
  if (!handle || (handle->branch != Branch::local && handle->branch != Branch::share))
    return reply.fail(EBADF);
  if (handle->branch == Branch::share || !room_for(core, bytes.size(), May{})) {
    return write_later(core, std::move(reply), std::move(handle), bytes, offset);
  }
  auto written = write_file(handle->fd.get(), bytes, offset);
  handle->cut_short = !written && written.error().sys_errno == ENOSPC;
  if (!written) return reply.fail(written.error());
  reply.written(bytes.size());
}

void op_fallocate(Core& core, StatusReply reply, int mode, off_t offset, off_t size_bytes, std::uint64_t id) {
  auto handle = core.files.get(id);
  if (!handle) return reply.fail(EBADF);
  auto body = [&core, handle, mode, offset, size_bytes](const May& may) -> Status {
    if (handle->branch == Branch::local) {
      MEDIAFS_TRY(room_for(core, grows_by(mode, size_bytes), may));
      return allocate(handle->fd.get(), mode, offset, size_bytes);
    }
    if (handle->branch != Branch::share) return errno_error(EBADF, "fallocate");
    if (may.level == Level::now) return needs(Level::block);
    return core.share->call_file<void>(
        handle->share, [mode, offset, size_bytes](int fd) { return allocate(fd, mode, offset, size_bytes); },
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
  auto body = [&core, from, to, range](const May& may) -> Result<std::size_t> {
    const std::size_t size = std::min(range.size_bytes, kCopyAtOnce);
    MEDIAFS_TRY(room_for(core, size, may));
    off_t from_offset = range.from_offset;
    off_t to_offset = range.to_offset;
    const ssize_t copied = copy_file_range(from->fd.get(), &from_offset, to->fd.get(), &to_offset, size, 0);
    if (copied < 0) return errno_error(errno, "copy_file_range");
    return static_cast<std::size_t>(copied);
  };
  core.serve(std::move(reply), std::move(body), [](WriteReply& r, std::size_t size) { r.written(size); });
}

// Only asked for when there is a share: its server may tell at close what it could not write.
void op_flush(Core& core, StatusReply reply, std::uint64_t id) {
  auto handle = core.files.get(id);
  if (!handle || handle->branch != Branch::share || (handle->flags & O_ACCMODE) == O_RDONLY) {
    reply.ok();
    return;
  }
  auto body = [&core, handle](const May& may) -> Status {
    if (may.level == Level::now) return needs(Level::block);
    return core.share->call_file<void>(
        handle->share,
        [](int fd) -> Status {
          if (close(dup(fd)) == 0) return {};
          return errno_error(errno, "close");
        },
        may.stop);
  };
  core.serve(std::move(reply), std::move(body), [](StatusReply& r) { r.ok(); });
}

void op_fsync(Core& core, StatusReply reply, bool data_only, std::uint64_t id) {
  auto handle = core.files.get(id);
  if (!handle) return reply.fail(EBADF);
  auto body = [&core, handle, data_only](const May& may) -> Status {
    if (handle->branch == Branch::local) return sync_file(handle->fd.get(), data_only);
    if (handle->branch != Branch::share) return {};
    if (may.level == Level::now) return needs(Level::block);
    return core.share->call_file<void>(
        handle->share, [data_only](int fd) { return sync_file(fd, data_only); }, may.stop);
  };
  core.serve(std::move(reply), std::move(body), [](StatusReply& r) { r.ok(); });
}

}  // namespace mediafs::fs
