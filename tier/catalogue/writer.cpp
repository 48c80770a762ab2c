#include "tier/catalogue/writer.h"

#include <sqlite3.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <utility>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kGroupLimit = 512;
constexpr std::size_t kOpenedLimit = 4096;
constexpr std::chrono::seconds kOpenedDelay{5};
constexpr std::chrono::milliseconds kPendingDelay{100};
constexpr std::chrono::milliseconds kPatience{10};
constexpr std::chrono::seconds kRetryDelay{1};
constexpr std::string_view kApplied = "later.applied";  // the number of the last record that is in here
constexpr std::string_view kGroups = "later.groups";    // how many groups are that wrote more than records

Result<std::uint64_t> number_in(sql::Connection& db, std::string_view name) {
  MEDIAFS_ASSIGN(const std::string text, rows::setting(db, name));
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

Result<std::unique_ptr<Writer>> Writer::open(std::unique_ptr<sql::Connection> db, Shared shared) {
  MEDIAFS_ASSIGN(const std::uint64_t applied, number_in(*db, kApplied));
  MEDIAFS_ASSIGN(const std::uint64_t groups, number_in(*db, kGroups));
  MEDIAFS_ASSIGN(auto later, Later::open(db->path() + "-later", applied, groups));
  std::unique_ptr<Writer> writer(new Writer(std::move(db), shared, std::move(later)));  // NOLINT: private
  writer->groups_.store(groups, std::memory_order_release);
  writer->ballast_.hold();
  if (!writer->later_->empty()) {
    Told nobody;
    MEDIAFS_TRY(writer->commit({}, {}, nobody));
  }
  MEDIAFS_ASSIGN(const std::int64_t version, rows::newest_version(*writer->db_));
  writer->version_.store(version, std::memory_order_release);
  writer->thread_ = std::thread([held = writer.get()] { held->loop(); });
  return writer;
}

Writer::Writer(std::unique_ptr<sql::Connection> db, Shared shared, std::unique_ptr<Later> later)
    : db_(std::move(db)),
      shared_(shared),
      ballast_(db_->path() + "-ballast", shared.options.ballast_bytes),
      later_(std::move(later)) {}

Writer::~Writer() {
  if (!thread_.joinable()) return;
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
  return wait_for(request);
}

Status Writer::wait_for(Request& request) {
  work_there_.notify_one();
  while (!request.done) request.finished.wait(mutex_);
  return std::move(request.status);
}

Status Writer::later(const Catalogue::RenameRequest& request) {
  MEDIAFS_ASSIGN(const bool first, later_->append(request, groups_.load(std::memory_order_acquire)));
  crash_point("later.after_append");
  moment_.fetch_add(1, std::memory_order_acq_rel);
  if (!first) return {};
  MutexLock lock(mutex_);
  work_there_.notify_one();
  return {};
}

Status Writer::flush_pending(Haste haste) {
  if (later_->empty() || std::this_thread::get_id() == thread_.get_id()) return {};
  const Work nothing = [](rows::Tx&) { return Status{}; };
  if (haste == Haste::at_once) return run(nothing);
  Request request{&nothing, false};
  MutexLock lock(mutex_);
  patient_.push_back(&request);
  return wait_for(request);
}

void Writer::opened(std::int64_t id, WallNs at_ns) {
  MutexLock lock(mutex_);
  WallNs& last = opened_.ids[id];
  last = std::max(last, at_ns);
  if (opened_.size() == 1 || opened_.size() >= kOpenedLimit) work_there_.notify_one();
}

void Writer::opened(std::string_view path, WallNs at_ns) {
  MutexLock lock(mutex_);
  WallNs& last = opened_.paths[std::string(path)];
  last = std::max(last, at_ns);
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
    Group group;
    Opened opened;
    if (!next(group, opened)) return;
    Told told;
    const Status committed = commit(group, opened, told);
    if (!committed && group.empty()) log::warning("catalogue not written", committed.err());
    if (committed) {
      retry_at_.reset();
    } else {
      retry_at_ = std::chrono::steady_clock::now() + kRetryDelay;
    }
    const bool stopping = finish(group, committed);
    if (committed && !stopping) tell(told);
  }
}

bool Writer::idle() const {
  return queue_.empty() && !stopping_ && opened_.size() < kOpenedLimit &&
         (patient_.empty() || !later_->empty());
}

