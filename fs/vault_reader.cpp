#include "fs/vault_reader.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "common/path.h"

namespace mediafs::fs {
namespace {

// While the vault is known not to answer: long enough to find that it does again, short enough for a media server that
// looks at a thousand files.
constexpr std::chrono::milliseconds kWhileDown{1000};

}  // namespace

VaultReader::VaultReader(Core& core, const Found& found)
    : core_(core),
      id_(found.row->id),
      generation_(found.row->generation),
      size_bytes_(static_cast<std::uint64_t>(found.st.st_size)),
      st_(found.st),
      object_{found.row->vault->key, found.row->vault->etag, found.row->vault->size_bytes} {}

Result<std::shared_ptr<VaultReader>> VaultReader::open(Core& core, const Found& found) {
  std::shared_ptr<VaultReader> reader(new VaultReader(core, found));
  MutexLock lock(reader->mutex_);  // nobody else has it yet: for the analysis only
  MEDIAFS_ASSIGN(reader->stream_, core.streams->open_stream(reader->object_));
  return reader;
}

VaultReader::Begun VaultReader::begin(std::uint64_t offset, std::size_t size_bytes) {
  MutexLock lock(mutex_);
  if (local_) return {};
  auto stream = stream_;
  lock.unlock();
  if (offset >= size_bytes_) return {};
  auto read = stream->begin(offset, std::min<std::size_t>(size_bytes, size_bytes_ - offset));
  return {std::move(stream), std::move(read)};
}

Result<tier::Pieces> VaultReader::read(Begun begun, std::uint64_t offset, std::span<std::byte> room,
                                       const std::stop_token& stop) {
  const bool answers = !core_.vault_answers || core_.vault_answers();
  const SteadyTime deadline = std::chrono::steady_clock::now() +
                              (answers ? core_.vault_deadline : std::min(core_.vault_deadline, kWhileDown));
  for (int attempt = 0;; ++attempt) {
    MutexLock lock(mutex_);
    auto stream = stream_;
    auto local = local_;
    lock.unlock();
    tier::Pieces pieces;
    if (local) {
      MEDIAFS_ASSIGN(const std::size_t got, read_some(local->get(), room, offset));
      pieces.append(room.first(got));
      return pieces;
    }
    if (offset >= size_bytes_) return pieces;
    room = room.first(std::min<std::size_t>(room.size(), size_bytes_ - offset));
    if (begun.read == nullptr || begun.stream != stream) {
      begun = {};
      begun.read = stream->begin(offset, room.size());
    }
    auto got = begun.read->finish_in_pieces(room, deadline, stop);
    begun = {};
    if (got) return got;
    const ErrorCode code = got.error().code;
    if (attempt > 0 || (code != ErrorCode::not_found && code != ErrorCode::changed)) return got;
    MEDIAFS_ASSIGN(bool elsewhere, reopen(stream));
    if (!elsewhere && core_.mover != nullptr) {
      MEDIAFS_TRY(core_.mover->find_again(id_));  // is it lost, replaced, or is this not our vault?
      MEDIAFS_ASSIGN(elsewhere, reopen(stream));
      if (!elsewhere && code == ErrorCode::not_found)
        return make_error(ErrorCode::io, got.err().what, got.err().cause);
    }
    if (!elsewhere) return got;
  }
}

Result<struct stat> VaultReader::stat() {
  std::shared_ptr<Fd> local;
  {
    MutexLock lock(mutex_);
    local = local_;
  }
  if (local) return stat_fd(local->get());
  return st_;
}

void VaultReader::go_on_with(std::shared_ptr<Fd> local) {
  MutexLock lock(mutex_);
  local_ = std::move(local);
}

Result<bool> VaultReader::reopen(const std::shared_ptr<tier::Stream>& failed) {
  MEDIAFS_ASSIGN(const auto row, core_.b.catalogue->find(id_));
  if (!row) return false;
  if (row->generation != generation_) {
    return make_error(ErrorCode::changed, "read " + printable(row->path),
                      "it has other content now (open it again)");
  }
  if (row->local) {
    auto fd = tree::open_file(core_.local_root.get(), row->path, O_RDONLY, true);
    if (!fd) return false;
    MutexLock lock(mutex_);
    local_ = std::make_shared<Fd>(std::move(*fd));
    return true;
  }
  if (!row->vault) return false;
  tier::CachedObject now{row->vault->key, row->vault->etag, row->vault->size_bytes};
  {
    MutexLock lock(mutex_);
    if (stream_ != failed) return true;  // another reader was here first
    if (now.key == object_.key && now.etag == object_.etag) return false;
  }
  MEDIAFS_ASSIGN(std::shared_ptr<tier::Stream> stream, core_.streams->open_stream(now));
  MutexLock lock(mutex_);
  stream_ = std::move(stream);
  object_ = std::move(now);
  return true;
}

void let_readers_follow(Core& core, NodeId node, int fd) {
  std::shared_ptr<Fd> local;
  for (const std::uint64_t id : core.nodes.handles(node)) {
    const auto handle = core.files.get(id);
    if (!handle || handle->node != node || !handle->vault) continue;
    if (!local) {
      auto opened = open_at(AT_FDCWD, tree::fd_path(fd), O_RDONLY);
      if (!opened) return;
      local = std::make_shared<Fd>(std::move(*opened));
    }
    handle->vault->go_on_with(local);
  }
}

}  // namespace mediafs::fs
