// A local branch, a directory as the vault, a catalogue and a mover over them, as app/ wires them.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "tier/mover.h"
#include "tier/reconcile.h"

namespace mediafs::tier {

class TierRig {
 public:
  // Over what another process left, which is removed too in the end; or over a folder of its own.
  explicit TierRig(std::string left = {}, bool keeps_trash = false) : root(std::move(left)) {
    if (root.empty()) {
      std::string form = std::filesystem::temp_directory_path() / "mediafs-tier-XXXXXX";
      REQUIRE(mkdtemp(form.data()) != nullptr);
      root = form;
    }
    for (const char* d : {"local", "local/.mediafs", "local/Incoming", "vault"})
      std::filesystem::create_directory(root + "/" + d);
    branches.config.local.path = root + "/local";
    branches.config.vault.url = "file://" + root + "/vault";
    branches.config.incoming.settle = std::chrono::milliseconds(0);
    vault = *open_vault(branches.config, {});
    catalogue = *Catalogue::open({.path = root + "/local/.mediafs/catalogue.db", .keeps_trash = keeps_trash});
    branches.local_root = *open_at(AT_FDCWD, branches.config.local.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    branches.catalogue = catalogue.get();
    branches.vault = vault.get();
    branches.claims = &claims;
    reconcile =
        std::make_unique<Reconcile>(branches, [this](const std::string& path) { incoming.push_back(path); });
  }
  ~TierRig() { std::filesystem::remove_all(root); }
  TierRig(const TierRig&) = delete;
  TierRig& operator=(const TierRig&) = delete;

  std::string local(const std::string& path) const { return root + "/local/" + path; }
  std::string object(const std::string& key) const { return root + "/vault/" + key; }
  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(local(path)).parent_path());
    std::ofstream(local(path), std::ios::binary) << text;
  }
  static std::string read(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
  }
  Node node(const std::string& path) {
    auto found = *catalogue->find(path);
    REQUIRE_MESSAGE(found.has_value(), path);
    return *found;
  }
  // As the stages would: every due job of the tier's own, until none is left.
  void run_jobs() {
    for (bool any = true; any;) {
      any = false;
      for (std::string_view stage :
           {kStageChecksum, kStageUpload, kStageRelocate, kStageForget, kStageRestat}) {
        const auto jobs = catalogue->jobs().take(stage, 100);
        REQUIRE(jobs);
        for (const Job& job : *jobs) {
          const Status done = run(job);
          any = any || done.has_value() || done.err().code == ErrorCode::changed;
          const bool later =
              !done && (done.err().code == ErrorCode::busy || done.err().code == ErrorCode::io);
          if (later) {
            REQUIRE(catalogue->jobs().retry_later(job.id, done.err(), 0, true));
            any = ++busy < 100;
          } else {
            REQUIRE(catalogue->jobs().done(job.id));
          }
        }
      }
    }
  }
  Status run(const Job& job) {
    if (job.stage == kStageChecksum) {
      auto summed = mover.checksum(job.file_id, job.generation, {});
      return summed ? Status() : Status(summed.err());
    }
    if (job.stage == kStageUpload) return mover.upload(job.file_id, job.generation, {});
    if (job.stage == kStageRelocate) return mover.relocate(job.file_id, {});
    if (job.stage == kStageForget) return mover.forget(job.path, {});
    return mover.restat(job.file_id, {});
  }
  // In the library and in the vault.
  void add(const std::string& path, const std::string& text) {
    write(path, text);
    REQUIRE(reconcile->file_settled(path));
    run_jobs();
    REQUIRE(node(path).in_vault());
  }

  std::string root;
  Branches branches;
  Claims claims;
  std::unique_ptr<Vault> vault;
  std::unique_ptr<Catalogue> catalogue;
  Mover mover{branches};
  std::unique_ptr<Reconcile> reconcile;
  std::vector<std::string> incoming;
  int busy = 0;
};

}  // namespace mediafs::tier
