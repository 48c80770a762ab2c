// The tree as everybody sees it: what the stages do to the library they do through the mount, so that whoever watches
// it sees that. The calls run in processes of their own (agents): a process that waits for its own mount can't be
// killed, because the kernel waits for an answer that its dying threads no longer give. An agent of a daemon that is
// gone sees its socket end, and exits.
// Threads:    safe from any thread; a call takes a free agent and waits for its answer, both with a deadline. An agent
//             that lets it pass is killed.
// Owns:       the agents.
// Shapes:     paths are relative to the tree's root.
// Errors:     those of the call; exists from rename; offline when the tree isn't mounted or an agent died; timeout: the
//             call may have been carried out all the same.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "common/fd.h"
#include "common/hash.h"
#include "common/result.h"
#include "common/sync.h"

namespace mediafs::pipeline {

class Tree {
 public:
  struct Options {
    std::string root;  // the mount point, or in tests any directory
    std::string
        program;  // started as `PROGRAM tree-agent` with its socket as descriptor 3; "": calls run in-process
    std::size_t agents = 8;
    // Without an answer, or in a checksum without progress. Longer than any deadline of the tree itself.
    std::chrono::milliseconds call_limit = std::chrono::minutes(2);
  };
  static std::unique_ptr<Tree> open(Options options);  // agents are started as calls need them
  ~Tree();
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  // Waits for the mount to answer; from then on calls refuse a root on another device.
  Status meet();
  struct Stat {
    std::uint64_t size_bytes = 0;
    std::uint32_t mode = 0;
  };
  Result<Stat> stat(const std::string& path);
  // Makes the directories that `to` needs. exists: `to` is taken; not_found: `from` is gone.
  Status rename(const std::string& from, const std::string& to);
  Status unlink(const std::string& path);
  Status write_file(const std::string& path, const std::string& text);  // atomically
  Result<std::string> read_file(const std::string& path);               // at most 4 KiB
  Result<Xxh128> checksum(const std::string& path, std::stop_token stop = {});
  // From now on a call has a few seconds: the daemon is stopping.
  void hurry() EXCLUDES(mutex_);

 private:
  struct Agent;
  explicit Tree(Options options);
  Result<std::string> call(char operation, const std::string& a, const std::string& b,
                           const std::stop_token& stop = {}) EXCLUDES(mutex_);
  Result<std::unique_ptr<Agent>> take() EXCLUDES(mutex_);
  Result<std::unique_ptr<Agent>> start() const;
  void give_back(std::unique_ptr<Agent> agent) EXCLUDES(mutex_);
  void end(std::unique_ptr<Agent> agent) EXCLUDES(mutex_);
  void collect_lost() REQUIRES(mutex_);
  Result<std::string> await(Agent& agent, const std::stop_token& stop);

  Options options_;
  Mutex mutex_;
  CondVar freed_;
  std::vector<std::unique_ptr<Agent>> idle_ GUARDED_BY(mutex_);
  std::size_t made_ GUARDED_BY(mutex_) = 0;                      // idle, at work or lost
  std::vector<std::unique_ptr<Agent>> lost_ GUARDED_BY(mutex_);  // killed, and not yet at their end
  bool hurried_ GUARDED_BY(mutex_) = false;
  Fd hurry_;  // an eventfd, readable from hurry() on
  std::uint64_t device_ GUARDED_BY(mutex_) = 0;
};

// An agent's life: answers requests from `socket` until it ends. Returns the exit status.
int run_tree_agent(int socket);

}  // namespace mediafs::pipeline
