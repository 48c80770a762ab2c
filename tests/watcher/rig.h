// A watcher over a directory of its own, with all that it told, and waits on conditions.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/fd.h"
#include "common/path.h"
#include "common/sync.h"
#include "watcher/watcher.h"

namespace mediafs::watcher::testing {

using Kind = Event::Kind;
using RawKind = RawEvent::Kind;
namespace stdfs = std::filesystem;

class TempDir {
 public:
  TempDir() {
    const char* base = std::getenv("TMPDIR");
    std::string pattern = std::string(base != nullptr ? base : "/tmp") + "/mediafs-watcher-XXXXXX";
    path_ = ::mkdtemp(pattern.data()) != nullptr ? pattern : throw std::runtime_error("mkdtemp " + pattern);
  }
  ~TempDir() {
    std::error_code ignored;
    stdfs::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string at(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline void write_file(const std::string& path, const std::string& text = "x") {
  std::ofstream(path, std::ios::binary) << text;
}

class Rig {
 public:
  static constexpr std::chrono::seconds kPatience{60};  // only a failing test waits that long

  explicit Rig(std::chrono::milliseconds settle = std::chrono::milliseconds(30)) {
    options.root = tree.path();
    options.settle = settle;
  }
  ~Rig() { stop(); }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
  void stop() {
    if (watcher) watcher->stop();
  }

  // Starts and waits for the first scan's end.
  bool start() {
    watcher = std::make_unique<Watcher>(
        options, [this](const Event& event) { take(event); }, [this](const RawEvent& event) { take(event); });
    return watcher->start().has_value() &&
           wait([](const auto& events) { return count(events, Kind::scanned) > 0; });
  }

  using Events = std::vector<Event>;
  bool wait(const std::function<bool(const Events&)>& done) EXCLUDES(mutex_) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(mutex_);
    while (!done(events_)) {
      if (!changed_.wait_until(mutex_, deadline)) return done(events_);
    }
    return true;
  }
  bool wait_raw(const std::function<bool(const RawEvent&)>& wanted) EXCLUDES(mutex_) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(mutex_);
    for (;;) {
      for (const RawEvent& event : raws_) {
        if (wanted(event)) return true;
      }
      if (!changed_.wait_until(mutex_, deadline)) return false;
    }
  }
  // Waits until the kind was told of the path.
  bool told(Kind kind, const std::string& path) {
    return wait([&](const Events& events) { return count(events, kind, path) > 0; });
  }
  // Everything made before this call has been handled when it returns true: notices come in order.
  bool flush() {
    const std::string name = "flush-" + std::to_string(++flushes_);
    write_file(tree.at(name));
    return told(Kind::settled, name);
  }
  Events events() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return events_;
  }
  void forget() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    events_.clear();
    raws_.clear();
  }
  std::ptrdiff_t count_of(Kind kind, const std::string& path) { return count(events(), kind, path); }
  static std::ptrdiff_t count(const Events& events, Kind kind) {
    return std::count_if(events.begin(), events.end(), [&](const Event& e) { return e.kind == kind; });
  }
  static std::ptrdiff_t count(const Events& events, Kind kind, const std::string& path) {
    return std::count_if(events.begin(), events.end(),
                         [&](const Event& e) { return e.kind == kind && e.path == path; });
  }

  TempDir tree;
  TempDir outside;  // on the same filesystem
  Watcher::Options options;
  std::function<void(const Event&)> on_event;  // called on the watcher's thread, before the event is kept
  std::unique_ptr<Watcher> watcher;

 private:
  void take(const Event& event) EXCLUDES(mutex_) {
    if (on_event) on_event(event);
    MutexLock lock(mutex_);
    events_.push_back(event);
    changed_.notify_all();
  }
  void take(const RawEvent& event) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    raws_.push_back(event);
    changed_.notify_all();
  }

  Mutex mutex_;
  CondVar changed_;
  Events events_ GUARDED_BY(mutex_);
  std::vector<RawEvent> raws_ GUARDED_BY(mutex_);
  int flushes_ = 0;
};

}  // namespace mediafs::watcher::testing
