#include "fs/node_table.h"

#include <algorithm>

#include "common/path.h"

namespace mediafs::fs {

NodeTable::NodeTable() {
  Node& root = nodes_[kRootNode];
  root.type = S_IFDIR;
  root.branch = Branch::local;
  root.lookups = 1;  // the mount's own; the root is not forgotten
}

NodeId NodeTable::remember(NodeId parent, std::string_view name, const Seen& seen) {
  MutexLock lock(mutex_);
  NodeId id = matching(parent, name, seen);
  if (id == 0) {
    id = insert(seen);
    attach(id, parent, name);
  }
  Node& node = nodes_.at(id);
  ++node.lookups;
  node.branch = seen.branch;
  if (node.shown_inode == 0) node.shown_inode = seen.shown_inode;
  index(id, node, seen);
  return id;
}

// The node that (parent, name) may keep or share; 0 where there must be a new one.
NodeId NodeTable::matching(NodeId parent, std::string_view name, const Seen& seen) {
  const InodeKey key{seen.device, seen.inode};
  if (auto named = names_.find(NameRef{parent, name}); named != names_.end()) {
    const NodeId id = named->second;
    const Node& node = nodes_.at(id);
    const bool other_file = node.type != seen.type || (node.local_opens > 0 && !(node.local == key));
    if (!other_file) return id;
    detach(parent, name);
    drop_unused(id);
  }
  if (seen.inode == 0 || seen.type == S_IFDIR) return 0;
  auto known = inodes_.find(key);
  if (known == inodes_.end()) return 0;
  const Node& node = nodes_.at(known->second);
  // A number alone proves nothing: the filesystem uses freed ones again. A second link or an open descriptor does.
  if (node.type != seen.type || (seen.links < 2 && node.local_opens == 0)) return 0;
  attach(known->second, parent, name);
  return known->second;
}

NodeId NodeTable::insert(const Seen& seen) {
  const NodeId id = next_++;
  Node& node = nodes_[id];
  node.type = seen.type;
  node.branch = seen.branch;
  node.shown_inode = seen.shown_inode;
  return id;
}

void NodeTable::attach(NodeId id, NodeId parent, std::string_view name) {
  auto [at, fresh] = names_.emplace(NameKey{parent, std::string(name)}, id);
  if (!fresh) return;
  nodes_.at(id).names.push_back(&at->first);
  if (auto above = nodes_.find(parent); above != nodes_.end()) ++above->second.children;
}

NodeId NodeTable::detach(NodeId parent, std::string_view name) {
  auto named = names_.find(NameRef{parent, name});
  if (named == names_.end()) return 0;
  const NodeId id = named->second;
  std::erase(nodes_.at(id).names, &named->first);
  names_.erase(named);
  if (auto above = nodes_.find(parent); above != nodes_.end()) {
    --above->second.children;
    drop_unused(parent);
  }
  return id;
}

void NodeTable::index(NodeId id, Node& node, const Seen& seen) {
  const InodeKey key = seen.type == S_IFDIR ? InodeKey{0, 0} : InodeKey{seen.device, seen.inode};
  if (node.local == key) return;
  unindex(id, node);
  node.local = key;
  if (key.inode != 0) inodes_[key] = id;
}

void NodeTable::unindex(NodeId id, Node& node) {
  if (node.local.inode == 0) return;
  auto at = inodes_.find(node.local);
  if (at != inodes_.end() && at->second == id) inodes_.erase(at);
  node.local = {0, 0};
}

void NodeTable::drop_unused(NodeId id) {
  std::vector<NodeId> candidates{id};
  while (!candidates.empty()) {
    auto at = nodes_.find(candidates.back());
    candidates.pop_back();
    if (at == nodes_.end() || at->first == kRootNode) continue;
    Node& node = at->second;
    if (node.lookups > 0 || node.children > 0 || !node.handles.empty()) continue;
    for (const NameKey* key : node.names) {
      if (auto parent = nodes_.find(key->parent); parent != nodes_.end()) {
        --parent->second.children;
        candidates.push_back(key->parent);
      }
      names_.erase(names_.find(NameRef{key->parent, key->name}));
    }
    unindex(at->first, node);
    nodes_.erase(at);
  }
}

void NodeTable::forget(NodeId id, std::uint64_t lookups) {
  if (id == kRootNode) return;
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  if (at == nodes_.end()) return;
  at->second.lookups -= std::min(lookups, at->second.lookups);
  drop_unused(id);
}

bool NodeTable::build_path(NodeId id, std::string& path) const {
  std::vector<std::string_view> parts;
  std::size_t length = 0;
  while (id != kRootNode) {
    auto at = nodes_.find(id);
    if (at == nodes_.end() || at->second.names.empty()) return false;
    const NameKey* key = at->second.names.front();
    parts.emplace_back(key->name);
    length += key->name.size() + 1;
    id = key->parent;
  }
  path.reserve(length);
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (!path.empty()) path += '/';
    path += *part;
  }
  return true;
}

std::optional<std::string> NodeTable::path(NodeId id) const {
  MutexLock lock(mutex_);
  std::string path;
  if (!build_path(id, path)) return std::nullopt;
  return path;
}

std::optional<std::string> NodeTable::child_path(NodeId parent, std::string_view name) const {
  MutexLock lock(mutex_);
  std::string path;
  if (!build_path(parent, path)) return std::nullopt;
  if (!path.empty()) path += '/';
  path += name;
  return path;
}

