// What was deleted is kept, comes back, and goes for good.
#include <doctest/doctest.h>

#include <algorithm>

#include "common/path.h"
#include "tests/tier/tier_rig.h"
#include "tier/trash.h"

using namespace mediafs;
using namespace mediafs::tier;
namespace stdfs = std::filesystem;

namespace {

struct TrashRig : TierRig {
  TrashRig() { reopen(); }
  void reopen() {
    catalogue.reset();
    catalogue = *Catalogue::open(
        {.path = root + "/local/.mediafs/catalogue.db", .keeps_trash = true, .clock = &clock});
    branches.catalogue = catalogue.get();
    branches.clock = &clock;
  }
  void remove(const std::string& path) {
    stdfs::remove(local(path));
    REQUIRE(catalogue->remove(path, true));
  }
  std::vector<TrashEntry> entries() { return *catalogue->trash("", 0, 100); }
  TrashEntry only() {
    const auto all = entries();
    REQUIRE(all.size() == 1);
    return all.front();
  }
  std::string kept(const std::string& key) const { return read(object(key)); }
  // Objects below .mediafs/trash, as the vault lists them.
  std::vector<std::string> in_trash() {
    std::vector<std::string> keys;
    const auto page = [&](std::vector<ObjectInfo>&& objects) {
      for (const auto& o : objects) keys.push_back(o.key);
      return true;
    };
    const Status listed = vault->list(".mediafs/trash", page, {});
    REQUIRE((listed.has_value() || listed.err().code == ErrorCode::not_found));
    std::sort(keys.begin(), keys.end());
    return keys;
  }
  ManualClock clock;
};

// Fails what it is told to fail.
class FailingVault final : public Vault {
 public:
  explicit FailingVault(Vault& vault) : vault_(vault) {}
  std::string describe() const override { return vault_.describe(); }
  Status probe() override { return vault_.probe(); }
  Result<PutResult> put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                        std::stop_token stop) override {
    return vault_.put(key, source, meta, std::move(stop));
  }
  Result<ObjectInfo> head(const std::string& key) override {
    auto info = vault_.head(key);
    if (info && short_copies && key.starts_with(kTrashKeys)) info->size_bytes -= 1;
    if (info && other_sums && key.starts_with(kTrashKeys)) info->meta.checksum = Xxh128{};
    return info;
  }
  std::uint64_t start_read(ReadRequest request, std::function<bool(std::span<const std::byte>)> on_bytes,
                           std::function<void(Status)> on_done) override {
    return vault_.start_read(std::move(request), std::move(on_bytes), std::move(on_done));
  }
  void cancel(std::uint64_t read) override { vault_.cancel(read); }
  Result<ObjectInfo> copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                          std::stop_token stop) override {
    if (no_copies) return make_error(ErrorCode::io, "copy " + from, "the store is out of order");
    return vault_.copy(from, to, meta, std::move(stop));
  }
  Status remove(const std::string& key) override {
    if (no_removals) return make_error(ErrorCode::io, "remove " + key, "the store is out of order");
    return vault_.remove(key);
  }
  Status list(const std::string& prefix, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
              std::stop_token stop) override {
    return vault_.list(prefix, page, std::move(stop));
  }
  Status collect_garbage() override { return vault_.collect_garbage(); }

  bool no_copies = false, no_removals = false, short_copies = false, other_sums = false;

 private:
  Vault& vault_;
};

}  // namespace

