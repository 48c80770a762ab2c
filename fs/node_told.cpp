// What the kernel may believe of nodes, so that only that is taken back when the disk changes.
#include <utility>

#include "fs/node_table.h"

namespace mediafs::fs {

void NodeTable::telling(NodeId id) {
  MutexLock lock(mutex_);
  if (auto at = nodes_.find(id); at != nodes_.end()) at->second.told = true;
}

void NodeTable::listing(NodeId id) {
  MutexLock lock(mutex_);
  if (auto at = nodes_.find(id); at != nodes_.end()) at->second.listed = true;
}

bool NodeTable::take_told(NodeId id) {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at != nodes_.end() && std::exchange(at->second.told, false);
}

bool NodeTable::take_listed(NodeId id) {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at != nodes_.end() && std::exchange(at->second.listed, false);
}

bool NodeTable::is_directory(NodeId id) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at != nodes_.end() && at->second.type == S_IFDIR;
}

bool NodeTable::has_type(NodeId id, mode_t mode) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at == nodes_.end() || at->second.type == (mode & S_IFMT);
}

bool NodeTable::has_other_names(NodeId id) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at != nodes_.end() && at->second.name != nullptr && at->second.name->second.other != nullptr;
}

bool NodeTable::is_local(NodeId id, std::uint64_t device, std::uint64_t inode) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at != nodes_.end() && at->second.local == InodeKey{device, inode};
}

bool NodeTable::open_as_other(NodeId id, std::uint64_t device, std::uint64_t inode) const {
  MutexLock lock(mutex_);
  auto at = nodes_.find(id);
  return at != nodes_.end() && at->second.local_opens > 0 && !(at->second.local == InodeKey{device, inode});
}

NodeId NodeTable::find_local(std::uint64_t device, std::uint64_t inode) const {
  MutexLock lock(mutex_);
  auto at = inodes_.find(InodeKey{device, inode});
  return at == inodes_.end() ? 0 : at->second;
}

std::vector<NodeId> NodeTable::children(NodeId directory) const {
  MutexLock lock(mutex_);
  std::vector<NodeId> children;
  auto at = nodes_.find(directory);
  if (at == nodes_.end()) return children;
  for (const NameEntry* each = at->second.first_child; each != nullptr; each = each->second.behind)
    children.push_back(each->second.node);
  return children;
}

std::vector<NodeTable::Name> NodeTable::names_held(NodeId directory) const {
  MutexLock lock(mutex_);
  std::vector<Name> held;
  if (directory == 0) {
    for (const NameEntry& each : names_) {
      if (is_held(each)) held.push_back({each.first.parent, each.first.name});
    }
  } else if (auto at = nodes_.find(directory); at != nodes_.end()) {
    for (const NameEntry* each = at->second.first_child; each != nullptr; each = each->second.behind) {
      if (is_held(*each)) held.push_back({each->first.parent, each->first.name});
    }
  }
  return held;
}

bool NodeTable::is_held(const NameEntry& entry) const {
  const Node& node = nodes_.at(entry.second.node);
  const bool others = node.name != nullptr && node.name->second.other != nullptr;
  return node.type != S_IFDIR && (node.opens > 0 || others);
}

std::vector<NodeId> NodeTable::all() const {
  MutexLock lock(mutex_);
  std::vector<NodeId> all;
  all.reserve(nodes_.size());
  for (const auto& node : nodes_) all.push_back(node.first);
  return all;
}

}  // namespace mediafs::fs
