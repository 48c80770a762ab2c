// The vault's marker: what is believed, what is refused, and the way to a new vault. Over the dir driver.
#include "tier/vault_identity.h"

#include "tests/tier/tier_rig.h"

namespace mediafs::tier {

namespace {

namespace stdfs = std::filesystem;

// The rig with a guard before its vault, which can be swapped like a disk.
class GuardedRig : public TierRig {
 public:
  GuardedRig() { restart(); }
  ~GuardedRig() { branches.vault = vault.get(); }
  GuardedRig(const GuardedRig&) = delete;
  GuardedRig& operator=(const GuardedRig&) = delete;

  // As a start of the daemon: a new driver, which has seen nothing.
  void restart(bool accept_new = false) {
    guard = std::make_unique<GuardedVault>(
        *open_vault(branches.config, {}), *catalogue,
        GuardedVault::Options{.accept_new = accept_new, .on_doubt = [this] { doubts++; }});
    branches.vault = guard.get();
  }
  void unmount() const {
    stdfs::rename(root + "/vault", root + "/away");
    stdfs::create_directory(root + "/vault");
  }
  void mount() const {
    stdfs::remove_all(root + "/vault");
    stdfs::rename(root + "/away", root + "/vault");
  }
  std::string marker() const { return read(object(kVaultMarker)); }
  std::string known() { return *catalogue->setting(kVaultId); }
  void put_marker(const std::string& text) const {
    stdfs::create_directory(object(".mediafs"));
    std::ofstream(object(kVaultMarker)) << text;
  }
  ErrorCode probe_error() {
    const Status probed = guard->probe();
    REQUIRE_FALSE(probed.has_value());
    return probed.err().code;
  }
  // In the vault only.
  void add_evicted(const std::string& path, const std::string& text) {
    add(path, text);
    const Node n = node(path);
    REQUIRE(mover.evict(n.id, n.generation));
  }