TEST_CASE("trash: a deleted file's object moves there, and comes back with time, mode and checksum") {
  TrashRig rig;
  rig.write("Movies/A (2020)/a.mkv", "film a");
  chmod(rig.local("Movies/A (2020)/a.mkv").c_str(), 0640);
  rig.add("Movies/A (2020)/a.mkv", "film a");
  const Node before = rig.node("Movies/A (2020)/a.mkv");
  REQUIRE(rig.mover.evict(before.id, before.generation));
  rig.remove(before.path);
  CHECK(rig.only().state == TrashState::waiting);
  rig.run_jobs();
  const TrashEntry entry = rig.only();
  CHECK(entry.state == TrashState::kept);
  CHECK(entry.path == before.path);
  CHECK(entry.checksum == before.checksum);
  CHECK(rig.kept(entry.key) == "film a");
  CHECK_FALSE(stdfs::exists(rig.object(before.path)));
  CHECK_FALSE(*rig.catalogue->is_tombstoned(before.path));
  CHECK(rig.catalogue->totals()->trash.bytes == 6);
  CHECK(rig.catalogue->totals()->vault.files == 0);
  const std::int64_t version = rig.catalogue->version();

  const auto restored = rig.mover.trash().restore(entry.id, "", {});
  REQUIRE_MESSAGE(restored.has_value(), restored.err().message());
  const Node after = rig.node(before.path);
  CHECK(rig.catalogue->version() == version + 1);
  CHECK(rig.catalogue->changes(version, 1, false)->at(0).kind == ChangeKind::added);
  CHECK_FALSE(after.local.has_value());
  CHECK(after.in_vault());
  CHECK(after.mtime_ns == before.mtime_ns);
  CHECK(after.mode == 0640);
  CHECK(after.checksum == before.checksum);
  CHECK(after.sha1_hex == before.sha1_hex);
  CHECK(rig.entries().empty());
  CHECK(rig.in_trash().empty());
  rig.run_jobs();  // the forget job that was asked for beforehand finds it in use
  CHECK(rig.kept(before.path) == "film a");
  REQUIRE(rig.mover.fetch(before.path, {}, {}));
  CHECK(TierRig::read(rig.local(before.path)) == "film a");
}

TEST_CASE("trash: off, an object is removed at once, and what the trash had goes with the next sweep") {
  TrashRig rig;
  rig.add("a.mkv", "film a");
  rig.add("b.mkv", "film b");
  rig.remove("a.mkv");
  rig.run_jobs();
  rig.remove("b.mkv");
  rig.branches.config.vault.trash = std::chrono::milliseconds(0);
  rig.run_jobs();
  CHECK(rig.entries().size() == 1);
  CHECK_FALSE(stdfs::exists(rig.object("b.mkv")));
  REQUIRE(rig.mover.trash().sweep({}));
  CHECK(rig.entries().empty());
  CHECK(rig.in_trash().empty());
}

TEST_CASE("trash: what a rename replaced is kept, though its key is taken at once") {
  TrashRig rig;
  rig.add("a.mkv", "the old film");
  rig.write("b.mkv", "the new film, longer");
  SUBCASE("by a file that the vault has not seen") {}
  SUBCASE("by one that it has") {
    rig.add("b.mkv", "the new film, longer");
  }
  stdfs::rename(rig.local("b.mkv"), rig.local("a.mkv"));
  const auto st = stat_at(rig.branches.local_root.get(), "a.mkv");
  REQUIRE(st);
  REQUIRE(rig.catalogue->rename({"b.mkv", "a.mkv", *st, true, true}));
  rig.run_jobs();
  CHECK(rig.kept("a.mkv") == "the new film, longer");
  CHECK(rig.node("a.mkv").in_vault());
  const TrashEntry entry = rig.only();
  CHECK(entry.state == TrashState::kept);
  CHECK(rig.kept(entry.key) == "the old film");
  const auto occupied = rig.mover.trash().restore(entry.id, "", {});
  REQUIRE_FALSE(occupied);
  CHECK(occupied.err().code == ErrorCode::exists);
  CHECK(occupied.err().cause.find("--to PATH") != std::string::npos);
  REQUIRE(rig.mover.trash().restore(entry.id, "Old/a.mkv", {}));
  rig.run_jobs();
  CHECK(rig.kept("Old/a.mkv") == "the old film");
  CHECK(rig.kept("a.mkv") == "the new film, longer");
}

