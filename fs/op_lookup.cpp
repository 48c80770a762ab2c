#include "fs/ops.h"

namespace mediafs::fs {

void op_lookup(Core& core, EntryReply reply, NodeId parent, std::string name) {
  auto body = [&core, parent, name](const May& may) -> Result<fuse_entry_param> {
    const auto path_now = [&] { return core.path_of(parent, name); };
    return core.steadily(path_now, may, [&](const std::string& path) -> Result<fuse_entry_param> {
      if (core.is_control(path)) {
        MEDIAFS_ASSIGN(const struct stat st, core.control.stat(path));
        return core.entry(parent, name, path, Found{Branch::control, st, 0, {}});
      }
      const auto known = core.nodes.find(parent, name);
      MEDIAFS_ASSIGN(Found found, core.resolve(path, may, known ? core.nodes.branch(*known) : Branch::none));
      if (known) MEDIAFS_TRY(core.ask_writer(*known, found, may));
      return core.entry(parent, name, path, std::move(found));
    });
  };
  core.serve(std::move(reply), std::move(body), [&core](EntryReply& r, const fuse_entry_param& e) {
    if (!r.entry(e)) core.nodes.forget(e.ino, 1);
  });
}

}  // namespace mediafs::fs
