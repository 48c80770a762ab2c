// A real mount over a plain directory, a directory vault and perhaps a share, for the mounted tests. Lines on stdin say
// what the daemon's workers would do, each answered by a line: ok [TEXT] or error: MESSAGE.
#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <thread>

#include "app/kernel_cache.h"
#include "common/log.h"
#include "fs/mount.h"
#include "fs/share_memory.h"
#include "tier/reconcile.h"

namespace {

using namespace mediafs;

struct Settings {
  std::string local, mountpoint, vault, share, marker;
  std::int64_t share_timeout_ms = 1000, vault_deadline_ms = 5000, space_limit_ms = 2000;
  std::uint64_t reserve = 1 << 20;
  bool allow_other = true;
  bool passthrough = true;
  bool watch = true;
  bool trust = false;  // that changes are told, though nobody watches
};

Settings parse(int argc, char** argv) {
  Settings s;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i];
    const std::string value = argv[i + 1];
    if (key == "--local") s.local = value;
    if (key == "--mount") s.mountpoint = value;
    if (key == "--vault") s.vault = value;
    if (key == "--share") s.share = value;
    if (key == "--marker") s.marker = value;
    if (key == "--share-timeout-ms") s.share_timeout_ms = std::stoll(value);
    if (key == "--space-limit-ms") s.space_limit_ms = std::stoll(value);
    if (key == "--reserve") s.reserve = std::stoull(value);
    if (key == "--allow-other") s.allow_other = value == "1";
    if (key == "--watch") s.watch = value == "1";
    if (key == "--trust") s.trust = value == "1";
    if (key == "--passthrough") s.passthrough = value == "1";
  }
  return s;
}

struct World {
  tier::Branches b;
  std::unique_ptr<tier::Catalogue> catalogue;
  tier::Claims claims;
  std::unique_ptr<tier::Vault> vault;
  std::unique_ptr<tier::Space> space;
  std::unique_ptr<tier::Streams> streams;
  std::unique_ptr<tier::Mover> mover;
  std::unique_ptr<tier::Reconcile> reconcile;
  std::atomic<int> trusted{0};  // how often in a row the mount was told that it hears of every change
  std::unique_ptr<fs::Mount> mount;
  std::unique_ptr<watcher::Watcher> watcher;
  app::KernelCache cache{[this] { return watcher ? watcher->stats() : watcher::Stats{}; },
                         [this] { return mount.get(); }};
};

bool watched(World& w, const Settings& s) {
  const bool yes = s.trust || w.cache.watched();
  w.trusted = yes ? w.trusted + 1 : 0;
  return yes;
}

Status open_world(World& w, const Settings& s) {
  Config& config = w.b.config;
  config.local.path = s.local;
  config.local.state = s.local + "/.mediafs";
  config.local.reserve_bytes = s.reserve;
  config.share.path = s.share;
  config.share.marker = s.marker;
  config.share.timeout = std::chrono::milliseconds(s.share_timeout_ms);
  MEDIAFS_TRY(mkdirs_at(AT_FDCWD, config.local.state, 0700));
  MEDIAFS_ASSIGN(w.b.local_root, open_at(AT_FDCWD, s.local, O_PATH | O_DIRECTORY));
  MEDIAFS_ASSIGN(w.catalogue, tier::Catalogue::open(
                                  {.path = config.local.state + "/catalogue.db",
                                   .has_vault = !s.vault.empty(),
                                   .on_shown = [&w](const std::string& path) { w.cache.forgotten(path); }}));
  w.b.catalogue = w.catalogue.get();
  w.b.claims = &w.claims;
  w.space = std::make_unique<tier::Space>(config.local, [] {});
  w.b.space = w.space.get();
  if (!s.vault.empty()) {
    config.vault.url = "file://" + s.vault;
    MEDIAFS_ASSIGN(w.vault, tier::open_vault(config, {}));
    w.b.vault = w.vault.get();
    MEDIAFS_TRY(mkdirs_at(AT_FDCWD, config.local.state + "/blocks", 0700));
    MEDIAFS_ASSIGN(w.streams, tier::Streams::open({.directory = config.local.state + "/blocks"}, *w.vault));
  }
  w.mover = std::make_unique<tier::Mover>(w.b);
  w.reconcile = std::make_unique<tier::Reconcile>(w.b, [](const std::string&) {});
  if (s.watch) {  // before the mount, whose threads ask it
    w.watcher = std::make_unique<watcher::Watcher>(
        watcher::Watcher::Options{.root = s.local,
                                  .hidden = [&w](std::string_view p) { return w.b.is_state(p); },
                                  // No file is waited for, nor opened to see whether it has settled.
                                  .ignored = [](std::string_view) { return true; }},
        [](const watcher::Event&) {}, [&w](const watcher::RawEvent& event) { w.cache.noticed(event); });
  }
  MEDIAFS_ASSIGN(w.mount,
                 fs::Mount::create({.branches = w.b,
                                    .streams = w.streams.get(),
                                    .mover = w.mover.get(),
                                    .mountpoint = s.mountpoint,
                                    .allow_other = s.allow_other,
                                    .status_json = [] { return std::string("{\"health\":\"ok\"}\n"); },
                                    .jobs_json = [] { return std::string("{\"jobs\":[]}\n"); },
                                    .vault_deadline = std::chrono::milliseconds(s.vault_deadline_ms),
                                    .space_limit = std::chrono::milliseconds(s.space_limit_ms),
                                    .watched = [&w, &s] { return watched(w, s); },
                                    .passthrough = s.passthrough}));
  return w.watcher ? w.watcher->start() : Status{};
}

