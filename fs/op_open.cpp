#include <fcntl.h>

#include "common/path.h"
#include "common/writers.h"
#include "fs/opening.h"
#include "fs/ops.h"
#include "fs/vault_reader.h"

namespace mediafs::fs {

// O_DIRECT asks for aligned buffers, which ours are not; the kernel keeps its promise on the mount's side. With O_APPEND
// all writes would go to the end, also what the kernel writes back of a mapping: see op_write. The rest was the kernel's
// business or is ours.
int file_flags(int flags) {
  return flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_APPEND | O_DIRECT | O_NOATIME | O_NOFOLLOW | O_NONBLOCK);
}

namespace {

constexpr std::uint64_t kRoomToJoin = 64ULL << 20;

bool writes(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY;
}

void remember_content(Core& core, NodeId node, const struct stat& st, Opened& opened) {
  opened.keep_cache = core.nodes.same_content(node, st);
}

// Unset: the file was evicted or removed between looking and opening.
Result<std::optional<Opened>> open_local(Core& core, NodeId node, const std::string& path, int flags,
                                         const May& may) {
  const bool patient = may.level != Level::now;
  auto fd = tree::open_file(core.local_root.get(), path, file_flags(flags), patient);
  if (!fd) {
    if (fd.error().sys_errno == EWOULDBLOCK && !patient)
      return needs(Level::block);  // leased: it is being evicted
    if (fd.error().code == ErrorCode::not_found) return std::optional<Opened>{};
    return std::move(fd).error();
  }
  MEDIAFS_ASSIGN(Opened opened, opened_local(core, node, std::move(*fd)));
  if (opened.st.st_nlink == 0) return std::optional<Opened>{};
  return std::optional<Opened>(std::move(opened));
}

Result<Opened> open_share(Core& core, const std::string& path, const Opener& who, const May& may) {
  ShareBranch* share = core.share.get();
  auto file = core.ask_share<std::shared_ptr<ShareBranch::File>>(
      [share, path, who](int root) -> Result<std::shared_ptr<ShareBranch::File>> {
        MEDIAFS_ASSIGN(Fd fd, tree::open_to_change(root, path, file_flags(who.flags)));
        if ((who.flags & O_TRUNC) != 0) MEDIAFS_TRY(tree::drop_set_id(fd.get(), who.uid));
        return std::make_shared<ShareBranch::File>(*share, std::move(fd));
      },
      may);
  if (!file) return std::move(file).error();
  Opened opened;
  opened.handle = std::make_shared<FileHandle>();
  opened.handle->branch = Branch::share;
  opened.handle->share = std::move(*file);
  return opened;
}

Result<std::optional<Opened>> open_vault(Core& core, const Opener& who, const std::string& path,
                                         const Found& found, const May& may) {
  if ((who.flags & O_TRUNC) != 0) {
    MEDIAFS_TRY(core.replace_with_empty(path, found, who.uid, may));
    return std::optional<Opened>{};
  }
  if (writes(who.flags)) {
    MEDIAFS_TRY(core.fetch(path, may));
    return std::optional<Opened>{};
  }
  if (core.streams == nullptr || !found.row->vault) {
    return make_error(ErrorCode::offline, "open " + printable(path),
                      "its bytes are in a vault that is not configured");
  }
  if (found.row->vault->lost && core.mover != nullptr) {
    if (may.level < Level::vault) return needs(Level::vault);
    MEDIAFS_TRY(core.mover->find_again(found.row->id));
    return std::optional<Opened>{};
  }
  Opened opened;
  opened.handle = std::make_shared<FileHandle>();
  opened.handle->branch = Branch::vault;
  MEDIAFS_ASSIGN(opened.handle->vault, VaultReader::open(core, found));
  remember_content(core, who.node, found.st, opened);
  return std::optional<Opened>(std::move(opened));
}

Result<Opened> open_control(Core& core, const std::string& path, int flags, const May& may) {
  if (writes(flags) || (flags & O_TRUNC) != 0) return make_error(ErrorCode::read_only, printable(path));
  if (may.level == Level::now) return needs(Level::block);  // the daemon's reports may take a while
  Opened opened;
  opened.handle = std::make_shared<FileHandle>();
  opened.handle->branch = Branch::control;
  MEDIAFS_ASSIGN(opened.handle->text, core.control.text(path));
  opened.direct_io = true;
  return opened;
}

void note_opened(Core& core, const std::string& path, const std::optional<tier::Node>& row) {
  const WallNs now = core.b.clock->wall_ns();
  if (row) return core.b.catalogue->opened(row->id, now);
  core.b.catalogue->opened(path, now);
}

}  // namespace

