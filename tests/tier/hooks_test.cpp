// Which facts call for which hooks.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/tier/tier_rig.h"
#include "tier/catalogue/hooks.h"

using namespace mediafs;
using namespace mediafs::tier;
namespace stdfs = std::filesystem;

namespace {

struct Hooked : TierRig {
  Hooked() {
    catalogue.reset();
    catalogue =
        *Catalogue::open({.path = root + "/local/.mediafs/catalogue.db",
                          .hooks = {"arrived", "filed", "uploaded", "evicted", "deleted", "dead", "filed"}});
    branches.catalogue = catalogue.get();
  }
  // Those called for since the last asking.
  std::vector<std::string> called() {
    std::vector<std::string> out;
    const auto jobs = catalogue->jobs().take(kStageHook, 100);
    REQUIRE(jobs);
    for (const Job& job : *jobs) {
      out.push_back(job.path);
      REQUIRE(catalogue->jobs().done(job.id));
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  std::uint64_t inode(const std::string& path) const {
    const auto st = stat_at(branches.local_root.get(), path);
    REQUIRE(st);
    return st->st_ino;
  }
  void arrive(const std::string& path) {
    write(path, "film");
    REQUIRE(catalogue->arrived(path, inode(path)));
  }
};

using Calls = std::vector<std::string>;

}  // namespace

TEST_CASE("hooks: a film's life calls each of them once, with its fact") {
  Hooked rig;
  rig.arrive("Incoming/a.mkv");
  REQUIRE(rig.catalogue->arrived("Incoming/a.mkv", rig.inode("Incoming/a.mkv")));  // a scan sees it again
  CHECK(rig.called() == Calls{"0:arrived:Incoming/a.mkv"});
  stdfs::create_directories(rig.local("Movies"));
  stdfs::rename(rig.local("Incoming/a.mkv"), rig.local("Movies/a.mkv"));
  const auto st = stat_at(rig.branches.local_root.get(), "Movies/a.mkv");
  REQUIRE(rig.catalogue->rename(
      {.from = "Incoming/a.mkv", .to = "Movies/a.mkv", .st = *st, .from_visible = false}));
  CHECK(rig.called() == Calls{"1:filed:Movies/a.mkv", "6:filed:Movies/a.mkv"});
  rig.run_jobs();
  CHECK(rig.called() == Calls{"2:uploaded:Movies/a.mkv"});
  chmod(rig.local("Movies/a.mkv").c_str(), 0600);
  REQUIRE(rig.reconcile->file_settled("Movies/a.mkv"));
  rig.run_jobs();  // its object's metadata follow: no upload
  CHECK(rig.called().empty());
  const Node node = rig.node("Movies/a.mkv");
  REQUIRE(rig.mover.evict(node.id, node.generation));
  CHECK(rig.called() == Calls{"3:evicted:Movies/a.mkv"});
  REQUIRE(rig.catalogue->remove("Movies/a.mkv", true));
  CHECK(rig.called() == Calls{"4:deleted:Movies/a.mkv"});
}

TEST_CASE("hooks: a job that dies calls them, a hook's own does not") {
  Hooked rig;
  REQUIRE(rig.catalogue->jobs().enqueue(JobSpec{.stage = "upload", .path = "a.mkv"}));
  REQUIRE(rig.catalogue->jobs().dead(rig.catalogue->jobs().take("upload", 1)->at(0).id,
                                     make_error(ErrorCode::invalid, "x")));
  const auto hook = rig.catalogue->jobs().take(kStageHook, 1);
  REQUIRE(hook->size() == 1);
  CHECK(hook->at(0).path == "5:dead:a.mkv");
  REQUIRE(rig.catalogue->jobs().dead(hook->at(0).id, make_error(ErrorCode::invalid, "x")));
  CHECK(rig.called().empty());
}

TEST_CASE("hooks: what others put into the library, or the vault had, is not filed") {
  Hooked rig;
  rig.write("Movies/b.mkv", "b");
  std::ofstream(rig.object("old.mkv")) << "from rclone";
  REQUIRE(rig.reconcile->scan({}));
  REQUIRE(rig.reconcile->import_vault({}));
  CHECK(rig.called().empty());
}

TEST_CASE("hooks: the row that a kill kept from being written calls for `filed` when the scan writes it") {
  Hooked rig;
  rig.arrive("Incoming/a.mkv");
  rig.called();
  stdfs::create_directories(rig.local("Movies"));
  stdfs::rename(rig.local("Incoming/a.mkv"), rig.local("Movies/a.mkv"));
  REQUIRE(rig.reconcile->scan({}));
  CHECK(rig.called() == Calls{"1:filed:Movies/a.mkv", "6:filed:Movies/a.mkv"});
}

TEST_CASE("hooks: a job's path says which, on what, about whom") {
  const auto call = hook_call(hook_job_path({3, "filed", "Movies/2:10 to x:y.mkv"}));
  REQUIRE(call);
  CHECK(call->index == 3);
  CHECK(call->event == "filed");
  CHECK(call->path == "Movies/2:10 to x:y.mkv");
  for (const char* path : {"", "1", "1:filed", "x:filed:a", ":filed:a", "-1:filed:a"})
    CHECK_FALSE(hook_call(path));
}
