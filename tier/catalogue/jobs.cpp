#include "tier/catalogue/jobs.h"

#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace rows {

namespace {

constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kDoneKept = 1000;
constexpr std::int64_t kTrimEvery = 64;

constexpr std::int64_t number(JobState state) {
  return static_cast<std::int64_t>(state);
}

// "" is for every stage; what is said of one stage goes before it.
std::string pause_setting(std::string_view stage) {
  return "pause." + std::string(stage);
}

Result<bool> is_paused(sql::Connection& db, std::string_view stage) {
  MEDIAFS_ASSIGN(const std::string own, setting(db, pause_setting(stage)));
  if (!own.empty() && !stage.empty()) return own == "1";
  MEDIAFS_ASSIGN(const std::string all, setting(db, pause_setting("")));
  return all == "1";
}

constexpr const char* kJobSql =
    "SELECT id, stage, file, generation, path, priority, state, tries, created, not_before, changed, error, "
    "error_code FROM job WHERE id = ?";

Job job_columns(const sql::Statement& row) {
  Job job;
  job.id = row.integer(0);
  job.stage = row.text(1);
  job.file_id = row.integer(2);
  job.generation = row.integer(3);
  job.path = row.text(4);
  job.priority = static_cast<int>(row.integer(5));
  job.state = static_cast<JobState>(row.integer(6));
  job.tries = static_cast<int>(row.integer(7));
  job.created_ns = row.integer(8);
  job.not_before_ns = row.integer(9);
  job.changed_ns = row.integer(10);
  job.error = row.text(11);
  job.error_code = row.text(12);
  return job;
}

Error no_job(std::int64_t id) {
  return make_error(ErrorCode::not_found, "job " + std::to_string(id), "there is no such job");
}

Result<Job> load_job(sql::Connection& db, std::int64_t id) {
  MEDIAFS_ASSIGN(auto query, db.prepare(kJobSql));
  query.bind(1, id);
  MEDIAFS_ASSIGN(const bool row, query.step());
  if (!row) return no_job(id);
  return job_columns(query);
}

Result<std::vector<std::int64_t>> ids(sql::Statement& query) {
  std::vector<std::int64_t> found;
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return found;
    found.push_back(query.integer(0));
  }
}

Result<std::vector<Job>> load_jobs(sql::Connection& db, const std::vector<std::int64_t>& which) {
  std::vector<Job> jobs;
  for (const std::int64_t id : which) {
    MEDIAFS_ASSIGN(auto job, load_job(db, id));
    jobs.push_back(std::move(job));
  }
  return jobs;
}

// Into the queue as if it were new. A finished job keeps its row; an equal one that is not finished takes
// its place.
Status queue_again(Tx& tx, const Job& job) {
  if (job.state == JobState::done) {
    return enqueue(tx, {.stage = job.stage,
                        .file_id = job.file_id,
                        .generation = job.generation,
                        .path = job.path,
                        .priority = job.priority});
  }
  tx.stages.insert(job.stage);
  MEDIAFS_ASSIGN(
      auto update,
      tx.db.prepare("UPDATE job SET state = CASE WHEN state = 2 THEN 2 ELSE 1 END, again = CASE WHEN state = "
                    "2 THEN 1 ELSE 0 END, tries = 0, not_before = ?2, changed = ?2 WHERE id = ?1"));
  return update.bind(1, job.id).bind(2, tx.now_ns).run();
}

Status trim_done(Tx& tx, std::int64_t id) {
  if (id % kTrimEvery != 0) return {};
  MEDIAFS_ASSIGN(auto trim,
                 tx.db.prepare("DELETE FROM job WHERE id IN (SELECT id FROM job WHERE state = 4 ORDER BY "
                               "changed DESC, id DESC LIMIT -1 OFFSET ?)"));
  return trim.bind(1, kDoneKept - kTrimEvery).run();
}

// What follows a run: `to`, or the queue again if an equal job arrived meanwhile.
struct Outcome {
  JobState to = JobState::done;
  std::string error = {};
  std::string error_code = {};
  int tries_more = 0;
  std::int64_t delay_ms = 0;
};

