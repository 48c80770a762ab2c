// The structured log: one line an event, with fields, to journald (when started by systemd) or stderr.
// Threads:    safe from any thread; a line is written whole.
// Errors:     none: a log that can't be written is not an error of the caller.
// Secrets:    values under a secret's name never reach this interface; see Config::secrets.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "common/result.h"

namespace mediafs::log {

enum class Level : std::uint8_t { debug, info, warning, error };

// Fields that stand in a line's own columns: path (in the tree) and job (id), when there is one.
struct Field {
  std::string_view key;
  std::string value;
  Field(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(v) {}
  Field(std::string_view k, std::int64_t v) : key(k), value(std::to_string(v)) {}
  Field(std::string_view k, std::uint64_t v) : key(k), value(std::to_string(v)) {}
  Field(std::string_view k, int v) : key(k), value(std::to_string(v)) {}
};

struct Options {
  Level level = Level::info;
  std::string file;  // appended to; "" = journald if $JOURNAL_STREAM is stderr's, else stderr
};
void setup(const Options& options);
bool enabled(Level level) noexcept;

// log::info("filed", {{"path", to}, {"job", id}, {"from", from}});
void write(Level level, std::string_view event, std::initializer_list<Field> fields = {});
void debug(std::string_view event, std::initializer_list<Field> fields = {});
void info(std::string_view event, std::initializer_list<Field> fields = {});
void warning(std::string_view event, std::initializer_list<Field> fields = {});
void error(std::string_view event, std::initializer_list<Field> fields = {});
// The same with code and message of `e` as fields.
void warning(std::string_view event, const Error& e, std::initializer_list<Field> fields = {});
void error(std::string_view event, const Error& e, std::initializer_list<Field> fields = {});

}  // namespace mediafs::log
