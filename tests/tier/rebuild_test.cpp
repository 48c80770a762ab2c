// A catalogue that is lost, and made again from a snapshot, the vault's listing and the local tree.
#include "tier/rebuild.h"

#include <sys/stat.h>

#include "tier/catalogue/health.h"
#include "tier/snapshots.h"
#include "tier/vault_identity.h"
#include "tier_rig.h"

namespace mediafs::tier {

namespace {

namespace stdfs = std::filesystem;

const std::string kId(32, 'a');

class RebuildRig : public TierRig {
 public:
  using Lines = std::vector<std::string>;
  RebuildRig() {
    stdfs::create_directories(object(".mediafs"));
    std::ofstream(object(kVaultMarker)) << kId << "\n";
    std::ofstream(state(kKnownVaultFile)) << kId << "\n";
    branches.config.local.state = root + "/local/.mediafs";
    REQUIRE(catalogue->set_setting(kVaultId, kId));
  }

  std::string state(const std::string& name) const { return root + "/local/.mediafs/" + name; }
  std::string db() const { return state("catalogue.db"); }
  void close() {
    catalogue.reset();
    branches.catalogue = nullptr;
    branches.vault = nullptr;
  }
  void open() {
    catalogue = *Catalogue::open({.path = db()});
    branches.catalogue = catalogue.get();
    branches.vault = vault.get();
  }
  void lose() {
    close();
    for (const char* part : {"", "-wal", "-shm", "-later"}) stdfs::remove(db() + part);
  }
  void snapshot() { REQUIRE(Snapshots(branches, state("")).take({})); }
  Result<RebuildReport> try_rebuild(RebuildOptions options = {}) {
    if (catalogue) close();
    options.database = db();
    return rebuild(branches, *vault, options, {});
  }
  RebuildReport rebuilt() {
    auto report = try_rebuild();
    REQUIRE_MESSAGE(report.has_value(), (report ? "" : report.err().message()));
    open();
    return *report;
  }
  void evict(const std::string& path) {
    const Node had = node(path);
    REQUIRE(mover.evict(had.id, had.generation));
    REQUIRE_FALSE(stdfs::exists(local(path)));
  }
  bool has(const std::string& path) { return catalogue->find(path)->has_value(); }
  Lines all() {
    Lines paths;
    const auto files = *catalogue->walk("", "", 1000);
    for (const Node& file : files) paths.push_back(file.path);
    return paths;
  }
};

}  // namespace

TEST_CASE("rebuild: everything is as it was, from a snapshot and without one") {
  RebuildRig rig;
  rig.add("here.mkv", "in both");
  rig.add("there.mkv", "in the vault alone");
  rig.add("Shows/s.mkv", "pinned");
  rig.evict("there.mkv");
  REQUIRE(rig.catalogue->set_pinned("Shows/s.mkv", true));
  bool with = false;
  SUBCASE("from a snapshot") {
    with = true;
    rig.snapshot();
  }
  SUBCASE("without one") {}
  const Node here = rig.node("here.mkv");
  const Node there = rig.node("there.mkv");
  const std::int64_t version = rig.catalogue->version();
  rig.lose();
  const RebuildReport report = rig.rebuilt();
  CHECK(report.snapshot.empty() != with);
  CHECK(report.recovered.gone == 0);
  CHECK(report.recovered.back == 0);
  CHECK(rig.catalogue->version() > version);
  CHECK(rig.catalogue->setting(kVaultId).value() == kId);
  rig.run_jobs();
  CHECK(rig.all() == RebuildRig::Lines{"Shows/s.mkv", "here.mkv", "there.mkv"});
  CHECK(rig.node("here.mkv").in_vault());
  CHECK(rig.node("here.mkv").vault->etag == here.vault->etag);  // not uploaded again
  CHECK(rig.node("Shows/s.mkv").pinned == with);
  const Node again = rig.node("there.mkv");
  CHECK(again.in_vault());
  CHECK_FALSE(again.local);
  CHECK(again.checksum == there.checksum);
  CHECK(again.mtime_ns == there.mtime_ns);
  CHECK(again.mode == there.mode);
  CHECK(again.size_bytes == there.size_bytes);
  CHECK((again.inode == there.inode) == with);
  REQUIRE(rig.mover.fetch("there.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("there.mkv")) == "in the vault alone");
}

TEST_CASE("rebuild: what happened since the snapshot is seen, and nothing is removed for it") {
  RebuildRig rig;
  rig.add("deleted.mkv", "deleted since");
  rig.add("evicted.mkv", "evicted since");
  rig.add("changed.mkv", "old");
  rig.add("from.mkv", "renamed since");
  rig.add("away.mkv", "evicted, then renamed since");
  rig.evict("away.mkv");
  rig.snapshot();
  REQUIRE(rig.catalogue->remove("deleted.mkv", true));
  stdfs::remove(rig.local("deleted.mkv"));
  rig.evict("evicted.mkv");
  rig.write("changed.mkv", "new content");
  REQUIRE(rig.reconcile->file_settled("changed.mkv"));
  REQUIRE(rig.catalogue->rename({"away.mkv", "far.mkv", std::nullopt, true, true}));
  rig.run_jobs();
  stdfs::rename(rig.local("from.mkv"), rig.local("to.mkv"));
  REQUIRE(rig.reconcile->file_settled("to.mkv"));
  rig.run_jobs();
  rig.evict("changed.mkv");
  rig.add("late.mkv", "new since");
  rig.evict("late.mkv");
  rig.lose();
  const RebuildReport report = rig.rebuilt();
  rig.run_jobs();
  CHECK(rig.all() == RebuildRig::Lines{"changed.mkv", "evicted.mkv", "far.mkv", "late.mkv", "to.mkv"});
  for (const char* path : {"changed.mkv", "evicted.mkv", "far.mkv", "late.mkv", "to.mkv"}) {
    CHECK_MESSAGE(rig.node(path).in_vault(), path);
    CHECK_MESSAGE(stdfs::exists(rig.object(path)), path);
  }
  REQUIRE(rig.mover.fetch("changed.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("changed.mkv")) == "new content");
  REQUIRE(rig.mover.fetch("far.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("far.mkv")) == "evicted, then renamed since");
  CHECK(report.recovered.gone == 2);  // deleted.mkv, and away.mkv, which has another name
}

TEST_CASE(
    "rebuild: a removal that the snapshot had still to carry out does not touch what has that name now") {
  RebuildRig rig;
  rig.add("a.mkv", "the first");
  REQUIRE(rig.catalogue->remove("a.mkv", true));  // its object is to be forgotten
  stdfs::remove(rig.local("a.mkv"));
  rig.snapshot();
  rig.run_jobs();
  rig.add("a.mkv", "another file of that name");
  rig.evict("a.mkv");
  rig.lose();
  const RebuildReport report = rig.rebuilt();
  rig.run_jobs();
  CHECK(report.recovered.back == 1);
  REQUIRE(rig.has("a.mkv"));
  REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("a.mkv")) == "another file of that name");
}

TEST_CASE("rebuild: names that changed hands before their objects did keep their bytes") {
  RebuildRig rig;
  rig.add("one.mkv", "first");
  rig.evict("one.mkv");
  REQUIRE(rig.catalogue->rename(
      {"one.mkv", "two.mkv", std::nullopt, true, true}));  // the object is still under one.mkv
  rig.write("one.mkv", "second, under the old name");
  REQUIRE(rig.reconcile->file_settled("one.mkv"));
  SUBCASE("the snapshot knows it") {
    rig.snapshot();
    rig.lose();
    rig.rebuilt();
    rig.run_jobs();
    REQUIRE(rig.has("two.mkv"));
    REQUIRE(rig.mover.fetch("two.mkv", {}, {}));
    CHECK(TierRig::read(rig.local("two.mkv")) == "first");
  }
  SUBCASE("nobody knows it") {
    rig.lose();
    rig.rebuilt();
    rig.run_jobs();
    const std::string kept = "one (from the vault).mkv";
    REQUIRE(rig.has(kept));
    REQUIRE(rig.mover.fetch(kept, {}, {}));
    CHECK(TierRig::read(rig.local(kept)) == "first");
  }
  CHECK(TierRig::read(rig.object("one.mkv")) == "second, under the old name");
  CHECK(rig.node("one.mkv").in_vault());
}

TEST_CASE("rebuild: an object without a checksum is read before an upload takes its name") {
  RebuildRig rig;
  rig.write("same.mkv", "twelve bytes");
  rig.write("other.mkv", "local bytes.");
  std::ofstream(rig.object("same.mkv")) << "twelve bytes";
  std::ofstream(rig.object("other.mkv")) << "their bytes.";
  for (const char* key : {"same.mkv", "other.mkv"})
    stdfs::last_write_time(rig.object(key), stdfs::file_time_type::clock::now() - std::chrono::hours(100));
  rig.lose();
  rig.rebuilt();
  rig.run_jobs();
  CHECK(rig.all() == RebuildRig::Lines{"other (from the vault).mkv", "other.mkv", "same.mkv"});
  CHECK(TierRig::read(rig.object("other.mkv")) == "local bytes.");
  CHECK(TierRig::read(rig.object("other (from the vault).mkv")) == "their bytes.");
  CHECK(rig.node("other.mkv").in_vault());
  CHECK(rig.node("same.mkv").in_vault());
}

TEST_CASE("rebuild: a snapshot that is damaged gives way to the one before") {
  RebuildRig rig;
  rig.add("a.mkv", "a");
  rig.snapshot();
  rig.add("b.mkv", "b");
  rig.snapshot();
  const auto keys = list_snapshots(*rig.vault, {});
  REQUIRE(keys->size() == 2);
  {
    std::fstream file(rig.object(keys->front().key), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(200);
    file << std::string(100, 'x');
  }
  rig.lose();
  CHECK(rig.rebuilt().snapshot == keys->back().key);
  CHECK(rig.has("b.mkv"));
}

TEST_CASE("rebuild: whose vault it is has to be known") {
  RebuildRig rig;
  rig.add("a.mkv", "a");
  SUBCASE("a whole catalogue is left alone") {
    CHECK(rig.try_rebuild().err().code == ErrorCode::invalid);
    rig.open();
    CHECK(rig.node("a.mkv").in_vault());
  }
  SUBCASE("nothing says it") {
    rig.lose();
    stdfs::remove(rig.state(kKnownVaultFile));
    const auto refused = rig.try_rebuild();
    CHECK(refused.err().code == ErrorCode::invalid);
    CHECK(refused.err().message().find("--vault-id " + kId) != std::string::npos);
    CHECK(rig.try_rebuild({.database = {}, .vault_id = kId}).has_value());
  }
  SUBCASE("it is another library's") {
    rig.lose();
    std::ofstream(rig.object(kVaultMarker)) << std::string(32, 'b') << "\n";
    CHECK(rig.try_rebuild().err().code == ErrorCode::offline);
  }
  SUBCASE("it is not there") {
    rig.lose();
    stdfs::remove(rig.object(kVaultMarker));
    CHECK(rig.try_rebuild().err().code == ErrorCode::offline);
  }
  CHECK(TierRig::read(rig.object("a.mkv")) == "a");
}

TEST_CASE("snapshots: one an interval, only of what has changed, and the newest three are kept") {
  RebuildRig rig;
  ManualClock clock;
  rig.branches.clock = &clock;
  rig.branches.config.vault.snapshot_every = std::chrono::hours(1);
  Snapshots snapshots(rig.branches, rig.state(""));
  rig.add("a.mkv", "a");
  CHECK(snapshots.take_if_due({})->has_value());
  rig.add("b.mkv", "b");
  CHECK_FALSE(snapshots.take_if_due({})->has_value());  // too early
  clock.advance(std::chrono::hours(2));
  CHECK(snapshots.take_if_due({})->has_value());
  clock.advance(std::chrono::hours(2));
  CHECK_FALSE(snapshots.take_if_due({})->has_value());  // nothing is new
  for (int n = 0; n < 3; ++n) {
    rig.add("c" + std::to_string(n), "c");
    clock.advance(std::chrono::hours(2));
    CHECK(snapshots.take_if_due({})->has_value());
  }
  CHECK(list_snapshots(*rig.vault, {})->size() == 3);
  CHECK_FALSE(stdfs::exists(rig.state("snapshot.db")));
  CHECK_FALSE(stdfs::exists(rig.state("snapshot.db.gz")));
  rig.branches.config.vault.snapshot_every = std::chrono::hours(0);
  rig.add("d.mkv", "d");
  clock.advance(std::chrono::hours(2));
  CHECK_FALSE(snapshots.take_if_due({})->has_value());
}

TEST_CASE(
    "vault identity: an incomplete catalogue changes and believes nothing, whatever the vault's marker "
    "says") {
  RebuildRig rig;
  rig.close();
  rig.lose();
  auto catalogue = *Catalogue::open({.path = rig.db(), .lost = "it was gone", .version_floor = 1000});
  GuardedVault guard(*open_vault(rig.branches.config, {}), *catalogue, {});
  SUBCASE("its own marker") {}
  SUBCASE("none") {
    stdfs::remove(rig.object(kVaultMarker));
  }
  const Status probed = guard.probe();
  REQUIRE_FALSE(probed);
  CHECK(probed.err().message().find("mediafs rebuild") != std::string::npos);
  CHECK(guard.state() == VaultState::incomplete);
  CHECK(guard.remove("a").err().code == ErrorCode::offline);
  CHECK(guard.list("", [](std::vector<ObjectInfo>&&) { return true; }, {}).err().code == ErrorCode::offline);
  CHECK(catalogue->version() == 1000);
  CHECK(catalogue->setting(kVaultId)->empty());
}

}  // namespace mediafs::tier
