#include <fcntl.h>

#include "common/path.h"
#include "fs/ops.h"
#include "fs/vault_reader.h"

namespace mediafs::fs {
namespace {

std::shared_ptr<FileHandle> handle_of(Core& core, const fuse_file_info* info) {
  return info == nullptr ? nullptr : core.files.get(info->fh);
}

tree::Changes changes_of(const struct stat& st, int to_set, uid_t caller) {
  tree::Changes c;
  c.writer = caller;
  const struct timespec now = {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  if ((to_set & FUSE_SET_ATTR_MODE) != 0) c.mode = st.st_mode;
  if ((to_set & FUSE_SET_ATTR_UID) != 0) c.uid = st.st_uid;
  if ((to_set & FUSE_SET_ATTR_GID) != 0) c.gid = st.st_gid;
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) c.size_bytes = static_cast<std::uint64_t>(st.st_size);
  if ((to_set & FUSE_SET_ATTR_ATIME) != 0) c.atime = st.st_atim;
  if ((to_set & FUSE_SET_ATTR_MTIME) != 0) c.mtime = st.st_mtim;
  if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0) c.atime = now;
  if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0) c.mtime = now;
  return c;
}

WallNs wall_of(const Core& core, const struct timespec& at) {
  return at.tv_nsec == UTIME_NOW ? core.b.clock->wall_ns() : WallNs{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
}

// Owner, mode and times of what only the vault has: the catalogue's, and the object's soon.
Status change_row(Core& core, const std::string& path, const struct stat& now, const tree::Changes& c) {
  tier::Catalogue::Attributes attributes;
  // As on a disk, set-id bits go with the owner.
  if ((c.uid || c.gid) && tree::has_set_id(now)) attributes.mode = tree::without_set_id(now);
  if (c.mode) attributes.mode = *c.mode & 07777;
  if (c.uid) attributes.uid = *c.uid;
  if (c.gid) attributes.gid = *c.gid;
  if (c.mtime) attributes.mtime_ns = wall_of(core, *c.mtime);
  if (!attributes.mode && !attributes.uid && !attributes.gid && !attributes.mtime_ns) return {};
  return core.b.catalogue->set_attributes(path, attributes);
}

// truncate() of a vault-only file: to nothing needs no bytes of it, to anything else needs them all.
Status resize_vault(Core& core, const std::string& path, const Found& found, std::uint64_t size_bytes,
                    uid_t writer, const May& may) {
  if (size_bytes == static_cast<std::uint64_t>(found.st.st_size)) return {};
  if (size_bytes != 0) return core.fetch(path, may);
  return core.replace_with_empty(path, found, writer, may);
}

Status change_path(Core& core, const std::string& path, const tree::Changes& c, Branch last, const May& may) {
  MEDIAFS_ASSIGN(Found found, core.resolve(path, may, last));
  tree::Changes rest = c;
  if (found.branch == Branch::vault && S_ISREG(found.st.st_mode) && c.size_bytes) {
    MEDIAFS_TRY(resize_vault(core, path, found, *c.size_bytes, c.writer, may));
    MEDIAFS_ASSIGN(found, core.resolve(path, may, last));
    if (found.branch == Branch::vault) {  // it has that size
      rest.size_bytes.reset();
      if (!rest.mtime) rest.mtime = timespec{.tv_sec = 0, .tv_nsec = UTIME_NOW};
    }
  }
  switch (found.branch) {
    case Branch::local: {
      const bool patient = may.level != Level::now;
      auto done = tree::apply(core.local_root.get(), path, rest, patient);
      if (!done && !patient && done.error().sys_errno == EWOULDBLOCK) return needs(Level::block);
      if (!done && done.error().sys_errno == ESTALE) return change_path(core, path, c, Branch::none, may);
      return done;
    }
    case Branch::share:
      return core.ask_share<void>([path, rest](int root) { return tree::apply(root, path, rest, true); },
                                  may);
    case Branch::vault:
      return change_row(core, path, found.st, rest);
    case Branch::none:
    case Branch::control:
      break;
  }
  return make_error(ErrorCode::read_only, printable(path));
}

Status change(Core& core, NodeId node, std::shared_ptr<FileHandle> handle, const tree::Changes& c,
              const May& may) {
  const auto path = core.nodes.path(node);
  if (!handle && !path) {
    handle = core.handle_of(node, [](const FileHandle&) { return true; });
  }
  if (path && core.is_control(*path)) return make_error(ErrorCode::read_only, printable(*path));
  if (handle && handle->branch == Branch::local) {
    const bool writable = (handle->flags & O_ACCMODE) != O_RDONLY;
    if (!c.size_bytes || writable) return tree::apply(handle->fd.get(), c);
  }
  if (handle && handle->branch == Branch::share) {
    if (may.level < Level::share) return needs(Level::share);
    return core.share->call_file<void>(
        handle->share, [c](int fd) { return tree::apply(fd, c); }, may.stop);
  }
  if (!path) return make_error(ErrorCode::not_found, "attributes of a removed file");
  auto done = change_path(core, *path, c, core.nodes.branch(node), may);
  if (done && c.size_bytes && core.nodes.open_count(node) > 0) {
    if (auto local = tree::open_node(core.local_root.get(), *path))
      let_readers_follow(core, node, local->get());
  }
  return done;
}

// The local file's. Neither the share, which is not asked for what is remembered of it, nor the vault tells.
std::optional<struct timespec> birth_of(Core& core, NodeId node, const std::shared_ptr<FileHandle>& handle) {
  if (handle && handle->branch == Branch::local) return tree::birth(handle->fd.get());
  const auto path = core.nodes.path(node);
  if (const auto held = path ? nullptr : core.local_handle(node)) return tree::birth(held->fd.get());
  if (!path || core.nodes.branch(node) != Branch::local) return std::nullopt;
  const auto file = tree::open_node(core.local_root.get(), *path);
  if (!file) return std::nullopt;
  const auto st = stat_fd(file->get());
  // Directories keep no number.
  const bool same = st && (S_ISDIR(st->st_mode) || core.nodes.is_local(node, st->st_dev, st->st_ino));
  return same ? tree::birth(file->get()) : std::nullopt;
}

}  // namespace

void op_getattr(Core& core, AttrReply reply, NodeId node, const fuse_file_info* info) {
  auto body = [&core, node, handle = handle_of(core, info),
               birth = reply.wants_birth()](const May& may) -> Result<Core::Attributes> {
    MEDIAFS_ASSIGN(Core::Attributes attributes, core.attributes(node, handle, may));
    if (birth) attributes.birth = birth_of(core, node, handle);
    return attributes;
  };
  core.serve(std::move(reply), std::move(body),
             [](AttrReply& r, const Core::Attributes& a) { r.attributes(a.st, a.timeout_s, a.birth); });
}

void op_setattr(Core& core, AttrReply reply, NodeId node, const struct stat& st, int to_set,
                const fuse_file_info* info) {
  auto body = [&core, node, handle = handle_of(core, info), c = changes_of(st, to_set, reply.caller().uid),
               changed = false](const May& may) mutable -> Result<Core::Attributes> {
    if (!changed) MEDIAFS_TRY(change(core, node, handle, c, may));
    changed = true;
    return core.attributes(node, handle, may);
  };
  core.serve(std::move(reply), std::move(body),
             [](AttrReply& r, const Core::Attributes& a) { r.attributes(a.st, a.timeout_s); });
}

}  // namespace mediafs::fs
