// Objects that nobody has read, or that are another vault's, are nobody's to remove.
#include <doctest/doctest.h>

#include "common/path.h"
#include "tests/tier/tier_rig.h"
#include "tier/catalogue/health.h"
#include "tier/snapshots.h"
#include "tier/trash.h"

using namespace mediafs;
using namespace mediafs::tier;
namespace stdfs = std::filesystem;

namespace {
struct Rig : TierRig {
  Rig() { reopen(); }
  void reopen() {
    catalogue.reset();
    catalogue = *Catalogue::open(
        {.path = root + "/local/.mediafs/catalogue.db", .keeps_trash = true, .clock = &clock});
    branches.catalogue = catalogue.get();
    branches.clock = &clock;
    branches.config.local.state = root + "/local/.mediafs";
  }
  void remove(const std::string& path) {
    stdfs::remove(local(path));
    REQUIRE(catalogue->remove(path, true));
  }
  bool anywhere(const std::string& text) const {
    for (const auto& e : stdfs::recursive_directory_iterator(root + "/vault"))
      if (e.is_regular_file() && read(e.path()) == text) return true;
    for (const auto& e : stdfs::recursive_directory_iterator(root + "/local"))
      if (e.is_regular_file() && read(e.path()) == text) return true;
    return false;
  }
  ManualClock clock;
};

class Between final : public Vault {
 public:
  explicit Between(Vault& vault) : vault_(vault) {}
  std::string describe() const override { return vault_.describe(); }
  Status probe() override { return vault_.probe(); }
  Result<PutResult> put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                        std::stop_token stop) override {
    return vault_.put(key, source, meta, std::move(stop));
  }
  Result<ObjectInfo> head(const std::string& key) override { return vault_.head(key); }
  std::uint64_t start_read(ReadRequest request, std::function<bool(std::span<const std::byte>)> on_bytes,
                           std::function<void(Status)> on_done) override {
    return vault_.start_read(std::move(request), std::move(on_bytes), std::move(on_done));
  }
  void cancel(std::uint64_t read) override { vault_.cancel(read); }
  Result<ObjectInfo> copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                          std::stop_token stop) override {
    auto done = vault_.copy(from, to, meta, std::move(stop));
    if (on_copy) std::exchange(on_copy, {})();
    return done;
  }
  Status remove(const std::string& key) override { return vault_.remove(key); }
  Status list(const std::string& prefix, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
              std::stop_token stop) override {
    return vault_.list(prefix, page, std::move(stop));
  }
  Status collect_garbage() override { return vault_.collect_garbage(); }
  std::function<void()> on_copy;

 private:
  Vault& vault_;
};
}  // namespace

TEST_CASE("strangers' objects: a listing that shows a stray object while an upload moves it to the trash") {
  Rig rig;
  std::ofstream(rig.object("b.mkv")) << "somebody's only copy";
  rig.write("b.mkv", "ours");
  REQUIRE(rig.reconcile->file_settled("b.mkv"));
  Between between(*rig.vault);
  between.on_copy = [&] {
    const auto head = *rig.vault->head("b.mkv");
    REQUIRE(rig.catalogue->import_listing({{"b.mkv", head.size_bytes, head.meta.mtime_ns, head.etag}}));
  };
  rig.branches.vault = &between;
  rig.run_jobs();
  CHECK(rig.node("b.mkv").in_vault());
  REQUIRE(rig.mover.trash().sweep({}));
  CHECK(rig.anywhere("somebody's only copy"));
}

TEST_CASE("strangers' objects: a file whose object nobody has read is renamed before its upload") {
  Rig rig;
  std::ofstream(rig.object("b.mkv")) << "somebody's only copy";
  rig.write("b.mkv", "ours");
  REQUIRE(rig.reconcile->file_settled("b.mkv"));
  REQUIRE(rig.reconcile->import_vault({}));
  stdfs::rename(rig.local("b.mkv"), rig.local("c.mkv"));
  const auto st = stat_at(rig.branches.local_root.get(), "c.mkv");
  REQUIRE(rig.catalogue->rename({"b.mkv", "c.mkv", *st, true, true}));
  rig.run_jobs();
  CHECK(rig.node("c.mkv").in_vault());
  CHECK(rig.anywhere("somebody's only copy"));
}

TEST_CASE("strangers' objects: what was to be forgotten in the old vault is somebody's in the new one") {
  Rig rig;
  rig.add("a.mkv", "film a");
  rig.remove("a.mkv");  // the vault is away: its job waits
  stdfs::remove(rig.object("a.mkv"));
  std::ofstream(rig.object("a.mkv")) << "the new vault's own";
  REQUIRE(rig.catalogue->vault_replaced());
  REQUIRE(rig.mover.trash().find_kept({}));
  REQUIRE(rig.reconcile->import_vault({}));
  rig.run_jobs();
  CHECK(rig.anywhere("the new vault's own"));
}

TEST_CASE("catalogue check: it ends when it is told to") {
  Rig rig;
  std::stop_source stop;
  REQUIRE(rig.catalogue->check(stop.get_token()));
  stop.request_stop();
  CHECK(rig.catalogue->check(stop.get_token()).err().code == ErrorCode::cancelled);
  CHECK_FALSE(rig.catalogue->damaged());
}

TEST_CASE("strangers' objects: a snapshot that somebody puts in the catalogue's place by hand") {
  Rig rig;
  rig.add("a.mkv", "film a");
  rig.remove("a.mkv");
  // Its forget job is under way.
  const std::string key = *Snapshots(rig.branches, rig.root + "/local/.mediafs").take({});
  REQUIRE(fetch_snapshot(*rig.vault, *rig.vault->head(key), rig.root + "/snapshot.db", {}));
  rig.run_jobs();
  rig.add("a.mkv", "another film a");
  REQUIRE(rig.mover.evict(rig.node("a.mkv").id, rig.node("a.mkv").generation));
  rig.catalogue.reset();
  const std::string db = rig.root + "/local/.mediafs/catalogue.db";
  for (const char* part : {"", "-wal", "-shm", "-later"}) stdfs::remove(db + part);
  stdfs::copy_file(rig.root + "/snapshot.db", db);
  rig.reopen();
  CHECK(rig.catalogue->incomplete() != "");
}