Status finish(Tx& tx, std::int64_t id, const Outcome& outcome) {
  std::string stage;
  std::string path;
  bool again = false;
  tx.queue_moved = true;
  {
    MEDIAFS_ASSIGN(auto query, tx.db.prepare("SELECT stage, again, path FROM job WHERE id = ?"));
    query.bind(1, id);
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return no_job(id);
    stage = query.text(0);
    again = query.integer(1) != 0;
    path = query.text(2);
  }
  // A back-off stands even if the job was asked for again: it is the same work that has just failed.
  const bool requeue = again || outcome.to == JobState::queued;
  const std::int64_t due = tx.now_ns + outcome.delay_ms * kMillisecond;
  {
    MEDIAFS_ASSIGN(
        auto update,
        tx.db.prepare("UPDATE job SET state = ?2, again = 0, tries = CASE WHEN ?3 THEN 0 ELSE tries + ?4 "
                      "END, not_before = ?5, changed = ?6, error = ?7, error_code = ?8 WHERE id = ?1"));
    update.bind(1, id).bind(2, number(requeue ? JobState::queued : outcome.to));
    update.bind(3, again && outcome.to != JobState::queued ? 1 : 0).bind(4, outcome.tries_more).bind(5, due);
    MEDIAFS_TRY(update.bind(6, tx.now_ns).bind_text(7, outcome.error).bind_text(8, outcome.error_code).run());
  }
  if (outcome.to == JobState::dead && !requeue && stage != kStageHook)
    MEDIAFS_TRY(tell_hooks(tx, kEventDead, path));
  if (requeue) tx.stages.insert(stage);
  return requeue ? Status{} : trim_done(tx, id);
}

Result<std::vector<JobCounts>> count_jobs(sql::Connection& db, WallNs now_ns) {
  std::vector<JobCounts> counts;
  MEDIAFS_ASSIGN(
      auto query,
      db.prepare(
          "SELECT stage, sum(state = 1), sum(state = 2), sum(state = 3), sum(state = 4), sum(state = 1 "
          "AND not_before > ?1) FROM job GROUP BY stage UNION ALL SELECT substr(name, 7), 0, 0, 0, "
          "0, 0 FROM setting WHERE name > 'pause.' AND name < 'pause/' AND value = '1' AND NOT EXISTS "
          "(SELECT 1 FROM job WHERE stage = substr(name, 7)) ORDER BY 1"));
  query.bind(1, now_ns);
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) break;
    counts.push_back({.stage = query.text(0),
                      .queued = query.integer(1),
                      .running = query.integer(2),
                      .dead = query.integer(3),
                      .done = query.integer(4),
                      .waiting = query.integer(5)});
  }
  for (JobCounts& stage : counts) {
    MEDIAFS_ASSIGN(stage.paused, is_paused(db, stage.stage));
  }
  return counts;
}

Result<std::vector<Job>> take_due(Tx& tx, std::string_view stage, std::size_t limit) {
  MEDIAFS_ASSIGN(const bool paused, is_paused(tx.db, stage));
  if (paused) return std::vector<Job>{};
  std::vector<std::int64_t> due;
  {
    MEDIAFS_ASSIGN(auto query,
                   tx.db.prepare("SELECT id FROM job WHERE stage = ? AND state = 1 AND not_before <= ? "
                                 "ORDER BY priority DESC, id LIMIT ?"));
    query.bind_text(1, stage).bind(2, tx.now_ns).bind(3, static_cast<std::int64_t>(limit));
    MEDIAFS_ASSIGN(due, ids(query));
  }
  for (const std::int64_t id : due) {
    MEDIAFS_ASSIGN(auto update,
                   tx.db.prepare("UPDATE job SET state = 2, again = 0, changed = ?2 WHERE id = ?1"));
    MEDIAFS_TRY(update.bind(1, id).bind(2, tx.now_ns).run());
  }
  return load_jobs(tx.db, due);
}

Status set_paused(Tx& tx, std::string_view stage, bool paused) {
  tx.queue_moved = true;
  if (stage.empty()) {
    MEDIAFS_ASSIGN(auto clear,
                   tx.db.prepare("DELETE FROM setting WHERE name > 'pause.' AND name < 'pause/'"));
    MEDIAFS_TRY(clear.run());
  }
  MEDIAFS_TRY(set_setting(tx, pause_setting(stage), paused ? "1" : "0"));
  if (paused) return {};
  MEDIAFS_ASSIGN(auto query, tx.db.prepare("SELECT DISTINCT stage FROM job WHERE state = 1"));
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return {};
    if (stage.empty() || query.view(0) == stage) tx.stages.insert(query.text(0));
  }
}

}  // namespace

