#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "tests/tier/tier_rig.h"

using namespace mediafs;
using namespace mediafs::tier;
namespace stdfs = std::filesystem;

TEST_CASE("scan adopts what is new, and sidecars, temporary files and Incoming are not of the library") {
  TierRig rig;
  rig.write("Movies/a.mkv", "a");
  rig.write("Movies/.a.mkv.sha1", "0");
  rig.write("Movies/.mediafs-tmp.1.1", "0");
  rig.write("Incoming/b.mkv", "b");
  REQUIRE(rig.reconcile->scan({}));
  CHECK(rig.catalogue->version() == 1);
  CHECK(rig.node("Movies/a.mkv").dirty());
  CHECK_FALSE(rig.catalogue->find("Incoming/b.mkv")->has_value());
  REQUIRE(rig.reconcile->scan({}));
  CHECK(rig.catalogue->version() == 1);
}

TEST_CASE("scan: a rename made while nobody watched is one rename") {
  TierRig rig;
  rig.add("Movies/a.mkv", "film a");
  stdfs::rename(rig.local("Movies/a.mkv"), rig.local("Movies/b.mkv"));
  REQUIRE(rig.reconcile->scan({}));
  CHECK(rig.catalogue->version() == 2);
  CHECK((*rig.catalogue->changes(1, 10, false))[0].kind == ChangeKind::renamed);
  CHECK_FALSE(rig.catalogue->find("Movies/a.mkv")->has_value());
}

TEST_CASE("scan: a missing file that the vault has becomes vault-only, one that it lacks is deleted") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  rig.write("b.mkv", "film b");
  REQUIRE(rig.reconcile->file_settled("b.mkv"));
  stdfs::remove(rig.local("a.mkv"));
  stdfs::remove(rig.local("b.mkv"));
  REQUIRE(rig.reconcile->scan({}));
  CHECK_FALSE(rig.node("a.mkv").local.has_value());
  CHECK_FALSE(rig.catalogue->find("b.mkv")->has_value());
  REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("a.mkv")) == "film a");
}

TEST_CASE("scan: a file whose eviction was cut off between commit and unlink is local again") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  const Node node = rig.node("a.mkv");
  REQUIRE(rig.catalogue->drop_local(node.id, node.generation, node.local->fingerprint));
  REQUIRE(rig.reconcile->scan({}));
  rig.run_jobs();
  CHECK(rig.node("a.mkv").local.has_value());
  CHECK(rig.node("a.mkv").in_vault());
  CHECK(rig.node("a.mkv").generation == node.generation);
  CHECK(rig.catalogue->version() == 1);
}

