#include "app/registry.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/fd.h"
#include "common/hash.h"
#include "common/path.h"

namespace mediafs::app {

namespace {

using Json = nlohmann::json;

std::string registry_directory() {
  if (geteuid() == 0) return "/run/mediafs";
  const char* runtime = getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && *runtime != '\0') return std::string(runtime) + "/mediafs";
  return "/tmp/mediafs-" + std::to_string(geteuid());
}

// Without following a link at the end: the mount may be dead, and realpath would ask it.
std::string absolute(const std::string& path) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) != nullptr) return resolved;
  if (!path.empty() && path[0] == '/') return path;
  char here[PATH_MAX];
  if (getcwd(here, sizeof(here)) == nullptr) return path;
  return join_path(here, path);
}

bool below(const std::string& path, const std::string& dir) {
  return !dir.empty() && (path == dir || path.starts_with(dir == "/" ? dir : dir + "/"));
}

// In ticks since the boot: tells a process from another one that got its number. "": unknown.
std::string started(int pid) {
  const auto text = read_file(AT_FDCWD, "/proc/" + std::to_string(pid) + "/stat", 1U << 16);
  const std::size_t name_end = text ? text->rfind(')') : std::string::npos;  // the name may hold anything
  if (name_end == std::string::npos) return {};
  std::istringstream words(text->substr(name_end + 1));
  std::string word;
  constexpr int kWord = 20;
  for (int i = 0; i < kWord && words >> word; ++i) {
  }
  return word;
}

// An unmount by force signals the process.
bool alive(int pid, const std::string& since) {
  if (pid <= 0 || (kill(pid, 0) != 0 && errno != EPERM)) return false;
  const std::string now = since.empty() ? std::string() : started(pid);
  return now.empty() || now == since;
}

Result<RunningDaemon> parse(const std::string& text) {
  const Json j = Json::parse(text, nullptr, false);
  if (!j.is_object()) return make_error(ErrorCode::invalid, "registry entry", "not JSON");
  return RunningDaemon{j.value("mountpoint", ""), j.value("local", ""), j.value("socket", ""),
                       j.value("config", ""), j.value("pid", 0)};
}

std::string list_of(const std::vector<RunningDaemon>& daemons) {
  std::string out;
  for (const auto& d : daemons) out += (out.empty() ? "" : ", ") + d.mountpoint;
  return out;
}

}  // namespace

Result<Registration> Registration::make(const RunningDaemon& daemon) {
  const std::string dir = registry_directory();
  if (mkdir(dir.c_str(), geteuid() == 0 ? 0755 : 0700) != 0 && errno != EEXIST) {
    return errno_error(errno, "create " + dir);
  }
  auto st = stat_at(AT_FDCWD, dir);
  if (!st) return std::move(st).error();
  if (!S_ISDIR(st->st_mode) || st->st_uid != geteuid()) {
    return make_error(ErrorCode::permission, dir, "it belongs to somebody else (remove it)");
  }
  const Json j = {
      {"mountpoint", daemon.mountpoint}, {"local", daemon.local}, {"socket", daemon.socket},
      {"config", daemon.config},         {"pid", daemon.pid},     {"started", started(daemon.pid)}};
  const std::string file = dir + "/" + digest_hex(Digest::sha1, daemon.mountpoint).substr(0, 16) + ".json";
  MEDIAFS_TRY(
      write_file_atomic(AT_FDCWD, file, j.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n", 0644));
  return Registration(file);
}

Registration::Registration(Registration&& other) noexcept : file_(std::exchange(other.file_, {})) {}

Registration::~Registration() {
  if (!file_.empty()) unlink(file_.c_str());
}

std::vector<RunningDaemon> running_daemons() {
  std::vector<RunningDaemon> out;
  const std::string dir = registry_directory();
  const auto owner = stat_at(AT_FDCWD, dir);
  if (!owner || owner->st_uid != geteuid()) return out;  // somebody else's entries are not believed
  const std::unique_ptr<DIR, int (*)(DIR*)> handle(opendir(dir.c_str()), &closedir);
  while (handle) {
    const dirent* entry = readdir(handle.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (!name.ends_with(".json")) continue;
    auto text = read_file(AT_FDCWD, dir + "/" + name, 1U << 16);
    if (!text) continue;
    auto daemon = parse(*text);
    if (!daemon) continue;
    if (alive(daemon->pid, Json::parse(*text, nullptr, false).value("started", ""))) {
      out.push_back(std::move(*daemon));
    } else {
      unlink((dir + "/" + name).c_str());
    }
  }
  return out;
}

// Another user's daemon is not seen, and would not answer.
std::string none_runs() {
  return geteuid() == 0
             ? "none is running (mediafs mount starts it)"
             : "none of yours is running (if root or another user started it, ask as that user: sudo)";
}

Result<RunningDaemon> find_daemon(const std::string& path, const std::string& config_mountpoint) {
  const auto daemons = running_daemons();
  if (!path.empty()) {
    const std::string full = absolute(path);
    for (const auto& d : daemons) {
      if (below(full, d.mountpoint) || below(full, d.local)) return d;
    }
  }
  if (!config_mountpoint.empty()) {
    const std::string full = absolute(config_mountpoint);
    for (const auto& d : daemons) {
      if (d.mountpoint == full) return d;
    }
    return make_error(ErrorCode::offline, "daemon of " + full, none_runs());
  }
  if (daemons.empty()) return make_error(ErrorCode::offline, "daemon", none_runs());
  if (daemons.size() > 1) {
    return make_error(
        ErrorCode::invalid, "daemon",
        "several are running: " + list_of(daemons) + " (name a path below one of them, or -c CONFIG)");
  }
  return daemons.front();
}

Result<std::string> path_in_tree(const RunningDaemon& daemon, const std::string& path) {
  // The last component stays as it is: it may be a symlink of the tree.
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.ends_with('/')) trimmed.pop_back();
  const std::string name(base_name(trimmed));
  const bool plain = !name.empty() && name != "." && name != "..";
  std::string parent = trimmed.substr(0, trimmed.size() - name.size());
  while (parent.size() > 1 && parent.ends_with('/')) parent.pop_back();
  const std::string full =
      plain ? join_path(absolute(parent.empty() ? "." : parent), name) : absolute(trimmed);
  for (const std::string& root : {daemon.mountpoint, daemon.local}) {
    if (!below(full, root)) continue;
    return full.size() > root.size() ? full.substr(root.size() + (root == "/" ? 0 : 1)) : std::string();
  }
  return make_error(ErrorCode::invalid, printable(path), "it is not below " + daemon.mountpoint);
}

}  // namespace mediafs::app
