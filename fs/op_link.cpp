// Symbolic and hard links.
#include <cerrno>

#include "common/crash.h"
#include "common/path.h"
#include "fs/ops.h"

namespace mediafs::fs {

void op_symlink(Core& core, EntryReply reply, std::string target, NodeId parent, std::string name) {
  auto body = [&core, target, parent, name,
               caller = reply.caller()](const May& may) -> Result<fuse_entry_param> {
    MEDIAFS_ASSIGN(const auto claimed, core.claim_names({{parent, name}}, may));
    const std::string& path = claimed.paths.front();
    if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
    MEDIAFS_TRY(core.ensure_local_directory(std::string(parent_path(path)), may));
    MEDIAFS_TRY(tree::make_symlink(core.local_root.get(), path, target));
    MEDIAFS_TRY(tree::give_to(core.local_root.get(), path, caller.uid, caller.gid, 0777));
    return core.new_entry(parent, name, path);
  };
  core.serve(std::move(reply), std::move(body), [&core](EntryReply& r, const fuse_entry_param& e) {
    if (!r.entry(e)) core.nodes.forget(e.ino, 1);
  });
}

void op_readlink(Core& core, LinkReply reply, NodeId node) {
  auto body = [&core, node](const May& may) -> Result<std::string> {
    MEDIAFS_ASSIGN(const std::string path, core.path_of(node));
    if (core.nodes.branch(node) != Branch::share) {
      auto text = tree::read_link(core.local_root.get(), path);
      if (!text && text.error().sys_errno == EINVAL)  // it was a link; the kernel looks again
        return make_error(ErrorCode::stale, printable(path), "the name stands for something else");
      return text;
    }
    return core.ask_share<std::string>([path](int root) { return tree::read_link(root, path); }, may);
  };
  core.serve(std::move(reply), std::move(body),
             [](LinkReply& r, const std::string& text) { r.target(text); });
}

namespace {

Status link_claimed(Core& core, const std::string& from, const std::string& to, const May& may) {
  if (core.is_control(to)) return make_error(ErrorCode::read_only, printable(to));
  MEDIAFS_TRY(core.ensure_local_directory(std::string(parent_path(to)), may));
  MEDIAFS_TRY(tree::link(core.local_root.get(), from, to));
  crash_point("link.after_disk");
  return {};
}

// A file that never had a name gets its first, from whoever has it open. The kernel lets no removed one have another.
Result<fuse_entry_param> name_nameless(Core& core, NodeId node, const NodeTable::Name& name, const May& may) {
  const auto held = core.local_handle(node);
  if (!held) return make_error(ErrorCode::not_found, "link of a removed file");
  MEDIAFS_ASSIGN(const auto claimed, core.claim_names({name}, may));
  const std::string& path = claimed.paths.front();
  if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
  MEDIAFS_TRY(core.ensure_local_directory(std::string(parent_path(path)), may));
  MEDIAFS_TRY(tree::link(held->fd.get(), core.local_root.get(), path));
  core.nodes.add_name(node, name.parent, name.name);
  return core.new_entry(name.parent, name.name, path);
}

}  // namespace

void op_link(Core& core, EntryReply reply, NodeId node, NodeId parent, std::string name) {
  auto body = [&core, node, parent, name](const May& may) -> Result<fuse_entry_param> {
    constexpr int kMostTurns = 10;
    for (int turn = 0; turn < kMostTurns; ++turn) {
      const auto source = core.nodes.name(node);
      if (!source) return name_nameless(core, node, {parent, name}, may);
      MEDIAFS_ASSIGN(const std::string path, core.path_of(source->parent, source->name));
      if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
      MEDIAFS_ASSIGN(const Found seen, core.resolve(path, may, core.nodes.branch(node)));
      if (seen.branch == Branch::share) return errno_error(EXDEV, "link " + printable(path));
      if (seen.branch == Branch::vault) MEDIAFS_TRY(core.fetch(path, may));
      // Not while it is evicted, which the second link would make pointless, or renamed.
      MEDIAFS_ASSIGN(const auto claimed, core.claim_names({*source, {parent, name}}, may));
      auto linked = link_claimed(core, claimed.paths[0], claimed.paths[1], may);
      if (!linked && linked.error().code == ErrorCode::not_found) continue;  // evicted or renamed just now
      MEDIAFS_TRY(std::move(linked));
      core.nodes.add_name(node, parent, name);
      return core.new_entry(parent, name, claimed.paths[1]);
    }
    return make_error(ErrorCode::busy, "link", "the file is moving between branches");
  };
  core.serve(std::move(reply), std::move(body), [&core](EntryReply& r, const fuse_entry_param& e) {
    if (!r.entry(e)) core.nodes.forget(e.ino, 1);
  });
}

}  // namespace mediafs::fs
