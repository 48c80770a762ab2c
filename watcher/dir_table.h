// The directories of the tree as the watcher believes them to be: linked to their parents, so that a rename is one
// step and everything below follows.
// Threads:    one at a time.
// Shapes:     a DirId is never used twice; wd is inotify's number or -1.
// Invariants: (1) every directory but the root has a parent in the table; (2) no two children of one have one name;
//             (3) no two directories have one wd.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace mediafs::watcher {

using DirId = std::uint64_t;
inline constexpr DirId kNoDir = 0;
inline constexpr DirId kRootDir = 1;

struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileId&) const = default;
};
inline FileId file_id(const struct stat& info) {
  return {info.st_dev, info.st_ino};
}

using Contents = std::unordered_map<std::string, std::uint64_t>;  // name -> hash of the fingerprint

struct Dir {
  DirId parent = kNoDir;
  std::string name;
  FileId file;
  int wd = -1;
  bool muted = false;       // it or a directory above is ignored: RawEvents only
  std::uint64_t epoch = 0;  // of the last whole scan that saw it
  std::map<std::string, DirId, std::less<>> children;
  std::unique_ptr<Contents> contents;  // only of a directory without a watch: the files that were in it
};

class DirTable {
 public:
  explicit DirTable(FileId root);
  Dir* find(DirId id);
  const Dir* find(DirId id) const;
  DirId by_watch(int wd) const;  // kNoDir if nobody has it
  DirId child(DirId parent, std::string_view name) const;
  std::string path(DirId id) const;
  bool is_within(DirId id, DirId ancestor) const;  // equal or below

  // REQUIRES: `parent` exists, the name is free in it.
  DirId add(DirId parent, std::string_view name, FileId file);
  // REQUIRES: the name is free in `parent`, which is not within `id`.
  void move(DirId id, DirId parent, std::string_view name);
  void set_watch(DirId id, int wd);  // -1: none
  struct Removed {
    DirId id;
    int wd;
  };
  std::vector<Removed> remove(DirId id);      // with all below; REQUIRES: not the root
  std::vector<DirId> within(DirId id) const;  // it and all below, parents first
  std::vector<DirId> older_than(std::uint64_t epoch) const;
  std::size_t size() const { return dirs_.size(); }
  std::size_t watches() const { return by_watch_.size(); }
  const std::unordered_set<DirId>& unwatched() const { return unwatched_; }

 private:
  std::unordered_map<DirId, Dir> dirs_;
  std::unordered_map<int, DirId> by_watch_;
  std::unordered_set<DirId> unwatched_;
  DirId last_ = kRootDir;
};

}  // namespace mediafs::watcher
