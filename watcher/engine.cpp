#include "watcher/engine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <exception>

#include "common/log.h"
#include "common/path.h"
#include "watcher/probe.h"

namespace mediafs::watcher {
namespace {

constexpr int kRestMs = 5;
constexpr std::size_t kInboxLimit =
    1U << 18;  // past it notices stay in the kernel, which says when it loses some

}  // namespace

Engine::Engine(Watcher::Options options, Watcher::OnEvent on_event, Watcher::OnRaw on_raw)
    : options_(std::move(options)), on_event_(std::move(on_event)), on_raw_(std::move(on_raw)) {}

Status Engine::open() {
  MEDIAFS_ASSIGN(root_, open_at(AT_FDCWD, options_.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  MEDIAFS_ASSIGN(const struct stat info, stat_fd(root_.get()));
  const int event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int saved = errno;
  if (event_fd < 0) return errno_error(saved, "eventfd");
  wake_ = Fd(event_fd);
  MEDIAFS_TRY(inotify_.open());
  table_.emplace(file_id(info));
  pending_ = PendingTable();
  inbox_.clear();
  pair_due_.reset();
  scans_.clear();
  rechecks_.clear();
  limit_reached_ = false;
  scanning_all_ = false;
  scans_done_ = 0;
  overflows_ = 0;
  forget_handle();
  const auto wd = inotify_.add(root_.get());
  if (wd) {
    table_->set_watch(kRootDir, *wd);
  } else if (wd.err().sys_errno != ENOSPC) {
    return make_error(wd.err().code, "watch " + printable(options_.root), wd.err().message());
  }
  Dir& root = *table_->find(kRootDir);
  root.muted = ignored("");
  poll_due_ = std::chrono::steady_clock::now() + options_.poll_unwatched;
  begin_scan_all();
  publish_stats();
  open_.store(true, std::memory_order_release);
  return {};
}

void Engine::run(const std::stop_token& stop) noexcept {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGIO);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // see probe_writer
  pthread_setname_np(pthread_self(), "watcher");
  while (!stop.stop_requested()) {
    try {
      turn(stop);
    } catch (const std::exception& e) {
      // Only memory can have run out. What was being handled is lost, so everything is looked at again.
      log::error("watcher_failed", make_error(ErrorCode::internal, "watch " + options_.root, e.what()));
      ask_scan_all();
    }
  }
}

void Engine::turn(const std::stop_token& stop) {
  wait();
  if (stop.stop_requested()) return;
  at_work_ = true;
  pump();
  take_requests();
  handle_inbox();
  settle_due();
  run_rechecks();
  poll_unwatched();
  run_scans();
  forget_handle();
  publish_stats();
  at_work_ = false;
}

int Engine::timeout_ms() const {
  if (!scans_.empty()) return 0;
  if (!inbox_.empty() && !pair_due_) return 0;
  std::optional<SteadyTime> due = pending_.next_due();
  const auto sooner = [&due](SteadyTime time) { due = due ? std::min(*due, time) : time; };
  if (pair_due_) sooner(*pair_due_);
  if (!rechecks_.empty()) sooner(rechecks_.begin()->first);
  if (scan_all_due_ && !scanning_all_) sooner(*scan_all_due_);
  if (!table_->unwatched().empty()) sooner(poll_due_);
  if (scanning_all_ && rechecks_.empty()) return 0;
  if (!due) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(*due - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

void Engine::wait() {
  // Notices come in swarms: to be woken for each would cost whoever makes them more than what they do. The first is
  // read at once, those that follow together.
  if (const int rest_ms = timeout_ms(); heard_ && rest_ms != 0) {
    pollfd wake{wake_.get(), POLLIN, 0};
    static_cast<void>(::poll(&wake, 1, rest_ms < 0 ? kRestMs : std::min(rest_ms, kRestMs)));
  }
  std::array<pollfd, 2> fds{{{inotify_.fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
  static_cast<void>(::poll(fds.data(), fds.size(), timeout_ms()));  // an error is an early wake-up
  std::uint64_t count = 0;
  if ((fds[1].revents & POLLIN) != 0) static_cast<void>(!::read(wake_.get(), &count, sizeof count));
}

void Engine::pump() {
  const std::size_t before = inbox_.size();
  inotify_.read_into(inbox_, kInboxLimit);
  heard_ = inbox_.size() > before;
}

void Engine::wake() noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

void Engine::request(std::string path) {
  {
    MutexLock lock(mutex_);
    if (std::find(requests_.begin(), requests_.end(), path) != requests_.end()) return;
    requests_.push_back(std::move(path));
  }
  wake();
}

void Engine::take_requests() {
  std::vector<std::string> requests;
  {
    MutexLock lock(mutex_);
    requests.swap(requests_);
  }
  for (const std::string& path : requests) rescan_path(path);
}

// In this order: what is no longer unread is being worked on, and then in the figures.
Stats Engine::stats() const {
  const bool behind = open_.load(std::memory_order_acquire) && (inotify_.unread() || at_work_);
  MutexLock lock(mutex_);
  Stats now = stats_;
  if (behind) ++now.pending;
  return now;
}

void Engine::publish_stats() {
  Stats now;
  now.directories = table_->size();
  now.watches = table_->watches();
  now.unwatched = table_->unwatched().size();
  now.pending = pending_.size() + inbox_.size() + scans_.size();
  now.overflows = overflows_;
  now.scans = scans_done_;
  now.scanning = scanning_all_ || scan_all_due_.has_value();
  if (table_->unwatched().empty()) limit_reached_ = false;
  now.limit_reached = limit_reached_;
  if (limit_reached_) now.advice = advice_;
  MutexLock lock(mutex_);
  stats_ = std::move(now);
}

void Engine::emit(const Event& event) noexcept {
  if (!on_event_) return;
  try {
    on_event_(event);
  } catch (const std::exception& e) {
    log::error("watcher_callback_failed", {{"path", event.path}, {"error", e.what()}});
  }
}

void Engine::emit_raw(const RawEvent& event) noexcept {
  if (!on_raw_) return;
  try {
    on_raw_(event);
  } catch (const std::exception& e) {
    log::error("watcher_callback_failed", {{"path", event.parent}, {"error", e.what()}});
  }
}

bool Engine::test(const Watcher::PathTest& predicate, std::string_view path) const noexcept {
  if (!predicate || path.empty()) return false;
  try {
    return predicate(path);
  } catch (const std::exception& e) {
    log::error("watcher_callback_failed", {{"path", path}, {"error", e.what()}});
    return false;
  }
}

bool Engine::known(std::string_view path, const struct stat& info) const noexcept {
  if (!options_.known) return false;
  try {
    return options_.known(path, info);
  } catch (const std::exception& e) {
    log::error("watcher_callback_failed", {{"path", path}, {"error", e.what()}});
    return false;
  }
}

bool Engine::watchable(std::string_view path) const {
  // Without a listener for raw events an ignored directory has nobody to tell.
  return !hidden(path) && (on_raw_ || !ignored(path));
}

}  // namespace mediafs::watcher
