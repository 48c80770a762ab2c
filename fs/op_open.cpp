#include <fcntl.h>

#include "common/path.h"
#include "common/writers.h"
#include "fs/ops.h"
#include "fs/vault_reader.h"

namespace mediafs::fs {
namespace {

// Flags that a branch's own file is opened with. O_DIRECT asks for aligned buffers, which ours are not; the kernel
// keeps its promise on the mount's side. The rest was the kernel's business or is ours.
int file_flags(int flags) {
  return flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_DIRECT | O_NOATIME | O_NOFOLLOW | O_NONBLOCK);
}
bool writes(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY;
}

struct Opened {
  std::shared_ptr<FileHandle> handle;
  bool keep_cache = false;
  bool direct_io = false;
};

void remember_content(Core& core, NodeId node, const struct stat& st, Opened& opened) {
  const std::int64_t mtime_ns = std::int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
  opened.keep_cache = core.nodes.same_content(node, static_cast<std::uint64_t>(st.st_size), mtime_ns);
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
  MEDIAFS_ASSIGN(const struct stat st, stat_fd(fd->get()));
  if (st.st_nlink == 0) return std::optional<Opened>{};
  Opened opened;
  opened.handle = std::make_shared<FileHandle>();
  opened.handle->branch = Branch::local;
  opened.handle->fd = std::move(*fd);
  remember_content(core, node, st, opened);
  return std::optional<Opened>(std::move(opened));
}

Result<Opened> open_share(Core& core, const std::string& path, int flags, const May& may) {
  ShareBranch* share = core.share.get();
  auto file = share->call<std::shared_ptr<ShareBranch::File>>(
      [share, path, flags](int root) -> Result<std::shared_ptr<ShareBranch::File>> {
        MEDIAFS_ASSIGN(Fd fd, tree::open_file(root, path, file_flags(flags), true));
        return std::make_shared<ShareBranch::File>(*share, std::move(fd));
      },
      may.stop);
  if (!file) return std::move(file).error();
  Opened opened;
  opened.handle = std::make_shared<FileHandle>();
  opened.handle->branch = Branch::share;
  opened.handle->share = std::move(*file);
  return opened;
}

// An empty file on the SSD takes the place of the vault's content.
Status replace_with_empty(Core& core, const std::string& path, const Found& found, const May& may) {
  MEDIAFS_ASSIGN(auto claim, core.claim({path}, may));
  if (auto still = core.resolve_vault(path); !still) return std::move(still).error();  // renamed just now
  MEDIAFS_TRY(core.ensure_local_directory(std::string(parent_path(path)), may));
  const mode_t mode = found.st.st_mode & 07777;
  auto made = tree::create_file(core.local_root.get(), path, O_WRONLY, mode);
  if (!made && made.error().code != ErrorCode::exists) return std::move(made).error();
  return tree::give_to(core.local_root.get(), path, found.st.st_uid, found.st.st_gid, mode);
}

Result<std::optional<Opened>> open_vault(Core& core, NodeId node, const std::string& path, const Found& found,
                                         int flags, const May& may) {
  if ((flags & O_TRUNC) != 0) {
    MEDIAFS_TRY(replace_with_empty(core, path, found, may));
    return std::optional<Opened>{};
  }
  if (writes(flags)) {
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
  remember_content(core, node, found.st, opened);
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

void note_opened(Core& core, const std::string& path, const Found& found) {
  if (found.row) return core.b.catalogue->opened(found.row->id, core.b.clock->wall_ns());
  auto row = core.b.catalogue->find(path);
  if (row && *row) core.b.catalogue->opened((*row)->id, core.b.clock->wall_ns());
}

Result<Opened> open_path(Core& core, NodeId node, const std::string& path, int flags, const May& may) {
  if (core.is_control(path)) return open_control(core, path, flags, may);
  // A file may move from one branch to the other between looking and opening; not for long.
  for (int attempt = 0; attempt < 10; ++attempt) {
    MEDIAFS_ASSIGN(const Found found, core.resolve(path, may, core.nodes.branch(node)));
    if (found.branch == Branch::share) return open_share(core, path, flags, may);
    auto opened = found.branch == Branch::local ? open_local(core, node, path, flags, may)
                                                : open_vault(core, node, path, found, flags, may);
    if (!opened) return std::move(opened).error();
    if (!*opened) continue;
    note_opened(core, path, found);
    return std::move(**opened);
  }
  return make_error(ErrorCode::busy, "open " + printable(path), "it is moving between branches");
}

// What arrives is marked while it is written: were we killed, nobody else could tell that it is not whole.
bool mark(Core& core, NodeId node, const FileHandle& handle) {
  if (handle.branch != Branch::local || !writes(handle.flags)) return false;
  const auto path = core.nodes.path(node);
  return path && core.b.in_incoming(*path) && mark_unfinished(handle.fd.get());
}

// The last one that has it open for writing takes the mark away.
void unmark(Core& core, NodeId node, const FileHandle& handle) {
  const auto other = core.nodes.any_handle(node);
  const auto heir = other ? core.files.get(*other) : nullptr;
  const bool inherits = heir && heir->fd && writes(heir->flags);
  if (inherits) heir->marked = true;
  if (handle.cut_short) return;  // it is not whole, as if we had been killed
  // One that was closed meanwhile may not have seen it.
  if (!inherits || !core.files.get(*other)) clear_unfinished(handle.fd.get());
}

std::uint64_t register_handle(Core& core, NodeId node, int flags, std::shared_ptr<FileHandle> handle) {
  handle->node = node;
  handle->flags = flags;
  handle->marked = mark(core, node, *handle);
  const Branch branch = handle->branch;
  const std::uint64_t id = core.files.add(std::move(handle));
  core.nodes.opened(node, id, branch);
  return id;
}

void drop_handle(Core& core, NodeId node, std::uint64_t id) {
  auto handle = core.files.remove(id);
  if (!handle) return;
  core.nodes.closed(node, id, handle->branch);
  if (handle->marked) unmark(core, node, *handle);
}

struct Created {
  std::shared_ptr<FileHandle> handle;
  fuse_entry_param entry{};
};

// Unset: somebody else made it since the kernel looked. The claim keeps the directory's name until the node is known.
Result<std::optional<Created>> create_new(Core& core, NodeId parent, const std::string& name,
                                          const Caller& caller, mode_t mode, int flags, const May& may) {
  MEDIAFS_ASSIGN(const auto claimed, core.claim_names({{parent, name}}, may));
  const std::string& path = claimed.paths.front();
  if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
  MEDIAFS_TRY(core.ensure_local_directory(std::string(parent_path(path)), may));
  auto made = tree::create_file(core.local_root.get(), path, file_flags(flags), mode & ~caller.umask);
  if (!made) {
    if (made.error().code == ErrorCode::exists && (flags & O_EXCL) == 0) return std::optional<Created>{};
    return std::move(made).error();
  }
  MEDIAFS_TRY(tree::give_to(core.local_root.get(), path, caller.uid, caller.gid, mode & ~caller.umask));
  Created created;
  created.handle = std::make_shared<FileHandle>();
  created.handle->branch = Branch::local;
  created.handle->fd = std::move(*made);
  MEDIAFS_ASSIGN(created.entry, core.new_entry(parent, name, path));
  return std::optional<Created>(std::move(created));
}

Result<Created> create_file(Core& core, NodeId parent, const std::string& name, const Caller& caller,
                            mode_t mode, int flags, const May& may) {
  MEDIAFS_ASSIGN(auto fresh, create_new(core, parent, name, caller, mode, flags, may));
  if (fresh) return std::move(*fresh);
  Created created;
  MEDIAFS_ASSIGN(const std::string path, core.path_of(parent, name));
  MEDIAFS_ASSIGN(Opened opened, open_path(core, 0, path, flags, may));
  MEDIAFS_ASSIGN(Found found, core.resolve(path, may));
  created.handle = std::move(opened.handle);
  MEDIAFS_ASSIGN(created.entry, core.entry(parent, name, path, std::move(found)));
  return created;
}

}  // namespace

void op_open(Core& core, OpenReply reply, NodeId node, fuse_file_info info) {
  auto body = [&core, node, flags = info.flags](const May& may) -> Result<Opened> {
    const auto path_now = [&] { return core.path_of(node); };
    return core.steadily(path_now, may,
                         [&](const std::string& path) { return open_path(core, node, path, flags, may); });
  };
  core.serve(std::move(reply), std::move(body), [&core, node, info](OpenReply& r, Opened opened) mutable {
    info.keep_cache = opened.keep_cache ? 1 : 0;
    info.direct_io = opened.direct_io ? 1 : 0;
    info.fh = register_handle(core, node, info.flags, std::move(opened.handle));
    if (!r.opened(info)) drop_handle(core, node, info.fh);
  });
}

void op_create(Core& core, CreateReply reply, NodeId parent, std::string name, mode_t mode,
               fuse_file_info info) {
  auto body = [&core, parent, name, mode, caller = reply.caller(), flags = info.flags](const May& may) {
    return create_file(core, parent, name, caller, mode, flags, may);
  };
  core.serve(std::move(reply), std::move(body), [&core, info](CreateReply& r, Created created) mutable {
    const NodeId node = created.entry.ino;
    info.fh = register_handle(core, node, info.flags, std::move(created.handle));
    if (r.created(created.entry, info)) return;
    drop_handle(core, node, info.fh);
    core.nodes.forget(node, 1);
  });
}

void op_release(Core& core, StatusReply reply, NodeId node, std::uint64_t handle) {
  drop_handle(core, node, handle);
  reply.ok();
}

}  // namespace mediafs::fs
