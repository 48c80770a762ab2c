// The one writer: closures from any thread run on its thread, many to a transaction, each under a savepoint of its own
// so that one which fails takes nothing else with it. What the journal holds comes before the closures of each group,
// or alone when it has waited for about 100 ms, or 10 ms after somebody asked for it.
// Threads:    safe from any thread but its own (on_job and on_change must not write: they get `internal`).
// Crash:      run() returns after the commit; later() when the journal has the record. Durable work makes its whole
//             group's commit reach the disk, with all that was answered before.
#pragma once

#include <atomic>
#include <deque>
#include <thread>
#include <unordered_map>

#include "tier/catalogue/ballast.h"
#include "tier/catalogue/internal.h"
#include "tier/catalogue/later.h"

namespace mediafs::tier {

class Writer {
 public:
  using Work = std::function<Status(rows::Tx&)>;
  struct Shared {  // outlives the writer
    const Catalogue::Options& options;
    const rows::PromisedInodes& promised;
    rows::Names& names;
    // Around each commit, on the writer's thread.
    std::function<void()> committing, committed;
  };
  // What a killed process left in the journal is committed when this returns. Nobody is told of it.
  static Result<std::unique_ptr<Writer>> open(std::unique_ptr<sql::Connection> db, Shared shared);
  ~Writer();  // with nothing pending
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  Status run(const Work& work, bool durable = false) EXCLUDES(mutex_);
  // Into the journal. An error: it was not taken (it is full, or the disk is), which run() answers for.
  Status later(const Catalogue::RenameRequest& request) EXCLUDES(mutex_);
  const Later& pending() const { return *later_; }
  // What is pending now is committed when this returns. Patient: by the writer's next group, whatever that is made for,
  // so that those who ask again and again don't make it commit each record alone. Does nothing on the writer's thread.
  enum class Haste : std::uint8_t { at_once, patient };
  Status flush_pending(Haste haste) EXCLUDES(mutex_);
  void opened(std::int64_t id, WallNs at_ns) EXCLUDES(mutex_);
  void opened(std::string_view path, WallNs at_ns) EXCLUDES(mutex_);
  Status flush_opened() EXCLUDES(mutex_);
  std::int64_t version() const { return version_.load(std::memory_order_acquire); }
  std::uint64_t moment() const { return moment_.load(std::memory_order_acquire); }

 private:
  struct Opened {
    std::unordered_map<std::int64_t, WallNs> ids;
    std::unordered_map<std::string, WallNs> paths;
    bool empty() const { return ids.empty() && paths.empty(); }
    std::size_t size() const { return ids.size() + paths.size(); }
  };
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
    std::vector<std::string> shown;
  };
  struct Attempt {
    bool careful = false;       // with a savepoint for each record
    bool stumbled = false;      // over a record that can't be applied
    std::uint64_t applied = 0;  // the last record's number
    std::uint64_t groups = 0;   // counting this one, where it wrote more than records
    Told told = {};
  };

  using Group = std::vector<Request*>;

  Writer(std::unique_ptr<sql::Connection> db, Shared shared, std::unique_ptr<Later> later);
  Status wait_for(Request& request) REQUIRES(mutex_);
  void loop() noexcept EXCLUDES(mutex_);
  // False: the end. Waits for work, for what was opened and for what is pending, each as long as it may wait.
  bool next(Group& group, Opened& opened) EXCLUDES(mutex_);
  bool idle() const REQUIRES(mutex_);
  bool finish(const Group& group, const Status& committed) EXCLUDES(mutex_);  // whether it is to end
  Status commit(const Group& group, const Opened& opened, Told& told);
  Status try_commit(const Group& group, const Opened& opened, Attempt& attempt);
  Status run_group(const Group& group, const Opened& opened, Attempt& attempt);
  Status run_pending(Attempt& attempt);
  // The outcome is the work's own; an error from here is the whole group's.
  Status run_one(const Work& work, Status& outcome, Told& told);
  Status call(const Work& work, Told& told);
  // Paths as they are now; those without a row stay in `paths`.
  Status write_opened(const Opened& opened, std::unordered_map<std::string, WallNs>& paths);
  Status write_opened(std::int64_t id, WallNs at_ns);
  void tell(const Told& told) noexcept;

  std::unique_ptr<sql::Connection> db_;  // the writer thread's own
  const Shared shared_;
  Ballast ballast_;
  const std::unique_ptr<Later> later_;
  bool full_sync_ = false;
  std::optional<SteadyTime> retry_at_ = {};  // the last group could not be committed
  std::atomic<std::uint64_t> groups_{0};     // that are in the database: see later.h
  std::atomic<std::int64_t> version_{0};
  std::atomic<std::uint64_t> moment_{0};  // see Catalogue::moment()
  Mutex mutex_;
  CondVar work_there_;
  std::deque<Request*> queue_ GUARDED_BY(mutex_);
  std::vector<Request*> patient_
      GUARDED_BY(mutex_);  // go with the next group, or alone where nothing is pending
  Opened opened_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mediafs::tier
