// Nodes: what the kernel knows by number. A node has a name (several, for hard links) below its parent; paths are built
// on demand, so a directory's rename is one step here. A file that moves between local and vault keeps its node.
// Threads:    safe from any thread; the mutex is never held across I/O or a reply.
// Shapes:     ids grow and are never used twice. The root is 1 and never goes.
// Invariants: (1) a node lives while the kernel has a lookup of it, a handle is open on it, or a name hangs below it;
//             (2) two nodes never share a name; (3) a node without a name is unlinked: only handles reach its bytes.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/sync.h"

namespace mediafs::fs {

using NodeId = std::uint64_t;
inline constexpr NodeId kRootNode = 1;

enum class Branch : std::uint8_t { none, local, share, vault, control };

// What stands under a name now.
struct Seen {
  Branch branch = Branch::none;
  mode_t type = 0;           // S_IFMT bits
  std::uint64_t device = 0;  // of the local file; 0, 0 on other branches
  std::uint64_t inode = 0;
  std::uint64_t links = 1;
  std::uint64_t shown_inode = 0;  // what st_ino answers, for the node's life
};

class NodeTable {
 public:
  NodeTable();

  // The node of (parent, name) as it stands now, with one lookup more. Makes a new one where the name is new, or where
  // it stands for another file now while the old one is open.
  NodeId remember(NodeId parent, std::string_view name, const Seen& seen) EXCLUDES(mutex_);
  NodeId remember_nameless(const Seen& seen) EXCLUDES(mutex_);  // a new file without a name, with one lookup
  void forget(NodeId id, std::uint64_t lookups) EXCLUDES(mutex_);

  // Unset: the node is unknown or, it or a directory above it, has no name any more.
  std::optional<std::string> path(NodeId id) const EXCLUDES(mutex_);
  std::optional<std::string> child_path(NodeId parent, std::string_view name) const EXCLUDES(mutex_);
  std::optional<NodeId> find(std::string_view path) const EXCLUDES(mutex_);
  std::optional<NodeId> find(NodeId parent, std::string_view name) const EXCLUDES(mutex_);
  struct Name {
    NodeId parent;
    std::string name;
  };
  std::optional<Name> name(NodeId id) const EXCLUDES(mutex_);
  std::uint64_t shown_inode(NodeId id) const EXCLUDES(mutex_);  // 0: unknown
  Branch branch(NodeId id) const EXCLUDES(mutex_);
  std::size_t size() const EXCLUDES(mutex_);
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }  // nodes so far
  void shrink() EXCLUDES(mutex_);  // to what it has now
  std::uint64_t renames() const noexcept { return renames_.load(std::memory_order_acquire); }

