#include "fs/node_table.h"

#include <algorithm>
#include <utility>

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
  node.told = true;
  index(id, node, seen.type == S_IFDIR ? InodeKey{0, 0} : InodeKey{seen.device, seen.inode});
  return id;
}

NodeId NodeTable::remember_nameless(const Seen& seen) {
  MutexLock lock(mutex_);
  const NodeId id = insert(seen);
  Node& node = nodes_.at(id);
  node.lookups = 1;
  index(id, node, InodeKey{seen.device, seen.inode});
  return id;
}

// The node that (parent, name) may keep or share; 0 where there must be a new one.
NodeId NodeTable::matching(NodeId parent, std::string_view name, const Seen& seen) {
  const InodeKey key{seen.device, seen.inode};
  if (auto named = names_.find(NameRef{parent, name}); named != names_.end()) {
    const NodeId id = named->second.node;
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
  auto [at, fresh] = names_.emplace(NameKey{parent, std::string(name)}, Named{.node = id});
  if (!fresh) return;
  give_name(nodes_.at(id), &*at);
  auto above = nodes_.find(parent);
  if (above == nodes_.end()) return;
  at->second.behind = std::exchange(above->second.first_child, &*at);
  if (at->second.behind != nullptr) at->second.behind->second.before = &*at;
}

// The newest name first: a path is built of that.
void NodeTable::give_name(Node& node, NameEntry* entry) {
  entry->second.other = std::exchange(node.name, entry);
}

void NodeTable::take_name(Node& node, NameEntry* entry) {
  NameEntry** at = &node.name;
  while (*at != nullptr && *at != entry) at = &(*at)->second.other;
  if (*at != nullptr) *at = entry->second.other;
}

void NodeTable::unlink_child(NameEntry* entry) {
  const Named& named = entry->second;
  if (named.behind != nullptr) named.behind->second.before = named.before;
  if (named.before != nullptr) {
    named.before->second.behind = named.behind;
  } else if (auto above = nodes_.find(entry->first.parent); above != nodes_.end()) {
    above->second.first_child = named.behind;
  }
}

NodeId NodeTable::detach(NodeId parent, std::string_view name) {
  auto at = names_.find(NameRef{parent, name});
  if (at == names_.end()) return 0;
  const NodeId id = at->second.node;
  take_name(nodes_.at(id), &*at);
  unlink_child(&*at);
  names_.erase(at);
  drop_unused(parent);
  return id;
}

void NodeTable::index(NodeId id, Node& node, const InodeKey& key) {
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
    if (node.lookups > 0 || node.first_child != nullptr || node.opens > 0) continue;
    while (NameEntry* name = node.name) {
      node.name = name->second.other;
      candidates.push_back(name->first.parent);
      unlink_child(name);
      names_.erase(names_.find(NameRef{name->first.parent, name->first.name}));
    }
    unindex(at->first, node);
    contents_.erase(at->first);
    left_.erase(at->first);
    nodes_.erase(at);
    dropped_.fetch_add(1, std::memory_order_relaxed);
  }
}

// The tables themselves grow only.
void NodeTable::shrink() {
  const auto shrunk = [](auto& table) {
    constexpr std::size_t kSparse = 8;
    if (table.bucket_count() > kSparse * (table.size() + 1)) table.rehash(0);
  };
  MutexLock lock(mutex_);
  shrunk(nodes_);
  shrunk(names_);
  shrunk(inodes_);
  shrunk(contents_);
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
    if (at == nodes_.end() || at->second.name == nullptr) return false;
    const NameKey& key = at->second.name->first;
    parts.emplace_back(key.name);
    length += key.name.size() + 1;
    id = key.parent;
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
    id = named->second.node;
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
  }
  return id;
}

std::optional<NodeId> NodeTable::find(NodeId parent, std::string_view name) const {
  MutexLock lock(mutex_);
  auto named = names_.find(NameRef{parent, name});
  if (named == names_.end()) return std::nullopt;
  return named->second.node;
}

