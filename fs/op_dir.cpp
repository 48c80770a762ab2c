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
    items.push_back(DirItem{std::string(name), S_IFREG, st.st_ino, Branch::control});
  }
  return items;
}

Result<Items> make_items(Core& core, NodeId node, const May& may) {
  core.nodes.listing(node);  // before the look: what changes during it is told then
  Listing listing{{}, core.b.catalogue->moment()};
  MEDIAFS_ASSIGN(auto all, read_items(core, node, may));
  all.push_back(DirItem{".", S_IFDIR, core.nodes.shown_inode(node), Branch::none});
  all.push_back(DirItem{"..", S_IFDIR, 0, Branch::none});
  for (DirItem& item : all) {
    if (item.inode == 0) item.inode = kRootNode;  // an entry with number 0 would not be shown
  }
  put_in_places(all);
  listing.items = std::move(all);
  return std::make_shared<const Listing>(std::move(listing));
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

struct stat bare(const DirItem& item) {
  struct stat st {};
  st.st_mode = item.type;
  st.st_ino = item.inode;
  return st;
}

struct Page {
  NodeId node = 0;
  off_t offset = 0;
  Items items;
};

// Attributes for readdirplus, of what answers without waiting.
class Plus {
 public:
  Plus(Core& core, const Page& page) : core_(core), dir_(core.nodes.path(page.node)) {
    // What was answered before this request came is in the listing; of what is answered during it the kernel itself
    // knows that it is newer.
    rows_are_new_ = core.b.catalogue->moment() == page.items->moment;
    if (!dir_) return;
    if (auto opened = tree::open_directory(core.local_root.get(), *dir_)) local_ = std::move(*opened);
  }

  // Unset: the kernel asks when it needs them.
  std::optional<Found> attributes(const DirItem& item) const {
    if (!dir_) return std::nullopt;
    Found found;
    found.branch = Branch::local;
    found.shown_inode = item.inode;
    if (item.branch != Branch::local && item.branch != Branch::vault) return std::nullopt;
    // What the vault alone had may be here by now.
    if (local_ && fstatat(local_.get(), item.name.c_str(), &found.st, AT_SYMLINK_NOFOLLOW) == 0) return found;
    if (item.branch == Branch::local) return std::nullopt;
    if (!rows_are_new_) return looked_up(item);
    found.branch = Branch::vault;
    found.st = stat_of(item.shown);
    return found;
  }

  std::string path(const DirItem& item) const { return join_path(*dir_, item.name); }

 private:
  std::optional<Found> looked_up(const DirItem& item) const {
    auto vault = core_.resolve_vault(path(item));
    if (!vault) return std::nullopt;
    return std::move(*vault);
  }

  Core& core_;
  const std::optional<std::string> dir_;
  bool rows_are_new_ = false;
  Fd local_;
};

void send_plain(DirReply& reply, const Page& page) {
  const std::vector<DirItem>& items = page.items->items;
  for (std::size_t i = index_behind(items, page.offset); i < items.size(); ++i) {
    if (!reply.add(items[i].name.c_str(), bare(items[i]), items[i].place)) break;
  }
  reply.send();
}

void send_plus(Core& core, DirReply& reply, const Page& page) {
  const std::vector<DirItem>& items = page.items->items;
  std::size_t i = index_behind(items, page.offset);
  if (i == items.size()) {  // the end: the kernel asks for it each time
    reply.send();
    return;
  }
  const Plus plus(core, page);
  std::vector<NodeId> remembered;
  for (; i < items.size(); ++i) {
    const DirItem& item = items[i];
    fuse_entry_param e{};
    e.attr = bare(item);
    if (auto found = plus.attributes(item)) {
      if (auto made = core.entry(page.node, item.name, plus.path(item), std::move(*found))) e = *made;
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
    const auto& items = page.items->items;
    if (!handle && index_behind(items, page.offset) == items.size()) core.listings.drop(page.node);
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
