// The durable queue: rows of the catalogue. A job is keyed by (stage, file, generation, path): equal ones coalesce, and
// one that arrives while its equal runs makes that one run again.
// Threads:    safe from any thread.
// Crash:      a job that ran when the process died is queued again at the next open. At least once, never lost.
// Errors:     those of the catalogue; not_found for an id that is not there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/result.h"

namespace mediafs::tier {

// Stages that tier/ itself calls for.
inline constexpr std::string_view kStageChecksum = "checksum";
inline constexpr std::string_view kStageUpload = "upload";
inline constexpr std::string_view kStageEvict = "evict";
inline constexpr std::string_view kStageRelocate = "relocate";  // the object moves to its file's new key
inline constexpr std::string_view kStageForget = "forget";      // `path` is a vault key: delete the object
inline constexpr std::string_view kStageRestat = "restat";      // the object's metadata follows the file's
inline constexpr std::string_view kStageOrganize =
    "organize";                                         // a file below Incoming; its inode is the generation
inline constexpr std::string_view kStageHook = "hook";  // see tier/catalogue/hooks.h

enum class JobState : std::uint8_t { queued = 1, running = 2, dead = 3, done = 4 };

struct JobSpec {
  std::string stage;
  std::int64_t file_id = 0;  // 0: none
  std::int64_t generation = 0;
  std::string path;           // what it is about, for humans; the key's part for jobs without a file
  int priority = 0;           // higher first
  std::int64_t delay_ms = 0;  // not before now + delay
};

struct Job : JobSpec {
  std::int64_t id = 0;
  JobState state = JobState::queued;
  int tries = 0;
  WallNs created_ns = 0, not_before_ns = 0, changed_ns = 0;
  std::string error;       // of the last try: message; "" if none
  std::string error_code;  // to_string(ErrorCode)
};

struct JobCounts {
  std::string stage;
  std::int64_t queued = 0, running = 0, dead = 0, done = 0,
               waiting = 0;  // waiting: those of the queued that are not due yet
  bool paused = false;
};

class Jobs {
 public:
  virtual ~Jobs() = default;
  virtual Status enqueue(const JobSpec& spec) = 0;
  virtual Status enqueue(const std::vector<JobSpec>& specs) = 0;
  // At most `limit` due jobs of the stage become running. None if the stage is paused. By priority, then age.
  virtual Result<std::vector<Job>> take(std::string_view stage, std::size_t limit) = 0;
  // When the next queued job of the stage falls due; unset if none waits.
  virtual Result<std::optional<WallNs>> next_due(std::string_view stage) = 0;
  virtual Status done(std::int64_t id, std::string_view note = {}) = 0;
  // Back into the queue after `delay_ms`, counting a try (unless `free_try`); or dead.
  virtual Status retry_later(std::int64_t id, const Error& error, std::int64_t delay_ms, bool free_try) = 0;
  virtual Status dead(std::int64_t id, const Error& error) = 0;

  virtual Result<std::vector<Job>> list(std::optional<JobState> state,
                                        std::size_t limit) = 0;  // newest change first
  virtual Result<Job> show(std::int64_t id) = 0;
  virtual Status retry(std::int64_t id) = 0;      // due now, tries counted anew
  virtual Result<std::int64_t> retry_dead() = 0;  // all; how many
  // What the stage's jobs waited for is there: those that found it away (busy, offline, timeout) are due now.
  virtual Status hasten(std::string_view stage) = 0;
  virtual Status drop(std::int64_t id) = 0;
  virtual Status pause(std::string_view stage, bool paused) = 0;  // "" = every stage; durable
  virtual Result<std::vector<JobCounts>> counts() = 0;
};

}  // namespace mediafs::tier
