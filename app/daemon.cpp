#include "app/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/catalogue_keeper.h"
#include "app/control.h"
#include "app/events.h"
#include "app/handlers.h"
#include "app/kernel_cache.h"
#include "app/notify.h"
#include "app/predecessor.h"
#include "app/registry.h"
#include "app/report.h"
#include "app/trash_sweep.h"
#include "app/vault_health.h"
#include "common/crash.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/path.h"
#include "fs/mount.h"
#include "pipeline/eviction.h"
#include "pipeline/stages.h"
#include "tier/catalogue/health.h"
#include "tier/reconcile.h"
#include "watcher/watcher.h"

namespace mediafs::app {
namespace {

constexpr std::uint64_t kBallast = 8ULL << 20;

std::string dump(const Result<Json>& report) {
  if (!report) return Json{{"error", report.err().message()}}.dump() + "\n";
  return report->dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<Fd> open_local(const Config& config) {
  auto fd = open_at(AT_FDCWD, config.local.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (!fd) {
    Error error = std::move(fd).error();
    error.what = "local.path " + config.local.path;
    if (error.code == ErrorCode::not_found)
      error.cause = "no such directory (create it, or correct local.path)";
    if (error.code == ErrorCode::not_directory) error.cause = "it is not a directory (correct local.path)";
    return error;
  }
  return fd;
}

// Left by a mount that was none: they wait for the next such one.
Status refused_read_only(const tier::Job& job, const std::stop_token&) {
  return make_error(ErrorCode::busy, job.stage + " " + printable(job.path), "the tree is mounted read-only");
}

}  // namespace

struct Daemon::Parts {
  Config config;
  Fd lock;
  tier::Branches branches;
  tier::Readiness ready;
  std::unique_ptr<tier::Catalogue> catalogue;
  std::shared_ptr<tier::Limits> limits;  // of the vault, which can be changed while it works
  std::unique_ptr<tier::GuardedVault> vault;
  tier::Claims claims;
  Activity activity;
  std::unique_ptr<tier::Space> space;
  std::unique_ptr<tier::Streams> streams;
  std::unique_ptr<tier::Mover> mover;
  std::unique_ptr<pipeline::Tree> tree;
  std::unique_ptr<pipeline::Tools> tools;
  std::unique_ptr<pipeline::Workers> workers;
  std::vector<std::string_view> vault_stages;  // their jobs wait while the vault is away or not ours
  std::unique_ptr<pipeline::EvictionPlanner> planner;
  std::unique_ptr<tier::Reconcile> reconcile;
  std::unique_ptr<Events> events;
  std::unique_ptr<watcher::Watcher> watcher;
  KernelCache kernel_cache{[this] { return watcher ? watcher->stats() : watcher::Stats{}; },
                           [this] { return mount.get(); }};
  std::unique_ptr<VaultHealth> vault_health;
  std::unique_ptr<TrashSweep> trash_sweep;
  std::unique_ptr<CatalogueKeeper> keeper;
  std::unique_ptr<fs::Mount> mount;
  std::unique_ptr<ControlServer> control;
  std::optional<Registration> registration;
  std::atomic<bool> vault_met{false};
  std::atomic<bool> stopping{false};
  std::jthread stopper;
  enum class Stop : std::uint8_t { no, lazily, now };
  Mutex stop_mutex;
  CondVar stop_asked;
  Stop asked GUARDED_BY(stop_mutex) = Stop::no;
  WallNs started_ns = 0;

  View view() const {
    return {.branches = branches,
            .mover = mover.get(),
            .streams = streams.get(),
            .workers = workers.get(),
            .guard = vault.get(),
            .vault_health = vault_health.get(),
            .watcher = watcher.get(),
            .mount = mount.get(),
            .reconcile = reconcile.get(),
            .limits = limits.get(),
            .mountpoint = config.mount.path,
            .started_ns = started_ns};
  }

  Status open_tier(const Credentials& credentials, bool new_vault);
  Status open_pipeline();
  Status open_mount();
  Status open_control();
  void begin_work();
  void ask_to_stop(Stop how);
  void end_work();
  Status first_contact(const std::stop_token& stop);
  pipeline::Handler when_ours(pipeline::Handler handler);
};

Status Daemon::Parts::open_tier(const Credentials& credentials, bool new_vault) {
  std::unique_ptr<tier::Vault> driver;
  if (!config.vault.url.empty()) {
    limits = tier::limits_from(config);
    MEDIAFS_ASSIGN(driver, tier::open_vault(config, credentials, limits));
  }
  branches.config = config;
  branches.claims = &claims;
  const std::string file = config.local.state + "/catalogue.db";
  MEDIAFS_ASSIGN(ready, tier::make_ready({.path = file, .now_ns = branches.clock->wall_ns()}));
  std::vector<std::string> hooks;
  for (const auto& hook : config.hooks) hooks.push_back(hook.on);
  MEDIAFS_ASSIGN(catalogue, tier::Catalogue::open({.path = file,
                                                   .has_vault = driver != nullptr,
                                                   .keeps_trash = config.vault.trash.count() > 0,
                                                   .ballast_bytes = kBallast,
                                                   .hooks = std::move(hooks),
                                                   .on_job =
                                                       [this](std::string_view stage) {
                                                         if (!stopping && workers) workers->wake(stage);
                                                       },
                                                   .on_queue =
                                                       [this] {
                                                         if (!stopping) activity.tell();
                                                       },
                                                   .on_shown =
                                                       [this](const std::string& path) {
                                                         if (!stopping) kernel_cache.forgotten(path);
                                                       },
                                                   .lost = ready.lost,
                                                   .version_floor = ready.version_floor}));
  branches.catalogue = catalogue.get();
  crash_point("start.after_catalogue");
  if (ready.behind) MEDIAFS_TRY(catalogue->set_setting(tier::kVaultListed, ""));
  if (const std::string why = catalogue->incomplete(); !why.empty())
    log::error(
        "the catalogue is incomplete: what is on the local disk is served, what only the vault has is not; "
        "the vault "
        "is left alone (mediafs unmount, mediafs rebuild, mediafs mount)",
        {{"why", why}});
  if (driver) {
    vault = std::make_unique<tier::GuardedVault>(
        std::move(driver), *catalogue,
        tier::GuardedVault::Options{.accept_new = new_vault, .on_doubt = [this] {
                                      if (vault_health) vault_health->look_now();
                                    }});
  }
  branches.vault = vault.get();
  space = std::make_unique<tier::Space>(config.local, [this] {
    if (planner) planner->wake();
  });
  branches.space = space.get();
  if (vault) {
    MEDIAFS_ASSIGN(
        streams, tier::Streams::open({.directory = config.local.state + "/blocks",
                                      .cache_bytes = config.vault.cache_bytes,
                                      .may_write = [this](std::uint64_t n) { return space->admit_cache(n); }},
                                     *vault));
  }
  mover = std::make_unique<tier::Mover>(branches);
  return {};
}

// Uploads wait until what a killed process left in the vault is cleared away.
Status Daemon::Parts::first_contact(const std::stop_token& stop) {
  MEDIAFS_TRY(vault->collect_garbage());
  crash_point("contact.after_garbage");
  // Beside the catalogue: it says whose vault it was, should the catalogue be lost.
  MEDIAFS_ASSIGN(const std::string id, catalogue->setting(tier::kVaultId));
  MEDIAFS_TRY(write_file_atomic(AT_FDCWD, config.local.state + "/" + tier::kKnownVaultFile, id + "\n", 0600));
  MEDIAFS_TRY(reconcile->settle_moving(stop));
  vault_met = true;
  const Status imported = reconcile->import_vault(stop);
  kernel_cache.forgotten("");  // it knows more names now
  MEDIAFS_TRY(imported);
  return mover->trash().find_kept(stop);
}

// What changes or believes the vault waits until it is there and ours. The vault itself refuses too; but a job that
// waits quietly fills no log, and an eviction that never began says nothing about its file.
pipeline::Handler Daemon::Parts::when_ours(pipeline::Handler handler) {
  return [this, handler = std::move(handler)](const tier::Job& job, std::stop_token stop) -> Status {
    if (vault && (!vault_met || vault->state() != tier::VaultState::ours)) {
      return make_error(ErrorCode::busy, job.stage + " " + printable(job.path),
                        vault_met || vault->state() != tier::VaultState::unknown
                            ? "the vault does not answer, or is not ours (mediafs status says which)"
                            : "the vault has not answered yet");
    }
    return handler(job, std::move(stop));
  };
}

Status Daemon::Parts::open_pipeline() {
  tree = pipeline::Tree::open({.root = config.mount.path, .program = "/proc/self/exe"});
  tools = std::make_unique<pipeline::Tools>(pipeline::Tools{.branches = branches,
                                                            .mover = *mover,
                                                            .streams = streams.get(),
                                                            .tree = *tree,
                                                            .mountpoint = config.mount.path,
                                                            .plan_eviction = [this] { planner->wake(); }});
  planner = std::make_unique<pipeline::EvictionPlanner>(*tools);
  workers = std::make_unique<pipeline::Workers>(catalogue->jobs(), *branches.clock);
  MEDIAFS_ASSIGN(auto organize, pipeline::organize_stage(*tools));
  if (config.mount.read_only) organize = refused_read_only;
  workers->add(std::string(tier::kStageOrganize), config.jobs.organize, std::move(organize));
  workers->add(std::string(tier::kStageChecksum), config.jobs.checksum, pipeline::checksum_stage(*tools));
  const auto add = [this](std::string_view stage, int count, pipeline::Handler handler) {
    workers->add(std::string(stage), count, when_ours(std::move(handler)));
    vault_stages.push_back(stage);
  };
  add(tier::kStageUpload, config.jobs.upload, pipeline::upload_stage(*tools));
  add(tier::kStageEvict, 4, pipeline::evict_stage(*tools));
  add(tier::kStageRelocate, 4, pipeline::relocate_stage(*tools));
  add(tier::kStageForget, 4, pipeline::forget_stage(*tools));
  add(tier::kStageRestat, 2, pipeline::restat_stage(*tools));
  workers->add(std::string(tier::kStageHook), 2, pipeline::hook_stage(*tools));
  reconcile = std::make_unique<tier::Reconcile>(
      branches,
      [this](const std::string& path) {
        if (config.mount.read_only) return;  // filed after the next start that may
        if (auto queued = pipeline::enqueue_arrival(*tools, path); !queued) {
          log::error("can't queue an arrival", queued.err(), {{"path", printable(path)}});
        }
      },
      [this] { kernel_cache.forgotten(""); });
  events = std::make_unique<Events>(
      *reconcile,
      [this] {
        if (auto begun = watcher->rescan(""); !begun)
          log::warning("can't scan the local branch", begun.err());
      },
      [this](const std::string& path) { kernel_cache.forgotten(path); }, [this] { activity.tell(); });
  watcher = std::make_unique<watcher::Watcher>(
      watcher::Watcher::Options{.root = config.local.path,
                                .settle = config.incoming.settle,
                                .hidden = [this](std::string_view path) { return branches.is_state(path); },
                                .ignored =
                                    [this](std::string_view path) {
                                      return is_sidecar(path) ||
                                             pipeline::ignored_in_incoming(config.incoming, path);
                                    },
                                .known =
                                    [this](std::string_view path, const struct stat& st) {
                                      auto node = catalogue->find(path);
                                      return node && *node && (*node)->local &&
                                             (*node)->local->fingerprint == tier::fingerprint_of(st);
                                    }},
      [this](const watcher::Event& event) { events->push(event); },
      [this](const watcher::RawEvent& event) { kernel_cache.noticed(event); });
  keeper = std::make_unique<CatalogueKeeper>(branches, ready.checked, [this] {
    return vault_met && vault->state() == tier::VaultState::ours && !config.mount.read_only;
  });
  if (vault) {
    trash_sweep = std::make_unique<TrashSweep>(mover->trash(), config.vault.trash, [this] {
      return !config.mount.read_only && vault_met && vault->state() == tier::VaultState::ours;
    });
    vault_health = std::make_unique<VaultHealth>(
        *vault, *branches.clock, [this](const std::stop_token& stop) { return first_contact(stop); },
        [this] {
          for (const std::string_view stage : vault_stages) {
            if (auto due = catalogue->jobs().hasten(stage); !due)
              log::warning("jobs that waited for the vault go on later", due.err(), {{"stage", stage}});
          }
        });
  }
  return {};
}

Status Daemon::Parts::open_mount() {
  MEDIAFS_ASSIGN(
      mount, fs::Mount::create({.branches = branches,
                                .streams = streams.get(),
                                .mover = mover.get(),
                                .mountpoint = config.mount.path,
                                .allow_other = config.mount.allow_other,
                                .status_json = [this] { return dump(status_report(view())); },
                                .jobs_json = [this] { return dump(jobs_report(view(), std::nullopt, 1000)); },
                                .vault_answers =
                                    [this] {
                                      const Health health = vault_health ? vault_health->health() : Health{};
                                      return !health.known || health.ok;
                                    },
                                .watched = [this] { return kernel_cache.watched(); }}));
  return {};
}

Status Daemon::Parts::open_control() {
  const std::string socket = config.local.state + "/control.sock";
  MEDIAFS_ASSIGN(control, ControlServer::open(socket));
  MEDIAFS_ASSIGN(auto entry, Registration::make({.mountpoint = config.mount.path,
                                                 .local = config.local.path,
                                                 .socket = socket,
                                                 .config = config.file,
                                                 .pid = getpid()}));
  registration.emplace(std::move(entry));
  crash_point("start.before_remembered");
  remember_mount(config.local.state, config.mount.path);
  return {};
}

// Once the tree answers: everything that changes it through itself.
void Daemon::Parts::begin_work() {
  add_handlers(*control,
               {.view = view(),
                .tools = *tools,
                .workers = *workers,
                .request_stop = [this](bool lazily) { ask_to_stop(lazily ? Stop::lazily : Stop::now); },
                .activity = &activity,
                .outstanding_events = [this] { return events->outstanding(); }});
  events->start();
  if (auto started = watcher->start(); !started) {
    log::error("the watcher can't start: what arrives is seen at the next start only", started.err());
  }
  workers->start();
  planner->start();
  if (vault_health) vault_health->start();
  if (trash_sweep) trash_sweep->start();
  keeper->start();
  control->start();
}

// The other way round; the tree still answers, so that nothing is cut off in the middle.
void Daemon::Parts::end_work() {
  if (stopping.exchange(true)) return;
  tree->hurry();
  workers->stop();
  watcher->stop();
  events->stop();
  planner->stop();
  if (trash_sweep) trash_sweep->stop();
  if (vault_health) vault_health->stop();
  if (keeper) keeper->stop();
}

void Daemon::Parts::ask_to_stop(Stop how) {
  MutexLock asking(stop_mutex);
  asked = std::max(asked, how);
  stop_asked.notify_all();
}

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Daemon::~Daemon() {
  parts_->end_work();
  request_stop();
  if (parts_->stopper.joinable()) parts_->stopper.join();
  parts_->control.reset();
  parts_->mount.reset();
  forget_mount(parts_->config.local.state);
}

Result<std::unique_ptr<Daemon>> Daemon::start(DaemonOptions options) {
  auto parts = std::make_unique<Parts>();
  parts->config = std::move(options.config);
  parts->started_ns = parts->branches.clock->wall_ns();
  const Config& config = parts->config;
  if (config.mount.read_only) parts->config.checksum.sidecar = "none";  // they are written through the tree
  prctl(PR_SET_DUMPABLE, 0);                                            // no secret in a core file
  MEDIAFS_ASSIGN(parts->branches.local_root, open_local(config));
  MEDIAFS_TRY(mkdirs_at(AT_FDCWD, config.local.state, 0700));
  MEDIAFS_TRY(mkdirs_at(parts->branches.local_root.get(), std::string(tier::kTempDir), 0700));
  MEDIAFS_TRY(clear_predecessor(config.local.state));
  MEDIAFS_ASSIGN(parts->lock, lock_state(config.local.state));
  MEDIAFS_TRY(lock_local(parts->branches.local_root.get(), config.local.path));
  MEDIAFS_TRY(mkdirs_at(parts->branches.local_root.get(), config.incoming.path, 0777));
  notify_starting("opening the catalogue");
  MEDIAFS_TRY(parts->open_tier(options.credentials, options.new_vault));
  MEDIAFS_TRY(parts->open_pipeline());
  MEDIAFS_TRY(parts->open_mount());
  MEDIAFS_TRY(parts->open_control());
  return std::unique_ptr<Daemon>(new Daemon(std::move(parts)));
}

void Daemon::request_stop() {
  parts_->ask_to_stop(Parts::Stop::now);
}

Status Daemon::serve(const std::function<void()>& ready) {
  Parts& p = *parts_;
  Status unanswered;
  std::jthread worker([&p, &ready, &unanswered] {
    // Answered by the loop that run() below starts.
    if (auto met = p.tree->meet(); !met) {
      log::error("the tree does not answer", met.err(), {{"path", p.config.mount.path}});
      unanswered = std::move(met);
      p.ask_to_stop(Parts::Stop::now);
      return;
    }
    p.mount->read_far_ahead();
    p.begin_work();
    log::info("the tree is served", {{"path", p.config.mount.path}});
    ready();
    notify_ready(p.config.mount.path);
  });
  p.stopper = std::jthread([&p, &worker] {
    MutexLock lock(p.stop_mutex);
    while (p.asked == Parts::Stop::no) p.stop_asked.wait(p.stop_mutex);
    const bool lazily = p.asked == Parts::Stop::lazily;
    lock.unlock();
    if (worker.joinable()) worker.join();
    notify_stopping();
    p.end_work();
    if (lazily) {
      p.kernel_cache.end();
      p.mount->let_go();
      lock.lock();
      while (p.asked != Parts::Stop::now) p.stop_asked.wait(p.stop_mutex);
      lock.unlock();
    }
    p.mount->stop();
  });
  Status served = p.mount->run();
  request_stop();
  p.stopper.join();
  return unanswered ? std::move(served) : std::move(unanswered);
}

}  // namespace mediafs::app
