#include "catalogue_fixture.h"
#include "tier/vault/names.h"

namespace mediafs::tier {

TEST_CASE_FIXTURE(CatalogueFixture, "checksum, upload, evict, fetch") {
  adopted("a", file_stat(11, 500, 1000));
  const Node summed = checksummed("a", 1);
  CHECK(summed.checksum == sums_of(1, 500).xxh128);
  CHECK(summed.sha1_hex.size() == 40);
  CHECK(has_job("upload", "a"));
  CHECK_FALSE(cat().drop_local(summed.id, 1, summed.local->fingerprint));  // nothing proves it yet
  const Node up = uploaded("a");
  CHECK(up.in_vault());
  CHECK_FALSE(up.dirty());
  const Fingerprint print = up.local->fingerprint;
  Fingerprint other = print;
  other.ctime_ns += 1;
  CHECK(cat().drop_local(up.id, 1, other).err().code == ErrorCode::changed);
  CHECK(cat().drop_local(up.id, 2, print).err().code == ErrorCode::changed);
  CHECK(cat().drop_local(999, 1, print).err().code == ErrorCode::not_found);
  CHECK(cat().drop_local(up.id, 1, print));
  CHECK_FALSE(node("a")->local);
  CHECK(cat().drop_local(up.id, 1, print).err().code == ErrorCode::changed);
  const Fingerprint back = fingerprint_of(file_stat(77, 500, 1000));
  CHECK(cat().restore_local(up.id, 2, back).err().code == ErrorCode::changed);
  CHECK(cat().restore_local(up.id, 1, back));
  CHECK(node("a")->local->fingerprint == back);
  CHECK(node("a")->inode == 11);
  CHECK(cat().version() == 1);  // neither eviction nor fetching is a change
}

TEST_CASE_FIXTURE(CatalogueFixture, "a checksum for what has moved on is refused") {
  const Node n = adopted("a", file_stat(11, 500, 1000));
  const Fingerprint print = fingerprint_of(disk["a"]);
  disk["a"] = file_stat(11, 600, 2000);
  see("a");
  CHECK(cat().checksummed(n.id, 1, print, sums_of(1, 500), true).err().code == ErrorCode::changed);
  CHECK_FALSE(node("a")->checksum);
  CHECK(cat().checksummed(999, 1, print, sums_of(1, 500), true).err().code == ErrorCode::not_found);
}

TEST_CASE_FIXTURE(CatalogueFixture, "a first checksum over bytes that adopt has not seen is a change") {
  const Node n = adopted("a", file_stat(11, 500, 1000));
  const auto grown = fingerprint_of(file_stat(11, 700, 2000));
  CHECK(cat().checksummed(n.id, 1, grown, sums_of(1, 700), true));
  CHECK(node("a")->generation == 2);
  CHECK(node("a")->size_bytes == 700);
  CHECK(changes() == Lines{"+a", "~a"});
}

TEST_CASE_FIXTURE(CatalogueFixture, "a touched file with the same bytes is not uploaded again") {
  synced("a", 11, 1);
  disk["a"].st_mtim.tv_sec += 10;
  CHECK(see("a") == Adopted::changed);
  const Node n = checksummed("a", 1);
  CHECK(n.in_vault());
  CHECK(job_count("upload") == 0);
  CHECK(has_job("restat", "a"));  // its mtime is another
}

TEST_CASE_FIXTURE(CatalogueFixture, "without a vault nothing is uploaded") {
  reopen(false);
  adopted("a", file_stat(11, 500, 1000));
  checksummed("a", 1);
  CHECK(job_count("upload") == 0);
}

TEST_CASE_FIXTURE(CatalogueFixture, "attributes that change during an upload are mended after it") {
  adopted("a", file_stat(11, 500, 1000));
  checksummed("a", 1);
  const Node sent = *node("a");
  disk["a"].st_mode = S_IFREG | 0600;
  see("a");
  CHECK(job_count("restat") == 0);
  CHECK(cat().uploaded(sent.id, 1, object_of(sent)));
  CHECK(has_job("restat", "a"));
  finish_jobs();
  CHECK(cat().uploaded(sent.id, 1, object_of(*node("a"))));  // as restat reports it: once is enough
  CHECK(job_count("restat") == 0);
}

TEST_CASE_FIXTURE(CatalogueFixture, "uploaded after the row moved on") {
  adopted("a", file_stat(11, 500, 1000));
  const Node sent = checksummed("a", 1);
  const VaultCopy object = object_of(sent);
  SUBCASE("deleted: the object is forgotten") {
    REQUIRE(cat().remove("a", true));
    finish_jobs();
    CHECK(cat().uploaded(sent.id, 1, object));
    CHECK_FALSE(node("a"));
    CHECK(has_job("forget", "a"));
    CHECK(*cat().is_tombstoned("a"));
  }
  SUBCASE("renamed: it is relocated, and no listing shows the old key") {
    mv("a", "b");
    REQUIRE(cat().rename({"a", "b", disk["b"], true, true}));
    CHECK(cat().uploaded(sent.id, 1, object));
    CHECK(node("b")->in_vault());
    CHECK(node("b")->vault->key == "a");
    CHECK(has_job("relocate", "b"));
    CHECK(*cat().import_listing({{"a", 500, 1, "e"}}) == 0);
    CHECK_FALSE(node("a"));
  }
  SUBCASE("changed: the object is known, and the newest bytes follow") {
    disk["a"] = file_stat(11, 600, 2000);
    see("a");
    checksummed("a", 2);
    CHECK(cat().uploaded(sent.id, 1, object));
    CHECK(node("a")->dirty());
    CHECK(node("a")->vault->generation == 1);
    CHECK(has_job("upload", "a"));
    const auto jobs_there = *jobs().list(JobState::queued, 100);
    CHECK(std::any_of(jobs_there.begin(), jobs_there.end(),
                      [](const Job& j) { return j.stage == "upload" && j.generation == 2; }));
  }
  SUBCASE("changed and gone: what was uploaded is what is left") {
    disk["a"] = file_stat(11, 600, 2000);
    see("a");
    REQUIRE(cat().uploaded(sent.id, 1, object));
    REQUIRE(cat().local_gone("a", true));
    CHECK(node("a")->in_vault());
    CHECK(node("a")->size_bytes == 500);
  }
}

TEST_CASE_FIXTURE(CatalogueFixture, "an object with other bytes than the checksum proves nothing") {
  adopted("a", file_stat(11, 500, 1000));
  const Node n = checksummed("a", 1);
  VaultCopy other = object_of(n);
  other.checksum = sums_of(9, 500).xxh128;
  REQUIRE(cat().uploaded(n.id, 1, other));
  CHECK_FALSE(node("a")->in_vault());
  CHECK(node("a")->dirty());
  CHECK_FALSE(cat().drop_local(n.id, 1, n.local->fingerprint));
  CHECK(cat().evictable(10)->empty());
}

TEST_CASE_FIXTURE(CatalogueFixture, "a deleted file stays deleted until its object is forgotten") {
  evicted("M/a", 11, 1);
  REQUIRE(cat().remove("M/a", true));
  CHECK(changes() == Lines{"+M/a", "-M/a"});
  CHECK(has_job("forget", "M/a"));
  CHECK(*cat().is_tombstoned("M/a"));
  CHECK_FALSE(*cat().key_in_use("M/a"));
  CHECK(*cat().import_listing({{"M/a", 101, 1, "e"}}) == 0);
  CHECK_FALSE(node("M/a"));
  REQUIRE(cat().forgotten("M/a"));
  CHECK_FALSE(*cat().is_tombstoned("M/a"));
  CHECK(*cat().import_listing({{"M/a", 101, 1, "e"}}) == 1);  // somebody put it there anew
}

TEST_CASE_FIXTURE(CatalogueFixture, "a new life under a deleted file's name") {
  evicted("a", 11, 1);
  REQUIRE(cat().remove("a", true));
  adopted("a", file_stat(12, 9, 3000));
  CHECK(*cat().is_tombstoned("a"));
  CHECK(*cat().key_in_use("a"));  // so the forget job leaves the key alone
  finish_jobs();
  SUBCASE("its upload ends the tombstone") {
    checksummed("a", 2);
    uploaded("a");
    CHECK_FALSE(*cat().is_tombstoned("a"));
  }
  SUBCASE("deleted before its upload: the old object is still to be forgotten") {
    REQUIRE(cat().remove("a", true));
    CHECK(has_job("forget", "a"));
    CHECK(*cat().is_tombstoned("a"));
  }
}

TEST_CASE_FIXTURE(CatalogueFixture, "a file deleted while its upload runs leaves nothing behind") {
  adopted("a", file_stat(11, 500, 1000));
  checksummed("a", 1);
  const auto running = *jobs().take("upload", 1);
  REQUIRE(running.size() == 1);
  REQUIRE(cat().remove("a", true));
  CHECK(has_job("forget", "a"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "a listing: new files, their directories, and what can't be shown") {
  adopted("local", file_stat(11, 5, 10));
  adopted("D", directory_stat(6));
  const std::vector<VaultFile> page{{"M/x/a.mkv", 10, 77, "e1"},
                                    {"M/b.mkv", 20, 78, "e2"},
                                    {"local", 5, 10, "e3"},
                                    {"local/below", 1, 1, "e"},
                                    {"D", 1, 1, "e"},
                                    {"../out", 1, 1, "e"},
                                    {"M/dir/", 0, 1, "e"},
                                    {".mediafs/snap", 1, 1, "e"}};
  CHECK(*cat().import_listing(page) == 2);
  const auto a = node("M/x/a.mkv");
  REQUIRE(a);
  CHECK_FALSE(a->local);
  CHECK(a->vault->etag == "e1");
  CHECK_FALSE(a->vault->checksum);
  CHECK(a->size_bytes == 10);
  CHECK(a->mtime_ns == 77);
  CHECK(a->inode != 0);
  CHECK_FALSE(a->dirty());
  CHECK_FALSE(a->in_vault());
  CHECK(node("D")->kind == NodeKind::directory);
  CHECK_FALSE(node(".mediafs"));
  CHECK(node("local")->dirty());  // something stands under its key, but nobody knows what
  CHECK(*cat().key_owner("local") == node("local")->id);
  CHECK(changes(1) == Lines{"+M/x/a.mkv", "+M/b.mkv"});
  CHECK(*cat().import_listing(page) == 0);
  const auto listed = *cat().list("M");
  REQUIRE(listed.size() == 2);
  CHECK(listed[0].name == "b.mkv");
  CHECK(listed[0].has_vault);
  CHECK_FALSE(listed[0].has_local);
  CHECK(listed[1].shown.kind == NodeKind::directory);
  CHECK(cat().list("nowhere")->empty());
}

TEST_CASE_FIXTURE(CatalogueFixture, "a listing of a store that takes any key: what is file and folder") {
  adopted("local", file_stat(11, 5, 10));
  adopted("D", directory_stat(6));
  const auto any = [](const char* key, const char* etag) { return VaultFile{key, 10, 1, etag, true, false}; };
  const std::vector<VaultFile> page{any("D", "d"),     any("a", "a"),       any("a/b", "b"),
                                    any("a/c/d", "c"), any("local/x", "x"), any("late/deep/y", "y"),
                                    any("late", "l")};
  CHECK(*cat().import_listing(page) == 7);
  CHECK(node(marked_file("a"))->vault->etag == "a");
  CHECK(node(marked_file("a"))->vault->key == marked_file("a"));
  CHECK(node("a")->kind == NodeKind::directory);
  CHECK(node("a/b"));
  CHECK(node("a/c/d"));
  CHECK(node(marked_file("D"))->vault->etag == "d");
  CHECK(node(marked_file("late"))->vault->etag == "l");
  CHECK(node("local")->local);  // what is on the disk keeps its name
  CHECK(node(marked_folder("local") + "/x")->vault->etag == "x");
  CHECK_FALSE(has_job("relocate", marked_file("a")));  // the object stays where it is
  CHECK(cat().totals()->escaped.files == 4);
  CHECK(*cat().import_listing(page) == 0);  // taken again, it is the same

  // The marked names and the plain one are one object.
  CHECK(*cat().key_owner("a") == node(marked_file("a"))->id);
  CHECK(*cat().key_in_use("a"));
  CHECK(*cat().key_owner("local/x") == node(marked_folder("local") + "/x")->id);
  REQUIRE(cat().remove(marked_file("a"), true));
  CHECK(has_job("forget", marked_file("a")));
  CHECK_FALSE(*cat().key_in_use(marked_file("a")));
  REQUIRE(cat().remove("a/b", true));
  REQUIRE(cat().remove("a/c/d", true));
  REQUIRE(cat().remove("a/c", true));
  REQUIRE(cat().remove("a", true));
  adopted("a", file_stat(12, 5, 10));
  CHECK(*cat().key_in_use(marked_file("a")));  // its upload is to come: nothing may be removed there
}

TEST_CASE_FIXTURE(CatalogueFixture, "a listing with folders that another program keeps") {
  const auto folder = [](const char* key) { return VaultFile{key, 0, 1, "e", true, true}; };
  CHECK(*cat().import_listing({folder("Empty"),
                               folder("Empty/below"),
                               folder("Empty0"),
                               {"Full/a", 1, 1, "e", true},
                               folder("Full")}) == 1);
  CHECK(node("Empty/below")->kind == NodeKind::directory);
  CHECK(cat().list("")->size() == 3);
  // A directory that goes, or gets another name, takes its object along.
  REQUIRE(cat().rename({"Empty", "Moved", {}}));
  CHECK(has_job("forget", folder_marker("Empty")));
  CHECK(has_job("forget", folder_marker("Empty/below")));
  CHECK_FALSE(has_job("forget", folder_marker("Empty0")));
  CHECK(node("Moved/below"));
  REQUIRE(cat().remove("Empty0", true));
  CHECK(has_job("forget", folder_marker("Empty0")));
  CHECK(*cat().import_listing({folder("Empty0")}) == 0);
  CHECK_FALSE(node("Empty0"));  // deleted stays deleted
  REQUIRE(cat().forgotten(folder_marker("Empty0")));
  CHECK(*cat().import_listing({folder("Empty0")}) == 0);
  CHECK(node("Empty0"));
}

TEST_CASE_FIXTURE(CatalogueFixture, "the first HEAD of a listed file") {
  REQUIRE(cat().import_listing({{"a", 10, 77, "e1"}}));
  Node n = *node("a");
  VaultCopy copy = *n.vault;
  copy.checksum = sums_of(3, 10).xxh128;
  copy.mtime_ns = 55;
  const auto moment = cat().moment();
  CHECK(cat().refine_vault(n.id, copy, 0600, 5, 6));
  CHECK(cat().moment() > moment);
  CHECK(cat().sync());  // the writer has told before it goes on
  CHECK(told_shown == Lines{"a"});
  n = *node("a");
  CHECK(n.in_vault());
  CHECK(n.mtime_ns == 55);
  CHECK(n.mode == 0600);
  CHECK(n.gid == 6);
  CHECK(cat().version() == 1);
  copy.size_bytes = 11;
  copy.checksum = sums_of(4, 11).xxh128;
  CHECK(cat().refine_vault(n.id, copy, 0600, 5, 6));  // a stranger has replaced it
  CHECK(node("a")->size_bytes == 11);
  CHECK(changes() == Lines{"+a", "~a"});
  copy.key = "elsewhere";
  CHECK(cat().refine_vault(n.id, copy, 0600, 5, 6).err().code == ErrorCode::changed);
}

TEST_CASE_FIXTURE(CatalogueFixture, "a lost catalogue finds that local file and object are the same") {
  adopted("a", file_stat(11, 101, 1000));
  REQUIRE(cat().import_listing({{"a", 101, 77, "e1"}}));
  SUBCASE("HEAD first") {
    VaultCopy copy = *node("a")->vault;
    copy.checksum = sums_of(1, 101).xxh128;
    copy.mtime_ns = node("a")->mtime_ns;
    REQUIRE(cat().refine_vault(node("a")->id, copy, 0644, 0, 0));
    CHECK(checksummed("a", 1).in_vault());
  }
  SUBCASE("checksum first") {
    checksummed("a", 1);
    VaultCopy copy = *node("a")->vault;
    copy.checksum = sums_of(1, 101).xxh128;
    REQUIRE(cat().refine_vault(node("a")->id, copy, 0644, 0, 0));
    CHECK(node("a")->in_vault());
  }
  CHECK(node("a")->mode == 0644);
  CHECK(node("a")->uid == 1000);
}

TEST_CASE_FIXTURE(CatalogueFixture, "an object that somebody deleted") {
  const Node n = synced("a", 11, 1);
  REQUIRE(cat().vault_lost(n.id, "other-key"));
  CHECK(node("a")->vault);
  REQUIRE(cat().vault_lost(n.id, "a"));
  CHECK(node("a")->dirty());
  CHECK(has_job("upload", "a"));
  const Node gone = evicted("b", 12, 2);
  REQUIRE(cat().vault_lost(gone.id, "b"));
  REQUIRE(node("b")->vault);  // its only copy that was: it stays listed
  CHECK(node("b")->vault->lost);
  CHECK_FALSE(node("b")->in_vault());
  CHECK(cat().totals()->lost.files == 1);
  CHECK(cat().totals()->dirty.files == 1);
}

TEST_CASE_FIXTURE(CatalogueFixture, "attributes of a vault-only file") {
  evicted("a", 11, 1);
  CHECK(cat().set_attributes("a", {.mode = 0640, .uid = {}, .gid = 9, .mtime_ns = 5}));
  const auto n = node("a");
  CHECK(n->mode == 0640);
  CHECK(n->uid == 1000);
  CHECK(n->gid == 9);
  CHECK(n->mtime_ns == 5);
  CHECK(has_job("restat", "a"));
  CHECK(cat().version() == 1);
  CHECK(cat().set_attributes("b", {}).err().code == ErrorCode::not_found);
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "evictable: least recently opened first, never a pinned or unproven one") {
  for (int i = 0; i < 4; ++i) {
    synced("f" + std::to_string(i), 20 + static_cast<std::uint64_t>(i), 1);
    clock.advance(std::chrono::seconds(1));
  }
  adopted("dirty", file_stat(30, 5, 10));
  cat().opened(node("f0")->id, clock.wall_ns());
  REQUIRE(cat().set_pinned("f2", true));
  const auto names = [&](std::size_t limit) {
    Lines lines;
    const auto found = *cat().evictable(limit);
    for (const Node& n : found) lines.push_back(n.path);
    return lines;
  };
  CHECK(names(10) == Lines{"f1", "f3", "f0"});
  CHECK(names(1) == Lines{"f1"});
  REQUIRE(cat().set_pinned("f2", false));
  CHECK(names(10) == Lines{"f1", "f2", "f3", "f0"});
  const Node n = *node("f1");
  REQUIRE(cat().drop_local(n.id, n.generation, n.local->fingerprint));
  CHECK(names(10) == Lines{"f2", "f3", "f0"});
  const auto totals = *cat().totals();
  CHECK(totals.evictable.files == 3);
  CHECK(totals.local.files == 4);
  CHECK(totals.vault.files == 4);
  CHECK(totals.vault.bytes == 404);
  CHECK(totals.dirty.files == 1);
  CHECK(totals.dirty.bytes == 5);
  CHECK(totals.oldest_dirty_ns == clock.wall_ns());
  reopen();
  CHECK(node("f0")->last_open_ns > 0);
  CHECK(names(10) == Lines{"f2", "f3", "f0"});
}

}  // namespace mediafs::tier
