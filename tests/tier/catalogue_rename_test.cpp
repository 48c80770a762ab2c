#include "catalogue_fixture.h"

namespace mediafs::tier {

namespace {

VaultCopy moved(const Node& node) {
  VaultCopy copy = *node.vault;
  copy.key = node.path;
  copy.etag = "moved";
  return copy;
}

}  // namespace

TEST_CASE_FIXTURE(CatalogueFixture, "a file that took a deleted one's path and goes on forgets its object") {
  synced("a", 1, 1);
  REQUIRE(cat().remove("a", true));
  adopted("a", file_stat(2, 5, 200));
  CHECK(*cat().key_in_use("a"));  // so the forget job leaves the object for the new file's to overwrite
  finish_jobs();
  SUBCASE("renamed") {
    mv("a", "b");
    REQUIRE(cat().rename({"a", "b", disk["b"], true, true}));
  }
  SUBCASE("removed") {
    REQUIRE(cat().remove("a", true));
  }
  CHECK(has_job("forget", "a"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "rename of a file: one row, one change, its object follows") {
  const Node old = synced("a", 11, 1);
  mv("a", "D/b");
  REQUIRE(cat().rename({"a", "D/b", disk["D/b"], true, true}));
  Node n = *node("D/b");
  CHECK(n.id == old.id);
  CHECK_FALSE(node("a"));
  CHECK(changes(1) == Lines{"a>D/b"});
  CHECK(n.local->fingerprint == fingerprint_of(disk["D/b"]));  // the ctime was ours
  CHECK(see("D/b") == Adopted::unchanged);
  CHECK(n.in_vault());
  CHECK(has_job("relocate", "D/b"));
  CHECK(*cat().key_in_use("a"));
  CHECK(*cat().import_listing({{"a", 101, 1, "e"}}) == 0);
  REQUIRE(cat().relocated(n.id, "a", moved(n)));
  n = *node("D/b");
  CHECK(n.vault->key == "D/b");
  CHECK(n.in_vault());
  CHECK(has_job("forget", "a"));
  CHECK_FALSE(*cat().key_in_use("a"));
  CHECK(*cat().is_tombstoned("a"));
  CHECK_FALSE(*cat().is_tombstoned("D/b"));
  CHECK(*cat().import_listing({{"a", 101, 1, "e"}}) == 0);
}

TEST_CASE_FIXTURE(CatalogueFixture, "rename of a vault-only file") {
  evicted("a", 11, 1);
  REQUIRE(cat().rename({"a", "b", std::nullopt, true, true}));
  CHECK(node("b")->vault->key == "a");
  CHECK(has_job("relocate", "b"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "renamed and back before the object had moved") {
  const Node n = evicted("a", 11, 1);
  REQUIRE(cat().rename({"a", "b", std::nullopt, true, true}));
  REQUIRE(cat().rename({"b", "a", std::nullopt, true, true}));
  CHECK_FALSE(*cat().is_tombstoned("a"));
  CHECK(node("a")->vault->key == "a");
  CHECK(has_job("forget", "b"));  // a relocation may have been at work
  VaultCopy late = *node("a")->vault;
  late.key = "b";
  REQUIRE(cat().relocated(n.id, "a", late));  // it was
  CHECK(node("a")->vault->key == "b");
  CHECK(has_job("relocate", "a"));
  CHECK(*cat().key_in_use("b"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "relocated after the row is gone or was renamed again") {
  const Node n = evicted("a", 11, 1);
  REQUIRE(cat().rename({"a", "b", std::nullopt, true, true}));
  const VaultCopy at_b = moved(*node("b"));
  SUBCASE("gone") {
    REQUIRE(cat().remove("b", true));
    CHECK(has_job("forget", "a"));
    CHECK(has_job("forget", "b"));
    finish_jobs();
    REQUIRE(cat().relocated(n.id, "a", at_b));
    CHECK(has_job("forget", "a"));
    CHECK(has_job("forget", "b"));
    CHECK_FALSE(*cat().key_in_use("b"));
  }
  SUBCASE("renamed again") {
    REQUIRE(cat().rename({"b", "c", std::nullopt, true, true}));
    REQUIRE(cat().relocated(n.id, "a", at_b));
    CHECK(node("c")->vault->key == "b");
    CHECK(node("c")->in_vault());
    CHECK(has_job("relocate", "c"));
    CHECK(has_job("forget", "a"));
    CHECK(*cat().key_in_use("b"));
  }
}

TEST_CASE_FIXTURE(CatalogueFixture, "rename over a file: one change, no listing brings the old one back") {
  evicted("a", 11, 1);
  const Node target = evicted("b", 12, 2);
  REQUIRE(cat().rename({"a", "b", std::nullopt, true, true}));
  CHECK(changes(2) == Lines{"a>b"});
  CHECK(node("b")->id != target.id);
  CHECK_FALSE(node("a"));
  CHECK(*cat().key_in_use("b"));  // so the forget job waits for nothing and deletes nothing
  CHECK(*cat().key_owner("b") == 0);
  REQUIRE(cat().relocated(node("b")->id, "a", moved(*node("b"))));
  CHECK_FALSE(*cat().is_tombstoned("b"));
  CHECK(node("b")->in_vault());
}

TEST_CASE_FIXTURE(CatalogueFixture, "two files that took each other's names don't lose an object") {
  const Node a = evicted("a", 11, 1);
  const Node b = evicted("b", 12, 2);
  REQUIRE(cat().rename({"a", "t", std::nullopt, true, true}));
  REQUIRE(cat().rename({"b", "a", std::nullopt, true, true}));
  REQUIRE(cat().rename({"t", "b", std::nullopt, true, true}));
  CHECK(*cat().key_owner("a") == a.id);  // now called b
  CHECK(*cat().key_owner("b") == b.id);
  VaultCopy aside = *node("b")->vault;
  aside.key = ".mediafs/relocate/1";
  REQUIRE(cat().relocated(a.id, "a", aside));
  CHECK(*cat().key_owner("a") == 0);
  CHECK(has_job("relocate", "b"));
  REQUIRE(cat().relocated(b.id, "b", moved(*node("a"))));
  REQUIRE(cat().relocated(a.id, aside.key, moved(*node("b"))));
  CHECK(node("a")->vault->key == "a");
  CHECK(node("b")->vault->key == "b");
  CHECK(node("a")->in_vault());
  CHECK(node("b")->checksum == a.checksum);
  CHECK_FALSE(*cat().is_tombstoned("a"));
  CHECK_FALSE(*cat().is_tombstoned("b"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "an object that was overwritten is no longer trusted") {
  synced("a", 11, 1);
  mv("a", "b");
  REQUIRE(cat().rename({"a", "b", disk["b"], true, true}));
  finish_jobs();
  adopted("a", file_stat(12, 9, 3000));
  checksummed("a", 2);
  uploaded("a");  // over b's object
  CHECK_FALSE(node("b")->vault);
  CHECK(node("b")->dirty());
  CHECK(has_job("upload", "b"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "rename of a directory: one change, every object below follows") {
  adopted("A", directory_stat(5));
  synced("A/x", 11, 1);
  evicted("A/sub/y", 12, 2);
  adopted("A/new", file_stat(13, 5, 10));
  const auto before = cat().version();
  mv("A", "B/C");
  REQUIRE(cat().rename({"A", "B/C", disk["B/C"], true, true}));
  CHECK(changes(before) == Lines{"A>B/C"});
  CHECK(node("B/C/sub/y"));
  CHECK_FALSE(node("A"));
  CHECK(has_job("relocate", "B/C/x"));
  CHECK(has_job("relocate", "B/C/sub/y"));
  CHECK(job_count("relocate") == 2);
  CHECK(see("B/C/x") == Adopted::unchanged);
  CHECK(see("B/C") == Adopted::unchanged);
  CHECK(*cat().is_tombstoned("A/x"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "what a rename refuses") {
  adopted("A/x", file_stat(11, 5, 10));
  adopted("B/y", file_stat(12, 5, 10));
  adopted("f", file_stat(13, 5, 10));
  const auto code = [&](const char* from, const char* to) {
    const auto status = cat().rename({from, to, std::nullopt, true, true});
    return status ? ErrorCode::internal : status.err().code;
  };
  CHECK(code("A", "B") == ErrorCode::not_empty);
  CHECK(code("A", "f") == ErrorCode::not_directory);
  CHECK(code("f", "A") == ErrorCode::is_directory);
  CHECK(code("A", "A/b") == ErrorCode::invalid);
  CHECK(code("", "x") == ErrorCode::invalid);
  CHECK(code("f", "../f") == ErrorCode::invalid);
  CHECK(cat().rename({"f", "f", std::nullopt, true, true}));
  CHECK(cat().version() == 3);
  CHECK(node("A/x"));
  CHECK(node("f"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "rename between two links of one file does nothing") {
  adopted("a", file_stat(11, 5, 10));
  disk["b"] = disk["a"];
  see("b");
  REQUIRE(cat().rename({"a", "b", disk["b"], true, true}));
  CHECK(node("a"));
  CHECK(node("b"));
  CHECK(cat().version() == 2);
}

TEST_CASE_FIXTURE(CatalogueFixture, "out of Incoming: added, with its checksum job") {
  SUBCASE("a new name") {
    REQUIRE(cat().rename({"Incoming/x", "M/x", file_stat(11, 5, 10), false, true}));
    CHECK(changes() == Lines{"+M/x"});
  }
  SUBCASE("over a file: changed, and the old object is no proof of the new bytes") {
    synced("M/x", 10, 1);
    REQUIRE(cat().rename({"Incoming/x", "M/x", file_stat(11, 5, 10), false, true}));
    CHECK(changes() == Lines{"+M/x", "~M/x"});
    CHECK_FALSE(node("M/x")->vault);
    CHECK(*cat().is_tombstoned("M/x"));
  }
  CHECK(node("M/x")->inode == 11);
  CHECK(has_job("checksum", "M/x"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "a directory out of Incoming is a row without a change") {
  REQUIRE(cat().rename({"Incoming/d", "d", directory_stat(9), false, true}));
  CHECK(node("d")->kind == NodeKind::directory);
  CHECK(cat().version() == 0);
}

TEST_CASE_FIXTURE(CatalogueFixture, "an uncatalogued source is adopted, an invisible pair ignored") {
  REQUIRE(cat().rename({"x", "y", file_stat(11, 5, 10), true, true}));
  CHECK(changes() == Lines{"+y"});
  REQUIRE(cat().rename({"Incoming/x", "Incoming/y", file_stat(12, 5, 10), false, false}));
  CHECK_FALSE(node("Incoming/y"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "back into Incoming: deleted, file by file") {
  adopted("A", directory_stat(5));
  synced("A/x", 11, 1);
  adopted("A/s/y", file_stat(12, 5, 10));
  const auto before = cat().version();
  REQUIRE(cat().rename({"A", "Incoming/A", directory_stat(5), true, false}));
  CHECK(changes(before) == Lines{"-A/x", "-A/s/y"});
  CHECK_FALSE(node("A"));
  CHECK_FALSE(node("Incoming/A"));
  CHECK(has_job("forget", "A/x"));
  CHECK(*cat().is_tombstoned("A/x"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "bytes that the vault alone has don't leave the library") {
  adopted("A", directory_stat(5));
  synced("A/x", 11, 1);
  evicted("A/s/y", 12, 2);
  const auto before = cat().version();
  const auto file = cat().rename({"A/s/y", "Incoming/y", std::nullopt, true, false});
  REQUIRE_FALSE(file);
  CHECK(file.err().code == ErrorCode::cross_device);
  const auto directory = cat().rename({"A", "Incoming/A", directory_stat(5), true, false});
  REQUIRE_FALSE(directory);
  CHECK(directory.err().code == ErrorCode::cross_device);
  CHECK(cat().version() == before);
  CHECK(node("A/x")->in_vault());
  CHECK(node("A/s/y")->in_vault());
  CHECK(job_count("forget") == 0);
}

TEST_CASE_FIXTURE(CatalogueFixture, "exchange: each row and object goes with its file") {
  const Node a = synced("a", 11, 1);
  const Node b = synced("D/b", 12, 2);
  const auto before = cat().version();
  std::swap(disk["a"], disk["D/b"]);
  REQUIRE(cat().exchange({"a", "D/b", disk["a"], disk["D/b"]}));
  CHECK(changes(before) == Lines{"a>D/b", "D/b>a"});
  CHECK(node("a")->id == b.id);
  CHECK(node("D/b")->id == a.id);
  CHECK(node("a")->inode == 12);
  CHECK(node("a")->vault->key == "D/b");
  CHECK(has_job("relocate", "a"));
  CHECK(has_job("relocate", "D/b"));
  CHECK(see("a") == Adopted::unchanged);
  CHECK(cat().exchange({"a", "none", disk["a"], disk["a"]}).err().code == ErrorCode::not_found);
  CHECK(cat().exchange({"D", "D/b", disk["a"], disk["a"]}).err().code == ErrorCode::invalid);
}

TEST_CASE_FIXTURE(CatalogueFixture, "exchange of directories takes along what is below") {
  synced("A/x", 11, 1);
  evicted("B/y", 12, 2);
  adopted("A", directory_stat(5));
  adopted("B", directory_stat(6));
  REQUIRE(cat().exchange({"A", "B", directory_stat(6), directory_stat(5)}));
  CHECK(node("B/x"));
  CHECK(node("A/y")->vault->key == "B/y");
  CHECK_FALSE(node("A/x"));
  CHECK(has_job("relocate", "B/x"));
  CHECK(has_job("relocate", "A/y"));
  CHECK(cat().exchange({"A", "B", directory_stat(5), directory_stat(6)}));
  CHECK(node("A/x")->vault->key == "A/x");
}

TEST_CASE_FIXTURE(CatalogueFixture, "what a rename has yet to remove is noted with it, and survives") {
  evicted("a", 11, 1);
  const Replacing want{"a",
                       "D/b\n'",
                       fingerprint_of(file_stat(12, 5, -3)),
                       std::nullopt,
                       fingerprint_of(file_stat(13, 6, 7)),
                       fingerprint_of(file_stat(14, 7, 8)),
                       fingerprint_of(file_stat(15, 8, 9))};
  SUBCASE("in one transaction") {
    CHECK_FALSE(cat().rename({"a", "a/b", {}, true, true, Replacing{"a", "a/b", {}, {}, {}}}));
    CHECK(got(cat().replacings()).empty());
    REQUIRE(cat().rename({"a", want.to, {}, true, true, want}));
  }
  SUBCASE("before the share renames") {
    REQUIRE(cat().replacing(want));
  }
  reopen();
  const auto found = got(cat().replacings());
  REQUIRE(found.size() == 1);
  CHECK(found[0].from == want.from);
  CHECK(found[0].to == want.to);
  CHECK(found[0].local == want.local);
  CHECK_FALSE(found[0].share);
  CHECK(found[0].moving == want.moving);
  CHECK(found[0].source == want.source);
  CHECK(found[0].follow == want.follow);
  REQUIRE(cat().replaced(want.to));
  CHECK(got(cat().replacings()).empty());
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "a rename that is called off gives the replaced file its row and object back") {
  evicted("a", 11, 1);
  evicted("b", 12, 2);
  const auto b = node("b");
  const Replacing note{"a", "b", {}, {}, {}};
  REQUIRE(cat().rename({"a", "b", {}, true, true, note}));
  SUBCASE("at once") {
    REQUIRE(cat().call_off({"a", "b", {}}, b));
    REQUIRE(node("b")->vault);
    CHECK(node("b")->vault->key == "b");
    CHECK(node("b")->in_vault());
    CHECK(got(cat().key_in_use("b")));
  }
  SUBCASE("not the object that another file's has replaced meanwhile") {
    VaultCopy copy = *node("b")->vault;
    copy.key = "b";
    REQUIRE(cat().relocated(node("b")->id, "a", copy));
    REQUIRE(cat().call_off({"a", "b", {}}, b));
    CHECK_FALSE(node("b")->vault);
  }
  CHECK(node("a")->size_bytes == node("a")->vault->size_bytes);
  CHECK(got(cat().replacings()).empty());
}

TEST_CASE_FIXTURE(CatalogueFixture, "a sidecar that a listing showed follows a rename, unseen") {
  REQUIRE(got(cat().import_listing({{".a.sha1", 41, 1, "e"}})) == 1);
  const auto before = cat().version();
  REQUIRE(cat().rename({".a.sha1", ".b.sha1", {}, false, false}));
  CHECK(node(".b.sha1")->vault->key == ".a.sha1");
  CHECK(has_job("relocate", ".b.sha1"));
  CHECK_FALSE(node(".a.sha1"));
  CHECK(cat().version() == before);
}

TEST_CASE_FIXTURE(CatalogueFixture, "remove: files, directories, nothing") {
  adopted("A/x", file_stat(11, 5, 10));
  CHECK(cat().remove("A", true).err().code == ErrorCode::not_empty);
  CHECK(cat().remove("A/x", true));
  CHECK(job_count("forget") == 0);  // the vault never heard of it
  CHECK(node("A"));
  CHECK(cat().remove("A", true));
  CHECK_FALSE(node("A"));
  CHECK(changes() == Lines{"+A/x", "-A/x"});
  CHECK(cat().remove("A", true));
  CHECK_FALSE(cat().remove("", true));
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "a touched file renamed before its checksum still gets its object moved") {
  synced("a", 11, 1);
  disk["a"].st_mtim.tv_sec += 10;
  see("a");
  mv("a", "b");
  REQUIRE(cat().rename({"a", "b", disk["b"], true, true}));
  finish_jobs();  // relocate found that the newest bytes are unknown, and left it to the upload
  const Node n = checksummed("b", 1);
  CHECK(n.in_vault());
  CHECK(n.vault->key == "a");
  CHECK(has_job("relocate", "b"));
}

}  // namespace mediafs::tier