  // link, unlink and rename, after the disk did them. A name that the table doesn't know is no error.
  void add_name(NodeId id, NodeId parent, std::string_view name) EXCLUDES(mutex_);
  void remove_name(NodeId parent, std::string_view name, bool last_link) EXCLUDES(mutex_);
  // Before its last name goes: who still holds it without having it open as a file (a directory, a FIFO, O_PATH) is
  // told what it was.
  void leaving(NodeId parent, std::string_view name, const struct stat& was) EXCLUDES(mutex_);
  std::optional<struct stat> was(NodeId id) const EXCLUDES(mutex_);  // of one that has no name any more
  void rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name)
      EXCLUDES(mutex_);
  void exchange(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name)
      EXCLUDES(mutex_);

  // `device` and `inode` of a local file: the node may have stood for another copy of it, or for none, until now.
  void opened(NodeId id, std::uint64_t handle, Branch branch, std::uint64_t device = 0,
              std::uint64_t inode = 0) EXCLUDES(mutex_);
  void closed(NodeId id, std::uint64_t handle, Branch branch) EXCLUDES(mutex_);
  std::uint64_t open_count(NodeId id) const EXCLUDES(mutex_);
  std::vector<std::uint64_t> handles(NodeId id) const EXCLUDES(mutex_);
  // Whether the kernel's cached pages of the node are still of this content; remembers the new one.
  bool same_content(NodeId id, const struct stat& st) EXCLUDES(mutex_);
  void forget_content(NodeId id) EXCLUDES(mutex_);  // the kernel writes it: nobody here can say

  // --- what the kernel may believe for long: see Invalidator. Said before the look at what it will be told.
  void telling(NodeId id) EXCLUDES(mutex_);    // its attributes
  void listing(NodeId id) EXCLUDES(mutex_);    // its names
  bool take_told(NodeId id) EXCLUDES(mutex_);  // whether the kernel may have them; it has them no more
  bool take_listed(NodeId id) EXCLUDES(mutex_);
  bool is_directory(NodeId id) const EXCLUDES(mutex_);
  bool has_other_names(NodeId id) const EXCLUDES(mutex_);  // hard links that were looked up
  bool is_local(NodeId id, std::uint64_t device, std::uint64_t inode) const EXCLUDES(mutex_);
  // It is open as a local file, and not as this one.
  bool open_as_other(NodeId id, std::uint64_t device, std::uint64_t inode) const EXCLUDES(mutex_);
  NodeId find_local(std::uint64_t device, std::uint64_t inode) const EXCLUDES(mutex_);  // 0: unknown
  bool has_type(NodeId id, mode_t mode) const EXCLUDES(mutex_);  // true for what is not known
  std::vector<NodeId> children(NodeId directory) const EXCLUDES(mutex_);
  // The names, in a directory or (0) anywhere, of files that are open or have other names.
  std::vector<Name> names_held(NodeId directory) const EXCLUDES(mutex_);
  std::vector<NodeId> all() const EXCLUDES(mutex_);

 private:
  struct NameKey {
    NodeId parent;
    std::string name;
  };
  struct Named;
  using NameEntry = std::pair<const NameKey, Named>;
  // What the name stands for, its neighbours in its directory, and the node's next name.
  struct Named {
    NodeId node = 0;
    NameEntry* before = nullptr;
    NameEntry* behind = nullptr;
    NameEntry* other = nullptr;
  };
  struct NameRef {
    NodeId parent;
    std::string_view name;
  };
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(const NameRef& n) const noexcept {
      return std::hash<std::string_view>{}(n.name) ^ (n.parent * 0x9E3779B97F4A7C15ULL);
    }
    std::size_t operator()(const NameKey& n) const noexcept { return (*this)(NameRef{n.parent, n.name}); }
  };
  struct NameEqual {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const noexcept {
      return a.parent == b.parent && a.name == b.name;
    }
  };
  struct InodeKey {
    std::uint64_t device, inode;
    bool operator==(const InodeKey&) const = default;
  };
  struct InodeHash {
    std::size_t operator()(const InodeKey& k) const noexcept {
      return static_cast<std::size_t>(k.inode * 0x9E3779B97F4A7C15ULL ^ k.device);
    }
  };
  // There may be millions: what few have stands elsewhere.
  struct Node {
    NameEntry* name = nullptr;  // in names_, where its address is stable
    NameEntry* first_child = nullptr;
    std::uint64_t lookups = 0;
    InodeKey local{0, 0};
    std::uint64_t shown_inode = 0;
    std::uint32_t opens = 0, local_opens = 0;
    mode_t type = 0;
    Branch branch = Branch::none;
    bool told = false, listed = false;
  };
  struct Content {
    std::uint64_t inode = 0, size_bytes = 0;
    std::int64_t mtime_ns = 0, ctime_ns = 0;
    bool operator==(const Content&) const = default;
  };

  NodeId matching(NodeId parent, std::string_view name, const Seen& seen) REQUIRES(mutex_);
  NodeId insert(const Seen& seen) REQUIRES(mutex_);
  void attach(NodeId id, NodeId parent, std::string_view name) REQUIRES(mutex_);
  void give_name(Node& node, NameEntry* entry) REQUIRES(mutex_);
  void take_name(Node& node, NameEntry* entry) REQUIRES(mutex_);
  void unlink_child(NameEntry* entry) REQUIRES(mutex_);
  NodeId detach(NodeId parent, std::string_view name) REQUIRES(mutex_);  // 0: unknown
  void index(NodeId id, Node& node, const InodeKey& key) REQUIRES(mutex_);
  void unindex(NodeId id, Node& node) REQUIRES(mutex_);
  void drop_unused(NodeId id) REQUIRES(mutex_);
  bool is_held(const NameEntry& entry) const REQUIRES(mutex_);
  bool build_path(NodeId id, std::string& path) const REQUIRES(mutex_);

  std::atomic<std::uint64_t> renames_{0};  // rename() and exchange() so far
  std::atomic<std::uint64_t> dropped_{0};
  mutable Mutex mutex_;
  std::unordered_map<NodeId, Node> nodes_ GUARDED_BY(mutex_);
  std::unordered_map<NameKey, Named, NameHash, NameEqual> names_ GUARDED_BY(mutex_);
  std::unordered_map<InodeKey, NodeId, InodeHash> inodes_ GUARDED_BY(mutex_);
  std::unordered_map<NodeId, std::vector<std::uint64_t>> handles_
      GUARDED_BY(mutex_);                                            // of nodes that are open
  std::unordered_map<NodeId, Content> contents_ GUARDED_BY(mutex_);  // where it is known
  std::unordered_map<NodeId, struct stat> left_ GUARDED_BY(mutex_);  // see leaving()
  NodeId next_ GUARDED_BY(mutex_) = kRootNode + 1;
};

}  // namespace mediafs::fs
