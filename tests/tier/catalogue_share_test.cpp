#include "catalogue_fixture.h"

namespace mediafs::tier {

namespace {

ShareEntry file(const std::string& name, std::uint64_t size_bytes = 1) {
  ShareEntry e;
  e.name = name;
  e.mode = S_IFREG | 0644;
  e.size_bytes = size_bytes;
  e.mtime_ns = 1'600'000'000'123'456'789;
  e.inode = 7;
  return e;
}

ShareEntry directory(const std::string& name) {
  ShareEntry e;
  e.name = name;
  e.mode = S_IFDIR | 0755;
  return e;
}

}  // namespace

TEST_CASE_FIXTURE(CatalogueFixture, "the share's entries are kept as they were last seen") {
  REQUIRE(cat().remember_share("", {directory("Shows"), file("b"), file("a", 5)}));
  REQUIRE(cat().remember_share("Shows", {directory("X"), file("note")}));
  REQUIRE(cat().remember_share("Shows/X", {file("e1"), file("e2")}));
  auto top = *cat().share_entries("");
  REQUIRE(top.size() == 3);
  CHECK(top[1] == file("a", 5));  // by the bytes of the name
  CHECK(**cat().share_entry("Shows/X/e2") == file("e2"));
  CHECK_FALSE(*cat().share_entry("Shows/X/e3"));
  CHECK((*cat().share_entry("Shows"))->is_directory());

  SUBCASE("a listing replaces what was there, with all below") {
    REQUIRE(cat().remember_share("", {file("a", 6), file("Shows")}));
    CHECK((*cat().share_entry("a"))->size_bytes == 6);
    CHECK_FALSE(*cat().share_entry("b"));
    CHECK((*cat().share_entries("Shows")).empty());
    CHECK_FALSE(*cat().share_entry("Shows/X/e1"));
  }
  SUBCASE("a directory that stays keeps what is below") {
    REQUIRE(cat().remember_share("", {directory("Shows")}));
    CHECK(*cat().share_entry("Shows/X/e1"));
  }
  SUBCASE("forgetting takes what is below, not what is beside") {
    REQUIRE(cat().remember_share("Shows/X.more", {file("e9")}));
    REQUIRE(cat().remember_share("Shows/X0", {file("e9")}));
    REQUIRE(cat().forget_share("Shows/X"));
    CHECK_FALSE(*cat().share_entry("Shows/X"));
    CHECK_FALSE(*cat().share_entry("Shows/X/e1"));
    CHECK(*cat().share_entry("Shows/note"));
    CHECK(*cat().share_entry("Shows/X.more/e9"));
    CHECK(*cat().share_entry("Shows/X0/e9"));
  }
  SUBCASE("a rename takes what is below along, and replaces") {
    REQUIRE(cat().remember_share("Shows/X/deep", {file("e3")}));
    REQUIRE(cat().remember_share("Y", {file("old")}));
    REQUIRE(cat().share_renamed("Shows/X", "Y"));
    CHECK_FALSE(*cat().share_entry("Shows/X"));
    CHECK_FALSE(*cat().share_entry("Shows/X/e1"));
    CHECK(*cat().share_entry("Y"));
    CHECK(*cat().share_entry("Y/e1"));
    CHECK(*cat().share_entry("Y/deep/e3"));
    CHECK_FALSE(*cat().share_entry("Y/old"));
    REQUIRE(cat().share_renamed("a", "b"));
    CHECK((*cat().share_entry("b"))->size_bytes == 5);
    CHECK_FALSE(*cat().share_entry("a"));
  }
  SUBCASE("names are bytes") {
    const std::string odd = "\xff'%\n";
    REQUIRE(cat().remember_share(odd, {file(odd)}));
    REQUIRE(cat().share_renamed(odd, "plain"));
    CHECK(*cat().share_entry("plain/" + odd));
  }
}

}  // namespace mediafs::tier
