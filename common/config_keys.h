// The table of the configuration's keys: how each is read from TOML or the environment, and shown.
// Private to config*.cpp; everybody else uses config.h.
// Threads:    the table is constant.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/config.h"

namespace mediafs::config_detail {

using Problem = std::optional<std::string>;  // why a value is wrong; none when it is right

// A value as it stands in the file, or the text of an environment variable. monostate: a type that no key
// takes.
struct RawValue {
  std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::string>> value;
  bool from_environment = false;
};

struct Key {
  std::string_view section;
  std::string_view name;
  Problem (*set)(Config& config, const RawValue& value);
  std::string (*show)(const Config& config);
};

const std::vector<Key>& keys();            // in the order in which they are shown
std::string quote(std::string_view text);  // as a TOML basic string
std::string quote_list(const std::vector<std::string>& texts);
Problem read_value(const RawValue& raw, std::string& into);
Problem read_value(const RawValue& raw, std::vector<std::string>& into);

// The candidate nearest to `text` by edit distance, "" when none is near enough to be a slip.
std::string nearest(std::string_view text, const std::vector<std::string>& candidates);
// ` (did you mean "x"?)`, or "" without a near candidate.
std::string suggestion(std::string_view text, const std::vector<std::string>& candidates);

struct KeyProblem {
  std::string key;  // "section.key"
  std::string why;
};
std::optional<KeyProblem> check_mount(const Config& config);  // [mount] but its path
// Fills what follows from other values and checks what the values say together.
std::optional<KeyProblem> finish(Config& config);

}  // namespace mediafs::config_detail
