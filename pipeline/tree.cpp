#include "pipeline/tree.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "pipeline/tree_wire.h"

extern char** environ;

namespace mediafs::pipeline {

namespace {

constexpr int kAgentSocket = 3;

Result<pid_t> spawn(const std::string& program, int socket) {
  std::string name = program;
  std::string command = "tree-agent";
  char* argv[] = {name.data(), command.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, socket, kAgentSocket);
  // It says nothing; and whoever waits for the end of our output doesn't wait for an agent's.
  for (const int fd : {0, 1, 2}) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  // Of its own group, with signals as in a fresh process: Ctrl-C is for the daemon, which ends its agents in order.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, program.c_str(), &actions, &attributes, argv, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return errno_error(failed, "start " + program);
  return pid;
}

}  // namespace

struct Tree::Agent {
  Fd socket;
  pid_t pid = 0;
  ~Agent() {
    socket.reset();  // it exits
    while (pid > 0 && waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
};

Tree::Tree(Options options) : options_(std::move(options)) {}
Tree::~Tree() = default;

std::unique_ptr<Tree> Tree::open(Options options) {
  return std::unique_ptr<Tree>(new Tree(std::move(options)));
}

Result<std::unique_ptr<Tree::Agent>> Tree::take() {
  {
    MutexLock lock(mutex_);
    while (idle_.empty() && made_ >= options_.agents) freed_.wait(mutex_);
    if (!idle_.empty()) {
      auto agent = std::move(idle_.back());
      idle_.pop_back();
      return agent;
    }
    made_++;
  }
  auto agent = std::make_unique<Agent>();
  int ends[2];
  Result<pid_t> pid = make_error(ErrorCode::internal, "tree agent");
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    pid = errno_error(errno, "tree agent");
  } else {
    agent->socket = Fd(ends[0]);
    const Fd theirs(ends[1]);
    pid = spawn(options_.program, theirs.get());
  }
  if (pid) {
    agent->pid = *pid;
    return agent;
  }
  MutexLock lock(mutex_);
  made_--;
  freed_.notify_one();
  return std::move(pid).error();
}

void Tree::give_back(std::unique_ptr<Agent> agent) {
  MutexLock lock(mutex_);
  if (agent) {
    idle_.push_back(std::move(agent));
  } else {
    made_--;
  }
  freed_.notify_one();
}

Result<std::string> Tree::call(char operation, const std::string& a, const std::string& b) {
  wire::Request request{.operation = operation, .root = options_.root, .device = 0, .a = a, .b = b};
  {
    MutexLock lock(mutex_);
    request.device = device_;
  }
  if (options_.program.empty()) return wire::decode_reply(carry_out_encoded(request));
  MEDIAFS_ASSIGN(auto agent, take());
  Result<std::string> packet = make_error(ErrorCode::offline, "tree agent", "it ended");
  if (wire::send_message(agent->socket.get(), wire::encode(request)))
    packet = wire::receive(agent->socket.get());
  if (!packet) agent.reset();  // a new one takes its place
  give_back(std::move(agent));
  if (!packet) return std::move(packet).error();
  return wire::decode_reply(*packet);
}

Status Tree::meet() {
  MEDIAFS_ASSIGN(const std::string device, call(wire::kMeet, "", ""));
  MutexLock lock(mutex_);
  device_ = strtoull(device.c_str(), nullptr, 10);
  return {};
}

Result<Tree::Stat> Tree::stat(const std::string& path) {
  MEDIAFS_ASSIGN(const std::string reply, call(wire::kStat, path, ""));
  char* rest = nullptr;
  const auto mode = static_cast<std::uint32_t>(strtoul(reply.c_str(), &rest, 10));
  return Stat{.size_bytes = strtoull(rest, nullptr, 10), .mode = mode};
}

Status Tree::rename(const std::string& from, const std::string& to) {
  auto done = call(wire::kRename, from, to);
  return done ? Status() : Status(std::move(done).error());
}

Status Tree::unlink(const std::string& path) {
  auto done = call(wire::kUnlink, path, "");
  return done ? Status() : Status(std::move(done).error());
}

Status Tree::write_file(const std::string& path, const std::string& text) {
  auto done = call(wire::kWrite, path, text);
  return done ? Status() : Status(std::move(done).error());
}

Result<std::string> Tree::read_file(const std::string& path) {
  return call(wire::kRead, path, "");
}

Result<Xxh128> Tree::checksum(const std::string& path) {
  MEDIAFS_ASSIGN(const std::string hex, call(wire::kChecksum, path, ""));
  const auto sum = xxh128_from_hex(hex);
  if (!sum) return make_error(ErrorCode::internal, "tree agent", "its checksum is not one");
  return *sum;
}

}  // namespace mediafs::pipeline
