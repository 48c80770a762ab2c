#include "pipeline/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <utility>

#include "common/log.h"

namespace mediafs::pipeline {

namespace {

constexpr int kSocket = 3;
constexpr std::chrono::seconds kKilledWithin{2};

struct Actions {
  posix_spawn_file_actions_t raw;
  Actions() { posix_spawn_file_actions_init(&raw); }
  ~Actions() { posix_spawn_file_actions_destroy(&raw); }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
};

struct Attributes {
  posix_spawnattr_t raw;
  Attributes() {
    posix_spawnattr_init(&raw);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    for (const int s : {SIGKILL, SIGSTOP}) sigdelset(&all, s);
    posix_spawnattr_setsigmask(&raw, &none);
    posix_spawnattr_setsigdefault(&raw, &all);
    posix_spawnattr_setpgroup(&raw, 0);  // Ctrl-C is for the daemon, which ends its children in order
    posix_spawnattr_setflags(&raw, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~Attributes() { posix_spawnattr_destroy(&raw); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
};

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  out.reserve(words.size() + 1);
  for (auto& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

std::vector<std::string> environment_of(std::initializer_list<const char*> names) {
  std::vector<std::string> out;
  for (const char* name : names) {
    if (const char* value = std::getenv(name); value != nullptr)
      out.push_back(std::string(name) + "=" + value);
  }
  return out;
}

std::vector<std::string> clean_environment() {
  auto out = environment_of({"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"});
  const bool path = std::any_of(out.begin(), out.end(), [](const auto& e) { return e.starts_with("PATH="); });
  if (!path) out.emplace_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  return out;
}

Result<Child> start_child(const ChildOptions& options) {
  std::vector<std::string> command = options.command;
  std::vector<std::string> environment = clean_environment();
  environment.insert(environment.end(), options.environment.begin(), options.environment.end());
  Actions actions;
  const Attributes attributes;
  // Above all that are set up below, which would otherwise overwrite them.
  constexpr int kAbove = 10;
  const Fd output(options.output < 0 ? -1 : fcntl(options.output, F_DUPFD_CLOEXEC, kAbove));
  const Fd socket(options.socket < 0 ? -1 : fcntl(options.socket, F_DUPFD_CLOEXEC, kAbove));
  if ((options.output >= 0 && !output) || (options.socket >= 0 && !socket))
    return errno_error(errno, "start " + command.at(0));
  posix_spawn_file_actions_addopen(&actions.raw, 0, "/dev/null", O_RDWR, 0);
  for (const int fd : {1, 2}) posix_spawn_file_actions_adddup2(&actions.raw, output ? output.get() : 0, fd);
  if (socket) posix_spawn_file_actions_adddup2(&actions.raw, socket.get(), kSocket);
  posix_spawn_file_actions_addclosefrom_np(&actions.raw, socket ? kSocket + 1 : kSocket);
  auto argv = pointers(command);
  auto envp = pointers(environment);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, argv[0], &actions.raw, &attributes.raw, argv.data(), envp.data());
  if (failed != 0) return errno_error(failed, "start " + command[0]);
  Child child(pid, Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))));
  if (!child.pidfd_) return errno_error(errno, "watch " + command[0]);
  return child;
}

Child::Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, 0)), pidfd_(std::move(other.pidfd_)) {}

Child::~Child() {
  if (pid_ == 0) return;
  signal_group(SIGKILL);
  int status = 0;
  // One that waits for a dead disk can't be killed; it is collected with our own end.
  if (!await_end(kKilledWithin, status)) log::error("a process does not end", {{"pid", pid_}});
}

void Child::signal_group(int number) const {
  if (pid_ != 0) kill(-pid_, number);
}

bool Child::await_end(std::chrono::milliseconds limit, int& status) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (pid_ != 0) {
    const pid_t ended = waitpid(pid_, &status, WNOHANG);
    if (ended == pid_ || (ended < 0 && errno != EINTR)) {
      pid_ = 0;
      return true;
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    if (pidfd_) {
      pollfd p{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
      poll(&p, 1, static_cast<int>(left.count()));
    } else {
      poll(nullptr, 0, 10);
    }
  }
  return true;
}

}  // namespace mediafs::pipeline
