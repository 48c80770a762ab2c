#include "app/mount_users.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <sstream>

#include "common/fd.h"
#include "common/mounts.h"
#include "common/path.h"

namespace mediafs::app {

namespace {

constexpr std::size_t kSmall = 1U << 16;
constexpr std::size_t kLarge = 64U << 20;

std::string link_of(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t n = readlink(path.c_str(), target, sizeof target);
  return n > 0 ? std::string(target, static_cast<std::size_t>(n)) : std::string();
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(folder.c_str()), &closedir);
  while (dir) {
    const dirent* entry = readdir(dir.get());
    if (entry == nullptr) break;
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) != 0) names.emplace_back(entry->d_name);
  }
  return names;
}

std::string field_of(const std::string& text, const std::string& name) {
  const std::size_t at = ("\n" + text).find("\n" + name);
  if (at == std::string::npos) return {};
  const std::size_t from = text.find_first_not_of(" \t", at + name.size());
  return from == std::string::npos ? "" : text.substr(from, text.find('\n', from) - from);
}

struct Places {  // of the filesystem, in one mount namespace
  std::vector<std::string> points;
  std::vector<std::string> ids;
};

class Search {
 public:
  Search(unsigned major, unsigned minor, int daemon) : major_(major), minor_(minor), daemon_(daemon) {}

  // `tell` gets each process once.
  template <class Tell>
  void run(const Tell& tell) {
    std::vector<std::string> left;
    for (std::string& pid : names_in("/proc")) {
      const Places& places = places_of(pid);
      if (is_ours(pid)) continue;
      auto user = by_links(pid, places);
      if (!user) user = by_descriptors(pid, places);
      user ? tell(*user) : left.push_back(std::move(pid));
    }
    // At the end: to read it may wait for a process that itself waits for the mount.
    for (const std::string& pid : left) {
      if (auto user = by_maps(pid)) tell(*user);
    }
  }

 private:
  bool is_ours(const std::string& pid) {
    std::string at = pid;
    for (int depth = 0; depth < 64 && !at.empty() && at != "0" && at != "1"; ++depth) {
      if (at == std::to_string(daemon_) || at == std::to_string(getpid())) return true;
      const auto status = read_file(AT_FDCWD, "/proc/" + at + "/status", kSmall);
      at = status ? field_of(*status, "PPid:") : "";
    }
    return false;
  }

  const Places& places_of(const std::string& pid) {
    const std::string base = "/proc/" + pid;
    Places& places = known_[link_of(base + "/ns/mnt") + link_of(base + "/root")];
    if (!places.ids.empty()) return places;
    const auto mounts = mounts_of(pid);
    if (!mounts) return places;
    for (const MountRecord& mount : *mounts) {
      if (mount.major != major_ || mount.minor != minor_) continue;
      places.points.push_back(mount.point);
      places.ids.push_back(std::to_string(mount.id));
    }
    return places;
  }

  static MountUser user_of(const std::string& pid, const char* how, std::string path) {
    auto command = read_file(AT_FDCWD, "/proc/" + pid + "/comm", kSmall);
    std::string name = command ? *command : "";
    while (name.ends_with('\n')) name.pop_back();
    return {.pid = std::atoi(pid.c_str()), .command = std::move(name), .how = how, .path = std::move(path)};
  }

  static bool within(const Places& places, const std::string& path) {
    return std::any_of(places.points.begin(), places.points.end(),
                       [&](const std::string& point) { return is_within(path, point); });
  }

  static std::optional<MountUser> by_links(const std::string& pid, const Places& places) {
    static constexpr std::array kLinks{std::pair{"cwd", "works in"}, std::pair{"root", "has as root"},
                                       std::pair{"exe", "runs"}};
    for (const auto& [link, how] : kLinks) {
      std::string path = link_of("/proc/" + pid + "/" + link);
      if (!path.empty() && within(places, path)) return user_of(pid, how, std::move(path));
    }
    return std::nullopt;
  }

