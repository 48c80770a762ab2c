#include "pipeline/tree.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "common/clock.h"
#include "common/path.h"
#include "pipeline/child.h"
#include "pipeline/tree_wire.h"

namespace mediafs::pipeline {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kEndsWithin{2000};
constexpr milliseconds kHurried{5000};

int poll_ms(SteadyTime until) {
  const auto left =
      std::chrono::duration_cast<milliseconds>(until - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left + 1, 0, 3'600'000));
}

}  // namespace

struct Tree::Agent {
  Fd socket;
  Child child;
  Agent(Fd s, Child c) : socket(std::move(s)), child(std::move(c)) {}
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;
  ~Agent() {
    socket.reset();  // it exits
    int status = 0;
    child.await_end(kEndsWithin, status);
  }
};

Tree::Tree(Options options) : options_(std::move(options)), hurry_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
Tree::~Tree() = default;

std::unique_ptr<Tree> Tree::open(Options options) {
  return std::unique_ptr<Tree>(new Tree(std::move(options)));
}

void Tree::hurry() {
  eventfd_write(hurry_.get(), 1);
  MutexLock lock(mutex_);
  hurried_ = true;
  freed_.notify_all();
}

Result<std::unique_ptr<Tree::Agent>> Tree::start() const {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return errno_error(errno, "tree agent");
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  // It says nothing; and whoever waits for the end of our output doesn't wait for an agent's. The program is ours: what
  // it needs in order to run, as we do, is handed on.
  MEDIAFS_ASSIGN(
      auto child,
      start_child({.command = {options_.program, "tree-agent"},
                   .environment = environment_of(
                       {"LD_LIBRARY_PATH", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"}),
                   .socket = theirs.get()}));
  return std::make_unique<Agent>(std::move(ours), std::move(child));
}

void Tree::collect_lost() {
  const auto ended = [](const auto& agent) {
    int status = 0;
    return agent->child.await_end(milliseconds(0), status);
  };
  made_ -= std::erase_if(lost_, ended);
}

// Nobody tells when a lost one ends.
constexpr milliseconds kLostLook{1000};

Result<std::unique_ptr<Tree::Agent>> Tree::take() {
  const auto deadline = std::chrono::steady_clock::now() + options_.call_limit;
  {
    MutexLock lock(mutex_);
    for (;;) {
      collect_lost();
      if (!idle_.empty() || made_ < options_.agents) break;
      const auto now = std::chrono::steady_clock::now();
      if (hurried_ || now >= deadline) {
        return make_error(ErrorCode::timeout, "tree " + printable(options_.root),
                          "all of its agents are at work (tried again later)");
      }
      freed_.wait_until(mutex_, std::min(deadline, now + kLostLook));
    }
    if (!idle_.empty()) {
      auto agent = std::move(idle_.back());
      idle_.pop_back();
      return agent;
    }
    made_++;
  }
  auto agent = start();
  if (agent) return agent;
  MutexLock lock(mutex_);
  made_--;
  freed_.notify_one();
  return agent;
}

void Tree::give_back(std::unique_ptr<Agent> agent) {
  MutexLock lock(mutex_);
  idle_.push_back(std::move(agent));
  freed_.notify_one();
}

// A new one takes its place. One that waits within the kernel ends when the kernel lets it, and counts until then.
void Tree::end(std::unique_ptr<Agent> agent) {
  agent->socket.reset();
  agent->child.signal_group(SIGKILL);
  int status = 0;
  const bool ended = agent->child.await_end(kEndsWithin, status);
  MutexLock lock(mutex_);
  if (ended) {
    made_--;
  } else {
    lost_.push_back(std::move(agent));
  }
  freed_.notify_one();
}

// The next packet that is an answer.
Result<std::string> Tree::await(Agent& agent, const std::stop_token& stop) {
  const Fd asked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const std::stop_callback wake(stop, [&] { eventfd_write(asked.get(), 1); });
  auto until = std::chrono::steady_clock::now() + options_.call_limit;
  bool hurried = false;
  for (;;) {
    pollfd p[3] = {{.fd = agent.socket.get(), .events = POLLIN, .revents = 0},
                   {.fd = asked.get(), .events = POLLIN, .revents = 0},
                   {.fd = hurried ? -1 : hurry_.get(), .events = POLLIN, .revents = 0}};
    const int n = poll(p, 3, poll_ms(until));
    if (n > 0 && p[0].revents != 0) {
      MEDIAFS_ASSIGN(auto packet, wire::receive(agent.socket.get()));
      if (packet != wire::kAlive) return packet;
      if (!hurried) until = std::chrono::steady_clock::now() + options_.call_limit;
    }
    if (n > 0 && p[1].revents != 0) return make_error(ErrorCode::cancelled, "tree", "asked to stop");
    if (n > 0 && p[2].revents != 0) {
      hurried = true;
      until = std::min(until, std::chrono::steady_clock::now() + kHurried);
    }
    if (std::chrono::steady_clock::now() >= until) {
      return make_error(ErrorCode::timeout, "tree " + printable(options_.root),
                        "it gave no answer in time (tried again later)");
    }
  }
}

Result<std::string> Tree::call(char operation, const std::string& a, const std::string& b,
                               const std::stop_token& stop) {
  wire::Request request{.operation = operation, .root = options_.root, .device = 0, .a = a, .b = b};
  {
    MutexLock lock(mutex_);
    request.device = device_;
  }
  if (options_.program.empty()) return wire::decode_reply(carry_out_encoded(request));
  MEDIAFS_ASSIGN(auto agent, take());
  Result<std::string> packet = make_error(ErrorCode::offline, "tree agent", "it ended");
  if (wire::send_message(agent->socket.get(), wire::encode(request))) packet = await(*agent, stop);
  if (!packet) {
    end(std::move(agent));
    return std::move(packet).error();
  }
  give_back(std::move(agent));
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

Result<Xxh128> Tree::checksum(const std::string& path, std::stop_token stop) {
  MEDIAFS_ASSIGN(const std::string hex, call(wire::kChecksum, path, "", stop));
  const auto sum = xxh128_from_hex(hex);
  if (!sum) return make_error(ErrorCode::internal, "tree agent", "its checksum is not one");
  return *sum;
}

}  // namespace mediafs::pipeline
