// Tells the kernel what it may no longer believe, so that it may keep names, attributes and listings for a day.
// A name that stands for something else now is not taken from the kernel: to take it waits, uninterruptibly, for all
// that is under way in the directory, and would wait for ever if mediafs were killed meanwhile. Its attributes are
// taken instead: the kernel asks for them before it uses the name, and where ESTALE is the answer it looks the name up
// again. Only the name of a file that is open, or has other names, is taken, for such a file goes on to answer; on a
// thread of its own.
// Threads:    notice() and short_listing() from any thread; the kernel is told on this one's own threads.
// Borrows:    Core with its session (outlive it).
// Invariants: (1) what is told for long is told anew once the disk has changed, provided that somebody notices:
//             `watched` says whether; while it does not hold, nothing is told for longer than a second;
//             (2) it is told once more a little later, for what was being answered when it happened; an answer that
//             takes longer is told for a second (Reply::believed_s).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "common/clock.h"
#include "common/sync.h"
#include "fs/core.h"

namespace mediafs::fs {

class Invalidator {
 public:
  enum class Kind : std::uint8_t {
    name,        // it appeared, vanished, or stands for something else
    attributes,  // of what has the name
    contents,    // so, and its bytes
    names,       // any in the directory `path`
    everything,
  };
  Invalidator(Core& core, std::function<bool()> watched);
  ~Invalidator();
  Invalidator(const Invalidator&) = delete;
  Invalidator& operator=(const Invalidator&) = delete;
  void start();
  void stop();  // REQUIRES: the mount's connection has ended, or there never was one

  void notice(Kind kind, std::string path) EXCLUDES(mutex_);
  // The mount is about to change attributes as the kernel asked, who then asks for all of them: were it told of the
  // change just then, it would take that answer for an older one, and go on by what it had. So the next notice of them,
  // if it comes soon, is none, and what else is to be told of that file waits for a second. undone(): it was not done after all, and what was noticed meanwhile was another's doing.
  void doing(const std::string& path) EXCLUDES(mutex_);
  void undone(const std::string& path) EXCLUDES(mutex_);
  // The kernel keeps the listing that it is being told, which nobody may take from it when it changes.
  void short_listing(NodeId directory) EXCLUDES(mutex_);

 private:
  struct Notice {
    Kind kind = Kind::name;
    std::string path = {};
    bool operator==(const Notice&) const = default;
  };
  struct NoticeHash {
    std::size_t operator()(const Notice& n) const noexcept {
      return std::hash<std::string>{}(n.path) * 8 + static_cast<std::size_t>(n.kind);
    }
  };
  struct Batch {
    SteadyTime due{};
    bool everything = false;
    std::unordered_set<Notice, NoticeHash> notices = {};
    std::unordered_set<NodeId> listings = {};
    std::unordered_set<NodeId> linked = {};  // other names of what the notices are about
    std::size_t size() const {
      return std::size_t{everything} + notices.size() + listings.size() + linked.size();
    }
  };
  struct Taken {  // a name that the kernel has of a file that goes on without it, or an open file's bytes
    NodeId node = 0, parent = 0;
    std::string name = {};
    bool bytes = false;
  };

  void run(const std::stop_token& stop) noexcept;
  void take_names(const std::stop_token& stop) noexcept;
  std::vector<Batch> due() EXCLUDES(mutex_);
  Batch& later() REQUIRES(mutex_);
  bool is_own(const std::string& path) REQUIRES(mutex_);
  bool is_held_back(NodeId node) EXCLUDES(mutex_);
  void look_after_trust();
  struct Look;  // at the disk, once for all notices of a directory
  void tell(Batch& batch, bool again);
  void tell_name(const Notice& notice, bool again);
  void tell_linked(const Notice& notice, Look& look, Batch& batch);
  void tell_below(NodeId directory, bool again);
  void tell_everything();
  void tell_held(NodeId directory, Look& look);  // 0: all
  void tell_open(NodeId parent, const Notice& notice, NodeId node, Look& look) EXCLUDES(mutex_);
  void give_back_memory();
  void attributes(NodeId node, bool again);
  void listing(NodeId directory);

  Core& core_;
  const std::function<bool()> watched_;
  SteadyTime trust_due_{};
  std::uint64_t dropped_ = 0;  // nodes, when memory was last given back
  Mutex mutex_;
  CondVar changed_;
  Batch now_ GUARDED_BY(mutex_);
  std::deque<Batch> later_ GUARDED_BY(mutex_);  // as they are due
  std::size_t waiting_ GUARDED_BY(mutex_) = 0;  // in later_
  bool lost_ GUARDED_BY(mutex_) = false;        // there were too many
  std::deque<Taken> taken_ GUARDED_BY(mutex_);
  std::unordered_map<std::string, SteadyTime> doings_ GUARDED_BY(mutex_);  // until when it is
  std::unordered_map<NodeId, SteadyTime> held_back_ GUARDED_BY(mutex_);    // until when
  std::jthread thread_, names_thread_;
};

}  // namespace mediafs::fs
