#include "common/config.h"

#include <fcntl.h>
#include <unistd.h>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <sstream>

#include "common/config_keys.h"
#include "common/fd.h"
#include "common/path.h"

namespace mediafs {

namespace {

using config_detail::Key;
using config_detail::KeyProblem;
using config_detail::keys;
using config_detail::Problem;
using config_detail::RawValue;

constexpr std::size_t kFileLimit = 1 << 20;

std::string full_name(const Key& key) {
  return std::string(key.section) + "." + std::string(key.name);
}

std::vector<std::string> section_names() {
  std::vector<std::string> names{"hook"};
  for (const Key& key : keys()) {
    if (names.back() != key.section) names.emplace_back(key.section);
  }
  return names;
}

std::vector<std::string> key_names(std::string_view section) {
  std::vector<std::string> names;
  for (const Key& key : keys()) {
    if (key.section == section) names.emplace_back(key.name);
  }
  return names;
}

RawValue raw_value(const toml::node& node) {
  RawValue raw;
  if (const auto* boolean = node.as_boolean()) raw.value = boolean->get();
  if (const auto* integer = node.as_integer()) raw.value = integer->get();
  if (const auto* number = node.as_floating_point()) raw.value = number->get();
  if (const auto* text = node.as_string()) raw.value = text->get();
  if (const auto* array = node.as_array()) {
    std::vector<std::string> texts;
    for (const toml::node& item : *array) {
      const auto* text = item.as_string();
      if (text == nullptr) return {};
      texts.push_back(text->get());
    }
    raw.value = std::move(texts);
  }
  return raw;
}

std::string unknown_key(std::string_view section, const std::string& name) {
  const bool secret = name == "access_key" || name == "secret_key" || name == "session_token" ||
                      name == "password" || name == "user";
  if (section == "vault" && secret)
    return "secrets stand in a file of their own (name it in vault.credentials)";
  for (const Key& key : keys()) {
    if (key.name == name) return "unknown key (did you mean \"" + full_name(key) + "\"?)";
  }
  return "unknown key" + config_detail::suggestion(name, key_names(section));
}

// Walks a parsed file. TOML tables come sorted by name, people read top down: of all problems the first
// line's counts.
class Reader {
 public:
  Reader(Config& config, std::string name) : config_(config), name_(std::move(name)) {}

  void read(const toml::table& root) {
    for (const auto& [key, node] : root) read_section(std::string(key.str()), key.source(), node);
  }
  void add_problem(const toml::source_region& where, const std::string& key, std::string why) {
    const unsigned line = where.begin.line;
    if (problem_ && problem_line_ <= line) return;
    problem_line_ = line;
    problem_ = make_error(ErrorCode::config, location(line) + key, std::move(why));
  }
  const std::optional<Error>& problem() const { return problem_; }
  bool has(const std::string& key) const { return lines_.contains(key); }
  // "FILE:LINE: KEY", without the line for what the file does not say.
  std::string where(const std::string& key) const {
    const auto found = lines_.find(key);
    return location(found == lines_.end() ? 0 : found->second) + key;
  }

 private:
  std::string location(unsigned line) const {
    if (name_.empty()) return {};
    return line == 0 ? name_ + ": " : name_ + ":" + std::to_string(line) + ": ";
  }

  void read_section(const std::string& section, const toml::source_region& where, const toml::node& node) {
    const auto names = section_names();
    if (section == "hook") return read_hooks(where, node);
    if (std::find(names.begin(), names.end(), section) == names.end()) {
      const char* const what =
          node.is_table() || node.is_array_of_tables() ? "unknown section" : "unknown key";
      return add_problem(where, printable(section), what + config_detail::suggestion(section, names));
    }
    const auto* table = node.as_table();
    if (table == nullptr) return add_problem(where, section, "must be a section, [" + section + "]");
    for (const auto& [key, value] : *table) read_key(section, std::string(key.str()), key.source(), value);
  }

