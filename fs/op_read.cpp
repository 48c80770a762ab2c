#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs/ops.h"
#include "fs/vault_reader.h"

namespace mediafs::fs {
namespace {

// One buffer a thread: requests are up to 1 MiB, and so many allocations a second would be felt.
std::vector<char>& buffer_of(std::size_t size_bytes) {
  thread_local std::vector<char> buffer;
  if (buffer.size() < size_bytes) buffer.resize(size_bytes);
  return buffer;
}

using Bytes = std::vector<char>;

void read_local(DataReply reply, const FileHandle& handle, std::size_t size_bytes, off_t offset) {
  std::vector<char>& buffer = buffer_of(size_bytes);
  const std::span<char> room = std::span(buffer).first(size_bytes);
  auto got = read_some(handle.fd.get(), std::as_writable_bytes(room), static_cast<std::uint64_t>(offset));
  if (!got) return reply.fail(got.error());
  reply.data(room.first(*got));
}

void read_share(Core& core, DataReply reply, std::shared_ptr<FileHandle> handle, std::size_t size_bytes,
                off_t offset) {
  auto body = [&core, handle, size_bytes, offset](const May& may) -> Result<Bytes> {
    if (may.level < Level::share) return needs(Level::share);
    return core.share->call_file<Bytes>(
        handle->share,
        [size_bytes, offset](int fd) -> Result<Bytes> {
          Bytes bytes(size_bytes);
          MEDIAFS_ASSIGN(const std::size_t got, read_some(fd, std::as_writable_bytes(std::span(bytes)),
                                                          static_cast<std::uint64_t>(offset)));
          bytes.resize(got);
          return bytes;
        },
        may.stop);
  };
  core.serve(std::move(reply), std::move(body), [](DataReply& r, const Bytes& bytes) { r.data(bytes); });
}

void read_vault(Core& core, DataReply reply, std::shared_ptr<FileHandle> handle, std::size_t size_bytes,
                off_t offset) {
  const auto at = static_cast<std::uint64_t>(offset);
  auto begun = std::make_shared<VaultReader::Begun>();
  auto body = [handle, size_bytes, at, begun](const May& may) -> Result<tier::Pieces> {
    if (may.level == Level::now) {
      // Here the kernel's requests still have their order.
      *begun = handle->vault->begin(at, size_bytes);
      return needs(Level::vault);
    }
    const std::span<char> room = std::span(buffer_of(size_bytes)).first(size_bytes);
    return handle->vault->read(std::move(*begun), at, std::as_writable_bytes(room), may.stop);
  };
  core.serve(std::move(reply), std::move(body),
             [](DataReply& r, const tier::Pieces& pieces) { r.data(pieces.bytes); });
}

Result<off_t> seek_fd(int fd, off_t offset, int whence) {
  const off_t at = lseek(fd, offset, whence);
  if (at < 0) return errno_error(errno, "seek");
  return at;
}

}  // namespace

void op_read(Core& core, DataReply reply, std::size_t size_bytes, off_t offset, std::uint64_t id) {
  auto handle = core.files.get(id);
  if (!handle) return reply.fail(EBADF);
  switch (handle->branch) {
    case Branch::local:
      return read_local(std::move(reply), *handle, size_bytes, offset);
    case Branch::share:
      return read_share(core, std::move(reply), std::move(handle), size_bytes, offset);
    case Branch::vault:
      return read_vault(core, std::move(reply), std::move(handle), size_bytes, offset);
    case Branch::control: {
      const std::string& text = *handle->text;
      const std::size_t from = std::min(static_cast<std::size_t>(offset), text.size());
      reply.data(std::span(text).subspan(from, std::min(size_bytes, text.size() - from)));
      return;
    }
    case Branch::none:
      break;
  }
  reply.fail(EBADF);
}

// Only SEEK_DATA and SEEK_HOLE arrive here.
void op_lseek(Core& core, SeekReply reply, off_t offset, int whence, std::uint64_t id) {
  auto handle = core.files.get(id);
  if (!handle) return reply.fail(EBADF);
  auto body = [&core, handle, offset, whence](const May& may) -> Result<off_t> {
    if (handle->branch == Branch::local) return seek_fd(handle->fd.get(), offset, whence);
    if (handle->branch == Branch::share) {
      if (may.level < Level::share) return needs(Level::share);
      return core.share->call_file<off_t>(
          handle->share, [offset, whence](int fd) { return seek_fd(fd, offset, whence); }, may.stop);
    }
    // The vault's objects and the control files have no holes but the one at their end.
    auto size = static_cast<off_t>(handle->text ? handle->text->size() : 0);
    if (handle->vault) {
      MEDIAFS_ASSIGN(const struct stat st, handle->vault->stat());
      size = st.st_size;
    }
    if (offset < 0 || offset >= size) return errno_error(ENXIO, "seek");
    return whence == SEEK_DATA ? offset : size;
  };
  core.serve(std::move(reply), std::move(body), [](SeekReply& r, off_t at) { r.offset(at); });
}

}  // namespace mediafs::fs
