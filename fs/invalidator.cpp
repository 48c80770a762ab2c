#include "fs/invalidator.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/log.h"
#include "common/path.h"

namespace mediafs::fs {
namespace {

constexpr std::size_t kMaxNotices = 65'536;
constexpr std::size_t kMaxWaiting = 1'000'000;
constexpr std::size_t kMaxTaken = 4096;
// The notices of the mount's own changes come while these are still being answered; and many come together.
constexpr std::chrono::milliseconds kGather{1};
constexpr std::chrono::milliseconds kOnceMore{1000};
constexpr std::chrono::milliseconds kBatchEvery{50};
constexpr std::chrono::milliseconds kOwnWithin{1000};  // the notice of a change of our own comes
constexpr std::size_t kMaxDoings = 256;
constexpr std::chrono::milliseconds kTrustEvery{1000};

// An ended connection is a pipe that nobody reads: see Mount's end_connection.
void ignore_broken_pipe() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace

Invalidator::Invalidator(Core& core, std::function<bool()> watched)
    : core_(core), watched_(std::move(watched)) {}

Invalidator::~Invalidator() {
  stop();
}

void Invalidator::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  names_thread_ = std::jthread([this](const std::stop_token& stop) { take_names(stop); });
}

void Invalidator::stop() {
  for (std::jthread* thread : {&thread_, &names_thread_}) {
    if (!thread->joinable()) continue;
    thread->request_stop();
    thread->join();
  }
}

void Invalidator::notice(Kind kind, std::string path) {
  if (kind == Kind::everything) core_.trusted = false;
  MutexLock lock(mutex_);
  if (kind == Kind::attributes && is_own(path)) return;
  if (kind == Kind::everything || now_.size() >= kMaxNotices) {
    lost_ = true;
  } else {
    now_.notices.insert({kind, std::move(path)});
  }
  if (lost_ || now_.size() == 1) changed_.notify_all();
}

void Invalidator::doing(const std::string& path) {
  const auto node = core_.nodes.find(path);
  const SteadyTime now = std::chrono::steady_clock::now();
  MutexLock lock(mutex_);
  std::erase_if(doings_, [&](const auto& each) { return each.second < now; });
  std::erase_if(held_back_, [&](const auto& each) { return each.second < now; });
  if (node && held_back_.size() < kMaxDoings) held_back_.insert_or_assign(*node, now + kOwnWithin);
  if (doings_.size() < kMaxDoings) doings_.insert_or_assign(path, now + kOwnWithin);
}

void Invalidator::undone(const std::string& path) {
  {
    MutexLock lock(mutex_);
    if (is_own(path)) return;
  }
  notice(Kind::attributes, path);
}

bool Invalidator::is_own(const std::string& path) {
  auto at = doings_.find(path);
  if (at == doings_.end()) return false;
  const bool in_time = std::chrono::steady_clock::now() < at->second;
  doings_.erase(at);
  return in_time;
}

void Invalidator::short_listing(NodeId directory) {
  MutexLock lock(mutex_);
  if (later().listings.insert(directory).second) ++waiting_;
  if (waiting_ == 1) changed_.notify_all();
}

// What is to be told in a second.
Invalidator::Batch& Invalidator::later() {
  const SteadyTime due = std::chrono::steady_clock::now() + kOnceMore;
  if (later_.empty() || later_.back().due + kBatchEvery <= due) later_.push_back({.due = due + kBatchEvery});
  return later_.back();
}

// Empty once a second at least.
std::vector<Invalidator::Batch> Invalidator::due() {
  std::vector<Batch> ready;
  MutexLock lock(mutex_);
  const SteadyTime now = std::chrono::steady_clock::now();
  if (now_.size() == 0 && !lost_) {
    SteadyTime next = trust_due_;
    if (!later_.empty()) next = std::min(next, later_.front().due);
    if (now < next) changed_.wait_until(mutex_, next);
  }
  while (!later_.empty() && later_.front().due <= now) {
    waiting_ -= std::min(waiting_, later_.front().size());
    ready.push_back(std::move(later_.front()));
    later_.pop_front();
  }
  return ready;
}

void Invalidator::run(const std::stop_token& stop) noexcept {
  ignore_broken_pipe();
  pthread_setname_np(pthread_self(), "fs-tell");
  std::stop_callback on_stop(stop, [this] {
    MutexLock lock(mutex_);
    changed_.notify_all();
  });
  while (!stop.stop_requested()) {
    try {
      auto again = due();
      look_after_trust();
      std::this_thread::sleep_for(kGather);
      Batch batch;
      bool lost = false;
      {
        MutexLock lock(mutex_);
        std::swap(batch, now_);
        lost = std::exchange(lost_, false);
      }
      if (lost) tell_everything();
      tell(batch, false);
      for (Batch& each : again) {
        if (each.everything) tell_everything();
        tell(each, true);
      }
      give_back_memory();
      MutexLock lock(mutex_);
      if (lost && !std::exchange(later().everything, true)) ++waiting_;
      const std::size_t more = batch.notices.size() + batch.linked.size();
      if (waiting_ + more > kMaxWaiting) lost_ = true;
      if (more == 0 || lost_) continue;
      waiting_ += more;
      Batch& next = later();
      next.notices.merge(batch.notices);
      next.linked.merge(batch.linked);
    } catch (const std::exception& e) {  // only memory can have run out
      log::error("can't tell the kernel of a change", {{"cause", e.what()}});
      MutexLock lock(mutex_);
      lost_ = true;
    }
  }
}

// Whether what is told from now on may be told for long.
void Invalidator::look_after_trust() {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (now < trust_due_) return;
  trust_due_ = now + kTrustEvery;
  const bool watched = watched_ && watched_();
  if (core_.trusted.exchange(watched) && !watched) tell_everything();
}

struct Invalidator::Look {
  int root;
  std::string dir = {};
  std::optional<tree::Place> place = {};

