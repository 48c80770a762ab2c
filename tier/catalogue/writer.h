// The one writer: closures from any thread run on its thread, many to a transaction, each under a savepoint of its own
// so that one which fails takes nothing else with it.
// Threads:    safe from any thread but its own (on_job and on_change must not write: they get `internal`).
// Crash:      run() returns after the commit. Durable work makes its whole group's commit reach the disk.
#pragma once

#include <atomic>
#include <deque>
#include <thread>
#include <unordered_map>

#include "tier/catalogue/internal.h"

namespace mediafs::tier {

class Writer {
 public:
  using Work = std::function<Status(rows::Tx&)>;
  Writer(std::unique_ptr<sql::Connection> db, const Catalogue::Options& options, std::int64_t version,
         const rows::PromisedInodes& promised);
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  Status run(const Work& work, bool durable = false) EXCLUDES(mutex_);
  void opened(std::int64_t id, WallNs at_ns) EXCLUDES(mutex_);
  Status flush_opened() EXCLUDES(mutex_);
  std::int64_t version() const { return version_.load(std::memory_order_acquire); }

 private:
  using Opened = std::unordered_map<std::int64_t, WallNs>;
  struct Request {
    const Work* work;
    bool durable;
    Status status = {};
    bool done = false;
    CondVar finished = {};
  };
  struct Told {
    std::set<std::string> stages;
    bool queue_moved = false;
    std::int64_t version = 0;
  };

  void loop() noexcept EXCLUDES(mutex_);
  Status commit(const std::vector<Request*>& group, const Opened& opened, Told& told);
  Status run_group(const std::vector<Request*>& group, const Opened& opened, Told& told);
  Status run_one(Request& request, Told& told);
  Status write_opened(const Opened& opened);
  void tell(const Told& told) noexcept;

  std::unique_ptr<sql::Connection> db_;  // the writer thread's own
  const Catalogue::Options& options_;
  const rows::PromisedInodes& promised_;
  bool full_sync_ = false;
  std::atomic<std::int64_t> version_;
  Mutex mutex_;
  CondVar work_there_;
  std::deque<Request*> queue_ GUARDED_BY(mutex_);
  Opened opened_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mediafs::tier