  void read_key(const std::string& section, const std::string& name, const toml::source_region& where,
                const toml::node& node) {
    const std::string full = section + "." + printable(name);
    const auto key = std::find_if(keys().begin(), keys().end(),
                                  [&](const Key& k) { return k.section == section && k.name == name; });
    if (key == keys().end()) return add_problem(where, full, unknown_key(section, name));
    lines_[full] = where.begin.line;
    if (auto why = key->set(config_, raw_value(node))) add_problem(where, full, *why);
  }

  void read_hooks(const toml::source_region& where, const toml::node& node) {
    const auto* array = node.as_array();
    if (array == nullptr || !node.is_array_of_tables()) {
      return add_problem(where, "hook", "must be written as [[hook]], once for each hook");
    }
    for (const toml::node& item : *array) read_hook(*item.as_table());
  }

  void read_hook(const toml::table& table) {
    const std::string prefix = "hook[" + std::to_string(config_.hooks.size()) + "].";
    HookConfig hook;
    lines_[prefix + "on"] = lines_[prefix + "run"] = table.source().begin.line;
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      const std::string full = prefix + printable(name);
      Problem why;
      if (name == "on") {
        why = config_detail::read_value(raw_value(node), hook.on);
      } else if (name == "run") {
        why = config_detail::read_value(raw_value(node), hook.run);
      } else {
        why = "unknown key" + config_detail::suggestion(name, {"on", "run"});
      }
      lines_[full] = key.source().begin.line;
      if (why) add_problem(key.source(), full, *why);
    }
    config_.hooks.push_back(std::move(hook));
  }

  Config& config_;
  std::string name_;
  std::map<std::string, unsigned> lines_;
  std::optional<Error> problem_;
  unsigned problem_line_ = 0;
};

std::string upper(std::string_view text) {
  std::string out;
  for (const char c : text) out.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  return out;
}

std::string variable_name(const Key& key) {
  return "MEDIAFS_" + upper(key.section) + "_" + upper(key.name);
}

bool is_credential(const std::string& variable) {
  return variable == "MEDIAFS_VAULT_ACCESS_KEY" || variable == "MEDIAFS_VAULT_SECRET_KEY" ||
         variable == "MEDIAFS_VAULT_SESSION_TOKEN" || variable == "MEDIAFS_VAULT_USER" ||
         variable == "MEDIAFS_VAULT_PASSWORD";
}

// A variable that begins with a section's name and is none of its keys is a slip, not somebody else's.
Status refuse_unknown(const std::string& variable) {
  if (is_credential(variable)) return {};
  std::vector<std::string> candidates;
  bool ours = false;
  for (const Key& key : keys()) {
    candidates.push_back(variable_name(key));
    ours = ours || variable.starts_with("MEDIAFS_" + upper(key.section) + "_");
  }
  if (!ours) return {};
  return make_error(ErrorCode::config, "environment: " + printable(variable),
                    "unknown key" + config_detail::suggestion(variable, candidates));
}

// Answers the names of the keys that were set.
Result<std::map<std::string, std::string>> apply_environment(Config& config, const Environment& env) {
  std::map<std::string, std::string> set;
  for (auto entry = env.lower_bound("MEDIAFS_"); entry != env.end() && entry->first.starts_with("MEDIAFS_");
       ++entry) {
    const std::string& variable = entry->first;
    const std::string& text = entry->second;
    const auto key = std::find_if(keys().begin(), keys().end(),
                                  [&](const Key& k) { return variable_name(k) == variable; });
    if (key == keys().end()) {
      MEDIAFS_TRY(refuse_unknown(variable));
      continue;
    }
    if (auto why = key->set(config, RawValue{text, true})) {
      return make_error(ErrorCode::config, "environment: " + variable, *why);
    }
    set[full_name(*key)] = variable;
  }
  return set;
}

}  // namespace

Environment process_environment() {
  Environment env;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) env[std::string(text.substr(0, equals))] = text.substr(equals + 1);
  }
  return env;
}

std::string default_config_file(const Environment& env) {
  const auto get = [&](const char* name) {
    const auto found = env.find(name);
    return found == env.end() ? std::string() : found->second;
  };
  // Named by the user: taken even if it isn't there, so that the mistake is told.
  if (std::string named = get("MEDIAFS_CONFIG"); !named.empty()) return named;
  std::vector<std::string> files{"/etc/mediafs/mediafs.toml"};
  if (const std::string home = get("HOME"); !home.empty())
    files.push_back(home + "/.config/mediafs/mediafs.toml");
  for (const std::string& file : files) {
    if (::access(file.c_str(), F_OK) == 0) return file;
  }
  return {};
}

