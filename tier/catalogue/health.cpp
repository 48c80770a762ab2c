#include "tier/catalogue/health.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <thread>

#include "common/crash.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/path.h"
#include "common/sync.h"
#include "tier/catalogue/internal.h"

namespace mediafs::tier {

namespace {

constexpr std::array<const char*, 4> kParts{"-wal", "-shm", "-later", ""};  // the database goes last
constexpr std::chrono::seconds kWholeCheck{60};
constexpr std::chrono::milliseconds kLook{100};
constexpr std::size_t kSmall = 4096;
constexpr std::int64_t kSecond = 1'000'000'000;

bool there(const std::string& file) {
  return bool(stat_at(AT_FDCWD, file));
}

bool empty(const std::string& file) {
  const auto st = stat_at(AT_FDCWD, file);
  return !st || st->st_size == 0;
}

void write_note(const std::string& file, std::string_view text) noexcept {
  const Fd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (fd) static_cast<void>(write_all(fd.get(), std::as_bytes(std::span(text)), 0));
}

// Ends a statement that takes too long.
class Alarm {
 public:
  Alarm(sqlite3* db, std::chrono::milliseconds limit, std::stop_token stop)
      : thread_([this, db, until = std::chrono::steady_clock::now() + limit, stop = std::move(stop)] {
          MutexLock lock(mutex_);
          while (!over_) {
            const auto now = std::chrono::steady_clock::now();
            // Again: what comes before the statement has begun is lost.
            if (now >= until || stop.stop_requested()) sqlite3_interrupt(db);
            ended_.wait_until(mutex_, now + kLook);
          }
        }) {}
  ~Alarm() {
    MutexLock lock(mutex_);
    over_ = true;
    ended_.notify_all();
  }
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

