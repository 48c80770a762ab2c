#include "fs/share_branch.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <deque>
#include <map>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/log.h"
#include "common/mounts.h"
#include "common/sync.h"

namespace mediafs::fs {
namespace {

constexpr std::size_t kMaxThreads = 16;
constexpr std::size_t kMaxLost = 64;  // threads that hang in a dead server, besides
constexpr std::size_t kMaxProbes = 8;
constexpr std::size_t kMaxWaiting = 4096;
constexpr std::chrono::milliseconds kProbeEvery{500};
// How long a look waits: some times what looks take here, within these.
constexpr std::chrono::milliseconds kShortMoment{50}, kLongMoment{200};
constexpr int kTimesUsual = 4;

struct Job {
  std::function<void()> work;
  std::uint64_t look = 0;  // its number among the looks
  bool begun = false;
  SteadyTime begun_at{};
  bool done = false;
  bool given_up = false;
  bool lost = false;  // with its thread, which counts no more
};

}  // namespace

struct ShareBranch::State : std::enable_shared_from_this<State> {
  explicit State(Options o) : options(std::move(o)), mounted(options.mounted) {}

  const Options options;
  std::atomic<bool> usable{false};
  std::atomic<std::uint64_t> times_back{0};
  std::atomic<bool> mounted;  // a mount point, once seen to be one
  Mutex mutex;
  CondVar wake;     // workers: there is work; all: stopping
  CondVar settled;  // callers: a job is done; the first probe is
  std::deque<std::shared_ptr<Job>> jobs GUARDED_BY(mutex);
  std::size_t threads GUARDED_BY(mutex) = 0;
  std::size_t idle GUARDED_BY(mutex) = 0;
  std::size_t lost GUARDED_BY(mutex) = 0;
  bool stopping GUARDED_BY(mutex) = false;
  bool probed GUARDED_BY(mutex) = false;
  std::uint64_t last_look GUARDED_BY(mutex) = 0;
  struct Look {
    SteadyTime since;
    std::shared_ptr<Job> job;
  };
  std::map<std::uint64_t, Look> looks GUARDED_BY(mutex);        // under way
  std::vector<std::shared_ptr<Job>> closing GUARDED_BY(mutex);  // of files that nobody has open any more
  std::size_t probes GUARDED_BY(mutex) = 0;                     // under way
  std::chrono::nanoseconds usual GUARDED_BY(mutex){};           // of a look, on average

  // An unmounted share is an empty directory, which must not be believed.
  bool on_its_mount(int root) const {
    struct stat at {
    }, above{};
    if (fstat(root, &at) != 0 || fstatat(root, "..", &above, 0) != 0)
      return true;  // the call itself will tell
    return at.st_dev != above.st_dev || !mounted.load(std::memory_order_relaxed);
  }

  void look_for_mount() {
    struct stat at {
    }, above{};
    auto root = open_root();
    if (!root || fstat(root->get(), &at) != 0 || fstatat(root->get(), "..", &above, 0) != 0) return;
    if (at.st_dev != above.st_dev) mounted.store(true, std::memory_order_relaxed);
  }

  // Opened for each call: a descriptor that is kept would pin the server's mount, or see what lies beneath it.
  Result<Fd> open_root() const {
    MEDIAFS_ASSIGN(Fd root, open_at(AT_FDCWD, options.path, O_PATH | O_DIRECTORY));
    if (!on_its_mount(root.get())) {
      return make_error(ErrorCode::offline, "share " + options.path,
                        "nothing is mounted there (mount it again)");
    }
    if (options.marker.empty()) return root;
    struct stat st {};
    if (fstatat(root.get(), options.marker.c_str(), &st, 0) == 0) return root;
    if (errno != ENOENT && errno != ENOTDIR) return errno_error(errno, "share " + options.path);
    return make_error(ErrorCode::offline, "share " + options.path,
                      "its marker " + options.marker + " is missing");
  }

  void found_absent(const Error& why) {
    if (usable.exchange(false)) log::warning("share counts as absent", why, {{"path", options.path}});
  }

  // Asks for the filesystem's figures and a listing too: as a rule one of them comes from the server, where a
  // directory's attributes may come from the kernel's memory long after the server has died.
  bool answers() const {
    auto root = open_root();
    struct statfs st {};
    if (!root || fstatfs(root->get(), &st) != 0) return false;
    auto readable = open_at(root->get(), ".", O_RDONLY | O_DIRECTORY);
    std::array<char, 4096> page;
    return readable && syscall(SYS_getdents64, readable->get(), page.data(), page.size()) >= 0;
  }

