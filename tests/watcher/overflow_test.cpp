#include <doctest/doctest.h>

#include <atomic>

#include "tests/watcher/rig.h"

using namespace mediafs;
using namespace mediafs::watcher;
using namespace mediafs::watcher::testing;

namespace {

// Holds the watcher's thread in its callback while `work` runs, so that the kernel's queue fills up.
class Gate {
 public:
  explicit Gate(Rig& rig) : rig_(rig) {
    rig.on_event = [this](const Event& event) {
      if (event.path != "gate") return;
      MutexLock lock(mutex_);
      inside_ = true;
      changed_.notify_all();
      while (!open_) changed_.wait(mutex_);
    };
  }
  ~Gate() {
    open();
    rig_.stop();  // the watcher calls us
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  bool close() EXCLUDES(mutex_) {
    write_file(rig_.tree.at("gate"));
    const auto deadline = std::chrono::steady_clock::now() + Rig::kPatience;
    MutexLock lock(mutex_);
    while (!inside_) {
      if (!changed_.wait_until(mutex_, deadline)) return inside_;
    }
    return true;
  }
  void open() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  Rig& rig_;
  Mutex mutex_;
  CondVar changed_;
  bool inside_ GUARDED_BY(mutex_) = false;
  bool open_ GUARDED_BY(mutex_) = false;
};

long queue_limit() {
  std::ifstream file("/proc/sys/fs/inotify/max_queued_events");
  long limit = 16384;
  file >> limit;
  return limit;
}

}  // namespace

TEST_CASE("overflow: what the kernel dropped is found by a scan") {
  const long limit = queue_limit();
  if (limit > 200'000) {
    MESSAGE("skipped: fs.inotify.max_queued_events is too high to be filled in a test");
    return;
  }
  Rig rig;
  Gate gate(rig);
  REQUIRE(rig.start());
  stdfs::create_directories(rig.tree.at("moving/sub"));
  stdfs::create_directories(rig.tree.at("doomed/sub"));
  write_file(rig.tree.at("moving/sub/old"));
  REQUIRE(rig.told(Kind::settled, "moving/sub/old"));
  REQUIRE(gate.close());
  for (long i = 0; i <= limit / 2; ++i) {  // two notices each that can't be merged
    write_file(rig.tree.at("noise"));
    stdfs::remove(rig.tree.at("noise"));
  }
  stdfs::rename(rig.tree.at("moving"), rig.tree.at("moved"));
  stdfs::remove_all(rig.tree.at("doomed"));
  stdfs::create_directories(rig.tree.at("fresh/sub"));
  write_file(rig.tree.at("fresh/sub/f"));
  write_file(rig.tree.at("moved/sub/g"));
  gate.open();
  REQUIRE(rig.told(Kind::overflow, ""));
  CHECK(rig.told(Kind::settled, "fresh/sub/f"));
  CHECK(rig.told(Kind::settled, "moved/sub/g"));
  CHECK(rig.told(Kind::moved_dir, "moved"));
  CHECK(rig.told(Kind::gone, "doomed"));
  CHECK(rig.wait([](const auto& events) { return Rig::count(events, Kind::scanned) >= 2; }));
  CHECK(rig.wait_raw([](const RawEvent& e) { return e.kind == RawKind::overflow; }));
  CHECK(rig.watcher->stats().overflows >= 1);
  write_file(rig.tree.at("moved/sub/after"));
  write_file(rig.tree.at("fresh/sub/after"));
  CHECK(rig.told(Kind::settled, "moved/sub/after"));
  CHECK(rig.told(Kind::settled, "fresh/sub/after"));
  CHECK(rig.watcher->stats().directories == 5);
}