TEST_CASE("what took the place of the other kind of thing underneath is catalogued and uploaded") {
  TierRig rig;
  const auto settle = [&rig](std::initializer_list<const char*> paths) {
    SUBCASE("while nobody watched") {
      REQUIRE(rig.reconcile->scan({}));
    }
    SUBCASE("as the watcher tells it") {
      for (const char* path : paths) REQUIRE(rig.reconcile->file_settled(path));
    }
    rig.run_jobs();
  };
  SUBCASE("a directory, of a file") {
    rig.add("x", "film");
    stdfs::remove(rig.local("x"));
    rig.write("x/in/y", "another");
    settle({"x/in/y", "x"});
    CHECK(rig.node("x/in/y").in_vault());
    CHECK(TierRig::read(rig.object("x/in/y")) == "another");
  }
  SUBCASE("a directory, of a file that the vault alone had") {
    rig.add("x.mkv", "film");
    const Node node = rig.node("x.mkv");
    REQUIRE(rig.mover.evict(node.id, node.generation));
    rig.write("x.mkv/y", "another");
    settle({"x.mkv/y", "x.mkv"});
    CHECK(TierRig::read(rig.object("x.mkv/y")) == "another");
    CHECK(TierRig::read(rig.object("x (from the vault).mkv")) == "film");
    REQUIRE(rig.mover.fetch("x (from the vault).mkv", {}, {}));
    CHECK(TierRig::read(rig.local("x (from the vault).mkv")) == "film");
  }
  SUBCASE("a file, of a directory") {
    rig.add("x/a", "film");
    rig.write("x/b", "dirty");
    REQUIRE(rig.reconcile->file_settled("x/b"));
    stdfs::remove_all(rig.local("x"));
    rig.write("x", "another");
    settle({"x/a", "x/b", "x"});
    CHECK(rig.node("x").in_vault());
    CHECK(TierRig::read(rig.object("x")) == "another");
    CHECK(TierRig::read(rig.object("x (from the vault)/a")) == "film");
    CHECK_FALSE(rig.catalogue->find("x (from the vault)/b")->has_value());
  }
  SUBCASE("a file moved into the directory that has its name now") {
    rig.add("x", "film");
    stdfs::rename(rig.local("x"), rig.local("y"));
    stdfs::create_directory(rig.local("x"));
    stdfs::rename(rig.local("y"), rig.local("x/x"));
    settle({"x/x", "x"});
    CHECK(rig.node("x/x").in_vault());
    CHECK(TierRig::read(rig.object("x/x")) == "film");
  }
  const auto version = rig.catalogue->version();
  REQUIRE(rig.reconcile->scan({}));
  CHECK(rig.catalogue->version() == version);
  const auto left = *rig.catalogue->jobs().counts();
  for (const JobCounts& counts : left) CHECK(counts.queued + counts.dead == 0);
}