Result<Opened> opened_local(Core& core, NodeId node, Fd fd) {
  Opened opened;
  MEDIAFS_ASSIGN(opened.st, stat_fd(fd.get()));
  opened.handle = std::make_shared<FileHandle>();
  opened.handle->branch = Branch::local;
  opened.handle->fd = std::move(fd);
  remember_content(core, node, opened.st, opened);
  return opened;
}

Status await_room(Core& core, NodeId node, int flags, const May& may) {
  if (!writes(flags) || !core.passthrough.passes(node) || core.room_for_unseen_writer()) return {};
  return core.room_for(kRoomToJoin, may);
}

Status choose_service(Core& core, const Opener& who, Opened& opened) {
  FileHandle& handle = *opened.handle;
  if (handle.branch == Branch::control) return {};
  Passthrough::Open open{.writer = writes(who.flags)};
  if (handle.branch == Branch::local) {
    open.fd = handle.fd.get();
    open.device = opened.st.st_dev;
    open.inode = opened.st.st_ino;
    // The kernel leaves set-id bits to us, who don't see the writes.
    const bool seen = open.writer && (tree::has_set_id(opened.st) || !core.room_for_unseen_writer());
    open.may_begin = !seen;
  }
  if (handle.fd && (who.flags & O_TRUNC) != 0) MEDIAFS_TRY(tree::drop_set_id(handle.fd.get(), who.uid));
  MEDIAFS_ASSIGN(handle.service, core.passthrough.open(who.node, open));
  if (handle.service.backing_id() == 0) return {};
  opened.keep_cache = false;  // the kernel refuses both together
  if (!open.writer) return {};
  core.nodes.forget_content(who.node);
  return tree::drop_set_id(handle.fd.get(), who.uid);
}

Result<Opened> open_path(Core& core, const Opener& who, const std::string& path, const May& may) {
  const NodeId node = who.node;
  const int flags = who.flags;
  if (core.is_control(path)) return open_control(core, path, flags, may);
  if (core.nodes.branch(node) == Branch::local) {  // as a rule it still is
    MEDIAFS_ASSIGN(auto opened, open_local(core, node, path, flags, may));
    if (opened) {
      note_opened(core, path, {});
      return std::move(*opened);
    }
  }
  // A file may move from one branch to the other between looking and opening; not for long.
  for (int attempt = 0; attempt < 10; ++attempt) {
    MEDIAFS_ASSIGN(Found found, core.resolve(path, may, core.nodes.branch(node)));
    if (found.branch == Branch::share) {
      auto shared = open_share(core, path, who, may);
      if (shared || !is_sick(shared.error()) || writes(flags)) return shared;
      auto copy = core.resolve_vault(path);  // which has a copy, too
      if (!copy || !copy->row->vault) return shared;
      found = std::move(*copy);
    }
    auto opened = found.branch == Branch::local ? open_local(core, node, path, flags, may)
                                                : open_vault(core, who, path, found, may);
    if (!opened) return std::move(opened).error();
    if (!*opened) continue;
    note_opened(core, path, found.row);
    return std::move(**opened);
  }
  return make_error(ErrorCode::busy, "open " + printable(path), "it is moving between branches");
}

namespace {

// What arrives is marked while it is written: were we killed, nobody else could tell that it is not whole.
bool mark(Core& core, NodeId node, const FileHandle& handle) {
  if (handle.branch != Branch::local || !writes(handle.flags)) return false;
  const auto path = core.nodes.path(node);
  return path && core.b.in_incoming(*path) && mark_unfinished(handle.fd.get());
}

std::shared_ptr<FileHandle> other_writer(Core& core, NodeId node, const FileHandle& own) {
  return core.handle_of(node, [&own](const FileHandle& h) { return &h != &own && h.fd && writes(h.flags); });
}

// The last one that has it open for writing takes the mark away.
void unmark(Core& core, NodeId node, const FileHandle& handle) {
  auto heir = other_writer(core, node, handle);
  if (!heir && handle.cut_short) return;  // it is not whole, as if we had been killed
  if (!heir) {
    clear_unfinished(handle.fd.get());
    heir = other_writer(core, node, handle);  // it came meanwhile, and its mark may just have gone
    if (heir) mark_unfinished(handle.fd.get());
  }
  if (heir) heir->marked = true;
}

// One that has lost its name, or never had any, is reached through whoever has it open: /proc/PID/fd led the caller here.
Result<Opened> open_nameless(Core& core, const Opener& who) {
  const auto held = core.local_handle(who.node);
  if (!held) return make_error(ErrorCode::stale, "open of a removed file");
  Fd fd(open(tree::fd_path(held->fd.get()).c_str(), file_flags(who.flags) | O_CLOEXEC));
  if (!fd) return errno_error(errno, "open of a removed file");
  return opened_local(core, who.node, std::move(fd));
}

}  // namespace

