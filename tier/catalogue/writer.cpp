#include "tier/catalogue/writer.h"

#include <sqlite3.h>

#include <exception>
#include <utility>

#include "common/log.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kGroupLimit = 512;
constexpr std::size_t kOpenedLimit = 4096;
constexpr std::chrono::seconds kOpenedDelay{5};

}  // namespace

Writer::Writer(std::unique_ptr<sql::Connection> db, const Catalogue::Options& options, std::int64_t version,
               const rows::PromisedInodes& promised)
    : db_(std::move(db)), options_(options), promised_(promised), version_(version), thread_([this] {
        loop();
      }) {}

Writer::~Writer() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    work_there_.notify_all();
  }
  thread_.join();
}

Status Writer::run(const Work& work, bool durable) {
  if (std::this_thread::get_id() == thread_.get_id()) {
    return make_error(ErrorCode::internal, "catalogue", "a write from within on_job or on_change");
  }
  Request request{&work, durable};
  MutexLock lock(mutex_);
  queue_.push_back(&request);
  work_there_.notify_one();
  while (!request.done) request.finished.wait(mutex_);
  return std::move(request.status);
}

void Writer::opened(std::int64_t id, WallNs at_ns) {
  MutexLock lock(mutex_);
  WallNs& last = opened_[id];
  if (at_ns > last) last = at_ns;
  if (opened_.size() == 1 || opened_.size() >= kOpenedLimit) work_there_.notify_one();
}

Status Writer::flush_opened() {
  {
    MutexLock lock(mutex_);
    if (opened_.empty()) return {};
  }
  return run([](rows::Tx&) { return Status{}; });
}

void Writer::loop() noexcept {
  for (;;) {
    std::vector<Request*> group;
    Opened opened;
    {
      MutexLock lock(mutex_);
      auto patience = std::chrono::steady_clock::now() + kOpenedDelay;
      while (queue_.empty() && !stopping_ && opened_.size() < kOpenedLimit) {
        if (opened_.empty()) {
          work_there_.wait(mutex_);
          patience = std::chrono::steady_clock::now() + kOpenedDelay;
        } else if (!work_there_.wait_until(mutex_, patience)) {
          break;
        }
      }
      if (queue_.empty() && opened_.empty() && stopping_) return;
      while (!queue_.empty() && group.size() < kGroupLimit) {
        group.push_back(queue_.front());
        queue_.pop_front();
      }
      opened.swap(opened_);
    }
    Told told;
    const Status committed = commit(group, opened, told);
    if (!committed && group.empty()) log::warning("opens not recorded", committed.err());
    if (committed && told.version > 0) version_.store(told.version, std::memory_order_release);
    {
      MutexLock lock(mutex_);
      for (Request* request : group) {
        if (!committed && request->status) request->status = committed.err();
        request->done = true;
        request->finished.notify_one();
      }
    }
    if (committed) tell(told);
  }
}

// The WAL is written in order, so the fsync of a durable group covers every group before it too.
Status Writer::commit(const std::vector<Request*>& group, const Opened& opened, Told& told) {
  bool durable = false;
  for (const Request* request : group) durable = durable || request->durable;
  if (durable != full_sync_) {
    MEDIAFS_TRY(db_->execute(durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL"));
    full_sync_ = durable;
  }
  MEDIAFS_TRY(db_->execute("BEGIN IMMEDIATE"));
  Status status = run_group(group, opened, told);
  if (status) status = db_->execute("COMMIT");
  // A full disk or an I/O error may have rolled all back already.
  if (!status && sqlite3_get_autocommit(db_->raw()) == 0) {
    if (const Status undone = db_->execute("ROLLBACK"); !undone)
      log::error("catalogue rollback", undone.err());
  }
  return status;
}

Status Writer::run_group(const std::vector<Request*>& group, const Opened& opened, Told& told) {
  for (Request* request : group) MEDIAFS_TRY(run_one(*request, told));
  return write_opened(opened);
}

// An error from here is the whole group's; the request's own stands in its status.
Status Writer::run_one(Request& request, Told& told) {
  MEDIAFS_TRY(db_->execute("SAVEPOINT one"));
  rows::Tx tx{*db_, options_.clock->wall_ns(), options_.has_vault, &promised_};
  tx.hooks = &options_.hooks;
  try {
    request.status = (*request.work)(tx);
  } catch (const std::exception& e) {
    request.status = make_error(ErrorCode::internal, "catalogue", e.what());
  }
  if (sqlite3_get_autocommit(db_->raw()) != 0) {
    return request.status ? Status{make_error(ErrorCode::io, "database " + db_->path(), "rolled back")}
                          : request.status;
  }
  if (!request.status) MEDIAFS_TRY(db_->execute("ROLLBACK TO one"));
  MEDIAFS_TRY(db_->execute("RELEASE one"));
  if (request.status) {
    told.queue_moved = told.queue_moved || tx.queue_moved || !tx.stages.empty();
    told.stages.merge(tx.stages);
    if (tx.version > 0) told.version = tx.version;
  }
  return {};
}

Status Writer::write_opened(const Opened& opened) {
  for (const auto& [id, at_ns] : opened) {
    MEDIAFS_ASSIGN(auto update,
                   db_->prepare("UPDATE node SET last_open = max(last_open, ?2), evict_at = CASE WHEN "
                                "evict_at IS NULL THEN NULL ELSE max(last_open, ?2) END WHERE id = ?1"));
    MEDIAFS_TRY(update.bind(1, id).bind(2, at_ns).run());
  }
  return {};
}

void Writer::tell(const Told& told) noexcept {
  try {
    if (options_.on_change && told.version > 0) options_.on_change(told.version);
    if (options_.on_queue && told.queue_moved) options_.on_queue();
    if (!options_.on_job) return;
    for (const std::string& stage : told.stages) options_.on_job(stage);
  } catch (const std::exception& e) {
    log::error("catalogue listener failed", {{"cause", e.what()}});
  }
}

}  // namespace mediafs::tier