  std::optional<struct stat> at(const std::string& path) {
    if (const std::string_view parent = parent_path(path); !place || dir != parent) {
      dir = parent;
      place.reset();
      auto found = tree::place(root, path);
      if (!found) return std::nullopt;
      place = std::move(*found);
    }
    place->name = base_name(path);
    auto st = tree::stat_if_there(*place);
    return st ? *st : std::nullopt;
  }
};

void Invalidator::tell(Batch& batch, bool again) {
  std::unordered_set<NodeId> directories = batch.listings;
  Look look{core_.local_root.get()};
  for (const Notice& notice : batch.notices) {
    const bool within = notice.kind == Kind::names;
    if (notice.kind == Kind::name || within) {
      if (auto known = core_.nodes.find(within ? notice.path : parent_path(notice.path)))
        directories.insert(*known);
    }
    if (within) continue;
    if (!again) tell_linked(notice, look, batch);
    tell_name(notice, again);
  }
  for (const NodeId node : batch.linked) attributes(node, again);
  for (const NodeId directory : directories) {
    if (batch.listings.contains(directory) || again || core_.nodes.take_listed(directory)) {
      listing(directory);
    } else {
      attributes(directory, again);
    }
  }
  for (const Notice& notice : batch.notices) {
    if (notice.kind != Kind::names) continue;
    const auto known = core_.nodes.find(notice.path);
    if (!known) continue;
    if (!again) tell_held(*known, look);
    tell_below(*known, again);
  }
}

// Any of these names may stand for another file now.
void Invalidator::tell_held(NodeId directory, Look& look) {
  for (const NodeTable::Name& held : core_.nodes.names_held(directory)) {
    auto path = core_.nodes.child_path(held.parent, held.name);
    const auto node = core_.nodes.find(held.parent, held.name);
    if (path && node) tell_open(held.parent, Notice{Kind::name, std::move(*path)}, *node, look);
  }
}

void Invalidator::tell_name(const Notice& notice, bool again) {
  const auto parent = core_.nodes.find(parent_path(notice.path));
  const auto node = parent ? core_.nodes.find(*parent, base_name(notice.path)) : std::nullopt;
  if (!node) return;  // the kernel knows nothing there
  attributes(*node, again);
  if (notice.kind == Kind::name) tell_below(*node, again);
}

// What the notice means for a file that is open, or has other names, and for those: asked of the disk, once.
void Invalidator::tell_linked(const Notice& notice, Look& look, Batch& batch) {
  const auto parent = core_.nodes.find(parent_path(notice.path));
  if (!parent) return;
  if (notice.kind == Kind::name) {
    const auto st = look.at(notice.path);
    if (st && st->st_nlink > 1 && !S_ISDIR(st->st_mode)) {
      // It has other names, and their count of links changed.
      if (const NodeId other = core_.nodes.find_local(st->st_dev, st->st_ino)) batch.linked.insert(other);
    }
  }
  if (const auto node = core_.nodes.find(*parent, base_name(notice.path)))
    tell_open(*parent, notice, *node, look);
}

// What the kernel has forgotten in great numbers the allocator keeps by itself for ever.
void Invalidator::give_back_memory() {
  constexpr std::uint64_t kMany = 65'536;
  const std::uint64_t dropped = core_.nodes.dropped();
  if (dropped - dropped_ < kMany) return;
  dropped_ = dropped;
  core_.nodes.shrink();
  malloc_trim(0);
}

void Invalidator::tell_below(NodeId directory, bool again) {
  std::vector<NodeId> below = core_.nodes.children(directory);
  while (!below.empty()) {
    const NodeId node = below.back();
    below.pop_back();
    attributes(node, again);
    const auto more = core_.nodes.children(node);
    below.insert(below.end(), more.begin(), more.end());
  }
}

void Invalidator::tell_open(NodeId parent, const Notice& notice, NodeId node, Look& look) {
  const bool open = core_.nodes.open_count(node) > 0;
  const bool linked = core_.nodes.has_other_names(node);
  const bool goes_on = (open || linked) && !core_.nodes.is_directory(node);
  if (!goes_on && notice.kind != Kind::name) return;
  const auto now = look.at(notice.path);
  // What the type alone forbids or leads elsewhere the kernel decides without asking.
  const bool other_type = now && !core_.nodes.has_type(node, now->st_mode);
  if (!goes_on && !other_type) return;
  // The number alone does not tell: the filesystem gives a removed file's to the next one.
  const bool other = !now || other_type || !core_.nodes.is_local(node, now->st_dev, now->st_ino);
  Taken taken{.node = node};
  if (notice.kind == Kind::name && other) {
    taken.parent = parent;
    taken.name = base_name(notice.path);
    if (linked) core_.nodes.remove_name(parent, taken.name, false);  // no path is built of it any more
  }
  taken.bytes = open && notice.kind == Kind::contents && !core_.passthrough.passes(node);
  if (taken.parent == 0 && !taken.bytes) return;
  MutexLock lock(mutex_);
  if (taken_.size() >= kMaxTaken) return;  // until it is closed
  taken_.push_back(std::move(taken));
  changed_.notify_all();
}

void Invalidator::tell_everything() {
  Look look{core_.local_root.get()};
  tell_held(0, look);
  for (const NodeId node : core_.nodes.all()) {
    if (core_.nodes.is_directory(node)) {
      listing(node);
    } else {
      attributes(node, true);
    }
  }
}

bool Invalidator::is_held_back(NodeId node) {
  MutexLock lock(mutex_);
  const auto at = held_back_.find(node);
  return at != held_back_.end() && std::chrono::steady_clock::now() < at->second;
}

void Invalidator::attributes(NodeId node, bool again) {
  if (is_held_back(node)) {
    MutexLock lock(mutex_);
    if (later().linked.insert(node).second) ++waiting_;
    return;
  }
  if (core_.nodes.take_told(node) || again) fuse_lowlevel_notify_inval_inode(core_.session, node, -1, 0);
}

void Invalidator::listing(NodeId directory) {
  if (is_held_back(directory)) return short_listing(directory);
  core_.nodes.take_told(directory);
  core_.nodes.take_listed(directory);
  fuse_lowlevel_notify_inval_inode(core_.session, directory, 0, 0);
}

void Invalidator::take_names(const std::stop_token& stop) noexcept {
  ignore_broken_pipe();
  pthread_setname_np(pthread_self(), "fs-take");
  std::stop_callback on_stop(stop, [this] {
    MutexLock lock(mutex_);
    changed_.notify_all();
  });
  for (;;) {
    Taken next;
    {
      MutexLock lock(mutex_);
      while (taken_.empty() && !stop.stop_requested()) changed_.wait(mutex_);
      if (stop.stop_requested()) return;
      next = std::move(taken_.front());
      taken_.pop_front();
    }
    if (next.bytes) fuse_lowlevel_notify_inval_inode(core_.session, next.node, 0, 0);
    if (next.parent == 0) continue;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 16)
    const int done =
        fuse_lowlevel_notify_expire_entry(core_.session, next.parent, next.name.c_str(), next.name.size());
#else
    const int done = fuse_lowlevel_notify_expire_entry(core_.session, next.parent, next.name.c_str(),
                                                       next.name.size(), FUSE_LL_EXPIRE_ONLY);
#endif
    // The older way takes the name from under whoever stands in that directory.
    if (done == -ENOSYS)
      fuse_lowlevel_notify_inval_entry(core_.session, next.parent, next.name.c_str(), next.name.size());
  }
}

}  // namespace mediafs::fs