std::optional<NodeId> NodeTable::find(std::string_view path) const {
  MutexLock lock(mutex_);
  NodeId id = kRootNode;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    auto named = names_.find(NameRef{id, path.substr(0, slash)});
    if (named == names_.end()) return std::nullopt;
    id = named->second;
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
  }
  return id;
}

std::optional<NodeId> NodeTable::find(NodeId parent, std::string_view name) const {
  MutexLock lock(mutex_);
  auto named = names_.find(NameRef{parent, name});
  if (named == names_.end()) return std::nullopt;
  return named->second;
}

std::optional<NodeTable::Name> NodeTable::name(NodeId id) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  if (at == nodes_.end() || at->second.names.empty()) return std::nullopt;
  const NameKey* key = at->second.names.front();
  return Name{key->parent, key->name};
}

std::uint64_t NodeTable::shown_inode(NodeId id) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at == nodes_.end() ? 0 : at->second.shown_inode;
}

Branch NodeTable::branch(NodeId id) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at == nodes_.end() ? Branch::none : at->second.branch;
}

std::size_t NodeTable::size() const {
  MutexLock lock(mutex_);
  return nodes_.size();
}

void NodeTable::add_name(NodeId id, NodeId parent, std::string_view name) {
  MutexLock lock(mutex_);
  if (!nodes_.contains(id)) return;
  if (const NodeId old = detach(parent, name); old != 0 && old != id) drop_unused(old);
  attach(id, parent, name);
}

void NodeTable::remove_name(NodeId parent, std::string_view name, bool last_link) {
  MutexLock lock(mutex_);
  const NodeId id = detach(parent, name);
  auto at = nodes_.find(id);
  if (at == nodes_.end()) return;
  if (last_link && at->second.local_opens == 0) unindex(id, at->second);
  drop_unused(id);
}

void NodeTable::rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name) {
  MutexLock lock(mutex_);
  renames_.fetch_add(1, std::memory_order_release);
  auto moving = names_.find(NameRef{parent, name});
  auto target = names_.find(NameRef{new_parent, new_name});
  if (moving != names_.end() && target != names_.end() && moving->second == target->second) return;
  if (target != names_.end()) {
    const NodeId replaced = detach(new_parent, new_name);
    if (auto at = nodes_.find(replaced); at != nodes_.end() && at->second.local_opens == 0) {
      unindex(replaced, at->second);
    }
    drop_unused(replaced);
  }
  moving = names_.find(NameRef{parent, name});
  if (moving == names_.end()) return;
  const NodeId id = moving->second;
  Node& node = nodes_.at(id);
  ++node.lookups;  // so that losing one name before it has the other does not drop it
  detach(parent, name);
  attach(id, new_parent, new_name);
  --node.lookups;
  drop_unused(id);
}

void NodeTable::exchange(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name) {
  MutexLock lock(mutex_);
  renames_.fetch_add(1, std::memory_order_release);
  auto one = names_.find(NameRef{parent, name});
  auto other = names_.find(NameRef{new_parent, new_name});
  if (one == names_.end() || other == names_.end()) {
    // What the table does not know it will look up.
    if (one != names_.end()) drop_unused(detach(parent, name));
    if (other != names_.end()) drop_unused(detach(new_parent, new_name));
    return;
  }
  Node& first = nodes_.at(one->second);
  Node& second = nodes_.at(other->second);
  std::erase(first.names, &one->first);
  std::erase(second.names, &other->first);
  first.names.push_back(&other->first);
  second.names.push_back(&one->first);
  std::swap(one->second, other->second);
}

void NodeTable::opened(NodeId id, std::uint64_t handle, Branch branch) {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  if (at == nodes_.end()) return;
  at->second.handles.push_back(handle);
  if (branch == Branch::local) ++at->second.local_opens;
}

void NodeTable::closed(NodeId id, std::uint64_t handle, Branch branch) {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  if (at == nodes_.end()) return;
  if (std::erase(at->second.handles, handle) > 0 && branch == Branch::local) --at->second.local_opens;
  if (at->second.names.empty() && at->second.handles.empty()) unindex(id, at->second);
  drop_unused(id);
}

std::uint64_t NodeTable::open_count(NodeId id) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at == nodes_.end() ? 0 : at->second.handles.size();
}

std::vector<std::uint64_t> NodeTable::handles(NodeId id) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at == nodes_.end() ? std::vector<std::uint64_t>{} : at->second.handles;
}

std::optional<std::uint64_t> NodeTable::any_handle(NodeId id) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  if (at == nodes_.end() || at->second.handles.empty()) return std::nullopt;
  return at->second.handles.front();
}

bool NodeTable::same_content(NodeId id, std::uint64_t size_bytes, std::int64_t mtime_ns) {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  if (at == nodes_.end()) return false;
  Node& node = at->second;
  const bool same = node.content_mtime_ns == mtime_ns && node.content_size == size_bytes;
  node.content_size = size_bytes;
  node.content_mtime_ns = mtime_ns;
  return same;
}

void NodeTable::forget_content(NodeId id) {
  MutexLock lock(mutex_);
  if (auto at = nodes_.find(id); at != nodes_.end()) at->second.content_mtime_ns = -1;
}

}  // namespace mediafs::fs