 private:
  Mutex mutex_;
  CondVar ended_;
  bool over_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

struct Look {
  Status sound;  // corrupt: it is damaged
  std::int64_t version = 0;
};

// Leaves the file as it is, whatever it finds: a damaged one is not to be touched.
Look look_at(const std::string& path, bool all, std::chrono::milliseconds limit) {
  Look look;
  auto db = sql::Connection::open(path, sql::Connection::Mode::read_write_create);
  if (!db) return {std::move(db).error()};
  sqlite3_db_config((*db)->raw(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  if (auto version = rows::newest_version(**db)) look.version = *version;
  look.sound = rows::check_schema(**db, false);
  if (look.sound) look.sound = check_database(**db, all, limit);
  return look;
}

struct Note {
  std::string at, why;
  std::int64_t version = 0;
};

std::string text_of(const Note& note) {
  return note.at + "\n" + std::to_string(note.version) + "\n" + note.why + "\n";
}

std::optional<Note> read_note(const std::string& path) {
  const auto text = read_file(AT_FDCWD, path + "-lost", kSmall);
  if (!text) return std::nullopt;
  Note note;
  const std::size_t first = text->find('\n');
  const std::size_t second = first == std::string::npos ? first : text->find('\n', first + 1);
  if (second == std::string::npos) return Note{.at = "unknown", .why = "it was damaged"};
  note.at = text->substr(0, first);
  note.version = std::strtoll(text->c_str() + first + 1, nullptr, 10);
  note.why = text->substr(second + 1);
  while (note.why.ends_with('\n')) note.why.pop_back();
  return note;
}

Result<std::string> move_parts(const std::string& path, const std::string& to) {
  bool any = false;
  for (const char* part : kParts) {
    if (::rename((path + part).c_str(), (to + part).c_str()) == 0) {
      any = any || *part == '\0';
      crash_point("aside.after_rename");
      continue;
    }
    const int saved = errno;
    if (saved != ENOENT) return errno_error(saved, "set aside " + printable(path + part));
  }
  MEDIAFS_TRY(sync_parent(AT_FDCWD, path));
  ::unlink((path + "-open").c_str());
  ::unlink((path + "-damaged").c_str());
  return any || there(to) ? to : std::string();
}

Result<Readiness> set_aside(const ReadyOptions& options, const Note& note) {
  const std::string to = options.path + ".damaged-" + note.at;
  // What stands there after that one was moved is a new catalogue that a kill kept from its mark.
  std::string aside = to;
  if (!there(to)) {
    MEDIAFS_ASSIGN(aside, move_parts(options.path, to));
  }
  Readiness ready{.lost = note.why, .aside = std::move(aside)};
  ready.version_floor = version_above(options.path, note.version, options.now_ns);
  log::error("the catalogue can't be trusted: it was set aside, nothing in it was changed",
             {{"why", note.why}, {"file", ready.aside.empty() ? "none was left" : printable(ready.aside)}});
  return ready;
}

Result<Readiness> give_up(const ReadyOptions& options, const std::string& why, std::int64_t version) {
  const Note note{.at = compact_time(options.now_ns), .why = why, .version = version};
  MEDIAFS_TRY(write_file_atomic(AT_FDCWD, options.path + "-lost", text_of(note), 0600));
  crash_point("aside.after_note");
  return set_aside(options, note);
}

// Nothing is there, or a file that was just made. Had there ever been more?
Result<Readiness> begin(const ReadyOptions& options) {
  const std::string known =
      join_path(options.path.substr(0, options.path.rfind('/')), kKnownVaultFile);  // of an absolute path
  if (there(known)) return give_up(options, "it was gone, or empty", 0);
  return Readiness{};
}

}  // namespace

std::string compact_time(WallNs now_ns) {
  std::string text = rfc3339(now_ns);
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text;
}

std::int64_t version_above(const std::string& path, std::int64_t known, WallNs now_ns) {
  const auto text = read_file(AT_FDCWD, path + "-version", kSmall);
  const std::int64_t noted = text ? std::strtoll(text->c_str(), nullptr, 10) : 0;
  return std::max({now_ns / kSecond, known + 1, noted > 0 ? noted + kVersionLeap : 0});
}

Status note_version(const std::string& path, std::int64_t floor) {
  return write_file_atomic(AT_FDCWD, path + "-version", std::to_string(floor) + "\n", 0600);
}

Status check_database(sql::Connection& db, bool all, std::chrono::milliseconds limit,
                      const std::stop_token& stop) {
  if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "check of " + printable(db.path()));
  const Alarm alarm(db.raw(), limit, stop);
  MEDIAFS_ASSIGN(auto query, db.prepare(all ? "PRAGMA integrity_check(10)" : "PRAGMA quick_check(10)"));
  std::string trouble;
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) break;
    if (query.view(0) != "ok") trouble += (trouble.empty() ? "" : "; ") + query.text(0);
  }
  std::replace(trouble.begin(), trouble.end(), '\n', ' ');
  if (trouble.empty()) return {};
  return make_error(ErrorCode::corrupt, "catalogue " + printable(db.path()), trouble);
}

Result<std::string> set_catalogue_aside(const std::string& path, const std::string& word, WallNs now_ns) {
  return move_parts(path, path + "." + word + "-" + compact_time(now_ns));
}

Result<Readiness> make_ready(const ReadyOptions& options) {
  const std::string& path = options.path;
  if (const auto note = read_note(path)) return set_aside(options, *note);
  if (empty(path)) return begin(options);
  const auto use = read_file(AT_FDCWD, path + "-open", kSmall);
  Readiness ready;
  ready.behind = use && use->starts_with("open") && !there(path + "-wal");
  const bool all = ready.behind || there(path + "-damaged");
  const Look look = look_at(
      path, all, all ? std::max<std::chrono::milliseconds>(kWholeCheck, options.limit) : options.limit);
  if (look.sound) {
    ::unlink((path + "-damaged").c_str());
    if (ready.behind)
      log::warning("the catalogue's log is gone, and with it its newest changes: the vault is listed anew",
                   {{"file", path + "-wal"}});
    return ready;
  }
  const ErrorCode code = look.sound.err().code;
  ready.checked = code != ErrorCode::cancelled;
  if (!ready.checked) return ready;
  if (code != ErrorCode::corrupt) return look.sound.err();
  return give_up(options, look.sound.err().message(), look.version);
}

Status made_incomplete(const std::string& path) {
  if (::unlink((path + "-lost").c_str()) == 0 || errno == ENOENT) return {};
  return errno_error(errno, "unlink " + printable(path + "-lost"));
}

void note_damage(const std::string& path) noexcept {
  write_note(path + "-damaged", "damaged\n");
}

void note_open(const std::string& path) noexcept {
  write_note(path + "-open", "open\n");
}

void note_closing(const std::string& path) noexcept {
  write_note(path + "-open", "closing\n");
}

void note_closed(const std::string& path) noexcept {
  ::unlink((path + "-open").c_str());
}

}  // namespace mediafs::tier
