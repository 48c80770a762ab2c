#include "fs/mount.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <optional>
#include <thread>

#include "common/log.h"
#include "common/mounts.h"
#include "common/path.h"
#include "fs/core.h"
#include "fs/invalidator.h"
#include "fs/loop_waits.h"
#include "fs/mountpoint.h"
#include "fs/ops.h"

namespace mediafs::fs {
namespace {

constexpr std::chrono::milliseconds kInterruptEvery{50};
constexpr std::chrono::milliseconds kReadOnFor{1'000}, kReadOnEvery{1};
// A read of a MiB, wherever it begins, is asked for as it is: the kernel adds to one that is larger than this. And it makes
// the first 64 KiB of a file no more than 128, as long as this is less than 2 MiB.
constexpr std::uint64_t kReadAhead = 1536U << 10;
constexpr std::chrono::milliseconds kDrainFor{5'000};  // after the end was asked for

// libfuse prints why a mount failed; that text is the error's cause.
thread_local std::string last_fuse_message;

void on_fuse_log(fuse_log_level level, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof line, format, arguments);
  last_fuse_message = line;
  while (!last_fuse_message.empty() && last_fuse_message.back() == '\n') last_fuse_message.pop_back();
  if (level <= FUSE_LOG_ERR) log::warning("libfuse", {{"message", last_fuse_message}});
}

class Arguments {
 public:
  Arguments(const Config::Mount& mount, bool allow_other) {
    std::string options =
        "default_permissions,fsname=" + (mount.fsname.empty() ? std::string("mediafs") : mount.fsname);
    if (!mount.subtype.empty()) options += ",subtype=" + mount.subtype;
    if (allow_other) options += ",allow_other";
    if (mount.read_only) options += ",ro";
    for (const std::string& option : mount.options) options += "," + option;
    fuse_opt_add_arg(&args_, "mediafs");
    fuse_opt_add_arg(&args_, ("-o" + options).c_str());
  }
  ~Arguments() { fuse_opt_free_args(&args_); }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  fuse_args* get() { return &args_; }

 private:
  fuse_args args_ = FUSE_ARGS_INIT(0, nullptr);
};

}  // namespace

struct Mount::Impl {
  explicit Impl(unsigned thread_count) : threads(thread_count) {}
  ~Impl();

  const unsigned threads;
  std::string mountpoint;
  std::unique_ptr<Core> core;
  fuse_lowlevel_ops operations{};
  fuse_session* session = nullptr;
  bool mounted = false;
  std::optional<unsigned> connection;  // its number

  Mutex mutex;
  CondVar changed;
  bool running GUARDED_BY(mutex) = false;
  bool stopping GUARDED_BY(mutex) = false;
  bool detached GUARDED_BY(mutex) = false;  // never twice: somebody may have mounted there since
  std::unique_ptr<Invalidator> invalidator;

