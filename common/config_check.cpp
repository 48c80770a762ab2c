// What the values of a configuration must say together: paths, marks and choices.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/config_keys.h"
#include "common/fd.h"
#include "common/path.h"

namespace mediafs::config_detail {

namespace {

using Checked = std::optional<KeyProblem>;

constexpr std::uint64_t kSmallestCache = 8ULL << 20;
constexpr int kMostWorkers = 256;

Checked wrong(std::string_view key, std::string why) {
  return KeyProblem{std::string(key), std::move(why)};
}

// Makes an absolute path of one spelling: no "//", no "/./", no slash at the end.
Checked normalize(std::string_view key, std::string& path) {
  if (path.empty()) return {};
  if (path.front() != '/') {
    return wrong(key, "\"" + printable(path) + "\" is a relative path (write it in full, from /)");
  }
  std::string clean;
  for (std::size_t start = 1; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string_view name = std::string_view(path).substr(start, end - start);
    if (name == "..")
      return wrong(key, "\"" + printable(path) + "\" has a component .. (write the path without it)");
    if (!name.empty() && name != ".") clean.append("/").append(name);
    start = end + 1;
  }
  path = clean.empty() ? "/" : clean;
  return {};
}

Checked normalize_all(Config& c) {
  if (c.mount.path.empty())
    return wrong("mount.path", "is missing (the directory where the tree is to appear)");
  if (c.local.path.empty())
    return wrong("local.path", "is missing (the directory on the SSD that holds the files)");
  if (auto bad = normalize("mount.path", c.mount.path)) return bad;
  if (auto bad = normalize("local.path", c.local.path)) return bad;
  if (c.mount.path == "/") return wrong("mount.path", "must not be the root directory");
  if (c.local.path == "/") return wrong("local.path", "must not be the root directory");
  if (c.local.state.empty()) c.local.state = c.local.path + "/.mediafs";
  if (auto bad = normalize("local.state", c.local.state)) return bad;
  if (auto bad = normalize("share.path", c.share.path)) return bad;
  if (auto bad = normalize("vault.credentials", c.vault.credentials)) return bad;
  return normalize("log.file", c.log.file);
}

// One branch inside another, or inside the mount, would show its own files to itself.
Checked check_nesting(const Config& c) {
  const auto apart = [](std::string_view key, const std::string& path, std::string_view other_key,
                        const std::string& other) -> Checked {
    if (path.empty() || other.empty()) return {};
    if (is_within(path, other) || is_within(other, path)) {
      return wrong(key, "must lie apart from " + std::string(other_key) + " (" + printable(other) +
                            "): neither may contain the other");
    }
    return {};
  };
  if (auto bad = apart("mount.path", c.mount.path, "local.path", c.local.path)) return bad;
  if (auto bad = apart("share.path", c.share.path, "mount.path", c.mount.path)) return bad;
  if (auto bad = apart("share.path", c.share.path, "local.path", c.local.path)) return bad;
  if (is_within(c.local.state, c.mount.path)) return wrong("local.state", "must not lie below mount.path");
  if (c.local.state == c.local.path) return wrong("local.state", "must not be local.path itself");
  const bool inside_local = is_within(c.local.state, c.local.path);
  if (inside_local && c.local.state != c.local.path + "/.mediafs" &&
      !is_within(c.local.state, c.local.path + "/.mediafs")) {
    return wrong("local.state",
                 "below local.path only .mediafs is hidden from the tree (leave it empty, or choose a "
                 "directory elsewhere)");
  }
  return {};
}

Checked check_marks(const Config& c) {
  const Watermark& below = c.local.evict_below_free;
  const Watermark& until = c.local.evict_until_free;
  const bool never = until.percent <= 0 && until.bytes == 0;
  if (never && (below.percent > 0 || below.bytes > 0)) {
    return wrong("local.evict_until_free", "must not be less than local.evict_below_free");
  }
  const bool both_percent = below.percent > 0 && until.percent > 0;
  const bool both_bytes = below.percent <= 0 && until.percent <= 0;
  if ((both_percent && until.percent < below.percent) || (both_bytes && until.bytes < below.bytes)) {
    return wrong("local.evict_until_free", "must not be less than local.evict_below_free");
  }
  if (below.percent <= 0 && below.bytes > 0 && below.bytes < c.local.reserve_bytes) {
    return wrong(
        "local.evict_below_free",
        "must not be less than local.reserve: the disk is never filled so far that eviction would begin");
  }
  return {};
}

bool has_userinfo(std::string_view authority_and_path) {
  const auto authority = authority_and_path.substr(0, authority_and_path.find('/'));
  return authority.find('@') != std::string_view::npos;
}

bool has_password(std::string_view authority_and_path) {
  const auto authority = authority_and_path.substr(0, authority_and_path.find('/'));
  const auto at = authority.rfind('@');
  return at != std::string_view::npos && authority.substr(0, at).find(':') != std::string_view::npos;
}

Checked check_webdav(std::string_view rest) {
  const auto authority = rest.substr(0, rest.find('/'));
  const auto host = authority.substr(authority.rfind('@') + 1);
  if (host.empty() || host.front() == ':')
    return wrong("vault.url", "names no host, as in \"webdavs://cloud.example.org/dav/media\"");
  if (rest.find_first_of("?#") != std::string_view::npos)
    return wrong("vault.url", "must end with the path, without a query (write ? as %3F and # as %23)");
  return {};
}

Checked check_file_vault(const Config& c, std::string path) {
  if (path.empty() || path.front() != '/') {
    return wrong("vault.url", "file:// needs an absolute path, for example \"file:///mnt/vault\"");
  }
  if (auto bad = normalize("vault.url", path)) return bad;
  if (is_within(path, c.mount.path)) return wrong("vault.url", "the vault must not lie below mount.path");
  const bool hidden = is_within(path, c.local.path + "/.mediafs");
  if ((is_within(path, c.local.path) && !hidden) || is_within(c.local.path, path)) {
    return wrong("vault.url", "the vault and local.path must lie apart: neither may contain the other");
  }
  if (!c.share.path.empty() && (is_within(path, c.share.path) || is_within(c.share.path, path))) {
    return wrong("vault.url", "the vault and share.path must lie apart: neither may contain the other");
  }
  return {};
}

Checked check_endpoint(const Config& c, bool is_s3) {
  const std::string_view endpoint = c.vault.endpoint;
  if (endpoint.empty()) return {};
  if (!is_s3) return wrong("vault.endpoint", "is for s3:// vaults only");
  const bool http = endpoint.starts_with("http://");
  if (!http && !endpoint.starts_with("https://"))
    return wrong("vault.endpoint", "must begin with http:// or https://");
  const std::string_view rest = endpoint.substr(http ? 7 : 8);
  if (rest.empty() || rest.front() == '/') return wrong("vault.endpoint", "names no host");
  if (has_userinfo(rest)) return wrong("vault.endpoint", "must not hold a password (use vault.credentials)");
  return {};
}

Checked check_vault(Config& c) {
  const std::string& url = c.vault.url;
  while (c.vault.endpoint.ends_with('/')) c.vault.endpoint.pop_back();
  const bool is_s3 = url.starts_with("s3://");
  if (auto bad = check_endpoint(c, is_s3)) return bad;
  if (url.empty()) return {};
  const auto scheme_end = url.find("://");
  const std::string scheme = scheme_end == std::string::npos ? "" : url.substr(0, scheme_end);
  const std::string rest = scheme.empty() ? "" : url.substr(scheme_end + 3);
  const bool is_webdav = scheme == "webdav" || scheme == "webdavs";
  if (is_webdav ? has_password(rest) : scheme != "file" && has_userinfo(rest)) {
    return wrong("vault.url",
                 is_webdav ? "must not hold a password (put it into vault.credentials)"
                           : "must not hold a user name or password (put them into vault.credentials)");
  }
  if (c.vault.cache_bytes < kSmallestCache) return wrong("vault.cache_size", "must be at least \"8M\"");
  if (scheme == "file") return check_file_vault(c, rest);
  if (is_webdav) return check_webdav(rest);
  if (!is_s3) {
    return wrong("vault.url", "\"" + printable(url) +
                                  "\" names no known kind of vault (use s3://bucket/prefix, "
                                  "webdavs://host/path or file:///path)");
  }
  if (rest.empty() || rest.front() == '/')
    return wrong("vault.url", "names no bucket, as in \"s3://bucket/prefix\"");
  if (c.vault.region.empty()) return wrong("vault.region", "must not be empty");
  return {};
}

Checked one_of(std::string_view key, const std::string& value, const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return {};
  std::string all;
  for (const std::string& choice : choices) all.append(all.empty() ? "" : ", ").append(choice);
  return wrong(key, "\"" + printable(value) + "\" is none of " + all + suggestion(value, choices));
}

Checked check_tree_path(std::string_view key, std::string& path) {
  while (path.ends_with('/')) path.pop_back();
  if (path.empty()) return wrong(key, "must not be empty");
  if (auto status = check_path(path); !status) {
    return wrong(key, status.error().cause + " (a path in the tree is meant, for example \"Incoming\")");
  }
  if (is_within(path, ".mediafs")) return wrong(key, "must not be .mediafs, which is mediafs's own");
  return {};
}

Checked check_template(std::string_view key, const std::string& text) {
  int depth = 0;
  for (const char c : text) {
    depth += c == '{' ? 1 : c == '}' ? -1 : 0;
    if (depth < 0) break;
  }
  if (depth != 0) return wrong(key, "has a { or } without its counterpart");
  if (auto status = check_path(text); text.empty() || !status) {
    return wrong(key, text.empty() ? "must not be empty" : status.error().cause);
  }
  return {};
}

Checked check_tree(Config& c) {
  if (!c.share.marker.empty()) {
    if (auto bad = check_tree_path("share.marker", c.share.marker)) return bad;
  }
  if (auto bad = check_tree_path("incoming.path", c.incoming.path)) return bad;
  if (auto bad = check_tree_path("organize.unsorted", c.organize.unsorted)) return bad;
  if (is_within(c.organize.unsorted, c.incoming.path)) {
    return wrong("organize.unsorted", "must not lie below incoming.path");
  }
  if (auto bad = check_template("organize.movies", c.organize.movies)) return bad;
  return check_template("organize.shows", c.organize.shows);
}

Checked check_numbers(const Config& c) {
  using namespace std::chrono_literals;
  if (c.share.timeout < 10ms || c.share.timeout > 1h)
    return wrong("share.timeout", "must be between \"10ms\" and \"1h\"");
  if (c.vault.trash > 100 * 366 * 24h)
    return wrong("vault.trash", "must be at most \"36600d\" (0: none is kept)");
  if (c.incoming.settle > 24h) return wrong("incoming.settle", "must be at most \"24h\"");
  const std::array<std::pair<std::string_view, int>, 3> workers{{{"jobs.organize", c.jobs.organize},
                                                                 {"jobs.upload", c.jobs.upload},
                                                                 {"jobs.checksum", c.jobs.checksum}}};
  for (const auto& [key, count] : workers) {
    if (count < 1 || count > kMostWorkers) return wrong(key, "must be between 1 and 256");
  }
  return {};
}

Checked check_choices(const Config& c) {
  if (auto bad = one_of("organize.on_conflict", c.organize.on_conflict,
                        {"keep_better", "skip", "replace", "keep_both"})) {
    return bad;
  }
  if (auto bad = one_of("checksum.sidecar", c.checksum.sidecar, {"sha1", "sha256", "xxh128", "none"}))
    return bad;
  if (auto bad = one_of("log.level", c.log.level, {"debug", "info", "warning", "error"})) return bad;
  for (std::size_t i = 0; i < c.hooks.size(); ++i) {
    const std::string name = "hook[" + std::to_string(i) + "]";
    if (auto bad = one_of(name + ".on", c.hooks[i].on,
                          {"arrived", "filed", "uploaded", "evicted", "deleted", "dead"})) {
      return bad;
    }
    if (c.hooks[i].run.empty() || c.hooks[i].run.front().empty())
      return wrong(name + ".run", "names no command");
  }
  return {};
}

}  // namespace

std::optional<KeyProblem> finish(Config& config) {
  if (auto bad = normalize_all(config)) return bad;
  if (auto bad = check_nesting(config)) return bad;
  if (auto bad = check_mount(config)) return bad;
  if (auto bad = check_marks(config)) return bad;
  if (auto bad = check_vault(config)) return bad;
  if (auto bad = check_tree(config)) return bad;
  if (auto bad = check_numbers(config)) return bad;
  return check_choices(config);
}

}  // namespace mediafs::config_detail

namespace mediafs {

namespace {

Status check_directory(const char* key, const std::string& path) {
  const std::string what = std::string(key) + ": " + printable(path);
  const auto dir = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  if (dir) return {};
  const Error& error = dir.err();
  switch (error.sys_errno) {
    case ENOENT:
      return make_error(ErrorCode::config, what, "no such directory (run: mkdir -p " + printable(path) + ")");
    case ENOTDIR:
      return make_error(ErrorCode::config, what, "is not a directory");
    case ENOTCONN:
      return make_error(
          ErrorCode::config, what,
          "a mount whose program has died stands there (run: fusermount3 -uz " + printable(path) + ")");
    default:
      return make_error(ErrorCode::config, what, error.cause);
  }
}

}  // namespace

Status check_directories(const Config& config) {
  MEDIAFS_TRY(check_directory("local.path", config.local.path));
  return check_directory("mount.path", config.mount.path);
}

}  // namespace mediafs
