// What the share has, remembered in the catalogue for the time in which it does not answer. A thread of its own walks
// the share when it comes (back) and once a day, and looks again at directories whose listing differed.
// Threads:    safe from any thread; stat(), list() and has() read the catalogue only.
// Borrows:    ShareBranch, Catalogue (outlive it).
// Errors:     the catalogue's.
// Invariants: (1) what the mount removed or renamed on the share is not remembered as it was before, once the walk has
//             passed again: Change tells it so. (2) a directory that could not be listed keeps what is remembered.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/path.h"
#include "common/sync.h"
#include "fs/share_branch.h"
#include "fs/tree.h"
#include "tier/catalogue/catalogue.h"

namespace mediafs::fs {

// A setting: the share's path, once it was seen to be a mount point.
inline constexpr std::string_view kShareMounted = "share.mounted";
// A setting: the share's path, once all that it had was remembered.
inline constexpr std::string_view kShareWalked = "share.walked";

class ShareMemory {
 public:
  ShareMemory(ShareBranch& share, tier::Catalogue& catalogue);
  ~ShareMemory();
  void stop();  // no task runs after it
  ShareMemory(const ShareMemory&) = delete;
  ShareMemory& operator=(const ShareMemory&) = delete;

  Result<std::optional<struct stat>> stat(const std::string& path);
  Result<std::vector<tree::Item>> list(const std::string& dir);
  Result<bool> has(const std::string& path);

  bool whole() const noexcept { return whole_.load(std::memory_order_relaxed); }  // it was walked once

  // A listing that the share gave: where it differs from what is remembered, the directory is looked at soon.
  void listed(const std::string& dir, const std::vector<tree::Item>& items);

  // The mount changed what it has under that name: it is looked at soon.
  void changed(const std::string& path) { look_again(std::string(parent_path(path))); }

  // `task` runs on the walk's thread each time the share has come (back) and each time somebody asked for it, as
  // soon as the share is usable. While it answers false it runs again, at growing intervals.
  void when_back(std::function<bool()> task) EXCLUDES(mutex_);
  void ask_for_task() EXCLUDES(mutex_);

  // Held while the mount changes the share and until what it did is noted.
  class Change {
   public:
    explicit Change(ShareMemory& memory);
    ~Change();
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;
    void removed(const std::string& path);
    void renamed(const std::string& from, const std::string& to);

   private:
    ShareMemory& memory_;
  };

 private:
  struct Moment {  // what the mount had changed by then
    std::uint64_t changes = 0;
    bool quiet = false;
    bool operator==(const Moment&) const = default;
  };
  void run(const std::stop_token& stop);
  void run_task() EXCLUDES(mutex_);
  void walk(const std::stop_token& stop);
  Status look_at(const std::string& dir, const std::stop_token& stop, std::vector<std::string>* below);
  Result<std::vector<tier::ShareEntry>> read(const std::string& dir, const std::stop_token& stop);
  Moment moment() EXCLUDES(mutex_);
  void look_again(const std::string& dir) EXCLUDES(mutex_);

  ShareBranch& share_;
  tier::Catalogue& catalogue_;
  std::atomic<bool> whole_{false};
  Mutex mutex_;
  CondVar wake_;
  std::uint64_t changes_ GUARDED_BY(mutex_) = 0;
  std::size_t changing_ GUARDED_BY(mutex_) = 0;
  std::deque<std::string> again_ GUARDED_BY(mutex_);
  std::function<bool()> task_ GUARDED_BY(mutex_);
  bool task_asked_ GUARDED_BY(mutex_) = false;
  SteadyTime task_again_ = SteadyTime::max();  // of the walk's thread
  std::chrono::milliseconds task_pause_{};     // likewise
  std::jthread thread_;                        // last: it uses what stands above
};

}  // namespace mediafs::fs