TEST_CASE("trash: what somebody else put under a file's key is kept before it is written over") {
  TrashRig rig;
  rig.write("b.mkv", "ours");
  SUBCASE("by an upload") {
    std::ofstream(rig.object("b.mkv")) << "somebody's";
    REQUIRE(rig.reconcile->file_settled("b.mkv"));
  }
  SUBCASE("by the upload of what the vault had before") {
    rig.add("b.mkv", "ours of old");
    std::ofstream(rig.object("b.mkv")) << "somebody's";
    rig.write("b.mkv", "ours");
    REQUIRE(rig.reconcile->file_settled("b.mkv"));
  }
  SUBCASE("by a rename") {
    rig.add("a.mkv", "ours");
    std::ofstream(rig.object("b.mkv")) << "somebody's";
    stdfs::rename(rig.local("a.mkv"), rig.local("b.mkv"));
    const auto st = stat_at(rig.branches.local_root.get(), "b.mkv");
    REQUIRE(rig.catalogue->rename({"a.mkv", "b.mkv", *st, true, true}));
  }
  rig.run_jobs();
  CHECK(rig.node("b.mkv").in_vault());
  CHECK(rig.kept("b.mkv") == "ours");
  CHECK(rig.only().path == "b.mkv");
  CHECK(rig.kept(rig.only().key) == "somebody's");
}

TEST_CASE("trash: what is written over by its own file's new bytes is not kept") {
  TrashRig rig;
  rig.add("a.mkv", "one");
  rig.write("a.mkv", "the other");
  REQUIRE(rig.reconcile->file_settled("a.mkv"));
  rig.run_jobs();
  CHECK(rig.kept("a.mkv") == "the other");
  CHECK(rig.entries().empty());
}

TEST_CASE("trash: a directory that took a file's place leaves the file's object in it") {
  TrashRig rig;
  rig.add("a.mkv", "film a");
  stdfs::remove(rig.local("a.mkv"));
  rig.write("a.mkv/part1", "one");
  REQUIRE(rig.reconcile->file_settled("a.mkv"));
  REQUIRE(rig.reconcile->file_settled("a.mkv/part1"));
  rig.run_jobs();
  CHECK(rig.kept(rig.only().key) == "film a");
  CHECK(rig.kept("a.mkv/part1") == "one");
}

TEST_CASE("trash: a file that comes back under its name before the jobs ran takes its object back") {
  TrashRig rig;
  rig.add("a.mkv", "film a");
  struct stat st {};
  REQUIRE(stat(rig.local("a.mkv").c_str(), &st) == 0);
  rig.remove("a.mkv");
  rig.write("a.mkv", "film a");
  const struct timespec times[2] = {st.st_atim, st.st_mtim};
  utimensat(AT_FDCWD, rig.local("a.mkv").c_str(), times, 0);
  REQUIRE(rig.reconcile->file_settled("a.mkv"));
  rig.run_jobs();
  CHECK(rig.node("a.mkv").in_vault());
  CHECK(rig.entries().empty());
  REQUIRE(rig.mover.trash().sweep({}));
  CHECK(rig.kept("a.mkv") == "film a");
  CHECK(rig.in_trash().empty());
}

TEST_CASE("trash: an object is not removed while its copy is not proven, and the job is to run again") {
  TrashRig rig;
  rig.add("a.mkv", "film a");
  rig.remove("a.mkv");
  FailingVault failing(*rig.vault);
  rig.branches.vault = &failing;
  SUBCASE("the store refuses the copy") {
    failing.no_copies = true;
  }
  SUBCASE("its copy is shorter") {
    failing.short_copies = true;
  }
  SUBCASE("its copy has another checksum") {
    failing.other_sums = true;
  }
  const Status forgotten = rig.mover.forget("a.mkv", {});
  REQUIRE_FALSE(forgotten);
  CHECK(classify(forgotten.err().code) == ErrorClass::transient);
  CHECK(rig.kept("a.mkv") == "film a");
  CHECK(rig.only().state == TrashState::waiting);
  CHECK(*rig.catalogue->is_tombstoned("a.mkv"));
  CHECK(rig.catalogue->import_listing({{"a.mkv", 6, 1, "x"}}) == std::size_t{0});
  rig.branches.vault = rig.vault.get();
  rig.run_jobs();
  CHECK(rig.kept(rig.only().key) == "film a");
  CHECK_FALSE(stdfs::exists(rig.object("a.mkv")));
  CHECK(rig.in_trash().size() == 1);
}