Result<Config> load_config(const std::string& file, const Environment& env) {
  if (file.empty()) return parse_config("", "", env);
  auto fd = open_at(AT_FDCWD, file, O_RDONLY | O_NONBLOCK);
  if (!fd) return make_error(ErrorCode::config, "configuration " + printable(file), fd.error().cause);
  MEDIAFS_ASSIGN(const struct stat st, stat_fd(fd->get()));
  if (S_ISDIR(st.st_mode))
    return make_error(ErrorCode::config, "configuration " + printable(file), "is a directory");
  if (S_ISREG(st.st_mode) && (st.st_mode & S_IWOTH) != 0) {
    return make_error(
        ErrorCode::config, "configuration " + printable(file),
        "everybody can change it, and it may name commands to run (run: chmod o-w " + printable(file) + ")");
  }
  auto text = read_file(AT_FDCWD, file, kFileLimit);
  if (!text) return make_error(ErrorCode::config, "configuration " + printable(file), text.error().cause);
  return parse_config(*text, file, env);
}

namespace {

// What is wrong most often: a path, a size or a time without quotes.
std::string quotes_hint(std::string_view toml, std::size_t line) {
  for (; line > 1 && !toml.empty(); --line)
    toml.remove_prefix(std::min(toml.find('\n'), toml.size() - 1) + 1);
  toml = toml.substr(0, toml.find('\n'));
  const std::size_t equals = toml.find('=');
  if (equals == toml.npos) return {};
  const std::size_t begin = toml.find_first_not_of(" \t", equals + 1);
  const std::string_view value = begin == toml.npos ? std::string_view() : toml.substr(begin);
  if (value.empty() || std::string_view("\"'[{#\r").find(value.front()) != value.npos) return {};
  if (value.starts_with("true") || value.starts_with("false")) return {};
  return " (text, paths and sizes stand in quotes: KEY = \"...\")";
}

}  // namespace

Result<Config> parse_config(std::string_view toml, const std::string& name, const Environment& env) {
  Config config;
  config.file = name;
  Reader reader(config, name);
  const toml::parse_result parsed = toml::parse(toml, std::string_view(name));
  if (!parsed) {
    const auto& failure = parsed.error();
    const std::size_t line = failure.source().begin.line;
    return make_error(ErrorCode::config, (name.empty() ? "configuration" : name) + ":" + std::to_string(line),
                      std::string(failure.description()) + quotes_hint(toml, line));
  }
  reader.read(parsed.table());
  if (reader.problem()) return *reader.problem();
  MEDIAFS_ASSIGN(const auto overrides, apply_environment(config, env));
  const bool style_given = reader.has("vault.path_style") || overrides.contains("vault.path_style");
  if (!style_given) config.vault.path_style = !config.vault.endpoint.empty();
  if (auto bad = config_detail::finish(config)) {
    const auto variable = overrides.find(bad->key);
    const std::string where =
        variable == overrides.end() ? reader.where(bad->key) : "environment: " + variable->second;
    return make_error(ErrorCode::config, where, bad->why);
  }
  return config;
}

Status finish_config(Config& config) {
  if (auto bad = config_detail::finish(config)) {
    return make_error(ErrorCode::config, config.file.empty() ? bad->key : config.file + ": " + bad->key,
                      bad->why);
  }
  return {};
}

std::vector<std::pair<std::string, std::string>> show_config(const Config& config) {
  std::vector<std::pair<std::string, std::string>> shown;
  for (const Key& key : keys()) shown.emplace_back(full_name(key), key.show(config));
  for (std::size_t i = 0; i < config.hooks.size(); ++i) {
    const std::string prefix = "hook[" + std::to_string(i) + "].";
    shown.emplace_back(prefix + "on", config_detail::quote(config.hooks[i].on));
    shown.emplace_back(prefix + "run", config_detail::quote_list(config.hooks[i].run));
  }
  return shown;
}

}  // namespace mediafs