  std::chrono::nanoseconds moment() const REQUIRES(mutex) {
    return std::clamp<std::chrono::nanoseconds>(usual * kTimesUsual, kShortMoment, kLongMoment);
  }
  // Since when the oldest look is out.
  SteadyTime looking_since() const REQUIRES(mutex) {
    return looks.empty() ? SteadyTime::max() : looks.begin()->second.since;
  }
  void looked(std::uint64_t look) REQUIRES(mutex) {
    auto at = looks.find(look);
    if (at == looks.end()) return;  // given up
    const auto took =
        std::min<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - at->second.since, kLongMoment);
    constexpr int kWeight = 8;
    usual += (took - usual) / kWeight;
    looks.erase(at);
  }
  // It hangs, perhaps for ever: its thread is not to be missed when the share is mounted anew.
  void lose(Job& job) REQUIRES(mutex) {
    if (!job.begun || job.done || job.lost || lost >= kMaxLost) return;
    job.lost = true;
    ++lost;
    --threads;
    if (!jobs.empty()) start_worker();
  }
  void start_worker() REQUIRES(mutex) {
    if (idle > 0 || threads >= kMaxThreads) return;
    ++threads;
    start_thread(&State::work, "fs-share");
  }
  // Looks that nobody waits for hang, too.
  void give_up_looks() REQUIRES(mutex) {
    for (const auto& job : jobs) job->given_up = job->given_up || job->look != 0;
    for (const auto& [number, look] : looks) lose(*look.job);
    looks.clear();
    found_absent(make_error(ErrorCode::timeout, "share " + options.path, "no answer in time"));
  }

  // Detached, holding the state: see the header on threads that hang.
  void start_thread(void (State::*body)(), const char* name) {
    std::thread([self = shared_from_this(), body, name]() noexcept {
      pthread_setname_np(pthread_self(), name);
      try {
        (self.get()->*body)();
      } catch (const std::exception& e) {
        log::error("share thread ended", {{"error", e.what()}});
      }
    }).detach();
  }

  void work() {
    MutexLock lock(mutex);
    for (;;) {
      while (jobs.empty() && !stopping && threads <= kMaxThreads) {
        ++idle;
        wake.wait(mutex);
        --idle;
      }
      if (jobs.empty() || threads > kMaxThreads) break;
      auto job = std::move(jobs.front());
      jobs.pop_front();
      auto work = std::move(job->work);
      if (!job->given_up) {
        job->begun = true;
        job->begun_at = std::chrono::steady_clock::now();
        lock.unlock();
        work();
        lock.lock();
        job->done = true;
        if (job->lost) {  // no more
          --lost;
          ++threads;
        }
        looked(job->look);
        settled.notify_all();
      }
      lock.unlock();
      work = nullptr;  // nobody waits for what it opened any more: that is closed through us
      job.reset();
      lock.lock();
    }
    --threads;
  }

  // One may hang, in a mount that another one has taken the place of.
  void ask() {
    const bool there = answers();
    if (there) look_for_mount();
    MutexLock lock(mutex);
    --probes;
    probed = true;
    settled.notify_all();
    if (!there || usable.exchange(true)) return;
    for (const auto& [number, look] : looks) lose(*look.job);
    looks.clear();
    times_back.fetch_add(1, std::memory_order_relaxed);
    log::info("share is there", {{"path", options.path}});
  }

  // As the kernel's table has it, which never hangs; 0: nothing is mounted at the very path.
  int mount_there() const {
    const auto mounts = mounts_of();
    const MountRecord* there = mounts ? mounted_at(*mounts, options.path) : nullptr;
    return there == nullptr ? 0 : there->id;
  }

  // Nobody waits for a close.
  void give_up_closing(SteadyTime now) REQUIRES(mutex) {
    std::erase_if(closing, [&](const std::shared_ptr<Job>& job) REQUIRES(mutex) {
      const bool hangs = job->begun && job->begun_at < now - options.timeout;
      if (hangs) lose(*job);
      return job->done || job->lost;
    });
  }

