#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/tier/tier_rig.h"

using namespace mediafs;
using namespace mediafs::tier;
namespace stdfs = std::filesystem;

TEST_CASE("a settled file is checksummed, uploaded and proven") {
  TierRig rig;
  rig.add("Movies/a.mkv", "film a");
  CHECK(TierRig::read(rig.object("Movies/a.mkv")) == "film a");
  const Node node = rig.node("Movies/a.mkv");
  CHECK(node.checksum.has_value());
  CHECK(node.vault->key == "Movies/a.mkv");
  CHECK(rig.catalogue->version() == 1);
}

TEST_CASE("evict removes a proven file and fetch brings the same bytes, mode and time back") {
  TierRig rig;
  rig.write("Movies/a.mkv", "film a");
  chmod(rig.local("Movies/a.mkv").c_str(), 0640);
  struct timespec mtime = {1500000000, 123456789};
  SUBCASE("of this century") {}
  SUBCASE("before 1970") {
    mtime.tv_sec = -1000;
  }
  const struct timespec times[2] = {mtime, mtime};
  utimensat(AT_FDCWD, rig.local("Movies/a.mkv").c_str(), times, 0);
  rig.add("Movies/a.mkv", "film a");
  utimensat(AT_FDCWD, rig.local("Movies/a.mkv").c_str(), times, 0);
  REQUIRE(rig.reconcile->file_settled("Movies/a.mkv"));
  rig.run_jobs();
  const Node node = rig.node("Movies/a.mkv");
  REQUIRE(rig.mover.evict(node.id, node.generation));
  CHECK_FALSE(stdfs::exists(rig.local("Movies/a.mkv")));
  CHECK_FALSE(rig.node("Movies/a.mkv").local.has_value());
  REQUIRE(rig.mover.fetch("Movies/a.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("Movies/a.mkv")) == "film a");
  struct stat st {};
  REQUIRE(stat(rig.local("Movies/a.mkv").c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0640);
  CHECK(st.st_mtim.tv_sec == mtime.tv_sec);
  CHECK(st.st_mtim.tv_nsec == mtime.tv_nsec);
  CHECK(rig.node("Movies/a.mkv").in_vault());
  CHECK(rig.node("Movies/a.mkv").generation == node.generation);
}

TEST_CASE("an object that is another version by now is what the file has") {
  TierRig rig;
  rig.write("a.mkv", "film");
  REQUIRE(rig.reconcile->file_settled("a.mkv"));
  rig.run_jobs();
  const Node node = rig.node("a.mkv");
  REQUIRE(rig.mover.evict(node.id, node.generation));
  SUBCASE("the same bytes with a new ETag: nobody notices") {
    auto head = rig.vault->head("a.mkv");
    REQUIRE(head);
    head->meta.mode = 0600;
    REQUIRE(rig.vault->copy("a.mkv", "a.mkv", head->meta, {}));
    REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
    CHECK(rig.node("a.mkv").generation == node.generation);
    CHECK(TierRig::read(rig.local("a.mkv")) == "film");
  }
  SUBCASE("a store that tells no checksum any more: what looks the same is still to be those bytes") {
    const std::string object = rig.object("a.mkv");
    stdfs::copy_file(object, object + ".new");  // without its extended attributes
    stdfs::last_write_time(object + ".new", stdfs::last_write_time(object));
    stdfs::rename(object + ".new", object);
    REQUIRE_FALSE(rig.vault->head("a.mkv")->meta.checksum.has_value());
    REQUIRE(rig.mover.find_again(node.id));
    const Node now = rig.node("a.mkv");
    CHECK(now.generation == node.generation);
    CHECK(now.checksum == node.checksum);
    CHECK(now.vault->checksum == node.checksum);
    REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
  }
  SUBCASE("other bytes") {
    std::ofstream(rig.object("a.mkv")) << "another film";
    REQUIRE(rig.mover.find_again(node.id));
    CHECK(rig.node("a.mkv").generation > node.generation);
    CHECK(rig.node("a.mkv").size_bytes == 12);
    REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
    CHECK(TierRig::read(rig.local("a.mkv")) == "another film");
  }
}

TEST_CASE("evict refuses what is dirty, open, changed, pinned or linked twice") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  const Node node = rig.node("a.mkv");
  SUBCASE("open for reading") {
    const Fd open_elsewhere(open(rig.local("a.mkv").c_str(), O_RDONLY));
    CHECK(rig.mover.evict(node.id, node.generation).err().code == ErrorCode::busy);
  }
  SUBCASE("changed underneath, not yet seen") {
    rig.write("a.mkv", "film b");
    CHECK_FALSE(rig.mover.evict(node.id, node.generation));
    CHECK(TierRig::read(rig.local("a.mkv")) == "film b");
  }
  SUBCASE("changed with its old time put back") {
    struct stat st {};
    REQUIRE(stat(rig.local("a.mkv").c_str(), &st) == 0);
    rig.write("a.mkv", "film b");
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    utimensat(AT_FDCWD, rig.local("a.mkv").c_str(), times, 0);
    CHECK_FALSE(rig.mover.evict(node.id, node.generation));
    CHECK(TierRig::read(rig.local("a.mkv")) == "film b");
  }
  SUBCASE("pinned") {
    REQUIRE(rig.catalogue->set_pinned("a.mkv", true));
    CHECK_FALSE(rig.mover.evict(node.id, node.generation));
  }
  SUBCASE("a second hard link") {
    stdfs::create_hard_link(rig.local("a.mkv"), rig.local("Incoming/a.mkv"));
    CHECK_FALSE(rig.mover.evict(node.id, node.generation));
  }
  SUBCASE("extended attributes") {
    REQUIRE(setxattr(rig.local("a.mkv").c_str(), "user.note", "x", 1, 0) == 0);
    REQUIRE(rig.reconcile->file_settled("a.mkv"));
    rig.run_jobs();
    CHECK_FALSE(rig.mover.evict(node.id, node.generation));
  }
  SUBCASE("other content on the share, which would be shown instead") {
    rig.branches.config.share.path = "/share";
    const ShareEntry other{
        .name = "a.mkv", .mode = S_IFREG | 0644, .size_bytes = 3, .mtime_ns = node.mtime_ns};
    REQUIRE(rig.catalogue->remember_share("", {other}));
    CHECK(rig.mover.evict(node.id, node.generation).err().code == ErrorCode::changed);
  }
  SUBCASE("a newer generation") {
    rig.write("a.mkv", "film a, longer");
    REQUIRE(rig.reconcile->file_settled("a.mkv"));
    CHECK(rig.mover.evict(node.id, node.generation).err().code == ErrorCode::changed);
    CHECK_FALSE(rig.mover.evict(node.id, rig.node("a.mkv").generation));
  }
  SUBCASE("the object is gone from the vault") {
    stdfs::remove(rig.object("a.mkv"));
    CHECK(rig.mover.evict(node.id, node.generation).err().code == ErrorCode::changed);
    rig.run_jobs();
    CHECK(TierRig::read(rig.object("a.mkv")) == "film a");  // uploaded again
  }
  SUBCASE("somebody put other bytes under the key") {
    std::ofstream(rig.object("a.mkv")) << "other!";
    CHECK(rig.mover.evict(node.id, node.generation).err().code == ErrorCode::corrupt);
  }
  CHECK(stdfs::exists(rig.local("a.mkv")));
}

TEST_CASE("evict takes a file that the share has likewise") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  const Node node = rig.node("a.mkv");
  rig.branches.config.share.path = "/share";
  const ShareEntry same{
      .name = "a.mkv", .mode = S_IFREG | 0644, .size_bytes = 6, .mtime_ns = node.mtime_ns / 100 * 100};
  REQUIRE(rig.catalogue->remember_share("", {same}));
  CHECK(rig.mover.evict(node.id, node.generation));
}

TEST_CASE("fetch refuses bytes that are not those that were uploaded, and leaves nothing") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  const Node node = rig.node("a.mkv");
  REQUIRE(rig.mover.evict(node.id, node.generation));
  std::ofstream(rig.object("a.mkv")) << "film b";
  ObjectMeta meta;  // still said to be what it was
  meta.checksum = node.checksum;
  REQUIRE(rig.vault->copy("a.mkv", "a.mkv", meta, {}));
  const Status fetched = rig.mover.fetch("a.mkv", {}, {});
  REQUIRE_FALSE(fetched);
  CHECK(fetched.err().code == ErrorCode::corrupt);
  CHECK_FALSE(stdfs::exists(rig.local("a.mkv")));
  CHECK(stdfs::is_empty(rig.local(".mediafs/tmp")));
}