TEST_CASE("a path that is too long for the system is told of") {
  TierRig rig;
  const std::string name(250, 'd');
  Fd at(::open(rig.local("").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::string path;
  for (int i = 0; i < 17; i++) {
    path = join_path(path, name);
    REQUIRE(::mkdirat(at.get(), name.c_str(), 0700) == 0);
    at = Fd(::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(bool(at));
  }
  path = path.substr(0, 16 * 251 - 1);
  REQUIRE(Fd(::openat(at.get(), "../film", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
  SUBCASE("by a scan") {
    REQUIRE(rig.reconcile->scan({}));
    CHECK(rig.catalogue->find(path + "/film")->has_value());
  }
  SUBCASE("by the watcher's word") {
    REQUIRE(rig.reconcile->file_settled(join_path(path, name)));
  }
  REQUIRE(rig.reconcile->file_settled(join_path(path, name)));
  const TooLong met = rig.reconcile->too_long();
  CHECK(met.count == 1);
  CHECK(met.some == std::vector<std::string>{join_path(path, name)});
  REQUIRE(::unlinkat(at.get(), ("../" + name).c_str(), AT_REMOVEDIR) == 0);
  REQUIRE(rig.reconcile->scan({}));
  CHECK(rig.reconcile->too_long().count == 0);
}

TEST_CASE("scan removes what a killed fetch left") {
  TierRig rig;
  rig.write(".mediafs/tmp/fetch-1-1", "part");
  const auto report = rig.reconcile->scan({});
  REQUIRE(report);
  CHECK(report->temporary_removed == 1);
  CHECK_FALSE(stdfs::exists(rig.local(".mediafs/tmp/fetch-1-1")));
}

TEST_CASE("first contact: the vault's files are listed, and read back whole") {
  TierRig rig;
  stdfs::create_directories(rig.object("Movies"));
  std::ofstream(rig.object("Movies/old.mkv")) << "from rclone";
  REQUIRE(rig.reconcile->import_vault({}));
  CHECK(rig.node("Movies/old.mkv").size_bytes == 11);
  REQUIRE(rig.mover.fetch("Movies/old.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("Movies/old.mkv")) == "from rclone");
}

TEST_CASE("scan: what an eviction had moved aside goes if the vault has it, and is kept otherwise") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  const Node node = rig.node("a.mkv");
  REQUIRE(rig.mover.evict(node.id, node.generation));
  rig.write(".mediafs/tmp/evict-1-1", "film a");
  rig.write(".mediafs/tmp/evict-1-2", "only here");
  REQUIRE(rig.reconcile->scan({}));
  CHECK(stdfs::is_empty(rig.local(".mediafs/tmp")));
  std::size_t kept = 0;
  for (const auto& entry : stdfs::directory_iterator(rig.local("Unsorted"))) {
    CHECK(TierRig::read(entry.path()) == "only here");
    kept++;
  }
  CHECK(kept == 1);
}

TEST_CASE("scan: what an eviction had moved aside goes on the store's own word only") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  const Node node = rig.node("a.mkv");
  REQUIRE(rig.mover.evict(node.id, node.generation));
  rig.write(".mediafs/tmp/evict-1-1", "film a");
  const std::string kept = "Unsorted/recovered " + to_hex(*node.checksum);
  SUBCASE("a store that does not answer: the next scan decides") {
    rig.branches.vault = nullptr;
    REQUIRE(rig.reconcile->scan({}));
    CHECK(TierRig::read(rig.local(".mediafs/tmp/evict-1-1")) == "film a");
    rig.branches.vault = rig.vault.get();
    REQUIRE(rig.reconcile->scan({}));
    CHECK(stdfs::is_empty(rig.local(".mediafs/tmp")));
    CHECK_FALSE(stdfs::exists(rig.local(kept)));
  }
  SUBCASE("an object that others deleted: it is kept") {
    stdfs::remove(rig.object("a.mkv"));
    REQUIRE(rig.reconcile->scan({}));
    CHECK(TierRig::read(rig.local(kept)) == "film a");
  }
  SUBCASE("an object that others overwrote: it is kept, and nothing is overwritten for it") {
    std::ofstream(rig.object("a.mkv")) << "other!";
    rig.write(kept, "somebody's");
    REQUIRE(rig.reconcile->scan({}));
    CHECK(TierRig::read(rig.local(kept)) == "somebody's");
    CHECK(TierRig::read(rig.local(kept + " (2)")) == "film a");
  }
}

TEST_CASE("scan: what a process of the same pid left is not taken for our own") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  const std::string pid = std::to_string(getpid());
  rig.write(".mediafs/tmp/evict-" + pid + "-0", "only here");
  rig.write(".mediafs/tmp/fetch-" + pid + "-1", "part");
  const Node node = rig.node("a.mkv");
  REQUIRE(rig.mover.evict(node.id, node.generation));
  REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
  REQUIRE(rig.reconcile->scan({}));
  CHECK(stdfs::is_empty(rig.local(".mediafs/tmp")));
  REQUIRE(stdfs::exists(rig.local("Unsorted")));
  CHECK(TierRig::read(stdfs::directory_iterator(rig.local("Unsorted"))->path()) == "only here");
}

TEST_CASE("a file moved underneath into Incoming leaves the library at once") {
  TierRig rig;
  rig.write("a.mkv", "film a");
  REQUIRE(rig.reconcile->file_settled("a.mkv"));
  stdfs::rename(rig.local("a.mkv"), rig.local("Incoming/a.mkv"));
  REQUIRE(rig.reconcile->file_moved("a.mkv", "Incoming/a.mkv"));
  CHECK_FALSE(rig.catalogue->find("a.mkv")->has_value());
}

TEST_CASE("start: what a cut off relocation left aside in the vault") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  const Node node = rig.node("a.mkv");
  const std::string aside = std::string(kMovingKeys) + std::to_string(node.id);
  const ObjectMeta meta = rig.vault->head("a.mkv")->meta;
  REQUIRE(rig.vault->copy("a.mkv", aside, meta, {}));
  SUBCASE("a copy whose original stands goes") {
    REQUIRE(rig.reconcile->import_vault({}));
    CHECK_FALSE(stdfs::exists(rig.object(aside)));
    CHECK(TierRig::read(rig.object("a.mkv")) == "film a");
  }
  SUBCASE("all that is left of a file goes back to its place") {
    REQUIRE(rig.mover.evict(node.id, node.generation));
    stdfs::remove(rig.object("a.mkv"));
    REQUIRE(rig.catalogue->vault_lost(node.id, "a.mkv"));
    REQUIRE(rig.reconcile->import_vault({}));
    rig.run_jobs();
    CHECK(TierRig::read(rig.object("a.mkv")) == "film a");
    CHECK(rig.node("a.mkv").in_vault());
    CHECK_FALSE(stdfs::exists(rig.object(aside)));
  }
  SUBCASE("what nobody knows is kept where it is seen") {
    const std::string unknown = std::string(kMovingKeys) + "4711";
    REQUIRE(rig.vault->copy("a.mkv", unknown, meta, {}));
    REQUIRE(rig.reconcile->import_vault({}));
    CHECK_FALSE(stdfs::exists(rig.object(unknown)));
    const auto kept = rig.catalogue->list("Unsorted");
    REQUIRE(kept);
    REQUIRE(kept->size() == 1);
    const std::string path = "Unsorted/" + kept->front().name;
    CHECK(TierRig::read(rig.object(path)) == "film a");
    REQUIRE(rig.mover.fetch(path, {}, {}));
    CHECK(TierRig::read(rig.local(path)) == "film a");
  }
  SUBCASE("what nobody knows stays while its place is that of a file that is being forgotten") {
    const std::string unknown = std::string(kMovingKeys) + "4711";
    REQUIRE(rig.vault->copy("a.mkv", unknown, meta, {}));
    REQUIRE(rig.reconcile->import_vault({}));
    const std::string path = "Unsorted/" + rig.catalogue->list("Unsorted")->front().name;
    REQUIRE(rig.catalogue->remove(path, true));
    REQUIRE(rig.vault->copy("a.mkv", unknown, meta, {}));
    REQUIRE(rig.reconcile->import_vault({}));
    rig.run_jobs();
    CHECK_FALSE(stdfs::exists(rig.object(path)));
    REQUIRE(stdfs::exists(rig.object(unknown)));
    REQUIRE(rig.reconcile->import_vault({}));
    CHECK_FALSE(stdfs::exists(rig.object(unknown)));
    CHECK(TierRig::read(rig.object(path)) == "film a");
    CHECK(rig.node(path).vault.has_value());
  }
  SUBCASE("what a file stood on when the vault was replaced by a copy of it") {
    VaultCopy copy = *node.vault;
    copy.key = aside;
    copy.etag = rig.vault->head(aside)->etag;
    REQUIRE(rig.catalogue->relocated(node.id, "a.mkv", copy));
    const Node moved = rig.node("a.mkv");
    REQUIRE(rig.mover.evict(moved.id, moved.generation));
    stdfs::remove(rig.object("a.mkv"));
    REQUIRE(rig.catalogue->vault_replaced());
    REQUIRE(rig.mover.forget(aside, {}));  // its job may run before the vault is looked at
    REQUIRE(stdfs::exists(rig.object(aside)));
    REQUIRE(rig.reconcile->import_vault({}));
    REQUIRE(stdfs::exists(rig.object(aside)));
    rig.run_jobs();
    CHECK(rig.node("a.mkv").in_vault());
    CHECK(TierRig::read(rig.object("a.mkv")) == "film a");
    CHECK_FALSE(stdfs::exists(rig.object(aside)));
    REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
    CHECK(TierRig::read(rig.local("a.mkv")) == "film a");
  }
  SUBCASE("one that a row stands on is its job's business") {
    VaultCopy copy = *node.vault;
    copy.key = aside;
    REQUIRE(rig.catalogue->relocated(node.id, "a.mkv", copy));
    REQUIRE(rig.reconcile->import_vault({}));
    CHECK(stdfs::exists(rig.object(aside)));
    rig.run_jobs();
    CHECK(TierRig::read(rig.object("a.mkv")) == "film a");
    CHECK_FALSE(stdfs::exists(rig.object(aside)));
  }
}