std::uint64_t register_handle(Core& core, NodeId node, int flags, const Opened& opened) {
  const std::shared_ptr<FileHandle>& handle = opened.handle;
  handle->node = node;
  handle->flags = flags;
  const std::uint64_t id = core.files.add(handle);
  core.nodes.opened(node, id, handle->branch, opened.st.st_dev, opened.st.st_ino);
  handle->marked = mark(core, node, *handle);  // once others see that it is open: see unmark()
  if (handle->vault) {
    if (const auto writer = other_writer(core, node, *handle))
      let_readers_follow(core, node, writer->fd.get());
  } else if (handle->fd && (writes(flags) || (flags & O_TRUNC) != 0)) {
    let_readers_follow(core, node, handle->fd.get());
  }
  return id;
}

bool wants_flush(const FileHandle& handle) {
  return handle.branch == Branch::share || handle.marked;
}

void drop_handle(Core& core, NodeId node, std::uint64_t id) {
  auto handle = core.files.remove(id);
  if (!handle) return;
  const Branch branch = handle->branch;
  if (const auto path = core.nodes.path(node); path && handle->share && writes(handle->flags))
    core.share_memory->changed(*path);
  handle->service.release();  // now: a thread that has just answered may hold the handle a moment longer
  if (handle->marked) unmark(core, node, *handle);
  handle.reset();
  core.nodes.closed(node, id, branch);
}

void op_open(Core& core, OpenReply reply, NodeId node, fuse_file_info info) {
  const Opener who{.node = node, .flags = info.flags, .uid = reply.caller().uid};
  auto body = [&core, who](const May& may) -> Result<Opened> {
    MEDIAFS_TRY(await_room(core, who.node, who.flags, may));
    const auto path_now = [&] { return core.path_of(who.node); };
    const auto open_there = [&](const std::string& path) { return open_path(core, who, path, may); };
    auto opened = core.nodes.name(who.node) || who.node == kRootNode
                      ? core.steadily(path_now, may, open_there)
                      : open_nameless(core, who);
    // Let the kernel look: it may believe in a name that is no more.
    if (!opened && opened.error().code == ErrorCode::not_found && !needed(opened.error()))
      return make_error(ErrorCode::stale, opened.error().message());
    if (!opened) return opened;
    MEDIAFS_TRY(choose_service(core, who, *opened));
    return opened;
  };
  core.serve(std::move(reply), std::move(body), [&core, node, info](OpenReply& r, Opened opened) mutable {
    info.keep_cache = opened.keep_cache ? 1 : 0;
    info.direct_io = opened.direct_io ? 1 : 0;
    const std::int32_t backing_id = opened.handle->service.backing_id();
    info.fh = register_handle(core, node, info.flags, opened);
    info.noflush = wants_flush(*opened.handle) ? 0 : 1;
    if (!r.opened(info, backing_id)) drop_handle(core, node, info.fh);
  });
}

// Only asked for where close() has something to tell: see wants_flush().
void op_flush(Core& core, StatusReply reply, std::uint64_t id) {
  auto handle = core.files.get(id);
  if (handle && handle->marked) {
    // Any of the descriptors of one open; the last, for all that is known here.
    if (handle->cut_short) {
      mark_unfinished(handle->fd.get());
    } else {
      mark_closed(handle->fd.get());
    }
  }
  if (!handle || handle->branch != Branch::share || (handle->flags & O_ACCMODE) == O_RDONLY) {
    reply.ok();
    return;
  }
  auto body = [&core, handle](const May& may) -> Status {
    if (may.level < Level::share) return needs(Level::share);
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

void op_release(Core& core, StatusReply reply, NodeId node, std::uint64_t handle) {
  drop_handle(core, node, handle);
  reply.ok();
}

}  // namespace mediafs::fs
