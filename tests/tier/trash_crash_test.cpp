// The trash's durable steps, each killed in a process of its own.
#include <doctest/doctest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "tests/tier/tier_rig.h"
#include "tier/trash.h"

using namespace mediafs;
using namespace mediafs::tier;
namespace stdfs = std::filesystem;

namespace {

constexpr const char* kFilm = "Movies/a.mkv";

void remove_film(TierRig& rig) {
  rig.add(kFilm, "film a");
  stdfs::remove(rig.local(kFilm));
  REQUIRE(rig.catalogue->remove(kFilm, true));
  rig.run_jobs();
}

void restore_film(TierRig& rig) {
  remove_film(rig);
  const auto entries = *rig.catalogue->trash(kFilm, 0, 1);
  REQUIRE(entries.size() == 1);
  REQUIRE(rig.mover.trash().restore(entries.front().id, "", {}));
}

void replace_film(TierRig& rig) {
  rig.add(kFilm, "film a");
  rig.write("Movies/b.mkv", "film b, longer");
  stdfs::rename(rig.local("Movies/b.mkv"), rig.local(kFilm));
  const auto st = stat_at(rig.branches.local_root.get(), kFilm);
  REQUIRE(st);
  REQUIRE(rig.catalogue->rename({"Movies/b.mkv", kFilm, *st, true, true}));
  rig.run_jobs();
}

void empty_trash(TierRig& rig) {
  remove_film(rig);
  REQUIRE(rig.mover.trash().remove(rig.catalogue->trash(kFilm, 0, 1)->at(0)));
}

// Every object but the marker, as "key=bytes".
std::vector<std::string> objects(TierRig& rig) {
  std::vector<std::string> found;
  for (const auto& entry : stdfs::recursive_directory_iterator(rig.root + "/vault")) {
    const std::string key = stdfs::relative(entry.path(), rig.root + "/vault");
    if (entry.is_regular_file() && !key.starts_with(".mediafs/tmp/"))
      found.push_back((key.starts_with(kTrashKeys) ? "trash=" : key + "=") + TierRig::read(entry.path()));
  }
  std::sort(found.begin(), found.end());
  return found;
}

using Objects = std::vector<std::string>;

// What a process left that was killed there; after a start, its jobs and a sweep.
struct Killed {
  Killed(const char* what, const std::string& point) : rig(left_by(what, point), true) {
    REQUIRE(rig.mover.trash().find_kept({}));
    REQUIRE(rig.reconcile->import_vault({}));
    REQUIRE(rig.reconcile->scan({}));
    rig.run_jobs();
    REQUIRE(rig.mover.trash().sweep({}));
    entries = *rig.catalogue->trash("", 0, 100);
  }
  static std::string left_by(const char* what, const std::string& point) {
    std::string form = stdfs::temp_directory_path() / "mediafs-tier-XXXXXX";
    REQUIRE(mkdtemp(form.data()) != nullptr);
    std::vector<std::string> env{"TRASH_CHILD_ROOT=" + form, "TRASH_CHILD=" + std::string(what),
                                 "MEDIAFS_CRASH=" + point};
    std::vector<char*> envp;
    for (std::string& entry : env) envp.push_back(entry.data());
    envp.push_back(nullptr);
    std::vector<std::string> args{"/proc/self/exe", "--test-case=trash child", "--no-skip"};
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    pid_t pid = 0;
    REQUIRE(::posix_spawn(&pid, args[0].c_str(), nullptr, nullptr, argv.data(), envp.data()) == 0);
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    REQUIRE_MESSAGE((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL), point);
    return form;
  }
  TierRig rig;
  std::vector<TrashEntry> entries;
};

}  // namespace

// Run by the tests below in a process of its own.
TEST_CASE("trash child" * doctest::skip()) {
  const char* const root = std::getenv("TRASH_CHILD_ROOT");
  const char* const what = std::getenv("TRASH_CHILD");
  if (root == nullptr || what == nullptr) return;
  TierRig rig(root, true);
  const std::string name = what;
  if (name == "remove") remove_film(rig);
  if (name == "restore") restore_film(rig);
  if (name == "replace") replace_film(rig);
  if (name == "empty") empty_trash(rig);
  std::_Exit(42);
}

TEST_CASE("trash: a removal that is killed at any step ends with the object in the trash, once") {
  for (const char* point : {"forget.before_keep", "trash.before_copy", "trash.after_copy",
                            "trash.after_commit", "forget.before_remove", "forget.after_remove"}) {
    CAPTURE(point);
    Killed k("remove", point);
    CHECK_FALSE(k.rig.catalogue->find(kFilm)->has_value());
    CHECK_FALSE(*k.rig.catalogue->is_tombstoned(kFilm));
    CHECK(objects(k.rig) == Objects{"trash=film a"});
    REQUIRE(k.entries.size() == 1);
    CHECK(k.entries[0].state == TrashState::kept);
  }
}

TEST_CASE("trash: a restore that is killed at any step has happened or not, and there is one object") {
  for (const char* point : {"restore.after_intent", "restore.after_copy", "restore.after_commit",
                            "trash.before_remove", "trash.after_remove"}) {
    CAPTURE(point);
    Killed k("restore", point);
    const bool back = k.rig.catalogue->find(kFilm)->has_value();
    CHECK(back ==
          (std::string(point) != "restore.after_intent" && std::string(point) != "restore.after_copy"));
    CHECK(objects(k.rig) == Objects{back ? "Movies/a.mkv=film a" : "trash=film a"});
    CHECK(k.entries.size() == (back ? 0 : 1));
    if (!back) REQUIRE(k.rig.mover.trash().restore(k.entries[0].id, "", {}));
    CHECK(k.rig.node(kFilm).in_vault());
    REQUIRE(k.rig.mover.fetch(kFilm, {}, {}));
    CHECK(TierRig::read(k.rig.local(kFilm)) == "film a");
  }
}

TEST_CASE("trash: an upload over a replaced file's object that is killed at any step loses neither") {
  for (const char* point : {"trash.before_copy", "trash.after_copy", "trash.after_commit",
                            "upload.before_put:2", "upload.after_put:2"}) {
    CAPTURE(point);
    Killed k("replace", point);
    CHECK(objects(k.rig) == Objects{"Movies/a.mkv=film b, longer", "trash=film a"});
    CHECK(k.rig.node(kFilm).in_vault());
    REQUIRE(k.entries.size() == 1);
    CHECK(k.entries[0].state == TrashState::kept);
  }
}

TEST_CASE("trash: what was removed for good, or half so, does not come back after a kill") {
  for (const char* point : {"trash.before_remove", "trash.after_remove"}) {
    CAPTURE(point);
    Killed k("empty", point);
    CHECK(objects(k.rig).empty());
    CHECK(k.entries.empty());
    CHECK(k.rig.catalogue->trash_due(0, 0, 10)->empty());
  }
}