// Equal to one that waits: that one, at the higher priority and the earlier time (unless it waits for a
// back-off). Equal to one that runs: it runs again. Equal to a dead one: it lives again.
Status enqueue(Tx& tx, const JobSpec& spec) {
  MEDIAFS_ASSIGN(
      auto put,
      tx.db.prepare(
          "INSERT INTO job (stage, file, generation, path, priority, state, created, not_before, changed) "
          "VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?6) ON CONFLICT (stage, file, generation, path) WHERE "
          "state < 4 DO UPDATE SET priority = max(priority, ?5), again = CASE state WHEN 2 THEN 1 ELSE 0 "
          "END, "
          "not_before = CASE WHEN state = 3 THEN ?7 WHEN tries = 0 THEN min(not_before, ?7) ELSE not_before "
          "END, tries = CASE state WHEN 3 THEN 0 ELSE tries END, changed = ?6, "
          "state = CASE state WHEN 3 THEN 1 ELSE state END"));
  put.bind_text(1, spec.stage).bind(2, spec.file_id).bind(3, spec.generation).bind_bytes(4, spec.path);
  put.bind(5, spec.priority).bind(6, tx.now_ns).bind(7, tx.now_ns + spec.delay_ms * kMillisecond);
  MEDIAFS_TRY(put.run());
  tx.stages.insert(spec.stage);
  return {};
}

Status enqueue_for(Tx& tx, std::string_view stage, const Node& node) {
  return enqueue(
      tx,
      {.stage = std::string(stage), .file_id = node.id, .generation = node.generation, .path = node.path});
}

Result<bool> outstanding(sql::Connection& db, std::string_view stage, std::int64_t file_id) {
  MEDIAFS_ASSIGN(auto query,
                 db.prepare("SELECT 1 FROM job WHERE file = ? AND stage = ? AND state < 4 LIMIT 1"));
  query.bind(1, file_id).bind_text(2, stage);
  return query.step();
}

Status requeue_running(sql::Connection& db, WallNs now_ns) {
  MEDIAFS_ASSIGN(auto update, db.prepare("UPDATE job SET state = 1, again = 0, changed = ? WHERE state = 2"));
  return update.bind(1, now_ns).run();
}

}  // namespace rows

namespace {

using rows::Tx;

class Queue final : public Jobs {
 public:
  Queue(Readers& readers, Writer* writer, const Catalogue::Options& options)
      : readers_(readers), writer_(writer), options_(options) {}

  Status enqueue(const JobSpec& spec) override {
    return write([&](Tx& tx) { return rows::enqueue(tx, spec); });
  }

  Status enqueue(const std::vector<JobSpec>& specs) override {
    return write([&](Tx& tx) -> Status {
      for (const JobSpec& spec : specs) MEDIAFS_TRY(rows::enqueue(tx, spec));
      return {};
    });
  }

  // Most askings find nothing; those don't reach the writer. What a forget job destroys was deleted for
  // good: the deletion must not be undone by a power cut after that.
  Result<std::vector<Job>> take(std::string_view stage, std::size_t limit) override {
    std::vector<Job> jobs;
    MEDIAFS_ASSIGN(const auto due, next_due(stage));
    if (limit == 0 || !due || *due > options_.clock->wall_ns()) return jobs;
    MEDIAFS_TRY(write(
        [&](Tx& tx) -> Status {
          MEDIAFS_ASSIGN(jobs, rows::take_due(tx, stage, limit));
          return {};
        },
        stage == kStageForget));
    return jobs;
  }

  Result<std::optional<WallNs>> next_due(std::string_view stage) override {
    MEDIAFS_ASSIGN(auto lease, readers_.lease());
    MEDIAFS_ASSIGN(const bool paused, rows::is_paused(lease.db(), stage));
    if (paused) return std::optional<WallNs>();
    MEDIAFS_ASSIGN(auto query,
                   lease.db().prepare("SELECT min(not_before) FROM job WHERE stage = ? AND state = 1"));
    query.bind_text(1, stage);
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row || query.is_null(0)) return std::optional<WallNs>();
    return std::optional<WallNs>(query.integer(0));
  }

  Status done(std::int64_t id, std::string_view note) override {
    return write(
        [&](Tx& tx) { return rows::finish(tx, id, {.to = JobState::done, .error = std::string(note)}); });
  }

