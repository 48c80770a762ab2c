#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "common/path.h"
#include "fs/ops.h"

namespace mediafs::fs {
namespace {

Result<std::vector<DirItem>> read_items(Core& core, NodeId node, const May& may) {
  const auto path = core.nodes.path(node);
  if (!path) return std::vector<DirItem>{};  // removed while it is open
  if (!core.is_control(*path)) {
    auto items = core.list(*path, may);
    if (!items && items.error().code == ErrorCode::not_found) return std::vector<DirItem>{};
    return items;
  }
  std::vector<DirItem> items;
  for (std::string_view name : ControlFiles::kNames) {
    MEDIAFS_ASSIGN(const struct stat st, core.control.stat(join_path(*path, name)));
    items.push_back(DirItem{std::string(name), S_IFREG, st.st_ino, Branch::control, 0});
  }
  return items;
}

Result<Items> make_items(Core& core, NodeId node, const May& may) {
  core.nodes.listing(node);  // before the look: what changes during it is told then
  MEDIAFS_ASSIGN(auto all, read_items(core, node, may));
  all.push_back(DirItem{".", S_IFDIR, core.nodes.shown_inode(node), Branch::none, 0});
  all.push_back(DirItem{"..", S_IFDIR, 0, Branch::none, 0});
  for (DirItem& item : all) {
    if (item.inode == 0) item.inode = kRootNode;  // an entry with number 0 would not be shown
  }
  put_in_places(all);
  return std::make_shared<const std::vector<DirItem>>(std::move(all));
}

// The listing that a handle, or the kernel by itself, goes on with: made anew whenever it is read from its start.
Result<Items> items_of(Core& core, NodeId node, DirHandle* handle, off_t offset, const May& may) {
  if (offset != 0 && handle != nullptr) {
    MutexLock lock(handle->mutex);
    if (handle->items) return handle->items;
  }
  if (offset != 0 && handle == nullptr) {
    if (Items kept = core.listings.find(node)) return kept;
  }
  MEDIAFS_ASSIGN(Items items, make_items(core, node, may));
  if (handle == nullptr) {
    core.listings.keep(node, items);
    return items;
  }
  MutexLock lock(handle->mutex);
  handle->items = items;
  return items;
}

struct stat stat_of(const DirItem& item) {
  struct stat st {};
  st.st_mode = item.type;
  st.st_ino = item.inode;
  return st;
}

// Attributes for readdirplus, of what answers without waiting. Unset: the kernel asks when it needs them.
std::optional<Found> known_attributes(Core& core, int local_dir, const std::string& path,
                                      const DirItem& item) {
  Found found;
  found.branch = item.branch;
  found.shown_inode = item.inode;
  if (item.branch == Branch::local && local_dir >= 0) {
    if (fstatat(local_dir, item.name.c_str(), &found.st, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
    return found;
  }
  if (item.branch != Branch::vault) return std::nullopt;
  auto vault = core.resolve_vault(path);
  if (!vault) return std::nullopt;
  return std::move(*vault);
}

struct Page {
  NodeId node = 0;
  off_t offset = 0;
  Items items;
};

void send_plain(DirReply& reply, const Page& page) {
  for (std::size_t i = index_behind(*page.items, page.offset); i < page.items->size(); ++i) {
    const DirItem& item = (*page.items)[i];
    if (!reply.add(item.name.c_str(), stat_of(item), item.place)) break;
  }
  reply.send();
}

void send_plus(Core& core, DirReply& reply, const Page& page) {
  const auto dir = core.nodes.path(page.node);
  Fd local;
  if (dir) {
    if (auto opened = tree::open_directory(core.local_root.get(), *dir)) local = std::move(*opened);
  }
  std::vector<NodeId> remembered;
  for (std::size_t i = index_behind(*page.items, page.offset); i < page.items->size(); ++i) {
    const DirItem& item = (*page.items)[i];
    fuse_entry_param e{};
    e.attr = stat_of(item);
    if (dir && item.branch != Branch::none) {
      const std::string path = join_path(*dir, item.name);
      if (auto found = known_attributes(core, local.get(), path, item)) {
        if (auto made = core.entry(page.node, item.name, path, std::move(*found))) e = *made;
      }
    }
    if (!reply.add_plus(item.name.c_str(), e, item.place)) {
      if (e.ino != 0) core.nodes.forget(e.ino, 1);
      break;
    }
    if (e.ino != 0) remembered.push_back(e.ino);
  }
  if (reply.send()) return;
  for (NodeId node : remembered) core.nodes.forget(node, 1);
}

}  // namespace

void op_opendir(Core& core, OpenReply reply, NodeId node, fuse_file_info info) {
  // The kernel does it by itself from now on, and keeps listings until it is told. A share tells nothing.
  if (core.stateless_directories) return reply.fail(ENOSYS);
  auto handle = std::make_shared<DirHandle>();
  handle->node = node;
  info.fh = core.dirs.add(std::move(handle));
  core.nodes.opened(node, info.fh, Branch::none);
  if (reply.opened(info)) return;
  core.nodes.closed(node, info.fh, Branch::none);
  core.dirs.remove(info.fh);
}

void op_readdir(Core& core, DirReply reply, NodeId node, off_t offset, std::uint64_t id, bool plus) {
  auto handle = core.dirs.get(id);
  if (!handle && !core.stateless_directories) return reply.fail(EBADF);
  auto body = [&core, node, handle, offset](const May& may) -> Result<Page> {
    MEDIAFS_ASSIGN(Items items, items_of(core, node, handle.get(), offset, may));
    return Page{node, offset, std::move(items)};
  };
  core.serve(std::move(reply), std::move(body), [&core, plus, handle](DirReply& r, const Page& page) {
    // What is listed of .mediafs and of what nobody watches is not kept for long.
    if (!handle && page.offset == 0 && !core.trusted && core.short_listing) core.short_listing(page.node);
    if (plus) {
      send_plus(core, r, page);
    } else {
      send_plain(r, page);
    }
  });
}

void op_releasedir(Core& core, StatusReply reply, NodeId node, std::uint64_t id) {
  core.nodes.closed(node, id, Branch::none);
  core.dirs.remove(id);
  reply.ok();
}

void op_fsyncdir(Core& core, StatusReply reply, NodeId node) {
  const auto path = core.nodes.path(node);
  if (path && !core.is_control(*path)) {
    auto dir = tree::open_directory(core.local_root.get(), *path);
    if (dir) {
      if (auto synced = sync_fd(dir->get()); !synced) return reply.fail(synced.error());
    }
    // What was renamed or removed in it stays so, in the vault too.
    if (auto kept = core.b.catalogue->sync(); !kept) return reply.fail(kept.error());
  }
  reply.ok();
}

}  // namespace mediafs::fs
