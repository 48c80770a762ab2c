#include "watcher/dir_table.h"

#include <cassert>

namespace mediafs::watcher {

DirTable::DirTable(FileId root) {
  dirs_[kRootDir].file = root;
  unwatched_.insert(kRootDir);
}

Dir* DirTable::find(DirId id) {
  const auto it = dirs_.find(id);
  return it == dirs_.end() ? nullptr : &it->second;
}

const Dir* DirTable::find(DirId id) const {
  const auto it = dirs_.find(id);
  return it == dirs_.end() ? nullptr : &it->second;
}

DirId DirTable::by_watch(int wd) const {
  const auto it = by_watch_.find(wd);
  return it == by_watch_.end() ? kNoDir : it->second;
}

DirId DirTable::child(DirId parent, std::string_view name) const {
  const Dir* dir = find(parent);
  if (dir == nullptr) return kNoDir;
  const auto it = dir->children.find(name);
  return it == dir->children.end() ? kNoDir : it->second;
}

std::string DirTable::path(DirId id) const {
  std::vector<const std::string*> names;
  std::size_t length = 0;
  for (const Dir* dir = find(id); dir != nullptr && dir->parent != kNoDir; dir = find(dir->parent)) {
    names.push_back(&dir->name);
    length += dir->name.size() + 1;
  }
  std::string path;
  path.reserve(length);
  for (auto it = names.rbegin(); it != names.rend(); ++it) {
    if (!path.empty()) path += '/';
    path += **it;
  }
  return path;
}

bool DirTable::is_within(DirId id, DirId ancestor) const {
  while (id != kNoDir && id != ancestor) {
    const Dir* dir = find(id);
    id = dir == nullptr ? kNoDir : dir->parent;
  }
  return id == ancestor;
}

DirId DirTable::add(DirId parent, std::string_view name, FileId file) {
  assert(find(parent) != nullptr && child(parent, name) == kNoDir);
  const DirId id = ++last_;
  Dir& dir = dirs_[id];
  dir.parent = parent;
  dir.name = name;
  dir.file = file;
  dirs_[parent].children.emplace(name, id);
  unwatched_.insert(id);
  return id;
}

void DirTable::move(DirId id, DirId parent, std::string_view name) {
  assert(child(parent, name) == kNoDir && !is_within(parent, id));
  Dir& dir = dirs_[id];
  dirs_[dir.parent].children.erase(dir.name);
  dir.parent = parent;
  dir.name = name;
  dirs_[parent].children.emplace(name, id);
}

void DirTable::set_watch(DirId id, int wd) {
  Dir* dir = find(id);
  if (dir == nullptr) return;
  if (dir->wd >= 0) by_watch_.erase(dir->wd);
  dir->wd = wd;
  if (wd >= 0) {
    assert(by_watch(wd) == kNoDir);
    by_watch_[wd] = id;
    unwatched_.erase(id);
  } else {
    unwatched_.insert(id);
  }
}

std::vector<DirId> DirTable::within(DirId id) const {
  std::vector<DirId> ids{id};
  for (std::size_t at = 0; at < ids.size(); ++at) {
    for (const auto& [name, child_id] : find(ids[at])->children) ids.push_back(child_id);
  }
  return ids;
}

std::vector<DirId> DirTable::older_than(std::uint64_t epoch) const {
  std::vector<DirId> ids;
  for (const auto& [id, dir] : dirs_) {
    if (dir.epoch < epoch) ids.push_back(id);
  }
  return ids;
}

std::vector<DirTable::Removed> DirTable::remove(DirId id) {
  assert(id != kRootDir);
  const Dir* top = find(id);
  if (top == nullptr) return {};
  dirs_[top->parent].children.erase(top->name);
  std::vector<Removed> removed;
  for (const DirId each : within(id)) {
    const int wd = dirs_[each].wd;
    removed.push_back({each, wd});
    if (wd >= 0) by_watch_.erase(wd);
    unwatched_.erase(each);
  }
  for (const Removed& each : removed) dirs_.erase(each.id);
  return removed;
}

}  // namespace mediafs::watcher
