// Whether the catalogue on the disk can be trusted: looked at before anybody opens it for writing. A damaged one is set
// aside, whole, and never written to; a new one takes its place that is marked incomplete (Catalogue::incomplete) until
// it has been rebuilt (tier/rebuild.h).
// Threads:    functions on files; make_ready() before the catalogue is opened, under the state directory's lock.
// Owns:       beside the database: -lost (what is being set aside, and why), -damaged (found while it was in use),
//             -open (it is in use, or was when its process was killed), -version (from where a rebuilt one counts).
// Errors:     what keeps a sound catalogue from being looked at: io, permission, no_space, unsupported. Damage is none.
// Crash:      the note is durable before the first file is renamed, and goes after the new catalogue has the mark: killed
//             in between, the next start goes on with it.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>

#include "common/clock.h"
#include "common/result.h"
#include "common/sqlite.h"

namespace mediafs::tier {

inline constexpr const char* kKnownVaultFile =
    "vault-id";  // beside the database: the id of the library's vault

struct Readiness {
  std::string lost;   // why the catalogue is to be rebuilt; "": it is whole, or there never was one
  std::string aside;  // where the damaged one is; "": nothing was left of it
  std::int64_t version_floor = 0;  // the data version goes on above this; 0: as it is
  bool behind = false;             // sound, but its newest changes are gone with its log
  bool checked = true;             // false: there was no time to look at all of it
};

struct ReadyOptions {
  std::string path;  // of the database
  std::chrono::milliseconds limit{10'000};
  WallNs now_ns = 0;
};
Result<Readiness> make_ready(const ReadyOptions& options);
// The new catalogue bears the mark.
Status made_incomplete(const std::string& path);
// While it is in use: the next start looks at all of it, and sets it aside if it is damaged.
void note_damage(const std::string& path) noexcept;

// Renames the database with all that belongs to it, to PATH.WORD-TIME. Nothing there: "".
Result<std::string> set_catalogue_aside(const std::string& path, const std::string& word, WallNs now_ns);
// PRAGMA quick_check, or integrity_check where `all`. corrupt: what it found; cancelled: the time was up, or `stop`.
Status check_database(sql::Connection& db, bool all, std::chrono::milliseconds limit,
                      const std::stop_token& stop = {});
std::string compact_time(WallNs now_ns);  // "20261122T044500.123Z"
// Higher than what any catalogue of this library has told, as far as can be known: see tier/STATES.md.
std::int64_t version_above(const std::string& path, std::int64_t known, WallNs now_ns);
Status note_version(const std::string& path, std::int64_t floor);  // durable; for the next time
// More changes than anybody makes between two snapshots, or two losses.
inline constexpr std::int64_t kVersionLeap = 1'000'000;

// In use by this process: -open stands while it is, and says so when its end began.
void note_open(const std::string& path) noexcept;
void note_closing(const std::string& path) noexcept;
void note_closed(const std::string& path) noexcept;

}  // namespace mediafs::tier
