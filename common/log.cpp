#include "common/log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <span>
#include <vector>

#include "common/clock.h"
#include "common/fd.h"
#include "common/path.h"
#include "common/sync.h"

namespace mediafs::log {

namespace {

std::atomic<Level> g_level{Level::info};

struct Sink {
  Mutex mutex;  // innermost: held while a line is written, nothing is taken under it
  Fd file GUARDED_BY(mutex);
  bool journal GUARDED_BY(mutex) = false;
};

// Never destroyed: threads may log while the program's statics go away.
Sink& sink() {
  static auto* s = new Sink;
  return *s;
}

struct LevelNames {
  const char* text;
  const char* priority;  // syslog(3)
};

LevelNames names_of(Level level) {
  switch (level) {
    case Level::debug:
      return {"debug", "7"};
    case Level::info:
      return {"info ", "6"};
    case Level::warning:
      return {"warn ", "4"};
    case Level::error:
      return {"error", "3"};
  }
  return {"error", "3"};
}

bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");  // "dev:ino" of the stream that systemd made
  // Without a journal's socket sd_journal_send drops lines and says that it sent them.
  if (stream == nullptr || ::access("/run/systemd/journal/socket", W_OK) != 0) return false;
  const auto st = stat_fd(STDERR_FILENO);
  return st && stream == std::to_string(st->st_dev) + ":" + std::to_string(st->st_ino);
}

bool is_number(std::string_view value) {
  if (value.starts_with('-')) value.remove_prefix(1);
  return !value.empty() &&
         std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
}

void append_field(std::string& line, const Field& field) {
  line.append(1, ' ').append(field.key).append(1, '=');
  if (field.key != "path" && is_number(field.value)) {
    line.append(field.value);
    return;
  }
  std::string escaped;
  for (const char c : field.value) {
    if (c == '"' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  line.append(1, '"').append(printable(escaped)).append(1, '"');
}

// The event and its fields; path and job first, so that they stand in the same place on every line.
std::string format(std::string_view event, std::span<const Field> fields) {
  std::string line = printable(event);
  for (const std::string_view first : {"path", "job"}) {
    for (const Field& field : fields) {
      if (field.key == first) append_field(line, field);
    }
  }
  for (const Field& field : fields) {
    if (field.key != "path" && field.key != "job") append_field(line, field);
  }
  return line;
}

std::string journal_key(std::string_view key) {
  std::string name = "MEDIAFS_";
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    name.push_back(std::isalnum(byte) != 0 ? static_cast<char>(std::toupper(byte)) : '_');
  }
  return name;
}

bool send_to_journal(Level level, const std::string& message, std::span<const Field> fields) {
  std::vector<std::string> texts{"MESSAGE=" + message, std::string("PRIORITY=") + names_of(level).priority,
                                 "SYSLOG_IDENTIFIER=mediafs"};
  for (const Field& field : fields) texts.push_back(journal_key(field.key) + "=" + field.value);
  std::vector<iovec> parts;
  parts.reserve(texts.size());
  for (std::string& text : texts) parts.push_back({text.data(), text.size()});
  return ::sd_journal_sendv(parts.data(), static_cast<int>(parts.size())) == 0;
}

void write_line(int fd, std::string_view line) {
  while (!line.empty()) {
    const ssize_t n = ::write(fd, line.data(), line.size());
    const int saved = errno;
    if (n < 0 && saved == EINTR) continue;
    if (n <= 0) return;
    line.remove_prefix(static_cast<std::size_t>(n));
  }
}

void emit(Level level, std::string_view event, std::span<const Field> fields) noexcept {
  if (!enabled(level)) return;
  try {
    const std::string message = format(event, fields);
    const std::string line =
        rfc3339(Clock::system().wall_ns()) + " " + names_of(level).text + " " + message + "\n";
    MutexLock lock(sink().mutex);
    if (sink().journal && send_to_journal(level, message, fields)) return;
    write_line(sink().file ? sink().file.get() : STDERR_FILENO, line);
  } catch (...) {  // out of memory: the caller's work matters more than its line
  }
}

void emit_error(Level level, std::string_view event, const Error& e, std::span<const Field> fields) noexcept {
  if (!enabled(level)) return;
  try {
    std::vector<Field> all(fields.begin(), fields.end());
    all.emplace_back("code", to_string(e.code));
    all.emplace_back("error", e.message());
    emit(level, event, all);
  } catch (...) {  // as above
  }
}

}  // namespace

void setup(const Options& options) {
  g_level.store(options.level, std::memory_order_relaxed);
  Result<Fd> file = Fd();
  if (!options.file.empty()) file = open_at(AT_FDCWD, options.file, O_WRONLY | O_CREAT | O_APPEND, 0640);
  {
    MutexLock lock(sink().mutex);
    sink().file = file ? std::move(*file) : Fd();
    sink().journal = !sink().file && stderr_is_journal();
  }
  if (!file) warning("log file can't be opened, writing to stderr", file.error());
}

bool enabled(Level level) noexcept {
  return level >= g_level.load(std::memory_order_relaxed);
}

void write(Level level, std::string_view event, std::initializer_list<Field> fields) {
  emit(level, event, fields);
}
void debug(std::string_view event, std::initializer_list<Field> fields) {
  emit(Level::debug, event, fields);
}
void info(std::string_view event, std::initializer_list<Field> fields) {
  emit(Level::info, event, fields);
}
void warning(std::string_view event, std::initializer_list<Field> fields) {
  emit(Level::warning, event, fields);
}
void error(std::string_view event, std::initializer_list<Field> fields) {
  emit(Level::error, event, fields);
}
void warning(std::string_view event, const Error& e, std::initializer_list<Field> fields) {
  emit_error(Level::warning, event, e, fields);
}
void error(std::string_view event, const Error& e, std::initializer_list<Field> fields) {
  emit_error(Level::error, event, e, fields);
}

}  // namespace mediafs::log
