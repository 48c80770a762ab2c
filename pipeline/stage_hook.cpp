// Hooks: any command on an event, as a job of its own.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "common/fd.h"
#include "common/path.h"
#include "pipeline/child.h"
#include "pipeline/stages.h"
#include "tier/catalogue/hooks.h"

namespace mediafs::pipeline {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kEndsWithin{2000};  // between SIGTERM and SIGKILL
constexpr std::size_t kOutputKept = 2048;  // its end: that is where errors stand

// What a hook says, without ever making it wait.
class Output {
 public:
  static Result<Output> make() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "hook");
    Output output{Fd(ends[0]), Fd(ends[1])};
    if (fcntl(output.ours_.get(), F_SETFL, O_NONBLOCK) != 0) return errno_error(errno, "hook");
    return output;
  }
  int ours() const { return ours_.get(); }
  int theirs() const { return theirs_.get(); }
  void started() { theirs_.reset(); }
  void read() {
    char chunk[4096];
    // A bound: one that writes without end must not keep us from looking at the clock.
    for (int turn = 0; turn < 64 && ours_; turn++) {
      const ssize_t n = ::read(ours_.get(), chunk, sizeof(chunk));
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
      if (n <= 0) return ours_.reset();
      text_.append(chunk, static_cast<std::size_t>(n));
      if (text_.size() > kOutputKept) text_.erase(0, text_.size() - kOutputKept);
    }
  }
  std::string text() const {
    const auto end = text_.find_last_not_of(" \t\r\n");
    return end == std::string::npos ? "" : text_.substr(0, end + 1);
  }

 private:
  Output(Fd ours, Fd theirs) : ours_(std::move(ours)), theirs_(std::move(theirs)) {}
  Fd ours_, theirs_;
  std::string text_;
};

enum class Ended : std::uint8_t { by_itself, too_late, stopped };

Ended wait_for(const Child& child, Output& output, milliseconds limit, const std::stop_token& stop) {
  const Fd asked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const std::stop_callback wake(stop, [&] { eventfd_write(asked.get(), 1); });
  const auto until = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (stop.stop_requested()) return Ended::stopped;
    const auto left = std::chrono::duration_cast<milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) return Ended::too_late;
    pollfd p[3] = {{.fd = child.pidfd(), .events = POLLIN, .revents = 0},
                   {.fd = asked.get(), .events = POLLIN, .revents = 0},
                   {.fd = output.ours(), .events = POLLIN, .revents = 0}};
    if (poll(p, 3, static_cast<int>(left.count())) <= 0) continue;
    output.read();
    if (p[0].revents != 0) return Ended::by_itself;
  }
}

std::string with_output(std::string what, const std::string& output) {
  return output.empty() ? what : what + ": " + output;
}

Status run_hook(const std::vector<std::string>& command, const std::vector<std::string>& environment,
                milliseconds limit, const std::stop_token& stop) {
  const std::string name = "hook " + command.at(0);
  MEDIAFS_ASSIGN(auto output, Output::make());
  MEDIAFS_ASSIGN(auto child,
                 start_child({.command = command, .environment = environment, .output = output.theirs()}));
  output.started();
  const Ended ended = wait_for(child, output, limit, stop);
  int status = 0;
  if (ended != Ended::by_itself) {
    child.signal_group(SIGTERM);
    pollfd end{.fd = child.pidfd(), .events = POLLIN, .revents = 0};
    poll(&end, 1, static_cast<int>(kEndsWithin.count()));  // not collected yet: its group is still its own
    child.signal_group(SIGKILL);
    child.await_end(kEndsWithin, status);
    output.read();
  }
  if (ended == Ended::stopped) return make_error(ErrorCode::cancelled, name, "mediafs is stopping");
  if (ended == Ended::too_late) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit).count();
    return make_error(
        ErrorCode::io, name,
        with_output("it ran longer than " + std::to_string(seconds) + " s and was ended", output.text()));
  }
  child.await_end(kEndsWithin, status);
  output.read();
  const std::string said = output.text();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    // `changed` ends the job as done, and keeps the words.
    return said.empty() ? Status() : Status(make_error(ErrorCode::changed, name, "it said: " + said));
  }
  const std::string how = WIFEXITED(status) ? "exit status " + std::to_string(WEXITSTATUS(status))
                                            : "ended by signal " + std::to_string(WTERMSIG(status));
  return make_error(ErrorCode::io, name, with_output(how, said));
}

}  // namespace

Handler hook_stage(Tools& tools) {
  return [&tools](const tier::Job& job, std::stop_token stop) -> Status {
    const auto call = tier::hook_call(job.path);
    const auto& hooks = tools.branches.config.hooks;
    if (!call || call->index >= hooks.size() || hooks[call->index].on != call->event) {
      return make_error(ErrorCode::changed, "hook for " + printable(job.path), "it is no longer configured");
    }
    const std::string file = join_path(tools.mountpoint, call->path);
    std::vector<std::string> command = hooks[call->index].run;
    for (auto& word : command) {
      if (word == "{}") word = file;
    }
    return run_hook(command, {"MEDIAFS_EVENT=" + call->event, "MEDIAFS_PATH=" + file}, tools.hook_limit,
                    stop);
  };
}

}  // namespace mediafs::pipeline