  std::unique_ptr<GuardedVault> guard;
  int doubts = 0;
};

const std::string kOther = "00112233445566778899aabbccddeeff";

}  // namespace

TEST_CASE("vault identity: the first contact writes a marker, a later one knows it") {
  GuardedRig rig;
  CHECK(rig.guard->state() == VaultState::unknown);
  CHECK(rig.guard->head("a").err().code == ErrorCode::offline);  // nothing is believed before the first probe
  REQUIRE(rig.guard->probe());
  CHECK(rig.guard->state() == VaultState::ours);
  CHECK(rig.known().size() == 32);
  CHECK(rig.marker() == rig.known() + "\n");
  rig.restart();
  REQUIRE(rig.guard->probe());
  CHECK(rig.marker() == rig.known() + "\n");
  CHECK(rig.guard->head("a").err().code == ErrorCode::not_found);
}

TEST_CASE("vault identity: a new catalogue takes another library's vault over on a person's word only") {
  GuardedRig rig;
  rig.put_marker(kOther + "\n");
  std::ofstream(rig.object("a.mkv")) << "theirs";
  CHECK(rig.probe_error() == ErrorCode::offline);
  CHECK(rig.guard->state() == VaultState::other);
  CHECK(rig.known().empty());
  rig.write("a.mkv", "ours");
  REQUIRE(rig.reconcile->file_settled("a.mkv"));
  rig.run_jobs();
  CHECK(TierRig::read(rig.object("a.mkv")) == "theirs");
  rig.restart(true);
  REQUIRE(rig.guard->probe());
  CHECK(rig.known() == kOther);
  CHECK(rig.marker() == kOther + "\n");
}

TEST_CASE("vault identity: a marker that was written just before a kill is ours") {
  GuardedRig rig;
  REQUIRE(rig.guard->probe());
  REQUIRE(rig.catalogue->set_setting(kVaultId, ""));
  rig.restart();
  REQUIRE(rig.guard->probe());
  CHECK(rig.guard->state() == VaultState::ours);
  CHECK(rig.known() + "\n" == rig.marker());
}

TEST_CASE("vault identity: an empty directory in the vault's place is neither filled nor believed") {
  GuardedRig rig;
  REQUIRE(rig.guard->probe());
  rig.add_evicted("gone.mkv", "vault only");
  rig.add("here.mkv", "both");
  rig.unmount();
  rig.restart();
  CHECK(rig.probe_error() == ErrorCode::offline);
  CHECK(rig.guard->state() == VaultState::missing);
  const Node here = rig.node("here.mkv");
  CHECK(rig.mover.evict(here.id, here.generation).err().code == ErrorCode::offline);
  CHECK(rig.mover.fetch("gone.mkv", {}, {}).err().code == ErrorCode::offline);
  CHECK(rig.mover.find_again(rig.node("gone.mkv").id).err().code == ErrorCode::offline);
  CHECK(rig.mover.forget("gone.mkv", {}).has_value());  // in use: nothing to do
  CHECK(rig.mover.forget("other.mkv", {}).err().code == ErrorCode::offline);
  rig.write("new.mkv", "new");
  REQUIRE(rig.reconcile->file_settled("new.mkv"));
  rig.run_jobs();  // the upload fails, and is dropped by the rig
  CHECK_FALSE(rig.node("new.mkv").in_vault());
  CHECK(rig.reconcile->import_vault({}).err().code == ErrorCode::offline);
  CHECK(stdfs::is_empty(rig.root + "/vault"));
  CHECK(rig.node("here.mkv").in_vault());
  CHECK_FALSE(rig.node("gone.mkv").vault->lost);

  rig.mount();
  REQUIRE(rig.guard->probe());
  REQUIRE(rig.mover.fetch("gone.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("gone.mkv")) == "vault only");
}

TEST_CASE("vault identity: another library's vault is left alone") {
  GuardedRig rig;
  REQUIRE(rig.guard->probe());
  rig.add("a.mkv", "film");
  rig.unmount();
  rig.put_marker(kOther + "\n");
  std::ofstream(rig.object("a.mkv")) << "theirs";
  rig.restart();
  CHECK(rig.probe_error() == ErrorCode::offline);
  CHECK(rig.guard->state() == VaultState::other);
  CHECK(rig.guard->remove("a.mkv").err().code == ErrorCode::offline);
  CHECK(rig.guard->copy("a.mkv", "b.mkv", {}, {}).err().code == ErrorCode::offline);
  CHECK(rig.guard->collect_garbage().err().code == ErrorCode::offline);
  CHECK(rig.node("a.mkv").in_vault());
  CHECK(rig.marker() == kOther + "\n");
}

TEST_CASE("vault identity: a vault that is swapped between two probes is found out before anything is done") {
  GuardedRig rig;
  REQUIRE(rig.guard->probe());
  rig.add_evicted("a.mkv", "film");
  rig.put_marker(kOther + "\n");
  stdfs::rename(rig.object("a.mkv"), rig.root + "/a");
  const auto id = rig.node("a.mkv").id;
  CHECK(rig.mover.find_again(id).err().code == ErrorCode::offline);  // a 404 alone says nothing
  CHECK_FALSE(rig.node("a.mkv").vault->lost);
  CHECK(rig.guard->state() == VaultState::other);
  CHECK(rig.doubts == 1);
  CHECK(rig.guard->remove("b.mkv").err().code == ErrorCode::offline);
}

TEST_CASE("vault identity: a lost file stays listed, says so, and is found again") {
  GuardedRig rig;
  REQUIRE(rig.guard->probe());
  rig.add_evicted("d/a.mkv", "film");
  stdfs::rename(rig.object("d/a.mkv"), rig.root + "/kept");
  const auto id = rig.node("d/a.mkv").id;
  CHECK(rig.mover.fetch("d/a.mkv", {}, {}).err().code == ErrorCode::io);
  REQUIRE(rig.node("d/a.mkv").vault);
  CHECK(rig.node("d/a.mkv").vault->lost);
  CHECK(rig.catalogue->totals()->lost.files == 1);
  const auto entries = *rig.catalogue->list("d");
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].has_vault);
  // It is looked for under its name of today.
  REQUIRE(rig.catalogue->rename({.from = "d/a.mkv", .to = "d/b.mkv", .st = {}}));
  rig.run_jobs();
  CHECK(rig.mover.find_again(id).err().code == ErrorCode::io);
  stdfs::create_directory(rig.object("d"));
  stdfs::rename(rig.root + "/kept", rig.object("d/b.mkv"));
  REQUIRE(rig.mover.fetch("d/b.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("d/b.mkv")) == "film");
  CHECK(rig.node("d/b.mkv").in_vault());
  CHECK(rig.catalogue->totals()->lost.files == 0);
}

TEST_CASE("vault identity: other content under a lost file's path is the file's from then on") {
  GuardedRig rig;
  REQUIRE(rig.guard->probe());
  rig.add_evicted("a.mkv", "film");
  stdfs::remove(rig.object("a.mkv"));
  CHECK(rig.mover.fetch("a.mkv", {}, {}).err().code == ErrorCode::io);
  const Node before = rig.node("a.mkv");
  std::ofstream(rig.object("a.mkv")) << "a longer film";
  REQUIRE(rig.mover.fetch("a.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("a.mkv")) == "a longer film");
  CHECK(rig.node("a.mkv").generation > before.generation);
  CHECK_FALSE(rig.node("a.mkv").vault->lost);
}

TEST_CASE("vault identity: what takes a lost file's old key is not taken for it") {
  GuardedRig rig;
  REQUIRE(rig.guard->probe());
  rig.add_evicted("a.mkv", "first");
  stdfs::remove(rig.object("a.mkv"));
  CHECK(rig.mover.fetch("a.mkv", {}, {}).err().code == ErrorCode::io);
  REQUIRE(rig.catalogue->rename({.from = "a.mkv", .to = "b.mkv", .st = {}}));
  rig.add("a.mkv", "second");
  CHECK(rig.mover.fetch("b.mkv", {}, {}).err().code == ErrorCode::io);
  CHECK(rig.node("b.mkv").vault->lost);
  CHECK(TierRig::read(rig.object("a.mkv")) == "second");
  // Put back by hand under its own name, it is a file like any other.
  rig.write("b.mkv", "first");
  REQUIRE(rig.reconcile->file_settled("b.mkv"));
  rig.run_jobs();
  CHECK(rig.node("b.mkv").in_vault());
}

TEST_CASE("vault identity: an older catalogue believes a vault that holds its files, and no empty one") {
  GuardedRig rig;
  rig.branches.vault = rig.vault.get();  // as an older mediafs did
  rig.add("a.mkv", "film");
  rig.branches.vault = rig.guard.get();
  REQUIRE(rig.known().empty());
  rig.unmount();
  CHECK(rig.probe_error() == ErrorCode::offline);
  CHECK(rig.guard->state() == VaultState::missing);
  rig.put_marker(kOther + "\n");
  CHECK(rig.probe_error() == ErrorCode::offline);
  CHECK(rig.guard->state() == VaultState::other);
  CHECK(rig.known().empty());
  rig.mount();
  rig.restart();
  REQUIRE(rig.guard->probe());
  CHECK(rig.marker() == rig.known() + "\n");
}

TEST_CASE(
    "vault identity: --new-vault uploads again what is here and keeps the rest as lost until it is found") {
  GuardedRig rig;
  REQUIRE(rig.guard->probe());
  const std::string old = rig.known();
  rig.add("here.mkv", "both");
  rig.add_evicted("gone.mkv", "vault only");
  rig.add_evicted("copied.mkv", "copied over");
  rig.unmount();
  stdfs::copy(rig.root + "/away/copied.mkv", rig.object("copied.mkv"));
  rig.restart(true);
  REQUIRE(rig.guard->probe());
  CHECK(rig.known() != old);
  CHECK(rig.marker() == rig.known() + "\n");
  REQUIRE(rig.reconcile->import_vault({}));
  rig.run_jobs();
  CHECK(rig.node("here.mkv").in_vault());
  CHECK(TierRig::read(rig.object("here.mkv")) == "both");
  CHECK(rig.node("gone.mkv").vault->lost);
  CHECK_FALSE(rig.node("copied.mkv").vault->lost);
  REQUIRE(rig.mover.fetch("copied.mkv", {}, {}));
  CHECK(TierRig::read(rig.local("copied.mkv")) == "copied over");
  // Once: what comes in its place later is refused again.
  stdfs::rename(rig.root + "/vault", rig.root + "/new");
  stdfs::create_directory(rig.root + "/vault");
  rig.restart();
  CHECK(rig.probe_error() == ErrorCode::offline);
}

TEST_CASE("vault identity: --new-vault finds a file that was renamed and whose object was not") {
  GuardedRig rig;
  REQUIRE(rig.guard->probe());
  rig.add_evicted("a.mkv", "film");
  const Node node = rig.node("a.mkv");
  REQUIRE(rig.catalogue->rename({.from = "a.mkv", .to = "b.mkv", .st = {}}));
  REQUIRE(rig.catalogue->vault_replaced());
  REQUIRE(rig.reconcile->import_vault({}));
  REQUIRE(rig.node("b.mkv").vault->lost);
  SUBCASE("its bytes: it is moved to its place") {
    REQUIRE(rig.mover.find_again(node.id));
    CHECK(rig.node("b.mkv").in_vault());
    rig.run_jobs();
    CHECK(TierRig::read(rig.object("b.mkv")) == "film");
    CHECK_FALSE(stdfs::exists(rig.object("a.mkv")));
    REQUIRE(rig.mover.fetch("b.mkv", {}, {}));
    CHECK(TierRig::read(rig.local("b.mkv")) == "film");
  }
  SUBCASE("other bytes: left alone") {
    std::ofstream(rig.object("a.mkv")) << "mlif";
    CHECK(rig.mover.find_again(node.id).err().code == ErrorCode::io);
    CHECK(rig.node("b.mkv").vault->lost);
  }
  SUBCASE("a file of that name is there") {
    rig.write("a.mkv", "new");
    REQUIRE(rig.reconcile->file_settled("a.mkv"));
    CHECK(rig.mover.find_again(node.id).err().code == ErrorCode::io);
    CHECK(rig.node("b.mkv").vault->lost);
  }
}

TEST_CASE("vault identity: a marker that cannot be read is nobody's") {
  GuardedRig rig;
  REQUIRE(rig.guard->probe());
  for (const char* text : {"", "short\n", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}) {
    rig.put_marker(text);
    CHECK(rig.probe_error() == ErrorCode::offline);
    CHECK(rig.guard->state() == VaultState::other);
  }
}

}  // namespace mediafs::tier
