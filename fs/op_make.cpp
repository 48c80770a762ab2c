// mkdir and mknod: new things are made on the local branch and belong to their maker.
#include <fcntl.h>

#include "common/path.h"
#include "fs/ops.h"

namespace mediafs::fs {
namespace {

// `make` runs once the directory is there and the name is not taken on any branch.
template <class Make>
void make_local(Core& core, EntryReply reply, NodeId parent, std::string name, mode_t mode, Make make) {
  auto body = [&core, parent, name, mode, make,
               caller = reply.caller()](const May& may) -> Result<fuse_entry_param> {
    MEDIAFS_ASSIGN(const auto claimed, core.claim_names({{parent, name}}, may));
    const std::string& path = claimed.paths.front();
    if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
    MEDIAFS_TRY(core.ensure_local_directory(std::string(parent_path(path)), may));
    const tree::Umask masked(caller.umask);
    MEDIAFS_TRY(make(core.local_root.get(), path, masked.applied(mode)));
    MEDIAFS_TRY(tree::give_to(core.local_root.get(), path, caller.uid, caller.gid, mode));
    return core.new_entry(parent, name, path);
  };
  core.serve(std::move(reply), std::move(body), [&core](EntryReply& r, const fuse_entry_param& e) {
    if (!r.entry(e)) core.nodes.forget(e.ino, 1);
  });
}

}  // namespace

void op_mkdir(Core& core, EntryReply reply, NodeId parent, std::string name, mode_t mode) {
  make_local(core, std::move(reply), parent, std::move(name), mode, tree::make_directory);
}

void op_mknod(Core& core, EntryReply reply, NodeId parent, std::string name, mode_t mode, dev_t device) {
  make_local(core, std::move(reply), parent, std::move(name), mode,
             [device](int root, const std::string& path, mode_t given) {
               return tree::make_node(root, path, given, device);
             });
}

}  // namespace mediafs::fs
