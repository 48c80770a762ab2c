// What a kill leaves on the local branch, and the next scan puts right.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/tier/tier_rig.h"

using namespace mediafs;
using namespace mediafs::tier;
namespace stdfs = std::filesystem;

namespace {

// As the checksum stage and the mount leave it before they are killed.
void add_with_sidecar(TierRig& rig, const std::string& path, const std::string& text) {
  rig.add(path, text);
  rig.write("." + path + ".sha1", rig.node(path).sha1_hex + "\n");
}

void rename_told(TierRig& rig, const std::string& from, const std::string& to) {
  stdfs::rename(rig.local(from), rig.local(to));
  const auto st = stat_at(rig.branches.local_root.get(), to);
  REQUIRE(st);
  REQUIRE(rig.catalogue->rename({from, to, *st, true, true}));
}

}  // namespace

TEST_CASE("scan: a sidecar follows a file that was renamed just before a kill") {
  TierRig rig;
  add_with_sidecar(rig, "a.mkv", "film a");
  const std::string text = TierRig::read(rig.local(".a.mkv.sha1"));
  SUBCASE("to a free name") {
    rename_told(rig, "a.mkv", "b.mkv");
  }
  SUBCASE("over another file") {
    add_with_sidecar(rig, "b.mkv", "film b");
    rename_told(rig, "a.mkv", "b.mkv");
  }
  SUBCASE("and the catalogue did not learn of it") {
    stdfs::rename(rig.local("a.mkv"), rig.local("b.mkv"));
  }
  REQUIRE(rig.reconcile->scan({}));
  CHECK(TierRig::read(rig.local(".b.mkv.sha1")) == text);
  CHECK_FALSE(stdfs::exists(rig.local(".a.mkv.sha1")));
}

TEST_CASE("the watcher's word of a rename moves the sidecar, too") {
  TierRig rig;
  add_with_sidecar(rig, "a.mkv", "film a");
  stdfs::rename(rig.local("a.mkv"), rig.local("b.mkv"));
  REQUIRE(rig.reconcile->file_settled("b.mkv"));
  CHECK(stdfs::exists(rig.local(".b.mkv.sha1")));
  CHECK_FALSE(stdfs::exists(rig.local(".a.mkv.sha1")));
}

TEST_CASE("scan: the sidecar of a file that was removed just before a kill goes") {
  TierRig rig;
  add_with_sidecar(rig, "a.mkv", "film a");
  REQUIRE(rig.catalogue->remove("a.mkv", true));
  stdfs::remove(rig.local("a.mkv"));
  SUBCASE("and nobody has the name") {
    REQUIRE(rig.reconcile->scan({}));
    CHECK_FALSE(stdfs::exists(rig.local(".a.mkv.sha1")));
  }
  SUBCASE("but stays where another file has the name") {
    add_with_sidecar(rig, "a.mkv", "film a anew");
    REQUIRE(rig.reconcile->scan({}));
    CHECK(stdfs::exists(rig.local(".a.mkv.sha1")));
  }
}

TEST_CASE("scan: sidecars that were to be exchanged when a kill came") {
  TierRig rig;
  add_with_sidecar(rig, "a.mkv", "film a");
  add_with_sidecar(rig, "b.mkv", "film b");
  const int root = rig.branches.local_root.get();
  REQUIRE(::renameat2(root, "a.mkv", root, "b.mkv", RENAME_EXCHANGE) == 0);
  REQUIRE(rig.catalogue->exchange({"a.mkv", "b.mkv", *stat_at(root, "a.mkv"), *stat_at(root, "b.mkv")}));
  REQUIRE(rig.reconcile->scan({}));
  for (const char* path : {"a.mkv", "b.mkv"}) {
    CHECK(TierRig::read(rig.local("." + std::string(path) + ".sha1")) == rig.node(path).sha1_hex + "\n");
  }
}

TEST_CASE("scan: a sidecar that nobody knows the file of stays") {
  TierRig rig;
  rig.write(".other.mkv.sha1", "0");
  REQUIRE(rig.reconcile->scan({}));
  CHECK(stdfs::exists(rig.local(".other.mkv.sha1")));
}

TEST_CASE("scan: temporary files of sidecars from before the start go, one that is being written stays") {
  TierRig rig;
  rig.write(".mediafs-tmp.1.1", "0");
  REQUIRE(rig.reconcile->scan({}));
  CHECK(stdfs::exists(rig.local(".mediafs-tmp.1.1")));
  ManualClock later;
  later.advance(std::chrono::nanoseconds(Clock::system().wall_ns() - later.wall_ns()) +
                std::chrono::seconds(1));
  rig.branches.clock = &later;
  Reconcile next(rig.branches, [](const std::string&) {});
  REQUIRE(next.scan({}));
  CHECK_FALSE(stdfs::exists(rig.local(".mediafs-tmp.1.1")));
}

TEST_CASE("first contact: what an eviction had moved aside goes once the vault answers") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  rig.write(".mediafs/tmp/evict-1-1", "film a");
  rig.branches.vault = nullptr;
  REQUIRE(rig.reconcile->scan({}));
  CHECK(stdfs::exists(rig.local(".mediafs/tmp/evict-1-1")));
  rig.branches.vault = rig.vault.get();
  REQUIRE(rig.reconcile->import_vault({}));
  CHECK(stdfs::is_empty(rig.local(".mediafs/tmp")));
}