TEST_CASE("fetch takes what an eviction had not unlinked when it was killed") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  const Node node = rig.node("a.mkv");
  REQUIRE(rig.catalogue->drop_local(node.id, node.generation, node.local->fingerprint));
  SUBCASE("the very bytes: nothing is downloaded, and they are proven again") {
    REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
    rig.run_jobs();
    const Node now = rig.node("a.mkv");
    REQUIRE(now.local.has_value());
    CHECK(now.local->fingerprint == node.local->fingerprint);
    CHECK(now.local->generation == node.generation);
    CHECK(now.in_vault());
    CHECK(rig.catalogue->version() == 1);
  }
  SUBCASE("other bytes stay, and are its newest content") {
    rig.write("a.mkv", "another film");
    REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
    rig.run_jobs();
    CHECK(TierRig::read(rig.local("a.mkv")) == "another film");
    CHECK(TierRig::read(rig.object("a.mkv")) == "another film");
    CHECK(rig.node("a.mkv").generation == node.generation + 1);
  }
  SUBCASE("what is no file is left alone") {
    stdfs::remove(rig.local("a.mkv"));
    stdfs::create_directory(rig.local("a.mkv"));
    CHECK(rig.mover.fetch("a.mkv", {}, {}).err().code == ErrorCode::exists);
    CHECK(stdfs::is_directory(rig.local("a.mkv")));
  }
  if (stdfs::exists(rig.local(".mediafs/tmp"))) CHECK(stdfs::is_empty(rig.local(".mediafs/tmp")));
}

