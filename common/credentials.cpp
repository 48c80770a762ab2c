#include <fcntl.h>

#include <array>
#include <cstdio>
#include <span>

#include "common/config_keys.h"
#include "common/fd.h"
#include "common/path.h"

namespace mediafs {

namespace {

constexpr std::size_t kFileLimit = 64 * 1024;

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string* field(Credentials& credentials, std::string_view key) {
  if (key == "access_key") return &credentials.access_key;
  if (key == "secret_key") return &credentials.secret_key;
  if (key == "session_token") return &credentials.session_token;
  if (key == "user") return &credentials.user;
  if (key == "password") return &credentials.password;
  return nullptr;
}

// `name` says in messages what the file is.
Result<std::string> read_private_file(const std::string& name, const std::string& path) {
  const std::string what = name + ": " + printable(path);
  auto fd = open_at(AT_FDCWD, path, O_RDONLY | O_NONBLOCK);
  if (!fd) return make_error(ErrorCode::config, what, fd.error().cause);
  MEDIAFS_ASSIGN(const struct stat st, stat_fd(fd->get()));
  if (!S_ISREG(st.st_mode)) {
    return make_error(ErrorCode::config, what, "is not a regular file");
  }
  if ((st.st_mode & 077) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", st.st_mode & 07777U);
    return make_error(ErrorCode::config, what,
                      std::string("others can read or change it, its mode is ") + mode + " (run: chmod 600 " +
                          printable(path) + ")");
  }
  std::string text(kFileLimit, '\0');
  MEDIAFS_ASSIGN(const std::size_t got, read_some(fd->get(), std::as_writable_bytes(std::span(text)), 0));
  if (got == kFileLimit) {
    return make_error(ErrorCode::config, what, "is too large to hold credentials");
  }
  text.resize(got);
  return text;
}

// One line's `key = value`. Messages never quote the line: it may hold a secret.
std::optional<std::string> read_line(std::string_view line, Credentials& into) {
  const auto equals = line.find('=');
  if (equals == std::string_view::npos) return "is not of the form key = value";
  const std::string_view key = trim(line.substr(0, equals));
  std::string_view value = trim(line.substr(equals + 1));
  std::string* const target = field(into, key);
  if (target == nullptr) {
    const std::string hint =
        config_detail::suggestion(key, {"access_key", "secret_key", "session_token", "user", "password"});
    return hint.empty() ? "unknown key (known: access_key, secret_key, session_token, user, password)"
                        : "unknown key" + hint;
  }
  const char quote = value.empty() ? '\0' : value.front();
  if (quote == '"' || quote == '\'') {
    if (value.size() < 2 || value.back() != quote) return std::string(key) + ": the closing quote is missing";
    value = value.substr(1, value.size() - 2);
  }
  *target = value;
  return {};
}

Result<Credentials> read_credentials_file(const std::string& path) {
  MEDIAFS_ASSIGN(const std::string text, read_private_file("vault.credentials", path));
  Credentials found;
  int number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = trim(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    ++number;
    if (line.empty() || line.front() == '#' || line.front() == '[') continue;
    if (auto why = read_line(line, found)) {
      return make_error(ErrorCode::config, printable(path) + ":" + std::to_string(number), *why);
    }
  }
  return found;
}

Status check_pair(const Credentials& found, const std::string& where) {
  if (found.access_key.empty() == found.secret_key.empty()) return {};
  return make_error(ErrorCode::config, where,
                    found.secret_key.empty() ? "has an access_key but no secret_key"
                                             : "has a secret_key but no access_key");
}

std::string lookup(const Environment& env, const std::string& name) {
  const auto found = env.find(name);
  return found == env.end() ? std::string() : found->second;
}

// The section's keys from one of AWS's files; none: the file or the section is not there, or holds no keys.
Result<std::optional<Credentials>> read_aws_section(const std::string& path, std::string_view section) {
  std::optional<Credentials> found;
  if (!stat_at(AT_FDCWD, path)) return found;
  MEDIAFS_ASSIGN(const std::string text, read_private_file("AWS credentials", path));
  bool inside = false;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view raw = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(raw.size() + 1, rest.size()));
    const std::string_view line = trim(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      inside = trim(line.substr(1, line.find(']') - 1)) == section;
      continue;
    }
    const auto equals = line.find('=');
    // What is indented belongs to a nested setting.
    if (!inside || equals == std::string_view::npos || raw.front() == ' ' || raw.front() == '\t') continue;
    const std::string_view key = trim(line.substr(0, equals));
    const std::string value(trim(line.substr(equals + 1)));
    if (!found) found.emplace();
    if (key == "aws_access_key_id") found->access_key = value;
    if (key == "aws_secret_access_key") found->secret_key = value;
    if (key == "aws_session_token") found->session_token = value;
  }
  if (found) MEDIAFS_TRY(check_pair(*found, printable(path)));
  if (found && found->access_key.empty()) found.reset();
  return found;
}

Result<Credentials> aws_profile(const Environment& env) {
  const std::string named = lookup(env, "AWS_PROFILE");
  const std::string profile = named.empty() ? "default" : named;
  const std::string home = lookup(env, "HOME");
  std::string shared = lookup(env, "AWS_SHARED_CREDENTIALS_FILE");
  if (shared.empty() && !home.empty()) shared = home + "/.aws/credentials";
  std::string config = lookup(env, "AWS_CONFIG_FILE");
  if (config.empty() && !home.empty()) config = home + "/.aws/config";
  const std::string section = profile == "default" ? profile : "profile " + profile;
  for (const auto& [path, name] : {std::pair(shared, profile), std::pair(config, section)}) {
    if (path.empty()) continue;
    MEDIAFS_ASSIGN(auto found, read_aws_section(path, name));
    if (found) return std::move(*found);
  }
  if (named.empty()) return Credentials{};
  return make_error(ErrorCode::config, "AWS_PROFILE " + printable(named),
                    "no such profile with keys in " + printable(shared) + " or " + printable(config));
}

}  // namespace

Result<Credentials> load_credentials(const Config& config, const Environment& env) {
  if (!config.vault.credentials.empty()) {
    MEDIAFS_ASSIGN(Credentials found, read_credentials_file(config.vault.credentials));
    MEDIAFS_TRY(check_pair(found, printable(config.vault.credentials)));
    return found;
  }
  Credentials found{lookup(env, "MEDIAFS_VAULT_ACCESS_KEY"), lookup(env, "MEDIAFS_VAULT_SECRET_KEY"),
                    lookup(env, "MEDIAFS_VAULT_SESSION_TOKEN"), lookup(env, "MEDIAFS_VAULT_USER"),
                    lookup(env, "MEDIAFS_VAULT_PASSWORD")};
  if (found.access_key.empty() && found.secret_key.empty() && found.user.empty()) {
    found.access_key = lookup(env, "AWS_ACCESS_KEY_ID");
    found.secret_key = lookup(env, "AWS_SECRET_ACCESS_KEY");
    found.session_token = lookup(env, "AWS_SESSION_TOKEN");
  }
  MEDIAFS_TRY(check_pair(found, "environment"));
  const bool any = !found.access_key.empty() || !found.user.empty();
  if (any || !config.vault.url.starts_with("s3://")) return found;
  return aws_profile(env);
}

}  // namespace mediafs
