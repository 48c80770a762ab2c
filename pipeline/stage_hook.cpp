// Hooks: any command on an event, as a job of its own.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "common/fd.h"
#include "common/log.h"
#include "common/path.h"
#include "pipeline/stages.h"

extern char** environ;

namespace mediafs::pipeline {

namespace {

constexpr std::chrono::minutes kHookLimit{10};
constexpr int kPollMs = 200;

// A job's path carries which hook it is: "INDEX:PATH".
std::string hook_job_path(std::size_t index, const std::string& path) {
  return std::to_string(index) + ":" + path;
}

Result<pid_t> start(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  argv.reserve(command.size() + 1);
  for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return errno_error(failed, "hook " + command[0]);
  return pid;
}

Status wait_for(pid_t pid, const std::string& name, const std::stop_token& stop) {
  const Fd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  const auto until = std::chrono::steady_clock::now() + kHookLimit;
  const char* killed = nullptr;
  while (process && killed == nullptr) {
    struct pollfd p = {.fd = process.get(), .events = POLLIN, .revents = 0};
    if (poll(&p, 1, kPollMs) > 0) break;
    if (stop.stop_requested()) killed = "mediafs is stopping";
    if (std::chrono::steady_clock::now() > until) killed = "it ran longer than 10 minutes and was ended";
    if (killed != nullptr) kill(pid, SIGKILL);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (killed != nullptr)
    return make_error(stop.stop_requested() ? ErrorCode::cancelled : ErrorCode::timeout, "hook " + name,
                      killed);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const std::string how = WIFEXITED(status) ? "exit status " + std::to_string(WEXITSTATUS(status))
                                            : "ended by signal " + std::to_string(WTERMSIG(status));
  return make_error(ErrorCode::io, "hook " + name, how + " (its output is in mediafs's log)");
}

}  // namespace

Status enqueue_hooks(Tools& tools, std::string_view event, const std::string& path) {
  const auto& hooks = tools.branches.config.hooks;
  for (std::size_t i = 0; i < hooks.size(); i++) {
    if (hooks[i].on != event) continue;
    MEDIAFS_TRY(tools.branches.catalogue->jobs().enqueue(
        {.stage = std::string(kStageHook), .path = hook_job_path(i, path)}));
  }
  return {};
}

Handler hook_stage(Tools& tools) {
  return [&tools](const tier::Job& job, std::stop_token stop) -> Status {
    const auto colon = job.path.find(':');
    const auto& hooks = tools.branches.config.hooks;
    const std::size_t index =
        colon == std::string::npos ? hooks.size() : std::strtoul(job.path.c_str(), nullptr, 10);
    if (index >= hooks.size()) {
      return make_error(ErrorCode::changed, "hook for " + printable(job.path), "it is no longer configured");
    }
    const std::string file = join_path(tools.mountpoint, job.path.substr(colon + 1));
    std::vector<std::string> command = hooks[index].run;
    for (auto& word : command) {
      if (word == "{}") word = file;
    }
    MEDIAFS_ASSIGN(const pid_t pid, start(command));
    return wait_for(pid, command[0], stop);
  };
}

}  // namespace mediafs::pipeline