TEST_CASE("a rename moves the object, and the old key goes") {
  TierRig rig;
  rig.add("Movies/a.mkv", "film a");
  stdfs::create_directories(rig.local("Movies/A"));
  stdfs::rename(rig.local("Movies/a.mkv"), rig.local("Movies/A/a.mkv"));
  REQUIRE(rig.reconcile->file_settled("Movies/A/a.mkv"));
  rig.run_jobs();
  CHECK(TierRig::read(rig.object("Movies/A/a.mkv")) == "film a");
  CHECK_FALSE(stdfs::exists(rig.object("Movies/a.mkv")));
  CHECK(rig.node("Movies/A/a.mkv").in_vault());
  CHECK(rig.catalogue->version() == 2);
}

TEST_CASE("an upload never overwrites the only copy of a file that was renamed away") {
  TierRig rig;
  rig.add("a.mkv", "first");
  const Node first = rig.node("a.mkv");
  REQUIRE(rig.mover.evict(first.id, first.generation));
  REQUIRE(rig.catalogue->rename({.from = "a.mkv", .to = "b.mkv", .st = {}}));
  rig.write("a.mkv", "second");
  REQUIRE(rig.reconcile->file_settled("a.mkv"));
  const auto jobs = rig.catalogue->jobs().take(kStageChecksum, 10);
  REQUIRE(jobs);
  for (const Job& job : *jobs) {
    REQUIRE(rig.run(job));
    REQUIRE(rig.catalogue->jobs().done(job.id));
  }
  const Node second = rig.node("a.mkv");
  CHECK(rig.mover.upload(second.id, second.generation, {}).err().code == ErrorCode::busy);
  CHECK(TierRig::read(rig.object("a.mkv")) == "first");
  rig.run_jobs();
  CHECK(TierRig::read(rig.object("a.mkv")) == "second");
  CHECK(TierRig::read(rig.object("b.mkv")) == "first");
}

TEST_CASE("evicted files that swap names keep their bytes") {
  TierRig rig;
  rig.add("a.mkv", "first");
  rig.add("b.mkv", "second");
  for (const char* path : {"a.mkv", "b.mkv"}) {
    const Node node = rig.node(path);
    REQUIRE(rig.mover.evict(node.id, node.generation));
  }
  REQUIRE(rig.catalogue->rename({.from = "a.mkv", .to = "c.mkv", .st = {}}));
  REQUIRE(rig.catalogue->rename({.from = "b.mkv", .to = "a.mkv", .st = {}}));
  REQUIRE(rig.catalogue->rename({.from = "c.mkv", .to = "b.mkv", .st = {}}));
  rig.run_jobs();
  CHECK(TierRig::read(rig.object("a.mkv")) == "second");
  CHECK(TierRig::read(rig.object("b.mkv")) == "first");
  REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("a.mkv")) == "second");
  CHECK((!stdfs::exists(rig.object(".mediafs/moving")) || stdfs::is_empty(rig.object(".mediafs/moving"))));
}

