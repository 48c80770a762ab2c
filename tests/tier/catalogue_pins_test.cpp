#include "tests/tier/catalogue_fixture.h"

namespace mediafs::tier {

TEST_CASE_FIXTURE(CatalogueFixture, "a directory's pin holds for what is, arrives or is moved below it") {
  synced("Movies/A/a", 20, 1);
  synced("other", 21, 1);
  const auto names = [&] {
    std::vector<std::string> out;
    for (const Node& n : got(cat().evictable(10))) out.push_back(n.path);
    return out;
  };
  using Names = std::vector<std::string>;
  REQUIRE(cat().set_pinned("Movies", true));
  CHECK(node("Movies/A/a")->pinned);
  CHECK(names() == Names{"other"});
  synced("Movies/B/b", 22, 1);
  CHECK(node("Movies/B/b")->pinned);
  CHECK(names() == Names{"other"});
  CHECK(cat().totals()->pinned.files == 2);
  const Node n = *node("Movies/B/b");
  CHECK(cat().drop_local(n.id, n.generation, n.local->fingerprint).err().code == ErrorCode::changed);
  CHECK(cat().set_pinned("Movies/A/a", false).err().code == ErrorCode::invalid);
  CHECK(node("Movies/A/a")->pinned);

  REQUIRE(cat().rename({.from = "Movies/B", .to = "B", .st = {}}));
  CHECK(names() == Names{"other", "B/b"});
  REQUIRE(cat().rename({.from = "other", .to = "Movies/other", .st = {}}));
  CHECK(names() == Names{"B/b"});
  reopen();
  CHECK(names() == Names{"B/b"});

  REQUIRE(cat().set_pinned("Movies/A/a", true));
  REQUIRE(cat().set_pinned("Movies", false));
  CHECK(node("Movies/A/a")->pinned);  // its own mark
  CHECK_FALSE(node("Movies/other")->pinned);
  REQUIRE(cat().set_pinned("", true));
  CHECK(names().empty());
  REQUIRE(cat().unpin_below(""));
  CHECK(names().size() == 3);
  CHECK_FALSE(node("Movies/A/a")->pinned);
}

TEST_CASE_FIXTURE(CatalogueFixture, "evictable in pages: each file once, in order") {
  for (int i = 0; i < 7; ++i) {
    synced("f" + std::to_string(i), 20 + static_cast<std::uint64_t>(i), 1);
    if (i % 2 == 0) clock.advance(std::chrono::seconds(1));  // some at the same time
  }
  std::vector<std::string> all;
  EvictCursor cursor;
  for (std::size_t size = 3; size == 3;) {
    const auto page = got(cat().evictable(3, &cursor));
    size = page.size();
    for (const Node& n : page) all.push_back(n.path);
  }
  CHECK(all == std::vector<std::string>{"f0", "f1", "f2", "f3", "f4", "f5", "f6"});
}

}  // namespace mediafs::tier
