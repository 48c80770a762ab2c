#include "catalogue_fixture.h"

namespace mediafs::tier {

TEST_CASE_FIXTURE(CatalogueFixture, "a new file gets a row, a change and a checksum job") {
  disk["Movies/A/a.mkv"] = file_stat(11, 500, 1000);
  CHECK(see("Movies/A/a.mkv") == Adopted::added);
  const auto n = node("Movies/A/a.mkv");
  REQUIRE(n);
  CHECK(n->path == "Movies/A/a.mkv");
  CHECK(n->generation == 1);
  CHECK(n->size_bytes == 500);
  CHECK(n->mode == 0644);
  CHECK(n->uid == 1000);
  CHECK(n->inode == 11);
  CHECK(n->local->fingerprint == fingerprint_of(disk["Movies/A/a.mkv"]));
  CHECK_FALSE(n->vault);
  CHECK(n->dirty());
  CHECK(changes() == Lines{"+Movies/A/a.mkv"});
  CHECK(cat().version() == 1);
  CHECK(has_job("checksum", "Movies/A/a.mkv"));
  CHECK(node("Movies")->kind == NodeKind::directory);
  CHECK(cat().find_inode(7, 11)->value().id == n->id);
  close();  // listeners are told from the writer's thread
  CHECK(told_jobs == Lines{"checksum"});
  CHECK(told_versions == std::vector<std::int64_t>{1});
}

TEST_CASE_FIXTURE(CatalogueFixture, "what is known already is unchanged and makes nothing") {
  adopted("a", file_stat(11, 500, 1000));
  CHECK(see("a") == Adopted::unchanged);
  CHECK(cat().version() == 1);
  CHECK(job_count("checksum") == 1);
}

TEST_CASE_FIXTURE(CatalogueFixture, "another size or mtime is a new generation") {
  const Node old = synced("a", 11, 1);
  disk["a"] = file_stat(11, old.size_bytes, 2000);
  CHECK(see("a") == Adopted::changed);
  const auto n = node("a");
  CHECK(n->generation == old.generation + 1);
  CHECK_FALSE(n->checksum);
  CHECK(n->sha1_hex.empty());
  CHECK(n->dirty());
  CHECK(n->local->generation == n->generation);
  CHECK(changes() == Lines{"+a", "~a"});
  CHECK(has_job("checksum", "a"));
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "another ctime or inode alone is read again, and not evicted until then") {
  const Node old = synced("a", 11, 1);
  for (const auto& st : {file_stat(11, old.size_bytes, 1000, 1500), file_stat(12, old.size_bytes, 1000)}) {
    disk["a"] = st;
    CHECK(see("a") == Adopted::recheck);
    CHECK(node("a")->local->fingerprint == old.local->fingerprint);
    CHECK(has_job("checksum", "a"));
    CHECK(cat().version() == 1);
    CHECK_FALSE(cat().drop_local(old.id, old.generation, fingerprint_of(st)));
    finish_jobs();
  }
  const Node same = checksummed("a", 1);
  CHECK(same.generation == old.generation);
  CHECK(same.in_vault());
  CHECK(cat().version() == 1);
  CHECK(job_count("upload") == 0);
  CHECK(cat().drop_local(old.id, old.generation, fingerprint_of(disk["a"])));
}

TEST_CASE_FIXTURE(CatalogueFixture, "same size and mtime but other bytes: found by the checksum") {
  const Node old = synced("a", 11, 1);
  disk["a"] = file_stat(11, old.size_bytes, 1000, 1500);
  CHECK(see("a") == Adopted::recheck);
  const Node n = checksummed("a", 2);
  CHECK(n.generation == old.generation + 1);
  CHECK(n.dirty());
  CHECK(changes() == Lines{"+a", "~a"});
  CHECK(has_job("upload", "a"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "what arrives, sidecars and special files have no row") {
  disk["Incoming/a"] = file_stat(11, 1, 1);
  const auto never = [](const std::string&) { return false; };
  CHECK(*cat().adopt({"Incoming/a", disk["Incoming/a"], false}, never) == Adopted::unchanged);
  struct stat fifo = file_stat(12, 0, 1);
  fifo.st_mode = S_IFIFO | 0644;
  CHECK(*cat().adopt({"pipe", fifo, true}, never) == Adopted::unchanged);
  CHECK_FALSE(node("Incoming/a"));
  CHECK_FALSE(node("pipe"));
  CHECK(cat().version() == 0);
  CHECK(cat().adopt({"../a", file_stat(1, 1, 1), true}, never).err().code == ErrorCode::invalid);
}

TEST_CASE_FIXTURE(CatalogueFixture, "a rename underneath is recognised by its inode") {
  const Node old = synced("a", 11, 1);
  mv("a", "Shows/b");
  CHECK(see("Shows/b") == Adopted::renamed);
  CHECK_FALSE(node("a"));
  const auto n = node("Shows/b");
  REQUIRE(n);
  CHECK(n->id == old.id);
  CHECK(n->inode == old.inode);
  CHECK(n->vault->key == "a");
  CHECK(changes() == Lines{"+a", "a>Shows/b"});
  CHECK(has_job("relocate", "Shows/b"));
  CHECK(has_job("checksum", "Shows/b"));  // its ctime changed
  CHECK(*cat().is_tombstoned("a"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "a rename underneath over a known file is one change") {
  synced("a", 11, 1);
  const Node replaced = synced("b", 12, 2);
  mv("a", "b");
  CHECK(see("b") == Adopted::renamed);
  CHECK(node("b")->id != replaced.id);
  CHECK(changes(2) == Lines{"a>b"});
  CHECK(*cat().key_in_use("b"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "hard links are files of their own with one inode number") {
  adopted("a", file_stat(11, 500, 1000));
  disk["b"] = disk["a"];
  CHECK(see("b") == Adopted::added);
  CHECK(node("a"));
  CHECK(node("b")->inode == 11);
}

TEST_CASE_FIXTURE(CatalogueFixture, "the number shown before a file has a row is the row's") {
  evicted("a", 11, 1);
  const std::uint64_t shown = got(cat().new_inode(7, 11));
  CHECK(shown != 11);
  CHECK(got(cat().new_inode(7, 11)) == shown);
  CHECK(got(cat().new_inode(7, 12)) == 12);
  SUBCASE("by a scan") {
    adopted("b", file_stat(11, 5, 10));
    CHECK(node("b")->inode == shown);
  }
  SUBCASE("though the other file is gone by then") {
    REQUIRE(cat().rename({"Incoming/b", "a", file_stat(11, 5, 10), false, true}));
    CHECK(node("a")->inode == shown);
  }
  SUBCASE("and the next one's is a third") {
    evicted("b", 11, 2);
    CHECK(node("b")->inode == shown);
    CHECK(got(cat().new_inode(7, 11)) != shown);
    CHECK(got(cat().new_inode(7, 11)) != 11);
  }
}

TEST_CASE_FIXTURE(CatalogueFixture, "an inode number that an evicted file keeps is not given twice") {
  const Node old = evicted("a", 11, 1);
  adopted("b", file_stat(11, 500, 2000));
  CHECK(node("a")->inode == 11);
  CHECK(node("b")->inode != 11);
  CHECK(node("b")->inode != 0);
  CHECK(node("a")->id == old.id);
}

TEST_CASE_FIXTURE(CatalogueFixture, "a directory renamed underneath is one change and takes all with it") {
  adopted("A", directory_stat(5));
  synced("A/x", 11, 1);
  evicted("A/sub/y", 12, 2);
  const auto before = cat().version();
  mv("A", "B");
  SUBCASE("nothing happened in it") {}
  SUBCASE("its mtime moved on, but what is in it came along") {
    disk["B"].st_mtim.tv_sec += 50;
  }
  CHECK(see("B") == Adopted::renamed);
  CHECK(see("B/x") == Adopted::unchanged);
  CHECK(changes(before) == Lines{"A>B"});
  CHECK(node("B/sub/y")->vault->key == "A/sub/y");
  CHECK_FALSE(node("A"));
  CHECK(has_job("relocate", "B/x"));
  CHECK(has_job("relocate", "B/sub/y"));
  CHECK(*cat().is_tombstoned("A/sub/y"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "a new directory with a removed one's inode number is not a rename") {
  adopted("A", directory_stat(5));
  evicted("A/y", 12, 2);
  disk.erase("A");
  disk["B"] = directory_stat(5, 900);
  CHECK(see("B") == Adopted::added);
  CHECK(node("A/y"));
  CHECK_FALSE(node("B/y"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "a local file over a vault-only one") {
  const Node old = evicted("a", 11, 1);
  SUBCASE("with its size and mtime: read before it is believed") {
    disk["a"] = file_stat(21, old.size_bytes, 1000);
    CHECK(see("a") == Adopted::recheck);
    CHECK(node("a")->local->generation != old.generation);
    CHECK_FALSE(cat().drop_local(old.id, old.generation, fingerprint_of(disk["a"])));
    CHECK(cat().evictable(10)->empty());
    CHECK(checksummed("a", 1).in_vault());
    CHECK(cat().evictable(10)->size() == 1);
  }
  SUBCASE("another: changed") {
    disk["a"] = file_stat(21, 7, 3000);
    CHECK(see("a") == Adopted::changed);
    CHECK(node("a")->dirty());
  }
}

TEST_CASE_FIXTURE(CatalogueFixture, "a file where a directory was, and the other way round") {
  adopted("x", file_stat(11, 5, 10));
  disk["x"] = directory_stat(12);
  CHECK(see("x") == Adopted::added);
  CHECK(node("x")->kind == NodeKind::directory);
  CHECK(changes() == Lines{"+x", "-x"});
  disk["x"] = file_stat(13, 5, 10);
  CHECK(see("x") == Adopted::added);
  CHECK(node("x")->kind == NodeKind::file);
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "a directory in the place of a file that the vault has too: replaced, and forgotten") {
  synced("v", 14, 1);
  disk["v"] = directory_stat(15);
  CHECK(see("v") == Adopted::added);
  CHECK(node("v")->kind == NodeKind::directory);
  CHECK(changes() == Lines{"+v", "-v"});
  CHECK(*cat().is_tombstoned("v"));
  CHECK(job_count("forget") == 1);
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "a directory over what the vault alone has: that is kept, under a free name") {
  const Node old = evicted("d/v.mkv", 14, 1);
  std::string name = "d/v (from the vault).mkv";
  SUBCASE("") {}
  SUBCASE("not one that the disk has, or the catalogue, or the share") {
    disk[name] = file_stat(16, 1, 1);
    evicted("d/v (from the vault 2).mkv", 17, 2);
    REQUIRE(
        cat().remember_share("d", {ShareEntry{.name = "v (from the vault 3).mkv", .mode = S_IFREG | 0644}}));
    name = "d/v (from the vault 4).mkv";
  }
  const auto before = cat().version();
  disk["d/v.mkv"] = directory_stat(15);
  CHECK(see("d/v.mkv") == Adopted::added);
  CHECK(node("d/v.mkv")->kind == NodeKind::directory);
  const auto kept = node(name);
  REQUIRE(kept);
  CHECK(kept->id == old.id);
  CHECK(kept->in_vault());
  CHECK(kept->vault->key == "d/v.mkv");
  CHECK(has_job("relocate", name));
  CHECK(changes(before) == Lines{"d/v.mkv>" + name});
  close();
  CHECK(told_shown == Lines{name});
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "a file over a directory: what the vault alone has left of that is kept") {
  adopted("A", directory_stat(5));
  adopted("A/new", file_stat(11, 5, 10));
  synced("A/sub/both", 12, 1);
  evicted("A/gone", 13, 2);
  disk["A"] = file_stat(20, 7, 10);
  const auto before = cat().version();
  CHECK(see("A") == Adopted::added);
  CHECK(node("A")->kind == NodeKind::file);
  CHECK(has_job("checksum", "A"));
  CHECK_FALSE(node("A (from the vault)/new"));
  const auto both = node("A (from the vault)/sub/both");
  REQUIRE(both);
  CHECK_FALSE(both->local);
  CHECK(both->vault->key == "A/sub/both");
  CHECK(node("A (from the vault)/gone"));
  CHECK(changes(before) == Lines{"-A/new", "A>A (from the vault)", "+A"});
  CHECK(see("A") == Adopted::unchanged);
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "the name for what the vault alone has fits, whatever the old one's length") {
  const std::string e = "\xc3\xa9";
  std::string longest;
  for (int i = 0; i < 125; ++i) longest += e;
  longest += ".mkv";
  evicted(longest, 14, 1);
  disk[longest] = directory_stat(15);
  CHECK(see(longest) == Adopted::added);
  const auto entries = got(cat().list(""));
  REQUIRE(entries.size() == 2);
  for (const DirEntry& entry : entries) {
    CHECK(entry.name.size() <= 255);
    if (entry.name != longest) CHECK(entry.name.ends_with(e + " (from the vault).mkv"));
  }
}

TEST_CASE_FIXTURE(CatalogueFixture, "mode and owner follow the local file, and its object follows them") {
  const Node old = synced("a", 11, 1);
  disk["a"].st_mode = S_IFREG | 0600;
  disk["a"].st_ctim.tv_sec += 5;
  CHECK(see("a") == Adopted::recheck);
  CHECK(node("a")->mode == 0600);
  CHECK(has_job("restat", "a"));
  CHECK(cat().version() == 1);
  CHECK(old.mode == 0644);
}

TEST_CASE_FIXTURE(CatalogueFixture, "local_gone: vault-only, deleted, or back to what the vault has") {
  SUBCASE("in the vault") {
    const Node old = synced("a", 11, 1);
    CHECK(cat().local_gone("a", true));
    CHECK_FALSE(node("a")->local);
    CHECK(node("a")->generation == old.generation);
    CHECK(cat().version() == 1);
  }
  SUBCASE("nowhere else") {
    adopted("a", file_stat(11, 5, 10));
    CHECK(cat().local_gone("a", true));
    CHECK_FALSE(node("a"));
    CHECK(changes() == Lines{"+a", "-a"});
    CHECK(cat().local_gone("a", true));
  }
  SUBCASE("an older generation in the vault is what is left") {
    const Node old = synced("a", 11, 1);
    disk["a"] = file_stat(11, 9, 5000);
    see("a");
    CHECK(cat().local_gone("a", true));
    const auto n = node("a");
    REQUIRE(n);
    CHECK(n->in_vault());
    CHECK(n->size_bytes == old.size_bytes);
    CHECK(n->checksum == old.checksum);
    CHECK(n->generation == 3);
    CHECK(changes() == Lines{"+a", "~a", "~a"});
  }
  SUBCASE("a directory, with all below") {
    adopted("A", directory_stat(5));
    adopted("A/new", file_stat(11, 5, 10));
    synced("A/sub/old", 12, 1);
    adopted("A/empty", directory_stat(6));
    CHECK(cat().local_gone("A", true));
    CHECK_FALSE(node("A/new"));
    CHECK_FALSE(node("A/empty"));
    CHECK_FALSE(node("A/sub/old")->local);
    CHECK(changes(2) == Lines{"-A/new"});
  }
}

TEST_CASE_FIXTURE(CatalogueFixture, "names of any bytes") {
  const std::vector<std::string> names{"\xff\xfe", "a\nb", "it's \"x\"", "\xc3\xa9", "%_*", "x\x01y", " "};
  for (std::size_t i = 0; i < names.size(); ++i)
    adopted("d/" + names[i] + "/" + names[i], file_stat(20 + i, 5, 10));
  for (const auto& name : names) {
    REQUIRE(node("d/" + name + "/" + name));
    CHECK(node("d/" + name + "/" + name)->path == "d/" + name + "/" + name);
    CHECK(has_job("checksum", "d/" + name + "/" + name));
  }
  CHECK(cat().list("d")->size() == names.size());
  CHECK(cat().walk("", "", 100)->size() == names.size());
  CHECK(changes().front() == "+d/" + names[0] + "/" + names[0]);
}

}  // namespace mediafs::tier