TEST_CASE("trash: what is old enough goes, and nothing else") {
  TrashRig rig;
  rig.branches.config.vault.trash = std::chrono::hours(24);
  rig.add("old.mkv", "old");
  rig.add("new.mkv", "newer");
  rig.remove("old.mkv");
  rig.run_jobs();
  rig.clock.advance(std::chrono::hours(20));
  rig.remove("new.mkv");
  rig.run_jobs();
  const std::string stranger = ".mediafs/trash/somebody's own file";
  stdfs::create_directories(rig.object(".mediafs/trash"));
  std::ofstream(rig.object(stranger)) << "not ours";
  CHECK(rig.mover.trash().sweep({})->files == 0);
  rig.clock.advance(std::chrono::hours(5));
  rig.reopen();
  FailingVault failing(*rig.vault);
  rig.branches.vault = &failing;
  failing.no_removals = true;
  CHECK_FALSE(rig.mover.trash().sweep({}));
  CHECK(rig.only().path == "new.mkv");  // what is going is not shown
  CHECK_FALSE(rig.mover.trash().restore(1, "", {}));
  failing.no_removals = false;
  REQUIRE(rig.mover.trash().sweep({}));
  CHECK(rig.in_trash() == std::vector<std::string>{rig.only().key, stranger});
  CHECK(rig.catalogue->trash_due(0, 0, 10)->empty());
}

TEST_CASE("trash: a deleted file whose object had stepped aside is not found again at the start, but kept") {
  TrashRig rig;
  rig.add("a.mkv", "film a");
  const Node node = rig.node("a.mkv");
  VaultCopy aside = *node.vault;
  aside.key = std::string(kMovingKeys) + std::to_string(node.id);
  REQUIRE(rig.vault->copy("a.mkv", aside.key, rig.vault->head("a.mkv")->meta, {}));
  REQUIRE(rig.catalogue->relocated(node.id, "a.mkv", aside));
  rig.remove("a.mkv");
  REQUIRE(rig.reconcile->import_vault({}));
  rig.run_jobs();
  CHECK(rig.catalogue->list("")->empty());
  CHECK_FALSE(stdfs::exists(rig.object("a.mkv")));
  CHECK_FALSE(stdfs::exists(rig.object(aside.key)));
  CHECK(rig.kept(rig.only().key) == "film a");
  CHECK(rig.only().path == "a.mkv");
}

TEST_CASE("trash: one that waits for the vault can be removed and restored too") {
  TrashRig rig;
  rig.add("a.mkv", "film a");
  rig.remove("a.mkv");
  SUBCASE("removed") {
    REQUIRE(rig.mover.trash().remove(rig.only()));
    rig.run_jobs();
    CHECK_FALSE(stdfs::exists(rig.object("a.mkv")));
  }
  SUBCASE("expired") {
    rig.clock.advance(std::chrono::hours(24 * 31));
    REQUIRE(rig.mover.trash().sweep({}));
    rig.run_jobs();
    CHECK_FALSE(stdfs::exists(rig.object("a.mkv")));
  }
  SUBCASE("restored") {
    REQUIRE(rig.mover.trash().restore(rig.only().id, "", {}));
    rig.run_jobs();
    CHECK(rig.kept("a.mkv") == "film a");
    CHECK(rig.node("a.mkv").in_vault());
  }
  CHECK(rig.entries().empty());
  CHECK(rig.in_trash().empty());
}

