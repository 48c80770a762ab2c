#include "fs/core.h"

#include <fcntl.h>

#include <algorithm>

#include "common/path.h"
#include "fs/replacing.h"

namespace mediafs::fs {
namespace {

// No errno is negative: these never leave the process.
constexpr int kNeedsBase = -100;
constexpr std::chrono::milliseconds kSlice{1000};
constexpr int kMostHopeless = 3;  // slices

}  // namespace

Error needs(Level level) {
  Error error{ErrorCode::internal, "must move to another thread"};
  error.sys_errno = kNeedsBase - static_cast<int>(level);
  return error;
}

bool is_sick(const Error& e) noexcept {
  return e.code == ErrorCode::busy || e.code == ErrorCode::timeout || e.code == ErrorCode::offline;
}

std::optional<Level> needed(const Error& error) noexcept {
  if (error.sys_errno > kNeedsBase) return std::nullopt;
  return static_cast<Level>(kNeedsBase - error.sys_errno);
}

Core::Core(Options options)
    : b(options.branches),
      streams(options.streams),
      mover(options.mover),
      vault_deadline(options.vault_deadline),
      vault_answers(std::move(options.vault_answers)),
      space_limit(options.space_limit),
      shown_as(Shown::of(options.branches.config.mount)),
      passthrough(options.passthrough,
                  [space = options.branches.space] {
                    if (space != nullptr) space->look();
                  }),
      control(*options.branches.catalogue, std::move(options.status_json), std::move(options.jobs_json)),
      block_(std::make_unique<Pool>(Pool::Options{.name = "fs-block", .threads = 32, .queue_limit = 4096})),
      share_(
          std::make_unique<Pool>(Pool::Options{.name = "fs-share-req", .threads = 32, .queue_limit = 4096})),
      vault_(std::make_unique<Pool>(Pool::Options{.name = "fs-vault", .threads = 32, .queue_limit = 4096})),
      fetch_(std::make_unique<Pool>(Pool::Options{.name = "fs-fetch", .threads = 8, .queue_limit = 4096})),
      space_(std::make_unique<Pool>(Pool::Options{.name = "fs-space", .threads = 32, .queue_limit = 4096})) {}

Result<std::unique_ptr<Core>> Core::create(Options options) {
  std::unique_ptr<Core> core(new Core(std::move(options)));
  // Branches' own descriptor may be an O_PATH one, which can neither be listed nor synced.
  MEDIAFS_ASSIGN(core->local_root, open_at(core->b.local_root.get(), ".", O_RDONLY | O_DIRECTORY));
  MEDIAFS_ASSIGN(const struct stat st, stat_fd(core->local_root.get()));
  core->local_device = st.st_dev;
  const Config::Share& share = core->b.config.share;
  if (!share.path.empty()) {
    MEDIAFS_ASSIGN(const std::string mounted, core->b.catalogue->setting(kShareMounted));
    core->share = std::make_unique<ShareBranch>(ShareBranch::Options{.path = share.path,
                                                                     .marker = share.marker,
                                                                     .mounted = mounted == share.path,
                                                                     .timeout = share.timeout});
    core->share->wait_until_probed();
    core->share_memory = std::make_unique<ShareMemory>(*core->share, *core->b.catalogue);
  }
  finish_replacings(*core);
  if (core->share_memory) {
    core->share_memory->when_back([held = core.get()] { return finish_replacings(*held); });
  }
  return core;
}

Core::~Core() {
  shut_down();
}

std::shared_ptr<void> Core::count(Level level) {
  if (level == Level::space) return nullptr;
  MutexLock lock(under_way_mutex_);
  ++under_way_;
  return {this, [](Core* core) {
            MutexLock leaving(core->under_way_mutex_);
            if (--core->under_way_ == 0) core->answered_.notify_all();
          }};
}

bool Core::drain(std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  MutexLock lock(under_way_mutex_);
  while (under_way_ > 0) {
    if (std::chrono::steady_clock::now() >= until) return false;
    answered_.wait_until(under_way_mutex_, until);
  }
  return true;
}

void Core::shut_down() {
  ending_.request_stop();
  // In this order: a task of an earlier pool may submit to a later one.
  block_.reset();
  share_.reset();
  vault_.reset();
  fetch_.reset();
  space_.reset();
  if (share_memory) share_memory->stop();  // its thread finishes renames through us
  files.clear();
  dirs.clear();
}

Pool* Core::pool(Level level) {
  switch (level) {
    case Level::now:
    case Level::block:
      return block_.get();
    case Level::share:
      return share_.get();
    case Level::vault:
      return vault_.get();
    case Level::fetch:
      return fetch_.get();
    case Level::space:
      return space_.get();
  }
  return block_.get();
}

Result<tier::Claims::Claim> Core::claim(std::vector<std::string> paths, const May& may) {
  if (may.level != Level::now) return b.claims->claim(std::move(paths));
  auto claimed = b.claims->claim(std::move(paths), std::chrono::milliseconds(0));
  if (!claimed && claimed.error().code == ErrorCode::busy) return needs(Level::block);
  return claimed;
}

Result<Core::Claimed> Core::claim_names(const std::vector<NodeTable::Name>& names, const May& may) {
  const auto paths_now = [&]() -> Result<std::vector<std::string>> {
    std::vector<std::string> paths;
    for (const NodeTable::Name& name : names) {
      MEDIAFS_ASSIGN(paths.emplace_back(), path_of(name.parent, name.name));
    }
    return paths;
  };
  constexpr int kMostRenames = 100;
  MEDIAFS_ASSIGN(std::vector<std::string> paths, paths_now());
  for (int turn = 0; turn < kMostRenames; ++turn) {
    MEDIAFS_ASSIGN(auto held, claim(paths, may));
    MEDIAFS_ASSIGN(std::vector<std::string> now, paths_now());
    if (now == paths) return Claimed{std::move(paths), std::move(held)};
    paths = std::move(now);  // somebody renamed a directory above meanwhile
  }
  return make_error(ErrorCode::busy, paths.empty() ? std::string() : printable(paths.front()),
                    "the directories above it are being renamed (try again)");
}

// Whether something can be evicted, or may be once a job is done. Not known: it may, unless that is for want of room.
bool Core::room_may_come() {
  const auto victims = b.catalogue->evictable(1);
  if (!victims) return victims.error().code != ErrorCode::no_space;
  if (!victims->empty()) return true;
  const auto counts = b.catalogue->jobs().counts();
  return !counts || std::any_of(counts->begin(), counts->end(), [](const tier::JobCounts& c) {
    const bool leads_there =
        c.stage == tier::kStageChecksum || c.stage == tier::kStageUpload || c.stage == tier::kStageEvict;
    return leads_there && !c.paused && c.queued + c.running > 0;
  });
}

Status Core::room_for(std::uint64_t bytes, const May& may) {
  if (b.space == nullptr || b.space->admit(bytes)) return {};
  const Error full = errno_error(ENOSPC, "write");
  if (b.vault == nullptr) return full;  // nothing can be evicted
  if (may.level != Level::space) return needs(Level::space);
  const SteadyTime deadline = std::chrono::steady_clock::now() + space_limit;
  int hopeless = 0;  // a file that was closed just now may have no job yet: one look is not enough
  while (!may.stop.stop_requested()) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left <= std::chrono::milliseconds(0) || hopeless == kMostHopeless) return full;
    auto room = b.space->await(bytes, std::min(left, kSlice));
    if (room || room.error().code != ErrorCode::no_space) return room;
    hopeless = room_may_come() ? 0 : hopeless + 1;
  }
  return make_error(ErrorCode::cancelled, "write");
}

bool Core::room_for_unseen_writer() {
  return b.space == nullptr || b.space->ample(passthrough.writers() + 1);
}

fuse_entry_param Core::nameless_entry(const struct stat& st) {
  Seen seen{.branch = Branch::local,
            .type = st.st_mode & S_IFMT,
            .device = st.st_dev,
            .inode = st.st_ino,
            .links = 0,
            .shown_inode = st.st_ino};
  if (auto number = b.catalogue->new_inode(st.st_dev, st.st_ino)) seen.shown_inode = *number;
  fuse_entry_param e{};
  e.ino = nodes.remember_nameless(seen);
  e.attr = st;
  e.attr.st_ino = seen.shown_inode;
  e.attr_timeout = e.entry_timeout = kShortTimeout_s;
  return e;
}

Result<std::string> Core::path_of(NodeId node) const {
  if (auto path = nodes.path(node)) return std::move(*path);
  return make_error(ErrorCode::not_found, "path of a removed file");
}

Result<std::string> Core::path_of(NodeId parent, const std::string& name) const {
  if (auto path = nodes.child_path(parent, name)) return std::move(*path);
  return make_error(ErrorCode::not_found, "path below a removed directory");
}

}  // namespace mediafs::fs
