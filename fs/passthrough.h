// FUSE passthrough: the kernel reads and writes an open local file by itself, without asking us.
// Threads:    safe from any thread.
// Owns:       the backing ids that the kernel gave for open files; a thread that watches the space while such files
//             are open for writing. Borrows the session (outlives the last use).
// Invariants: (1) all opens of a node are served in one way, chosen with the first and kept until the last is gone: the
//             kernel refuses a mixture (EIO); (2) a node has one backing id, which goes with its last open.
// Source:     Linux Documentation/filesystems/fuse-passthrough.rst; include/uapi/linux/fuse.h (7.40).
#pragma once

#include <fuse_lowlevel.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>

#include "common/result.h"
#include "common/sync.h"
#include "fs/node_table.h"

namespace mediafs::fs {

class Passthrough {
 public:
  // `look` is called every 100 ms while files are open for writing that we don't see the writes of.
  Passthrough(bool wanted, std::function<void()> look);
  ~Passthrough();
  Passthrough(const Passthrough&) = delete;
  Passthrough& operator=(const Passthrough&) = delete;

  struct State {
    bool on = false;
    std::string why;  // it is off
  };
  State state() const EXCLUDES(mutex_);
  // What the negotiation with the kernel came to.
  bool wanted() const noexcept { return wanted_; }
  void agreed(int session_fd) EXCLUDES(mutex_);
  void refused(std::string why) EXCLUDES(mutex_);

  // One open of a node; it counts until this goes.
  class Use {
   public:
    Use() = default;
    Use(Use&& other) noexcept;
    Use& operator=(Use&& other) noexcept;
    ~Use();
    std::int32_t backing_id() const noexcept { return id_; }  // 0: we read and write
    void release() noexcept;

   private:
    friend class Passthrough;
    Passthrough* owner_ = nullptr;
    NodeId node_ = 0;
    std::int32_t id_ = 0;
    bool writer_ = false;
  };
  struct Open {
    int fd = -1;  // of the local file; -1: it is on another branch
    std::uint64_t device = 0, inode = 0;
    bool writer = false;
    bool may_begin = false;  // whether a first open may be passed through
  };
  // stale (ESTALE, on which the kernel looks the name up again): the node is open as another file.
  Result<Use> open(NodeId node, const Open& open);
  bool passes(NodeId node) const;  // it is open, and passed through
  std::uint64_t writers() const noexcept { return writers_.load(std::memory_order_relaxed); }

 private:
  struct Node {
    std::int32_t id = 0;
    std::uint32_t opens = 0;
    std::uint64_t device = 0, inode = 0;
  };
  struct Shard {
    mutable Mutex mutex;
    std::unordered_map<NodeId, Node> nodes GUARDED_BY(mutex);
  };
  Shard& shard(NodeId node) { return shards_[node % kShards]; }
  const Shard& shard(NodeId node) const { return shards_[node % kShards]; }
  std::int32_t back(int fd);
  void give_back(NodeId node, bool writer) noexcept;
  void watch(const std::stop_token& stop) noexcept;

  static constexpr std::size_t kShards = 16;
  const bool wanted_;
  const std::function<void()> look_;
  std::atomic<bool> on_{false};
  std::atomic<int> session_fd_{-1};
  std::array<Shard, kShards> shards_;
  std::atomic<std::uint64_t> writers_{0};
  mutable Mutex mutex_;
  CondVar changed_;
  std::string why_ GUARDED_BY(mutex_);
  std::jthread watcher_;
};

}  // namespace mediafs::fs
