// The branches as one tree: local, then share, then vault; directories merge.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <unordered_set>

#include "common/path.h"
#include "fs/core.h"
#include "fs/vault_reader.h"

namespace mediafs::fs {
namespace {

// The path is not on that branch, and another one may have it.
bool absent(const Error& e) {
  return e.code == ErrorCode::not_found || e.code == ErrorCode::not_directory;
}

}  // namespace

struct stat stat_of(const tier::Shown& row) {
  struct stat st {};
  st.st_ino = row.inode;
  st.st_uid = row.uid;
  st.st_gid = row.gid;
  st.st_blksize = 4096;
  if (row.kind == tier::NodeKind::directory) {
    st.st_mode = S_IFDIR | (row.mode & 07777);
    st.st_nlink = 2;
    st.st_size = 4096;
  } else {
    st.st_mode = S_IFREG | (row.mode & 07777);
    st.st_nlink = 1;
    st.st_size = static_cast<off_t>(row.size_bytes);
  }
  st.st_blocks = (st.st_size + 511) / 512;
  st.st_mtim = st.st_ctim = timespec_of(row.mtime_ns);
  st.st_atim = timespec_of(std::max(row.mtime_ns, row.last_open_ns));
  return st;
}

Result<Found> Core::resolve_vault(const std::string& path) {
  MEDIAFS_ASSIGN(auto row, b.catalogue->find(path));
  const bool there = row && (row->kind == tier::NodeKind::directory || row->vault);
  if (!there) return make_error(ErrorCode::not_found, printable(path));
  const struct stat st = stat_of(tier::shown_of(*row));
  return Found{Branch::vault, st, 0, std::move(row)};
}

Result<Found> Core::resolve(const std::string& path, const May& may, Branch last) {
  auto local = tree::stat(local_root.get(), path);
  if (local) return Found{Branch::local, *local, 0, {}};
  if (!absent(local.error())) return std::move(local).error();
  const bool shared = share && path != share->marker();
  std::optional<Error> why;  // the share can't say
  if (shared && share_usable()) {
    auto st = look_at_share<struct stat>([path](int root) { return tree::stat(root, path); }, may);
    if (st) return Found{Branch::share, *st, 0, {}};
    if (needed(st.error()) || st.error().code == ErrorCode::cancelled) return std::move(st).error();
    if (!absent(st.error())) why = std::move(st).error();
  }
  auto vault = resolve_vault(path);
  if (vault || vault.error().code != ErrorCode::not_found) return vault;
  if (shared && (why || !share_usable())) {
    MEDIAFS_ASSIGN(const auto remembered, share_memory->stat(path));
    if (remembered) return Found{Branch::share, *remembered, 0, {}, true};
  }
  if (why && !(is_sick(*why) && share_memory->whole())) return std::move(*why);
  if (last == Branch::share && share) {
    return make_error(ErrorCode::offline, printable(path), "only the share has it, which does not answer");
  }
  return vault;
}

// Unset: the share has no such directory.
Result<std::optional<std::vector<tree::Item>>> Core::list_share(const std::string& path, const May& may) {
  using Listed = std::vector<tree::Item>;
  if (share->usable()) {
    auto items = look_at_share<Listed>([path](int root) { return tree::list(root, path); }, may);
    if (items) {
      if (path.empty()) std::erase_if(*items, [&](const tree::Item& i) { return i.name == share->marker(); });
      share_memory->listed(path, *items);
      return std::optional<Listed>(std::move(*items));
    }
    if (needed(items.error()) || items.error().code == ErrorCode::cancelled) return std::move(items).error();
    if (absent(items.error())) return std::optional<Listed>{};
  }
  MEDIAFS_ASSIGN(Listed remembered, share_memory->list(path));
  if (!remembered.empty()) return std::optional<Listed>(std::move(remembered));
  MEDIAFS_ASSIGN(const auto directory, share_memory->stat(path));
  return directory && S_ISDIR(directory->st_mode) ? std::optional<Listed>(std::move(remembered))
                                                  : std::nullopt;
}

Result<std::optional<struct stat>> Core::on_share(const std::string& path, const May& may) {
  using Standing = std::optional<struct stat>;
  if (!share || path == share->marker()) return Standing{};
  const auto stat = [path](int root) { return tree::stat(root, path); };
  std::optional<Error> why;
  if (share->usable()) {
    auto st = look_at_share<struct stat>(stat, may);
    if (st) return Standing(*st);
    if (needed(st.error()) || st.error().code == ErrorCode::cancelled) return std::move(st).error();
    if (absent(st.error())) return Standing{};
    why = std::move(st).error();
  }
  MEDIAFS_ASSIGN(const bool remembered, share_memory->has(path));
  if (!remembered) return Standing{};
  if (why && why->code == ErrorCode::busy) {  // late, or gone: it will be changed, so it must say
    auto st = ask_share<struct stat>(stat, may);
    if (st) return Standing(*st);
    if (absent(st.error())) return Standing{};
    why = std::move(st).error();
  }
  if (why && why->code != ErrorCode::offline) return std::move(*why);
  return make_error(ErrorCode::offline, printable(path), "the share has it too, and does not answer");
}

Result<std::vector<DirItem>> Core::list(const std::string& path, const May& may) {
  std::vector<DirItem> items;
  std::unordered_set<std::string> names;
  auto take = [&](std::vector<tree::Item>&& found, Branch branch) {
    for (tree::Item& item : found) {
      if (path.empty() && item.name == tier::kStateName) continue;
      if (!names.insert(item.name).second) continue;
      items.push_back(DirItem{std::move(item.name), item.type, item.inode, branch});
    }
  };
  bool there = false;
  auto local = tree::list(local_root.get(), path);
  if (local) {
    there = true;
    take(std::move(*local), Branch::local);
  } else if (!absent(local.error())) {
    return std::move(local).error();
  }
  if (share) {
    MEDIAFS_ASSIGN(auto shared, list_share(path, may));
    if (shared) {
      there = true;
      take(std::move(*shared), Branch::share);
    }
  }
  MEDIAFS_ASSIGN(auto rows, b.catalogue->list(path));
  std::unordered_map<std::string_view, std::uint64_t> inodes;
  for (const tier::DirEntry& row : rows) inodes.emplace(row.name, row.shown.inode);
  const auto node = nodes.find(path);
  for (DirItem& item : items) {
    if (auto known = inodes.find(item.name); known != inodes.end()) {
      item.inode = known->second;
      continue;
    }
    const auto child = node ? nodes.find(*node, item.name) : std::nullopt;
    if (const std::uint64_t shown = child ? nodes.shown_inode(*child) : 0) {
      item.inode = shown;
    } else if (item.branch == Branch::local) {  // an evicted file may have its number
      if (auto number = b.catalogue->new_inode(local_device, item.inode)) item.inode = *number;
    }
  }
  for (tier::DirEntry& row : rows) {
    if (!row.has_vault || !names.insert(row.name).second) continue;
    there = true;
    const mode_t type = row.shown.kind == tier::NodeKind::directory ? S_IFDIR : S_IFREG;
    items.push_back(DirItem{std::move(row.name), type, row.shown.inode, Branch::vault, 0, row.shown});
  }
  if (!there && !resolve_vault(path)) return make_error(ErrorCode::not_found, printable(path));
  return items;
}

Status Core::ensure_local_directory(const std::string& path, const May& may) {
  if (path.empty()) return {};
  auto local = tree::stat(local_root.get(), path);
  if (local) {
    if (S_ISDIR(local->st_mode)) return {};
    return errno_error(ENOTDIR, "mkdir " + printable(path));
  }
  if (!absent(local.error())) return std::move(local).error();
  MEDIAFS_ASSIGN(const Found found, resolve(path, may));
  if (!S_ISDIR(found.st.st_mode)) return errno_error(ENOTDIR, "mkdir " + printable(path));
  MEDIAFS_TRY(ensure_local_directory(std::string(parent_path(path)), may));
  auto made = tree::make_directory(local_root.get(), path, found.st.st_mode & 07777);
  if (!made) return made.error().code == ErrorCode::exists ? Status{} : made;
  return make_like(path, found.st);
}

Status Core::make_like(const std::string& path, const struct stat& st) {
  if (geteuid() != 0) return {};
  const tree::Changes owner{.mode = st.st_mode & 07777,
                            .uid = st.st_uid,
                            .gid = st.st_gid,
                            .size_bytes = {},
                            .atime = {},
                            .mtime = {}};
  return tree::apply(local_root.get(), path, owner, true);
}

Status Core::replace_with_empty(const std::string& path, const Found& found, uid_t writer, const May& may) {
  MEDIAFS_ASSIGN(auto claimed, claim({path}, may));
  if (auto still = resolve_vault(path); !still) return std::move(still).error();  // renamed just now
  MEDIAFS_TRY(ensure_local_directory(std::string(parent_path(path)), may));
  struct stat like = found.st;
  if (writer != 0) like.st_mode = (like.st_mode & S_IFMT) | tree::without_set_id(like);
  auto made = tree::create_file(local_root.get(), path, O_WRONLY, like.st_mode & 07777);
  if (!made && made.error().code != ErrorCode::exists) return std::move(made).error();
  return make_like(path, like);
}

void Core::names_changed(const std::string& directory) {
  tree::Changes now;
  now.mtime = timespec{.tv_sec = 0, .tv_nsec = UTIME_NOW};
  static_cast<void>(
      tree::apply(local_root.get(), directory, now, true));  // it may be on other branches alone
}

Status Core::fetch(const std::string& path, const May& may) {
  if (mover == nullptr)
    return make_error(ErrorCode::unsupported, "fetch " + printable(path), "no vault is configured");
  if (may.level < Level::fetch) return needs(Level::fetch);
  {
    // A directory that was renamed just now must not come back under its old name.
    MEDIAFS_ASSIGN(const auto claimed, claim({path}, may));
    if (auto still = resolve_vault(path); !still) return std::move(still).error();
    MEDIAFS_TRY(ensure_local_directory(std::string(parent_path(path)), may));
  }
  return mover->fetch(path, {}, may.stop);
}

std::uint64_t Core::shown_inode(NodeId node, const std::string& path, const Found& found) {
  if (const std::uint64_t known = node == 0 ? 0 : nodes.shown_inode(node)) return known;
  if (found.shown_inode != 0) return found.shown_inode;
  if (found.row) return found.row->inode;
  if (found.branch == Branch::local || found.branch == Branch::vault) {
    auto row = b.catalogue->find(path);
    if (row && *row && (*row)->inode != 0) return (*row)->inode;
  }
  if (found.branch == Branch::local) {
    if (auto number = b.catalogue->new_inode(found.st.st_dev, found.st.st_ino)) return *number;
  }
  return found.st.st_ino;
}

Result<fuse_entry_param> Core::entry(NodeId parent, const std::string& name, const std::string& path,
                                     Found found) {
  Seen seen{.branch = found.branch, .type = found.st.st_mode & S_IFMT, .links = found.st.st_nlink};
  if (found.branch == Branch::local) {
    seen.device = found.st.st_dev;
    seen.inode = found.st.st_ino;
  }
  seen.shown_inode = found.shown_inode;
  if (seen.shown_inode == 0)
    seen.shown_inode = shown_inode(nodes.find(parent, name).value_or(0), path, found);
  fuse_entry_param e{};
  e.ino = nodes.remember(parent, name, seen);
  e.attr = found.st;
  e.attr.st_ino = nodes.shown_inode(e.ino);
  e.attr_timeout = attribute_timeout(found);
  e.entry_timeout = entry_timeout(found.branch);
  return e;
}

Result<fuse_entry_param> Core::new_entry(NodeId parent, const std::string& name, const std::string& path) {
  MEDIAFS_ASSIGN(const struct stat st, tree::stat(local_root.get(), path));
  return entry(parent, name, path, Found{Branch::local, st, 0, {}});
}

double Core::entry_timeout(Branch branch) const {
  // The share may get what is only in the vault, and changes without our being told.
  const bool ours = branch == Branch::local || (branch == Branch::vault && !share);
  return ours && trusted ? kLongTimeout_s : kShortTimeout_s;
}

double Core::attribute_timeout(const Found& found) const {
  if (found.branch == Branch::control) return 0;
  if (S_ISDIR(found.st.st_mode)) return entry_timeout(found.branch);
  if (found.branch == Branch::local) {
    // Nobody tells of a write before the file is closed, nor of all the names that it has.
    constexpr std::int64_t kYoung_s = 30;
    const std::int64_t now_s = b.clock->wall_ns() / 1'000'000'000;
    const bool young = std::max(found.st.st_mtim.tv_sec, found.st.st_ctim.tv_sec) > now_s - kYoung_s;
    if (young || found.st.st_nlink > 1) return kShortTimeout_s;
  }
  return entry_timeout(found.branch);
}

Result<struct stat> Core::attributes_of(NodeId node, FileHandle& handle, const May& may) {
  struct stat st {};
  if (handle.branch == Branch::local) {
    MEDIAFS_ASSIGN(st, stat_fd(handle.fd.get()));
  } else if (handle.branch == Branch::share) {
    if (may.level < Level::share) return needs(Level::share);
    MEDIAFS_ASSIGN(st, share->call_file<struct stat>(
                           handle.share, [](int fd) { return stat_fd(fd); }, may.stop));
  } else if (handle.vault) {
    MEDIAFS_ASSIGN(st, handle.vault->stat());
    if (!nodes.path(node)) st.st_nlink = 0;
  } else {
    return make_error(ErrorCode::stale, "attributes of a removed file");
  }
  if (const std::uint64_t known = nodes.shown_inode(node)) st.st_ino = known;
  return st;
}

// Who writes to the file knows its size; what is remembered may be older, and the kernel appends where it is told that
// the file ends.
Status Core::ask_writer(NodeId node, Found& found, const May& may) {
  if (!found.remembered) return {};
  const auto writer = handle_of(
      node, [](const FileHandle& h) { return h.share != nullptr && (h.flags & O_ACCMODE) != O_RDONLY; });
  if (!writer) return {};
  MEDIAFS_ASSIGN(found.st, attributes_of(node, *writer, may));
  return {};
}

Result<Core::Attributes> Core::attributes_at(NodeId node, const std::string& path, const May& may) {
  if (is_control(path)) {
    MEDIAFS_ASSIGN(const struct stat st, control.stat(path));
    return Attributes{st, 0};
  }
  MEDIAFS_ASSIGN(Found found, resolve(path, may, nodes.branch(node)));
  MEDIAFS_TRY(ask_writer(node, found, may));
  const bool other =
      found.branch == Branch::local && nodes.open_as_other(node, found.st.st_dev, found.st.st_ino);
  if (other || !nodes.has_type(node, found.st.st_mode))
    return make_error(ErrorCode::stale, printable(path), "the name stands for something else");
  found.st.st_ino = shown_inode(node, path, found);
  // Nobody tells of a change of the root itself.
  return Attributes{found.st, node == kRootNode ? kShortTimeout_s : attribute_timeout(found)};
}

Result<Core::Attributes> Core::attributes(NodeId node, std::shared_ptr<FileHandle> handle, const May& may) {
  nodes.telling(node);
  const bool by_handle = handle && (handle->branch == Branch::local || handle->branch == Branch::share);
  if (!by_handle && nodes.path(node)) {
    const auto path_now = [&] { return path_of(node); };
    auto found =
        steadily(path_now, may, [&](const std::string& path) { return attributes_at(node, path, may); });
    const bool gone =
        !found && (found.error().code == ErrorCode::not_found || found.error().code == ErrorCode::stale ||
                   found.error().code == ErrorCode::not_directory);
    if (!gone) return found;
  }
  if (!handle) handle = handle_of(node, [](const FileHandle&) { return true; });
  if (const auto was = handle ? std::nullopt : nodes.was(node)) return Attributes{*was, kShortTimeout_s};
  if (!handle) return make_error(ErrorCode::stale, "attributes of a removed file");
  MEDIAFS_ASSIGN(const struct stat st, attributes_of(node, *handle, may));
  return Attributes{st, kShortTimeout_s};
}

}  // namespace mediafs::fs