  static std::optional<MountUser> by_descriptors(const std::string& pid, const Places& places) {
    if (places.ids.empty()) return std::nullopt;
    for (const std::string& fd : names_in("/proc/" + pid + "/fd")) {
      const auto info = read_file(AT_FDCWD, "/proc/" + pid + "/fdinfo/" + fd, kSmall);
      if (!info) continue;
      const std::string mount = field_of(*info, "mnt_id:");
      if (std::find(places.ids.begin(), places.ids.end(), mount) == places.ids.end()) continue;
      return user_of(pid, "has open", link_of("/proc/" + pid + "/fd/" + fd));
    }
    return std::nullopt;
  }

  std::optional<MountUser> by_maps(const std::string& pid) const {
    const auto maps = read_file(AT_FDCWD, "/proc/" + pid + "/maps", kLarge);
    if (!maps) return std::nullopt;
    char device[32];
    std::snprintf(device, sizeof device, "%02x:%02x", major_, minor_);
    std::istringstream lines(*maps);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string range, access, offset, on, inode, path;
      words >> range >> access >> offset >> on >> inode;
      if (on != device || inode == "0") continue;
      std::getline(words >> std::ws, path);
      return user_of(pid, "has mapped", path);
    }
    return std::nullopt;
  }

  const unsigned major_, minor_;
  const int daemon_;
  std::map<std::string, Places> known_;
};

std::string as_line(const MountUser& user) {
  return std::to_string(user.pid) + "\t" + printable(user.command) + "\t" + user.how + "\t" +
         printable(user.path) + "\n";
}

std::optional<MountUser> from_line(const std::string& line) {
  std::istringstream fields(line);
  MountUser user;
  std::string pid;
  std::getline(fields, pid, '\t');
  std::getline(fields, user.command, '\t');
  std::getline(fields, user.how, '\t');
  std::getline(fields, user.path);
  std::from_chars(pid.data(), pid.data() + pid.size(), user.pid);
  return user.pid > 0 ? std::optional(std::move(user)) : std::nullopt;
}

// What the other end says until it closes or time is up.
std::string hear(int fd, std::chrono::steady_clock::time_point until, bool& complete) {
  using std::chrono::milliseconds;
  std::string text;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - std::chrono::steady_clock::now());
    pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = left.count() > 0 ? poll(&p, 1, static_cast<int>(left.count())) : 0;
    if (ready < 0 && errno == EINTR) continue;
    complete = ready > 0;
    if (ready <= 0) return text;
    std::array<char, 4096> buffer;
    const ssize_t n = read(fd, buffer.data(), buffer.size());
    if (n <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

}  // namespace

// In a process of its own, for even /proc can keep its reader waiting.
MountUsers find_mount_users(const std::string& mountpoint, int daemon, std::chrono::milliseconds limit) {
  MountUsers found;
  const auto mounts = mounts_of();
  const MountRecord* mount = mounts ? mounted_at(*mounts, mountpoint) : nullptr;
  std::array<int, 2> ends{};
  if (mount == nullptr || pipe2(ends.data(), O_CLOEXEC) != 0) return found;
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const int self = getpid();
  const pid_t child = fork();
  if (child == 0) {
    Search search(mount->major, mount->minor, daemon);
    search.run([&](const MountUser& user) {
      const std::string line = as_line(user);
      if (user.pid != self && write(writer.get(), line.data(), line.size()) < 0) _exit(1);
    });
    _exit(0);
  }
  writer.reset();
  const auto until = std::chrono::steady_clock::now() + limit;
  std::istringstream lines(hear(reader.get(), until, found.complete));
  for (std::string line; std::getline(lines, line);) {
    if (auto user = from_line(line)) found.users.push_back(std::move(*user));
  }
  if (child > 0 && !found.complete) kill(child, SIGKILL);
  if (child > 0) waitpid(child, nullptr, found.complete ? 0 : WNOHANG);
  return found;
}

}  // namespace mediafs::app