// Catalogued, checksummed and in the vault.
Status store(World& w, const std::string& path) {
  MEDIAFS_TRY(w.reconcile->file_settled(path));
  MEDIAFS_ASSIGN(const auto node, w.catalogue->find(path));
  if (!node) return make_error(ErrorCode::not_found, path, "not catalogued");
  auto summed = w.mover->checksum(node->id, node->generation, {});
  if (!summed) return std::move(summed).error();
  return w.mover->upload(node->id, node->generation, {});
}

Status evict(World& w, const std::string& path) {
  MEDIAFS_ASSIGN(const auto node, w.catalogue->find(path));
  if (!node) return make_error(ErrorCode::not_found, path, "not catalogued");
  return w.mover->evict(node->id, node->generation);
}

Status run_vault_job(World& w, const tier::Job& job) {
  if (job.stage == tier::kStageForget) return w.mover->forget(job.path, {});
  if (job.stage == tier::kStageRelocate) return w.mover->relocate(job.file_id, {});
  return w.mover->restat(job.file_id, {});
}

// Objects wait for one another: for a key that another one has yet to leave, and in a directory vault for the folder
// that has the name of a file.
bool in_the_way(const Error& error) {
  return error.code == ErrorCode::busy || error.code == ErrorCode::not_directory ||
         error.code == ErrorCode::is_directory;
}

// The vault's jobs that a rename, a removal or a chmod called for. What can't go now is tried again, then left queued.
Status run_vault_jobs(World& w) {
  constexpr int kRounds = 3;
  for (int round = 0; round < kRounds; ++round) {
    for (std::string_view stage : {tier::kStageRelocate, tier::kStageForget, tier::kStageRestat}) {
      MEDIAFS_ASSIGN(const auto jobs, w.catalogue->jobs().take(stage, 1000));
      for (const tier::Job& job : jobs) {
        const Status done = run_vault_job(w, job);
        if (!done && in_the_way(done.error())) {
          MEDIAFS_TRY(w.catalogue->jobs().retry_later(job.id, done.error(), 0, true));
          continue;
        }
        if (!done && done.error().code != ErrorCode::not_found) return done;
        MEDIAFS_TRY(w.catalogue->jobs().done(job.id));
      }
    }
  }
  return {};
}

Result<std::string> obey(World& w, const std::string& command, const std::string& path) {
  Status done;
  if (command == "settle") done = w.reconcile->file_settled(path);
  if (command == "store") done = store(w, path);
  if (command == "evict") done = evict(w, path);
  if (command == "fetch") done = w.mover->fetch(path, {}, {});
  if (command == "vault-jobs") done = run_vault_jobs(w);
  if (command == "import") done = w.reconcile->import_vault({});
  if (command == "invalidate") w.mount->noticed(fs::Mount::Noticed::name, path);
  if (command == "invalidate-names") w.mount->noticed(fs::Mount::Noticed::names, path);
  // Once it asks again it has taken the first answer.
  if (command == "trusted") return std::string(w.trusted >= 2 ? "yes" : "no");
  if (!done) return std::move(done).error();
  if (command == "passthrough") {
    const auto state = w.mount->passthrough();
    return state.on ? "on" : "off: " + state.why;
  }
  if (command == "unseen-writers") return std::to_string(w.mount->passthrough().writers);
  if (command == "walked") {
    MEDIAFS_ASSIGN(const std::string walked, w.catalogue->setting(fs::kShareWalked));
    return std::string(walked == w.b.config.share.path ? "yes" : "no");
  }
  if (command == "opens") return std::to_string(w.mount->open_count(path));
  if (command == "find") {
    MEDIAFS_ASSIGN(const auto node, w.catalogue->find(path));
    if (!node) return std::string("none");
    std::ostringstream text;
    text << "generation=" << node->generation << " size=" << node->size_bytes << " mode=" << std::oct
         << node->mode << std::dec << " uid=" << node->uid << " mtime=" << node->mtime_ns
         << " local=" << node->local.has_value() << " vault=" << node->vault.has_value()
         << " pinned=" << node->pinned;
    return text.str();
  }
  return std::string();
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = parse(argc, argv);
  mediafs::log::setup({.level = mediafs::log::Level::warning, .file = ""});
  World w;
  if (auto opened = open_world(w, settings); !opened) {
    std::cout << "error: " << opened.error().message() << std::endl;
    return 1;
  }
  mediafs::Status served;
  std::thread server([&] { served = w.mount->run(); });
  std::cout << "ok" << std::endl;
  for (std::string line; std::getline(std::cin, line) && line != "stop";) {
    const std::size_t space = line.find(' ');
    auto answer = obey(w, line.substr(0, space), space == std::string::npos ? "" : line.substr(space + 1));
    std::cout << (answer ? "ok " + *answer : "error: " + answer.error().message()) << std::endl;
  }
  if (w.watcher) w.watcher->stop();
  w.mount->stop();
  server.join();
  std::cout << (served ? "ok stopped" : "error: " + served.error().message()) << std::endl;
  return served ? 0 : 1;
}