  // One that hangs may do so for ever: the next one goes out when something else is mounted there, and besides after
  // some time, twice as long each time.
  void probe() {
    MutexLock lock(mutex);
    SteadyTime another{};
    int asked_of = 0;
    while (!stopping) {
      const SteadyTime now = std::chrono::steady_clock::now();
      if (usable.load() && looking_since() < now - options.timeout) give_up_looks();
      give_up_closing(now);
      if (!usable.load() && probes < kMaxLost) {
        lock.unlock();
        const int there = mount_there();
        lock.lock();
        if (probes == 0 || there != asked_of || (now >= another && probes < kMaxProbes)) {
          another = now + options.timeout * (1 << std::min(probes, kMaxProbes));
          asked_of = there;
          ++probes;
          start_thread(&State::ask, "fs-share-probe");
        }
      }
      const auto next = now + kProbeEvery;
      while (!stopping && wake.wait_until(mutex, next)) {
      }
    }
  }

  void post(std::shared_ptr<Job> job) REQUIRES(mutex) {
    jobs.push_back(std::move(job));
    start_worker();
    wake.notify_all();
  }
};

ShareBranch::ShareBranch(Options options) : state_(std::make_shared<State>(std::move(options))) {
  state_->start_thread(&State::probe, "fs-share-watch");
}

ShareBranch::~ShareBranch() {
  MutexLock lock(state_->mutex);
  state_->stopping = true;
  state_->wake.notify_all();
}

bool ShareBranch::usable() const noexcept {
  return state_->usable.load(std::memory_order_relaxed);
}
std::uint64_t ShareBranch::times_back() const noexcept {
  return state_->times_back.load(std::memory_order_relaxed);
}
bool ShareBranch::is_mount_point() const noexcept {
  return state_->mounted.load(std::memory_order_relaxed);
}
const std::string& ShareBranch::path() const noexcept {
  return state_->options.path;
}
const std::string& ShareBranch::marker() const noexcept {
  return state_->options.marker;
}

bool ShareBranch::wait_until_probed() {
  const auto deadline = std::chrono::steady_clock::now() + state_->options.timeout;
  MutexLock lock(state_->mutex);
  while (!state_->probed && state_->settled.wait_until(state_->mutex, deadline)) {
  }
  return usable();
}

Status ShareBranch::run(Wait wait, std::function<void(Result<Fd> root)> work, const std::stop_token& stop) {
  auto state = state_;
  return run_plain(
      wait,
      [state, work = std::move(work)] {
        auto root = state->open_root();
        if (!root) {
          state->found_absent(root.error());
          work(make_error(ErrorCode::offline, "share " + state->options.path, root.error().message()));
          return;
        }
        work(std::move(root));
      },
      stop);
}

Status ShareBranch::run_plain(Wait wait, std::function<void()> work, const std::stop_token& stop) {
  const std::string what = "share " + state_->options.path;
  if (!usable())
    return make_error(ErrorCode::offline, what, "it does not answer (it is used again when it does)");
  const Error late = make_error(ErrorCode::busy, what, "its answer is late");
  auto job = std::make_shared<Job>();
  job->work = std::move(work);
  std::stop_callback on_stop(stop, [this] {
    MutexLock lock(state_->mutex);
    state_->settled.notify_all();
  });
  MutexLock lock(state_->mutex);
  if (state_->jobs.size() >= kMaxWaiting)
    return make_error(ErrorCode::busy, what, "too many requests wait for it");
  const SteadyTime now = std::chrono::steady_clock::now();
  SteadyTime deadline = now + state_->options.timeout;
  if (wait == Wait::moment) {
    if (state_->looking_since() < now - state_->moment()) return late;
    deadline = now + state_->moment();
    job->look = ++state_->last_look;
    state_->looks.emplace(job->look, State::Look{now, job});
  }
  state_->post(job);
  bool in_time = true;
  while (!job->done && in_time && !stop.stop_requested()) {
    in_time = state_->settled.wait_until(state_->mutex, deadline);
  }
  if (job->done) return {};
  if (wait == Wait::moment && !stop.stop_requested()) return late;
  if (wait == Wait::deadline) {
    job->given_up = true;
    state_->lose(*job);
    if (!job->begun) std::erase(state_->jobs, job);
  }
  lock.unlock();
  if (stop.stop_requested()) return make_error(ErrorCode::cancelled, what, "interrupted");
  Error error = make_error(ErrorCode::timeout, what, "no answer in time");
  state_->found_absent(error);
  return error;
}

ShareBranch::File::File(ShareBranch& branch, Fd fd) : state_(branch.state_), fd_(std::move(fd)) {}

ShareBranch::File::~File() {
  auto job = std::make_shared<Job>();
  job->work = [held = std::make_shared<Fd>(std::move(fd_))] { held->reset(); };
  MutexLock lock(state_->mutex);
  state_->closing.push_back(job);
  state_->post(std::move(job));
}

}  // namespace mediafs::fs