  Status retry_later(std::int64_t id, const Error& error, std::int64_t delay_ms, bool free_try) override {
    return write([&](Tx& tx) {
      return rows::finish(tx, id,
                          {.to = JobState::queued,
                           .error = error.message(),
                           .error_code = std::string(to_string(error.code)),
                           .tries_more = free_try ? 0 : 1,
                           .delay_ms = delay_ms});
    });
  }

  Status dead(std::int64_t id, const Error& error) override {
    return write([&](Tx& tx) {
      return rows::finish(tx, id,
                          {.to = JobState::dead,
                           .error = error.message(),
                           .error_code = std::string(to_string(error.code)),
                           .tries_more = 1});
    });
  }

  Result<std::vector<Job>> list(std::optional<JobState> state, std::size_t limit) override {
    MEDIAFS_ASSIGN(auto lease, readers_.lease());
    MEDIAFS_ASSIGN(
        auto query,
        state ? lease.db().prepare("SELECT id FROM job WHERE state = ?2 ORDER BY changed DESC, id DESC "
                                   "LIMIT ?1")
              : lease.db().prepare("SELECT id FROM job ORDER BY changed DESC, id DESC LIMIT ?1"));
    query.bind(1, static_cast<std::int64_t>(limit));
    if (state) query.bind(2, rows::number(*state));
    MEDIAFS_ASSIGN(const auto found, rows::ids(query));
    return rows::load_jobs(lease.db(), found);
  }

  Result<Job> show(std::int64_t id) override {
    MEDIAFS_ASSIGN(auto lease, readers_.lease());
    return rows::load_job(lease.db(), id);
  }

  Status retry(std::int64_t id) override {
    return write([&](Tx& tx) -> Status {
      MEDIAFS_ASSIGN(const Job job, rows::load_job(tx.db, id));
      return rows::queue_again(tx, job);
    });
  }

  Status hasten(std::string_view stage) override {
    return write([&](Tx& tx) -> Status {
      MEDIAFS_ASSIGN(auto update,
                     tx.db.prepare("UPDATE job SET not_before = ?2 WHERE stage = ?1 AND state = 1 AND "
                                   "not_before > ?2 AND error_code IN ('busy', 'offline', 'timeout')"));
      MEDIAFS_TRY(update.bind_text(1, stage).bind(2, tx.now_ns).run());
      tx.stages.insert(std::string(stage));
      return {};
    });
  }

  Result<std::int64_t> retry_dead() override {
    std::int64_t count = 0;
    const auto revive = [&](Tx& tx) -> Status {
      std::vector<std::int64_t> dead_ids;
      {
        MEDIAFS_ASSIGN(auto query, tx.db.prepare("SELECT id FROM job WHERE state = 3"));
        MEDIAFS_ASSIGN(dead_ids, rows::ids(query));
      }
      MEDIAFS_ASSIGN(const auto jobs, rows::load_jobs(tx.db, dead_ids));
      for (const Job& job : jobs) MEDIAFS_TRY(rows::queue_again(tx, job));
      count = static_cast<std::int64_t>(jobs.size());
      return {};
    };
    MEDIAFS_TRY(write(revive));
    return count;
  }

  Status drop(std::int64_t id) override {
    return write([&](Tx& tx) -> Status {
      tx.queue_moved = true;
      MEDIAFS_ASSIGN(auto remove, tx.db.prepare("DELETE FROM job WHERE id = ?"));
      MEDIAFS_TRY(remove.bind(1, id).run());
      return tx.db.changes() > 0 ? Status{} : Status{rows::no_job(id)};
    });
  }

  Status pause(std::string_view stage, bool paused) override {
    return write([&](Tx& tx) { return rows::set_paused(tx, stage, paused); });
  }

  Result<std::vector<JobCounts>> counts() override {
    MEDIAFS_ASSIGN(auto lease, readers_.lease());
    return rows::count_jobs(lease.db(), options_.clock->wall_ns());
  }

 private:
  Status write(const Writer::Work& work, bool durable = false) {
    if (writer_ == nullptr)
      return make_error(ErrorCode::read_only, "catalogue " + options_.path, "opened for reading only");
    return writer_->run(work, durable);
  }

  Readers& readers_;
  Writer* writer_;
  const Catalogue::Options& options_;
};

}  // namespace

std::unique_ptr<Jobs> make_jobs(Readers& readers, Writer* writer, const Catalogue::Options& options) {
  return std::make_unique<Queue>(readers, writer, options);
}

}  // namespace mediafs::tier
