#include "app/events.h"

#include <exception>

#include "common/log.h"
#include "common/path.h"

namespace mediafs::app {

namespace {

constexpr std::size_t kQueueLimit = 16384;
constexpr std::chrono::hours kScanEvery{6};
constexpr std::chrono::seconds kScanSoon{60};

}  // namespace

Events::~Events() {
  stop();
}

void Events::start() {
  scan_due_ = std::chrono::steady_clock::now() + kScanEvery;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Events::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void Events::push(const watcher::Event& event) {
  MutexLock lock(mutex_);
  while (queue_.size() >= kQueueLimit && !stopping_) changed_.wait(mutex_);
  queue_.push_back(event);
  changed_.notify_all();
}

std::size_t Events::outstanding() {
  MutexLock lock(mutex_);
  return queue_.size() + (handling_ ? 1 : 0);
}

void Events::run(const std::stop_token& stop) noexcept {
  try {
    for (;;) {
      watcher::Event event;
      {
        MutexLock lock(mutex_);
        while (queue_.empty() && !stopping_ && changed_.wait_until(mutex_, scan_due_)) {
        }
        if (stopping_) return;
        if (queue_.empty()) {  // events are hints: what one has missed, a scan finds
          lock.unlock();
          rescan_();
          scan_due_ = std::chrono::steady_clock::now() + kScanEvery;
          continue;
        }
        event = std::move(queue_.front());
        queue_.pop_front();
        handling_ = true;
        changed_.notify_all();
      }
      handle(event, stop);
      {
        MutexLock lock(mutex_);
        handling_ = false;
      }
      if (handled_) handled_();
    }
  } catch (const std::exception& e) {
    log::error("the event thread ended; restart mediafs", {{"cause", e.what()}});
  }
}

void Events::handle(const watcher::Event& event, const std::stop_token& stop) {
  using Kind = watcher::Event::Kind;
  Status done;
  switch (event.kind) {
    case Kind::settled:
      if (!event.symlink) done = reconcile_.file_settled(event.path);
      break;
    case Kind::attrib:
    case Kind::moved_dir:
    case Kind::changed_dir:
      done = reconcile_.file_settled(event.path);
      if (event.kind == Kind::moved_dir) forgotten_(event.from);
      break;
    case Kind::gone:
      done =
          event.to.empty() ? reconcile_.file_gone(event.path) : reconcile_.file_moved(event.path, event.to);
      if (event.directory) forgotten_(event.path);
      break;
    case Kind::overflow:
      log::warning("the kernel's event queue overflowed; everything is scanned again");
      break;
    case Kind::scanned: {
      auto report = reconcile_.scan(stop);
      if (!report) {
        done = std::move(report).error();
      } else {
        log::info("the local branch is scanned",
                  {{"files", report->seen}, {"new", report->adopted}, {"gone", report->gone}});
        if (report->gone > 0) forgotten_("");
      }
      break;
    }
  }
  if (!done && done.err().code != ErrorCode::cancelled) {
    log::warning("can't follow a change; everything is looked at again soon", done.err(),
                 {{"path", printable(event.path)}});
    scan_due_ = std::min(scan_due_, std::chrono::steady_clock::now() + kScanSoon);
  }
}

}  // namespace mediafs::app
