// create, and files without a name (O_TMPFILE), which a link may give one.
#include <fcntl.h>

#include <cerrno>

#include "common/path.h"
#include "fs/opening.h"
#include "fs/ops.h"

namespace mediafs::fs {
namespace {

struct Created {
  Opened opened;
  fuse_entry_param entry{};
};

// The node of what was created or, by somebody else meanwhile, found.
Result<Created> with_entry(Core& core, Opener who, Opened opened, Result<fuse_entry_param> entry) {
  if (!entry) return std::move(entry).error();
  who.node = entry->ino;
  if (auto chosen = choose_service(core, who, opened); !chosen) {
    core.nodes.forget(who.node, 1);
    return std::move(chosen).error();
  }
  return Created{std::move(opened), *entry};
}

// Unset: somebody else made it since the kernel looked. The claim keeps the directory's name until the node is known.
Result<std::optional<Created>> create_new(Core& core, NodeId parent, const std::string& name,
                                          const Caller& caller, mode_t mode, int flags, const May& may) {
  MEDIAFS_ASSIGN(const auto claimed, core.claim_names({{parent, name}}, may));
  const std::string& path = claimed.paths.front();
  if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
  const int root = core.local_root.get();
  const auto create = [&] {
    const tree::Umask masked(caller.umask);
    return tree::create_file(root, path, file_flags(flags), masked.applied(mode));
  };
  auto made = create();
  if (!made && made.error().code == ErrorCode::not_found) {
    MEDIAFS_TRY(core.ensure_local_directory(std::string(parent_path(path)), may));
    made = create();
  }
  if (!made) {
    if (made.error().code == ErrorCode::exists && (flags & O_EXCL) == 0) return std::optional<Created>{};
    return std::move(made).error();
  }
  MEDIAFS_ASSIGN(Opened opened, opened_local(core, 0, std::move(*made)));
  if (opened.st.st_uid != caller.uid || opened.st.st_gid != caller.gid) {
    MEDIAFS_TRY(tree::give_to(root, path, caller.uid, caller.gid, mode));
    MEDIAFS_ASSIGN(opened.st, stat_fd(opened.handle->fd.get()));
  }
  const Opener who{.node = 0, .flags = flags, .uid = caller.uid};
  auto entry = core.entry(parent, name, path, Found{Branch::local, opened.st, 0, {}});
  MEDIAFS_ASSIGN(auto created, with_entry(core, who, std::move(opened), std::move(entry)));
  return std::optional<Created>(std::move(created));
}

Result<Created> create_file(Core& core, NodeId parent, const std::string& name, const Caller& caller,
                            mode_t mode, int flags, const May& may) {
  MEDIAFS_ASSIGN(auto fresh, create_new(core, parent, name, caller, mode, flags, may));
  if (fresh) return std::move(*fresh);
  const Opener who{.node = core.nodes.find(parent, name).value_or(0), .flags = flags, .uid = caller.uid};
  MEDIAFS_TRY(await_room(core, who.node, flags, may));
  MEDIAFS_ASSIGN(const std::string path, core.path_of(parent, name));
  MEDIAFS_ASSIGN(Opened opened, open_path(core, who, path, may));
  MEDIAFS_ASSIGN(Found found, core.resolve(path, may));
  return with_entry(core, who, std::move(opened), core.entry(parent, name, path, std::move(found)));
}

bool is_nameless(int flags) {
  return (flags & O_TMPFILE) == O_TMPFILE;
}

Result<Created> create_nameless(Core& core, NodeId parent, const Caller& caller, mode_t mode, int flags,
                                const May& may) {
  MEDIAFS_ASSIGN(const std::string path, core.path_of(parent));
  if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
  MEDIAFS_TRY(core.ensure_local_directory(path, may));
  const tree::Umask masked(caller.umask);
  // With O_EXCL it may not get a name: the kernel on top sees to that.
  const int own_flags = file_flags(flags & ~O_TMPFILE);
  MEDIAFS_ASSIGN(Fd fd, tree::create_nameless(core.local_root.get(), path, own_flags, masked.applied(mode),
                                              {caller.uid, caller.gid}));
  MEDIAFS_ASSIGN(Opened opened, opened_local(core, 0, std::move(fd)));
  const Opener who{.node = 0, .flags = flags & ~O_TMPFILE, .uid = caller.uid};
  fuse_entry_param entry = core.nameless_entry(opened.st);
  return with_entry(core, who, std::move(opened), entry);
}

}  // namespace

void op_create(Core& core, CreateReply reply, NodeId parent, std::string name, mode_t mode,
               fuse_file_info info) {
  auto body = [&core, parent, name, mode, caller = reply.caller(), flags = info.flags](const May& may) {
    if (is_nameless(flags)) return create_nameless(core, parent, caller, mode, flags, may);
    return create_file(core, parent, name, caller, mode, flags, may);
  };
  core.serve(std::move(reply), std::move(body), [&core, info](CreateReply& r, Created created) mutable {
    const NodeId node = created.entry.ino;
    const std::int32_t backing_id = created.opened.handle->service.backing_id();
    info.fh = register_handle(core, node, info.flags, created.opened);
    info.noflush = wants_flush(*created.opened.handle) ? 0 : 1;
    if (r.created(created.entry, info, backing_id)) return;
    drop_handle(core, node, info.fh);
    core.nodes.forget(node, 1);
  });
}

}  // namespace mediafs::fs