bool Writer::next(Group& group, Opened& opened) {
  std::optional<SteadyTime> opened_due;
  std::optional<SteadyTime> pending_due;
  std::optional<SteadyTime> patient_due;
  MutexLock lock(mutex_);
  while (idle()) {
    const SteadyTime now = std::chrono::steady_clock::now();
    if (!opened_.empty() && !opened_due) opened_due = now + kOpenedDelay;
    if (!later_->empty() && !pending_due)
      pending_due = std::max(now + kPendingDelay, retry_at_.value_or(now));
    if (!patient_.empty() && !patient_due) patient_due = std::max(now + kPatience, retry_at_.value_or(now));
    if (!opened_due && !pending_due) {
      work_there_.wait(mutex_);
      continue;
    }
    const SteadyTime due =
        std::min({opened_due.value_or(SteadyTime::max()), pending_due.value_or(SteadyTime::max()),
                  patient_due.value_or(SteadyTime::max())});
    if (now >= due) break;
    work_there_.wait_until(mutex_, due);
  }
  // What can't be written when it ends stands in the journal.
  if (stopping_ && queue_.empty() && patient_.empty() && (retry_at_ || (opened_.empty() && later_->empty())))
    return false;
  while (!queue_.empty() && group.size() < kGroupLimit) {
    group.push_back(queue_.front());
    queue_.pop_front();
  }
  group.insert(group.end(), patient_.begin(), patient_.end());
  patient_.clear();
  std::swap(opened, opened_);
  return true;
}

bool Writer::finish(const Group& group, const Status& committed) {
  if (!group.empty()) moment_.fetch_add(1, std::memory_order_acq_rel);
  MutexLock lock(mutex_);
  for (Request* request : group) {
    if (!committed && request->status) request->status = committed.err();
    request->done = true;
    request->finished.notify_one();
  }
  return stopping_;
}