std::optional<NodeTable::Name> NodeTable::name(NodeId id) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  if (at == nodes_.end() || at->second.name == nullptr) return std::nullopt;
  const NameKey& key = at->second.name->first;
  return Name{key.parent, key.name};
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

void NodeTable::leaving(NodeId parent, std::string_view name, const struct stat& was) {
  MutexLock lock(mutex_);
  const auto named = names_.find(NameRef{parent, name});
  if (named == names_.end()) return;
  struct stat& left = left_[named->second.node];
  left = was;
  left.st_nlink = 0;
  if (S_ISDIR(was.st_mode)) left.st_size = 0;
  const Node& node = nodes_.at(named->second.node);
  if (node.shown_inode != 0) left.st_ino = node.shown_inode;
}

std::optional<struct stat> NodeTable::was(NodeId id) const {
  MutexLock lock(mutex_);
  const auto node = nodes_.find(id);
  const auto left = left_.find(id);
  if (node == nodes_.end() || node->second.name != nullptr || left == left_.end()) return std::nullopt;
  return left->second;
}

void NodeTable::rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name) {
  MutexLock lock(mutex_);
  renames_.fetch_add(1, std::memory_order_release);
  auto moving = names_.find(NameRef{parent, name});
  auto target = names_.find(NameRef{new_parent, new_name});
  if (moving != names_.end() && target != names_.end() && moving->second.node == target->second.node) return;
  if (target != names_.end()) {
    const NodeId replaced = detach(new_parent, new_name);
    if (auto at = nodes_.find(replaced); at != nodes_.end() && at->second.local_opens == 0) {
      unindex(replaced, at->second);
    }
    drop_unused(replaced);
  }
  moving = names_.find(NameRef{parent, name});
  if (moving == names_.end()) return;
  const NodeId id = moving->second.node;
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
  Node& first = nodes_.at(one->second.node);
  Node& second = nodes_.at(other->second.node);
  take_name(first, &*one);
  take_name(second, &*other);
  give_name(first, &*other);
  give_name(second, &*one);
  std::swap(one->second.node, other->second.node);
}

void NodeTable::opened(NodeId id, std::uint64_t handle, Branch branch, std::uint64_t device,
                       std::uint64_t inode) {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  if (at == nodes_.end()) return;
  handles_[id].push_back(handle);
  ++at->second.opens;
  if (branch != Branch::local) return;
  if (at->second.local_opens == 0 && inode != 0) index(id, at->second, InodeKey{device, inode});
  ++at->second.local_opens;
}

void NodeTable::closed(NodeId id, std::uint64_t handle, Branch branch) {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  auto open = handles_.find(id);
  if (at == nodes_.end() || open == handles_.end()) return;
  Node& node = at->second;
  if (std::erase(open->second, handle) > 0) {
    --node.opens;
    if (branch == Branch::local) --node.local_opens;
  }
  if (node.opens == 0) handles_.erase(open);
  if (node.name == nullptr && node.opens == 0) unindex(id, node);
  drop_unused(id);
}

std::uint64_t NodeTable::open_count(NodeId id) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at == nodes_.end() ? 0 : at->second.opens;
}

std::vector<std::uint64_t> NodeTable::handles(NodeId id) const {
  MutexLock lock(mutex_);
  auto open = handles_.find(id);
  return open == handles_.end() ? std::vector<std::uint64_t>{} : open->second;
}

bool NodeTable::same_content(NodeId id, const struct stat& st) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const Content now{.inode = st.st_ino,
                    .size_bytes = static_cast<std::uint64_t>(st.st_size),
                    .mtime_ns = st.st_mtim.tv_sec * kSecond + st.st_mtim.tv_nsec,
                    .ctime_ns = st.st_ctim.tv_sec * kSecond + st.st_ctim.tv_nsec};
  MutexLock lock(mutex_);
  if (!nodes_.contains(id)) return false;
  auto [at, fresh] = contents_.try_emplace(id);
  const bool same = !fresh && at->second == now;
  at->second = now;
  return same;
}

void NodeTable::forget_content(NodeId id) {
  MutexLock lock(mutex_);
  contents_.erase(id);
}

}  // namespace mediafs::fs