  bool connection_ended() const;
  bool unread() const;
  void end_connection();
  void detach();
  void end_session();
};

bool Mount::Impl::connection_ended() const {
  struct pollfd device = {.fd = fuse_session_fd(session), .events = 0, .revents = 0};
  return poll(&device, 1, 0) == 1 && (device.revents & POLLERR) != 0;
}

// Files that are open keep a detached mount's connection going. Whoever tells the kernel of a change may wait for one of
// their requests, which nobody reads any more, and holds the device as long as that takes: so the kernel is asked to end
// it. Where it can't be asked, the device's last descriptor ends it: the session's is replaced by a pipe nobody reads,
// which to libfuse looks like a connection that has ended.
void Mount::Impl::end_connection() {
  if (connection && abort_connection(*connection) && connection_ended()) return;
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return;
  const Fd unread(ends[1]);
  close(ends[0]);
  dup3(unread.get(), fuse_session_fd(session), O_CLOEXEC);
}

// What the kernel has told is not read yet: of files that were closed a moment ago, too.
bool Mount::Impl::unread() const {
  struct pollfd device = {.fd = fuse_session_fd(session), .events = POLLIN, .revents = 0};
  return poll(&device, 1, 0) == 1 && device.revents == POLLIN;
}

// Lazily, so that open files do not keep the mount point.
void Mount::Impl::detach() {
  {
    MutexLock lock(mutex);
    if (std::exchange(detached, true)) return;
  }
  if (auto done = detach_mount(mountpoint); !done && done.error().sys_errno != EINVAL) {
    log::warning("can't unmount", done.error(), {{"path", printable(mountpoint)}});
  }
}

void Mount::Impl::end_session() {
  if (session == nullptr) return;
  if (mounted && !connection_ended() && !core->drain(kDrainFor))
    log::info("requests that take longer are answered with an error", {{"path", printable(mountpoint)}});
  core->shut_down();
  if (invalidator && !mounted) invalidator->stop();
  if (mounted && !connection_ended()) detach();
  if (mounted) {
    if (!connection_ended()) end_connection();
    if (invalidator) invalidator->stop();  // it may have waited for a request that nobody answers any more
    // This frees what fuse_session_mount made; were the connection not ended, it would unmount by name.
    if (connection_ended()) fuse_session_unmount(session);
  }
  fuse_session_destroy(session);  // closes the device: the kernel ends what is still open
  session = nullptr;
}

Mount::Impl::~Impl() {
  end_session();
}

Mount::Mount(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Mount::~Mount() = default;

Result<std::unique_ptr<Mount>> Mount::create(Options options) {
  MEDIAFS_TRY(check_fuse(options.allow_other));
  MEDIAFS_ASSIGN(std::string place,
                 prepare_mountpoint(options.mountpoint, options.branches.config.local.path));
  auto impl = std::make_unique<Impl>(options.threads);
  impl->mountpoint = place;
  MEDIAFS_ASSIGN(impl->core, Core::create({.branches = options.branches,
                                           .streams = options.streams,
                                           .mover = options.mover,
                                           .status_json = std::move(options.status_json),
                                           .jobs_json = std::move(options.jobs_json),
                                           .vault_deadline = options.vault_deadline,
                                           .vault_answers = std::move(options.vault_answers),
                                           .space_limit = options.space_limit,
                                           .passthrough = options.passthrough}));
  fuse_set_log_func(on_fuse_log);
  impl->operations = make_operations();
  Arguments arguments(options.branches.config.mount, options.allow_other);
  impl->session =
      fuse_session_new(arguments.get(), &impl->operations, sizeof impl->operations, impl->core.get());
  if (impl->session == nullptr) return make_error(ErrorCode::internal, "mount " + place, last_fuse_message);
  last_fuse_message.clear();
  errno = 0;
  if (fuse_session_mount(impl->session, place.c_str()) != 0) {
    const int saved = errno;
    Error error = errno_error(saved != 0 ? saved : EIO, "mount " + printable(place));
    if (!last_fuse_message.empty()) error.cause = last_fuse_message;
    if (geteuid() == 0 && (saved == EPERM || saved == EACCES)) {
      error.cause += " (root lacks CAP_SYS_ADMIN here: in a container start it with --cap-add SYS_ADMIN)";
    } else if (geteuid() != 0) {
      error.cause += " (the mount point must belong to this user; or run as root)";
    }
    return error;
  }
  impl->mounted = true;
  if (const auto mounts = mounts_of()) {
    const MountRecord* there = mounted_at(*mounts, place);
    if (there != nullptr && there->is_fuse()) impl->connection = there->minor;
  }
  impl->core->session = impl->session;
  MEDIAFS_TRY(hook_session(impl->session));
  impl->invalidator = std::make_unique<Invalidator>(*impl->core, std::move(options.watched));
  impl->core->short_listing = [told = impl->invalidator.get()](NodeId directory) {
    told->short_listing(directory);
  };
  impl->core->doing = [told = impl->invalidator.get()](const std::string& path) { told->doing(path); };
  impl->core->undone = [told = impl->invalidator.get()](const std::string& path) { told->undone(path); };
  impl->invalidator->start();
  return std::unique_ptr<Mount>(new Mount(std::move(impl)));
}

Status Mount::run() {
  Impl& m = *impl_;
  {
    MutexLock lock(m.mutex);
    if (m.stopping) return {};
    m.running = true;
  }
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_clone_fd(config, 1);
  fuse_loop_cfg_set_max_threads(config, m.threads);
  fuse_loop_cfg_set_idle_threads(config, m.threads);
  const int outcome = fuse_session_loop_mt(m.session, config);
  fuse_loop_cfg_destroy(config);
  bool asked = false;
  {
    MutexLock lock(m.mutex);
    m.running = false;
    asked = m.stopping;
    m.changed.notify_all();
  }
  m.end_session();
  if (outcome >= 0 || asked) return {};
  return errno_error(-outcome, "serve " + printable(m.mountpoint));
}

void Mount::stop() {
  Impl& m = *impl_;
  MutexLock lock(m.mutex);
  if (m.stopping) return;
  m.stopping = true;
  if (!m.running) return;
  const auto read_on = [&m]() REQUIRES(m.mutex) {
    const SteadyTime until = std::chrono::steady_clock::now() + kReadOnFor;
    while (m.running && m.unread() && std::chrono::steady_clock::now() < until)
      m.changed.wait_for(m.mutex, kReadOnEvery);
  };
  read_on();  // an unmount ends what the kernel has queued: releases, which nobody waits for
  lock.unlock();
  m.detach();
  lock.lock();
  read_on();
  if (m.running) fuse_session_exit(m.session);
  while (m.running) {
    interrupt_loop_waits();
    m.changed.wait_for(m.mutex, kInterruptEvery);
  }
}

void Mount::let_go() {
  impl_->detach();
}

void Mount::read_far_ahead() {
  if (!impl_->connection) return;
  if (auto done = read_ahead(*impl_->connection, kReadAhead); !done)
    log::info("the kernel reads in small pieces: reading from the vault and the share costs more",
              {{"why", done.err().message()}});
}

void Mount::noticed(Noticed what, std::string_view path) {
  using Kind = Invalidator::Kind;
  static constexpr std::array kKinds{Kind::name, Kind::attributes, Kind::contents, Kind::names,
                                     Kind::everything};
  if (impl_->invalidator)
    impl_->invalidator->notice(kKinds[static_cast<std::size_t>(what)], std::string(path));
}

std::uint64_t Mount::open_count(std::string_view path) const {
  const auto node = impl_->core->nodes.find(path);
  return node ? impl_->core->nodes.open_count(*node) : 0;
}

std::optional<bool> Mount::share_answers() const {
  const ShareBranch* share = impl_->core->share.get();
  return share == nullptr ? std::nullopt : std::optional(share->usable());
}

Mount::PassthroughState Mount::passthrough() const {
  auto state = impl_->core->passthrough.state();
  return {state.on, std::move(state.why), impl_->core->passthrough.writers()};
}

const std::string& Mount::mountpoint() const {
  return impl_->mountpoint;
}

}  // namespace mediafs::fs