// The WAL is written in order, so the fsync of a durable group covers every group before it too.
Status Writer::commit(const Group& group, const Opened& opened, Told& told) {
  bool durable = false;
  for (const Request* request : group) durable = durable || request->durable;
  if (durable != full_sync_) {
    MEDIAFS_TRY(db_->execute(durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL"));
    full_sync_ = durable;
  }
  Attempt attempt;
  Status status = try_commit(group, opened, attempt);
  if (!status && attempt.stumbled) {
    attempt = Attempt{.careful = true};
    status = try_commit(group, opened, attempt);
  }
  if (!status && status.err().code == ErrorCode::no_space && ballast_.release()) {
    attempt = Attempt{.careful = attempt.careful};
    status = try_commit(group, opened, attempt);
  }
  if (!status) return status;
  ballast_.hold();
  told = std::move(attempt.told);
  if (told.version > 0) version_.store(told.version, std::memory_order_release);
  if (attempt.groups > 0) groups_.store(attempt.groups, std::memory_order_release);
  if (attempt.applied > 0) {
    crash_point("later.after_commit");
    later_->done(attempt.applied);
  }
  return {};
}

Status Writer::try_commit(const Group& group, const Opened& opened, Attempt& attempt) {
  MEDIAFS_TRY(db_->run("BEGIN IMMEDIATE"));
  Status status = run_group(group, opened, attempt);
  if (status) {
    crash_point("catalogue.before_commit");
    shared_.committing();
    status = db_->run("COMMIT");
    shared_.committed();
    crash_point("catalogue.after_commit");
  }
  // A full disk or an I/O error may have rolled all back already.
  if (!status && sqlite3_get_autocommit(db_->raw()) == 0) {
    if (const Status undone = db_->execute("ROLLBACK"); !undone)
      log::error("catalogue rollback", undone.err());
  }
  return status;
}

// What was answered before any of the requests were made comes first. A file was opened under a name that it had before
// what is pending, or has by that.
Status Writer::run_group(const Group& group, const Opened& opened, Attempt& attempt) {
  Opened after;
  MEDIAFS_TRY(write_opened(opened, after.paths));
  MEDIAFS_TRY(run_pending(attempt));
  std::unordered_map<std::string, WallNs> unknown;
  MEDIAFS_TRY(write_opened(after, unknown));
  const int before = sqlite3_total_changes(db_->raw());
  for (Request* request : group) MEDIAFS_TRY(run_one(*request->work, request->status, attempt.told));
  if (sqlite3_total_changes(db_->raw()) == before) return {};
  attempt.groups = groups_.load(std::memory_order_relaxed) + 1;
  rows::Tx tx{*db_, shared_.options.clock->wall_ns()};
  return rows::set_setting(tx, kGroups, std::to_string(attempt.groups));
}

// A record that can't be applied is left out, or it would stand in the way of all that follows. One that a full or sick
// disk refuses waits, and everything with it. Savepoints cost more than the records do, so there are none until one of
// the records is known to fail.
Status Writer::run_pending(Attempt& attempt) {
  const auto records = later_->take();
  if (records.empty()) return {};
  for (const LaterRecord* record : records) {
    const Work work = [record](rows::Tx& tx) { return rows::apply_later(tx, record->request); };
    Status outcome;
    if (attempt.careful) {
      MEDIAFS_TRY(run_one(work, outcome, attempt.told));
    } else {
      outcome = call(work, attempt.told);
    }
    if (outcome) continue;
    attempt.stumbled = !attempt.careful && classify(outcome.err().code) == ErrorClass::permanent;
    if (!attempt.careful || classify(outcome.err().code) != ErrorClass::permanent) return outcome;
    log::error("the catalogue missed a rename or a removal", outcome.err(),
               {{"path", printable(record->request.from)}, {"to", printable(record->request.to)}});
  }
  attempt.applied = records.back()->number;
  rows::Tx tx{*db_, shared_.options.clock->wall_ns()};
  return rows::set_setting(tx, kApplied, std::to_string(attempt.applied));
}

Status Writer::run_one(const Work& work, Status& outcome, Told& told) {
  MEDIAFS_TRY(db_->run("SAVEPOINT one"));
  outcome = call(work, told);
  if (sqlite3_get_autocommit(db_->raw()) != 0) {
    return outcome ? Status{make_error(ErrorCode::io, "database " + db_->path(), "rolled back")} : outcome;
  }
  if (!outcome) MEDIAFS_TRY(db_->run("ROLLBACK TO one"));
  return db_->run("RELEASE one");
}

Status Writer::call(const Work& work, Told& told) {
  rows::Tx tx{*db_, shared_.options.clock->wall_ns(), shared_.options.has_vault, &shared_.promised};
  tx.hooks = &shared_.options.hooks;
  tx.keeps_trash = shared_.options.keeps_trash;
  tx.names = &shared_.names;
  Status outcome;
  try {
    outcome = work(tx);
  } catch (const std::exception& e) {
    outcome = make_error(ErrorCode::internal, "catalogue", e.what());
  }
  if (outcome) {
    told.queue_moved = told.queue_moved || tx.queue_moved || !tx.stages.empty();
    told.stages.merge(tx.stages);
    if (tx.version > 0) told.version = tx.version;
    std::move(tx.shown.begin(), tx.shown.end(), std::back_inserter(told.shown));
  }
  return outcome;
}

Status Writer::write_opened(const Opened& opened, std::unordered_map<std::string, WallNs>& paths) {
  for (const auto& [id, at_ns] : opened.ids) MEDIAFS_TRY(write_opened(id, at_ns));
  for (const auto& [path, at_ns] : opened.paths) {
    MEDIAFS_ASSIGN(const std::int64_t id, rows::resolve(*db_, path));
    if (id == 0) paths.emplace(path, at_ns);
    if (id != 0) MEDIAFS_TRY(write_opened(id, at_ns));
  }
  return {};
}

Status Writer::write_opened(std::int64_t id, WallNs at_ns) {
  MEDIAFS_ASSIGN(auto update,
                 db_->prepare("UPDATE node SET last_open = max(last_open, ?2), evict_at = CASE WHEN "
                              "evict_at IS NULL THEN NULL ELSE max(last_open, ?2) END WHERE id = ?1"));
  return update.bind(1, id).bind(2, at_ns).run();
}

void Writer::tell(const Told& told) noexcept {
  try {
    if (shared_.options.on_change && told.version > 0) shared_.options.on_change(told.version);
    if (shared_.options.on_queue && told.queue_moved) shared_.options.on_queue();
    for (const std::string& path : told.shown) {
      if (shared_.options.on_shown) shared_.options.on_shown(path);
    }
    if (!shared_.options.on_job) return;
    for (const std::string& stage : told.stages) shared_.options.on_job(stage);
  } catch (const std::exception& e) {
    log::error("catalogue listener failed", {{"cause", e.what()}});
  }
}

}  // namespace mediafs::tier
