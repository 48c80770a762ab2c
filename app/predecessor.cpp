#include "app/predecessor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>

#include "app/registry.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mounts.h"
#include "common/path.h"
#include "fs/mountpoint.h"

namespace mediafs::app {

namespace {

using Json = nlohmann::json;

constexpr std::chrono::milliseconds kEndsWithin{10'000};
constexpr std::size_t kSmall = 1U << 16;
constexpr unsigned long long kSigkill = 1ULL << 8;

std::string file_in(const std::string& state) {
  return state + "/mounted";
}

std::string boot() {  // connections' and processes' numbers begin anew with it
  return read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", kSmall).value_or("");
}

struct Process {
  char state = 0;
  std::string started;  // in ticks since the boot: tells it from another one that got its number
};

Process look_at(int pid) {
  const auto text = read_file(AT_FDCWD, "/proc/" + std::to_string(pid) + "/stat", kSmall);
  if (!text) return {};
  const std::size_t name_end = text->rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return {};
  std::istringstream words(text->substr(name_end + 1));
  Process process;
  words >> process.state;
  constexpr int kWordsBetween = 19;
  for (int i = 0; i < kWordsBetween && words >> process.started; ++i) {
  }
  return process;
}

// It can't go on, though it may not be able to end yet.
bool is_killed(int pid) {
  const auto text = read_file(AT_FDCWD, "/proc/" + std::to_string(pid) + "/status", kSmall);
  if (!text) return true;
  for (const char* name : {"\nSigPnd:\t", "\nShdPnd:\t"}) {
    const std::size_t at = text->find(name);
    if (at == std::string::npos) continue;
    if ((std::strtoull(text->c_str() + at + 9, nullptr, 16) & kSigkill) != 0) return true;
  }
  return false;
}

bool lives(int pid, const std::string& started) {
  const Process process = look_at(pid);
  if (process.state == 0 || process.started != started) return false;
  return process.state != 'Z' && process.state != 'X' && !is_killed(pid);
}

void note(const std::string& state, Json j) {
  j["boot"] = boot();
  j["pid"] = getpid();
  j["started"] = look_at(getpid()).started;
  const std::string text = j.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  if (auto written = write_file_atomic(AT_FDCWD, file_in(state), text, 0600); !written)
    log::warning("can't note the mount", written.err());
}

// By a process that this one may not be able to see: in a container, say.
bool is_locked(const std::string& state) {
  auto fd = open_at(AT_FDCWD, state + "/lock", O_RDWR | O_CLOEXEC);
  return fd && flock(fd->get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

bool served_by_another(const std::string& mountpoint, int pid) {
  for (const auto& daemon : running_daemons()) {
    if (daemon.mountpoint == mountpoint && daemon.pid != pid) return true;
  }
  return false;
}

Status wait_for_end(int pid) {
  const Fd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return {};
  pollfd p{.fd = process.get(), .events = POLLIN, .revents = 0};
  if (poll(&p, 1, static_cast<int>(kEndsWithin.count())) != 0) return {};
  return make_error(ErrorCode::busy, "start",
                    "the mediafs of before (pid " + std::to_string(pid) +
                        ") does not end: a disk or a share that it waits for may not answer");
}

}  // namespace

// One daemon a local branch: two would undo each other's work.
Result<Fd> lock_state(const std::string& state) {
  const std::string file = state + "/lock";
  MEDIAFS_ASSIGN(auto fd, open_at(AT_FDCWD, file, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    auto pid = read_file(AT_FDCWD, file, 64);
    return make_error(ErrorCode::busy, "lock " + file,
                      "another mediafs" + (pid && !pid->empty() ? " (pid " + *pid + ")" : "") +
                          " serves this local branch (mediafs unmount ends it)");
  }
  const std::string pid = std::to_string(getpid());
  if (ftruncate(fd.get(), 0) != 0) return errno_error(errno, "lock " + file);
  static_cast<void>(
      write_all(fd.get(), std::as_bytes(std::span(pid)), 0));  // for the message alone: the disk may be full
  return fd;
}

Status lock_local(int local_root, const std::string& path) {
  if (flock(local_root, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return {};
  return make_error(
      ErrorCode::busy, "local.path " + printable(path),
      "another mediafs serves it, with its state in another directory (mediafs unmount ends it; "
      "local.state of both must not differ)");
}

Status clear_predecessor(const std::string& state) {
  const auto text = read_file(AT_FDCWD, file_in(state), kSmall);
  if (!text) return {};
  const Json was = Json::parse(*text, nullptr, false);
  if (!was.is_object() || was.value("boot", "") != boot()) return {};
  const int pid = was.value("pid", 0);
  const std::string started = was.value("started", "");
  if (was.value("ended", false)) return look_at(pid).started == started ? wait_for_end(pid) : Status{};
  const std::string mountpoint = was.value("mountpoint", "");
  MEDIAFS_ASSIGN(const auto mounts, mounts_of());
  const MountRecord* there = mounted_at(mounts, mountpoint);
  const bool mounted = there != nullptr && there->is_fuse() && there->minor == was.value("connection", 0U);
  if (lives(pid, started)) {
    if (!mounted) (void)wait_for_end(pid);  // somebody has unmounted it, and it is about to end
    return {};
  }
  if (look_at(pid).started != started && is_locked(state)) return {};  // which lock_state() tells
  if (mounted && !served_by_another(mountpoint, pid)) {
    log::warning("ending what a killed mediafs left", {{"path", printable(mountpoint)}, {"pid", pid}});
    if (auto ended = fs::abort_connection(there->minor); !ended)
      log::info("its connection can't be ended", {{"why", ended.err().message()}});
    if (auto detached = fs::detach_mount(mountpoint); !detached)
      log::warning("its mount stays", detached.err(), {{"path", printable(mountpoint)}});
  }
  if (look_at(pid).started != started) return {};
  return wait_for_end(pid);
}

void remember_mount(const std::string& state, const std::string& mountpoint) {
  const auto mounts = mounts_of();
  const MountRecord* there = mounts ? mounted_at(*mounts, mountpoint) : nullptr;
  if (there == nullptr) return;
  note(state, {{"connection", there->minor}, {"mountpoint", mountpoint}});
}

void forget_mount(const std::string& state) {
  note(state, {{"ended", true}});
}

}  // namespace mediafs::app
