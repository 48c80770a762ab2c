#include "fs/passthrough.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <chrono>
#include <optional>

#include "common/log.h"

namespace mediafs::fs {
namespace {

constexpr std::chrono::milliseconds kLookEvery{100};

// linux/fuse.h has these from 6.9 on, which Debian 12's does not.
struct BackingMap {
  std::int32_t fd;
  std::uint32_t flags;
  std::uint64_t padding;
};
constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
constexpr unsigned long kBackingClose = _IOW(229, 2, std::uint32_t);

// Unset: this file's trouble only.
std::optional<std::string> reason_for_all(int error_number) {
  switch (error_number) {
    case EPERM:
    case EACCES:
      return "mediafs lacks CAP_SYS_ADMIN";
    case ELOOP:
      return "the local branch lies on a filesystem that is stacked itself";
    case EOPNOTSUPP:
    case ENOTTY:
    case EINVAL:
      return "the kernel can't pass through to the local branch's filesystem";
    default:
      return std::nullopt;
  }
}

}  // namespace

Passthrough::Passthrough(bool wanted, std::function<void()> look)
    : wanted_(wanted),
      look_(std::move(look)),
      why_(wanted ? "the kernel has not been asked yet" : "it is switched off") {}

Passthrough::~Passthrough() {
  if (!watcher_.joinable()) return;
  watcher_.request_stop();
  watcher_.join();
}

Passthrough::State Passthrough::state() const {
  MutexLock lock(mutex_);
  return State{on_.load(), why_};
}

void Passthrough::agreed(int session_fd) {
  MutexLock lock(mutex_);
  why_.clear();
  session_fd_ = session_fd;
  on_ = true;
  if (look_) watcher_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

void Passthrough::refused(std::string why) {
  MutexLock lock(mutex_);
  on_ = false;
  why_ = std::move(why);
}

// Writes that we don't see can't wait for eviction, so that must begin in time.
void Passthrough::watch(const std::stop_token& stop) noexcept {
  std::stop_callback on_stop(stop, [this] {
    MutexLock lock(mutex_);
    changed_.notify_all();
  });
  while (!stop.stop_requested()) {
    {
      MutexLock lock(mutex_);
      if (writers() == 0) {
        changed_.wait(mutex_);
        continue;
      }
      changed_.wait_for(mutex_, kLookEvery);
    }
    if (writers() > 0) look_();
  }
}

// 0: the kernel would not; we read and write then.
std::int32_t Passthrough::back(int fd) {
  if (!on_) return 0;
  BackingMap map{.fd = fd, .flags = 0, .padding = 0};
  const int id = ioctl(session_fd_.load(), kBackingOpen, &map);
  const int saved = errno;
  if (id > 0) return id;
  if (auto why = reason_for_all(saved)) {
    log::warning("no passthrough: reads and writes go through mediafs", errno_error(saved, *why));
    refused(std::move(*why));
  }
  return 0;
}

Result<Passthrough::Use> Passthrough::open(NodeId node, const Open& open) {
  Shard& s = shard(node);
  Use use;
  MutexLock lock(s.mutex);
  Node& known = s.nodes[node];
  const bool same = open.fd >= 0 && known.device == open.device && known.inode == open.inode;
  if (known.opens == 0) {
    known.device = open.device;
    known.inode = open.inode;
    if (open.fd >= 0 && open.may_begin) known.id = back(open.fd);
  } else if (known.id != 0 && !same) {
    return errno_error(ESTALE, "open of a file that was replaced");
  }
  ++known.opens;
  use.owner_ = this;
  use.node_ = node;
  use.id_ = known.id;
  use.writer_ = open.writer && known.id != 0;
  if (!use.writer_) return use;
  lock.unlock();
  if (writers_.fetch_add(1, std::memory_order_relaxed) == 0) {
    MutexLock watching(mutex_);
    changed_.notify_all();
  }
  return use;
}

bool Passthrough::passes(NodeId node) const {
  const Shard& s = shard(node);
  MutexLock lock(s.mutex);
  auto at = s.nodes.find(node);
  return at != s.nodes.end() && at->second.id != 0;
}

void Passthrough::give_back(NodeId node, bool writer) noexcept {
  if (writer) writers_.fetch_sub(1, std::memory_order_relaxed);
  Shard& s = shard(node);
  MutexLock lock(s.mutex);
  auto at = s.nodes.find(node);
  if (at == s.nodes.end() || --at->second.opens > 0) return;
  auto id = static_cast<std::uint32_t>(at->second.id);
  s.nodes.erase(at);
  lock.unlock();
  // Fails only where the connection has ended, which gave all of them back.
  if (id != 0) static_cast<void>(ioctl(session_fd_.load(), kBackingClose, &id));
}

Passthrough::Use::Use(Use&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)),
      node_(other.node_),
      id_(other.id_),
      writer_(other.writer_) {}

Passthrough::Use& Passthrough::Use::operator=(Use&& other) noexcept {
  if (this == &other) return *this;
  release();
  owner_ = std::exchange(other.owner_, nullptr);
  node_ = other.node_;
  id_ = other.id_;
  writer_ = other.writer_;
  return *this;
}

Passthrough::Use::~Use() {
  release();
}

void Passthrough::Use::release() noexcept {
  if (auto* owner = std::exchange(owner_, nullptr)) owner->give_back(node_, writer_);
}

}  // namespace mediafs::fs