TEST_CASE("trash: a restore overwrites nothing, wherever it stands") {
  TrashRig rig;
  rig.add("Movies/a.mkv", "film a");
  rig.remove("Movies/a.mkv");
  rig.run_jobs();
  const std::int64_t id = rig.only().id;
  std::string to;
  ErrorCode expected = ErrorCode::exists;
  SUBCASE("a local file that nobody has seen yet") {
    rig.write("Movies/a.mkv", "another");
  }
  SUBCASE("a directory") {
    stdfs::create_directories(rig.local("Movies/a.mkv"));
  }
  SUBCASE("a file where a directory is needed") {
    rig.add("b.mkv", "film b");
    to = "b.mkv/a.mkv";
  }
  SUBCASE("what the share has") {
    REQUIRE(rig.catalogue->remember_share("Movies", {{.name = "a.mkv", .mode = S_IFREG | 0644}}));
  }
  SUBCASE("an object that somebody put there") {
    stdfs::create_directories(rig.object("Movies"));
    std::ofstream(rig.object("Movies/a.mkv")) << "a stranger's";
  }
  SUBCASE("Incoming") {
    to = "Incoming/a.mkv";
    expected = ErrorCode::invalid;
  }
  SUBCASE("mediafs's own") {
    to = ".mediafs/a.mkv";
    expected = ErrorCode::invalid;
  }
  const auto restored = rig.mover.trash().restore(id, to, {});
  REQUIRE_FALSE(restored);
  CHECK(restored.err().code == expected);
  CHECK(rig.only().state == TrashState::kept);
  rig.run_jobs();
  CHECK(rig.kept(rig.only().key) == "film a");
}

TEST_CASE("trash: keys can be read, fit, and tell their file again") {
  const WallNs at = 1'790'000'000'123'456'789;
  const std::string key = trash_key(at, 17, "Movies/A (2020)/a.mkv");
  CHECK(key == ".mediafs/trash/2026-09-21/14.13.20-17 Movies\u2215A (2020)\u2215a.mkv");
  auto told = from_trash_key(key);
  REQUIRE(told);
  CHECK(told->path == "Movies/A (2020)/a.mkv");
  CHECK(told->id == 17);
  CHECK(told->at_ns == at / 1'000'000'000 * 1'000'000'000);
  std::string deep = "Shows";
  for (int i = 0; i < 12; ++i) deep += "/" + std::string(75, 'd') + "\u00e4";
  deep += "/episode \u00e9.mkv";
  const std::vector<std::string> hostile = {deep,
                                            std::string(255, 'x'),
                                            "-\x01\n\xff\xfe/\\..\\a",
                                            " ",
                                            "a/ /b",
                                            "\u2215",
                                            "\u2026",
                                            std::string(130, '\xbf') + "/" + std::string(200, '\xbf')};
  for (const std::string& path : hostile) {
    const std::string made = trash_key(at, INT64_MAX / 1000, path);
    CHECK(check_path(made));
    CHECK(base_name(made).size() <= 255);
    CHECK(made.size() <= 300);
  }
  CHECK(trash_key(at, 1, deep).ends_with("\u2215episode \u00e9.mkv"));
  CHECK(from_trash_key(trash_key(at, 1, deep))->path.ends_with("/episode \u00e9.mkv"));
  for (const char* foreign :
       {"a.mkv", ".mediafs/trash/", ".mediafs/trash/x", ".mediafs/vault-id",
        ".mediafs/trash/2026-09-21/13.33.20 a", ".mediafs/trash/2026-09-21/13.33.20-x a",
        ".mediafs/trash/2026-09-21/13.33.20-1 ", ".mediafs/trash/2026-09-21/13.33.20-1 .."})
    CHECK_FALSE(from_trash_key(foreign).has_value());
}

TEST_CASE("trash: a catalogue that was made anew takes up what the vault keeps") {
  TrashRig rig;
  rig.add("Movies/a.mkv", "film a");
  const Node before = rig.node("Movies/a.mkv");
  rig.remove("Movies/a.mkv");
  rig.run_jobs();
  std::ofstream(rig.object(".mediafs/trash/else")) << "not ours";
  rig.catalogue.reset();
  for (const char* end : {"", "-wal", "-shm", "-later"})
    stdfs::remove(rig.root + "/local/.mediafs/catalogue.db" + end);
  rig.reopen();
  REQUIRE(rig.mover.trash().find_kept({}));
  REQUIRE(rig.mover.trash().find_kept({}));
  CHECK(rig.only().path == "Movies/a.mkv");
  REQUIRE(rig.mover.trash().restore(rig.only().id, "", {}));
  CHECK(rig.node("Movies/a.mkv").checksum == before.checksum);
  CHECK(rig.node("Movies/a.mkv").mtime_ns == before.mtime_ns);
  REQUIRE(rig.mover.fetch("Movies/a.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("Movies/a.mkv")) == "film a");
}