namespace {

// Makes its copies, and is cut off before it can say so.
class CutOff final : public Vault {
 public:
  explicit CutOff(Vault& vault) : vault_(vault) {}
  std::string describe() const override { return vault_.describe(); }
  Status probe() override { return vault_.probe(); }
  Result<PutResult> put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                        std::stop_token stop) override {
    return vault_.put(key, source, meta, stop);
  }
  Result<ObjectInfo> head(const std::string& key) override { return vault_.head(key); }
  std::uint64_t start_read(ReadRequest request, std::function<bool(std::span<const std::byte>)> on_bytes,
                           std::function<void(Status)> on_done) override {
    return vault_.start_read(std::move(request), std::move(on_bytes), std::move(on_done));
  }
  void cancel(std::uint64_t read) override { vault_.cancel(read); }
  Result<ObjectInfo> copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                          std::stop_token stop) override {
    REQUIRE(vault_.copy(from, to, meta, stop));
    return make_error(ErrorCode::offline, "copy", "cut off");
  }
  Status remove(const std::string& key) override { return vault_.remove(key); }
  Status list(const std::string& prefix, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
              std::stop_token stop) override {
    return vault_.list(prefix, page, stop);
  }
  Status collect_garbage() override { return vault_.collect_garbage(); }

 private:
  Vault& vault_;
};

}  // namespace

TEST_CASE("an object that stepped aside and was cut off there is forgotten by a job that was made before") {
  TierRig rig;
  rig.add("a.mkv", "first");
  rig.add("b.mkv", "second");
  const Node first = rig.node("a.mkv");
  const Node second = rig.node("b.mkv");
  for (const Node& node : {first, second}) REQUIRE(rig.mover.evict(node.id, node.generation));
  REQUIRE(rig.catalogue->rename({.from = "a.mkv", .to = "c.mkv", .st = {}}));
  REQUIRE(rig.catalogue->rename({.from = "b.mkv", .to = "a.mkv", .st = {}}));
  REQUIRE(rig.catalogue->rename({.from = "c.mkv", .to = "b.mkv", .st = {}}));
  CutOff cut_off(*rig.vault);
  rig.branches.vault = &cut_off;
  CHECK(rig.mover.relocate(first.id, {}).err().code == ErrorCode::offline);
  rig.branches.vault = rig.vault.get();
  const std::string aside = std::string(kMovingKeys) + std::to_string(second.id);
  REQUIRE(stdfs::exists(rig.object(aside)));
  bool forgotten = false;
  const auto jobs = rig.catalogue->jobs().take(kStageForget, 10);
  REQUIRE(jobs);
  for (const Job& job : *jobs) {
    REQUIRE(rig.run(job));
    REQUIRE(rig.catalogue->jobs().done(job.id));
    forgotten = forgotten || job.path == aside;
  }
  CHECK(forgotten);
  CHECK_FALSE(stdfs::exists(rig.object(aside)));
  rig.run_jobs();
  CHECK(TierRig::read(rig.object("a.mkv")) == "second");
  CHECK(TierRig::read(rig.object("b.mkv")) == "first");
}

TEST_CASE("a deleted file's object goes, but not one that a new file has taken over") {
  TierRig rig;
  rig.add("a.mkv", "first");
  stdfs::remove(rig.local("a.mkv"));
  REQUIRE(rig.catalogue->remove("a.mkv", true));
  rig.write("a.mkv", "second");
  REQUIRE(rig.reconcile->file_settled("a.mkv"));
  rig.run_jobs();
  CHECK(TierRig::read(rig.object("a.mkv")) == "second");
  stdfs::remove(rig.local("a.mkv"));
  REQUIRE(rig.catalogue->remove("a.mkv", true));
  rig.run_jobs();
  CHECK_FALSE(stdfs::exists(rig.object("a.mkv")));
}

TEST_CASE("an upload finds the equal object that a lost reply left, and sends nothing") {
  TierRig rig;
  rig.add("a.mkv", "film a");
  struct stat before {};
  REQUIRE(stat(rig.object("a.mkv").c_str(), &before) == 0);
  const Node node = rig.node("a.mkv");
  REQUIRE(rig.catalogue->vault_lost(node.id, "a.mkv"));  // as if the outcome had never been written down
  rig.run_jobs();
  struct stat after {};
  REQUIRE(stat(rig.object("a.mkv").c_str(), &after) == 0);
  CHECK(before.st_ino == after.st_ino);
  CHECK(rig.node("a.mkv").in_vault());
}

TEST_CASE("an object that others put there can be evicted again after a fetch") {
  TierRig rig;
  std::ofstream(rig.object("old.mkv")) << "from rclone";
  REQUIRE(rig.reconcile->import_vault({}));
  REQUIRE(rig.mover.fetch("old.mkv", {}, {}));
  rig.run_jobs();
  const Node node = rig.node("old.mkv");
  REQUIRE(node.in_vault());
  REQUIRE(rig.mover.evict(node.id, node.generation));
  CHECK_FALSE(stdfs::exists(rig.local("old.mkv")));
}
