// The mount: one tree over the branches, served through FUSE.
// Threads:    create() and run() on one thread; run() blocks and starts its own threads. stop(), noticed() and
//             open_count() from any thread.
// Owns:       the session and the mount. Borrows Branches, Streams, Mover and what the functions use (outlive it).
// Errors:     create(): what stands in the way, with the mount point and what to do about it.
// Invariants: (1) each request is answered exactly once, those under way too when the mount ends; (2) nothing of what
//             a sick share or vault does keeps a request waiting that does not need it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"
#include "tier/mover.h"
#include "tier/stream.h"

namespace mediafs::fs {

class Mount {
 public:
  struct Options {
    tier::Branches& branches;
    tier::Streams* streams = nullptr;  // nullptr: no vault
    tier::Mover* mover = nullptr;      // nullptr: no vault
    std::string mountpoint;
    bool allow_other = true;
    unsigned threads = 10;
    std::function<std::string()> status_json = {}, jobs_json = {};  // the text of .mediafs/*.json
    std::chrono::milliseconds vault_deadline{30'000};               // of one read
    std::function<bool()> vault_answers = {};  // false: known not to, so that a read needn't wait that long
    std::chrono::milliseconds space_limit{300'000};  // how long a writer waits for eviction
    // Whether every change made underneath is told by noticed(). While not, the kernel keeps nothing for longer than a
    // second. Asked once a second, on a thread of the mount's.
    std::function<bool()> watched = {};
    bool passthrough = true;  // where the kernel can: local files are read and written without us
  };
  // Mounts. A stale mount that a killed process left is cleared first. The tree answers once run() serves it.
  static Result<std::unique_ptr<Mount>> create(Options options);
  ~Mount();
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

  Status run();  // serves until stop() or until somebody unmounts
  // Unmounts and lets run() return once the requests under way are answered. What has files open keeps their
  // descriptors, which answer ENOTCONN from then on.
  void stop();
  // Unmounts, so that nobody finds the tree any more; what has files open goes on with them, and run() returns when the
  // last one is closed.
  void let_go();
  // Has the kernel ask for much at once of what it does not read by itself, where it lets us. Once the tree answers.
  void read_far_ahead();

  // Something was noticed underneath, be it our own doing. The kernel is told of what is news to it. Queued; returns at
  // once.
  enum class Noticed : std::uint8_t {
    name,        // it appeared, vanished, or stands for something else
    attributes,  // of what has that name
    contents,    // so, and its bytes
    names,       // any name in the directory `path`
    everything,  // changes were lost; nothing is believed for long until `watched` says so
  };
  void noticed(Noticed what, std::string_view path);
  std::uint64_t open_count(std::string_view path) const;
  const std::string& mountpoint() const;
  std::optional<bool> share_answers() const;  // unset: there is no share
  struct PassthroughState {
    bool on = false;
    std::string why = {};       // it is off
    std::uint64_t writers = 0;  // files open for writing that the kernel writes
  };
  PassthroughState passthrough() const;

 private:
  struct Impl;
  explicit Mount(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mediafs::fs
