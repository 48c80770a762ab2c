#include "fs/node_table.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "fs/listings.h"

using namespace mediafs::fs;

namespace {

Seen directory() {
  return {.branch = Branch::local, .type = S_IFDIR, .shown_inode = 5};
}
Seen file(std::uint64_t inode, std::uint64_t links = 1) {
  return {.branch = Branch::local,
          .type = S_IFREG,
          .device = 1,
          .inode = inode,
          .links = links,
          .shown_inode = inode};
}
Seen in_vault(std::uint64_t shown) {
  return {.branch = Branch::vault, .type = S_IFREG, .shown_inode = shown};
}

}  // namespace

static struct stat content(off_t size_bytes, time_t mtime_s, time_t ctime_s = 1) {
  struct stat st {};
  st.st_size = size_bytes;
  st.st_mtim.tv_sec = mtime_s;
  st.st_ctim.tv_sec = ctime_s;
  return st;
}

TEST_CASE("paths are built from names") {
  NodeTable t;
  const NodeId dir = t.remember(kRootNode, "Movies", directory());
  const NodeId film = t.remember(dir, "a.mkv", file(10));
  CHECK(t.path(kRootNode) == "");
  CHECK(t.path(film) == "Movies/a.mkv");
  CHECK(t.child_path(dir, "b") == "Movies/b");
  CHECK(t.find("Movies/a.mkv") == film);
  CHECK_FALSE(t.find("Movies/b").has_value());
  CHECK_FALSE(t.path(999).has_value());
}

TEST_CASE("a node lives until its last lookup is forgotten") {
  NodeTable t;
  const NodeId a = t.remember(kRootNode, "a", file(10));
  CHECK(t.remember(kRootNode, "a", file(10)) == a);
  t.forget(a, 1);
  CHECK(t.path(a) == "a");
  t.forget(a, 1);
  CHECK_FALSE(t.path(a).has_value());
  CHECK(t.size() == 1);
}

TEST_CASE("a node without a name gets its first, and keeps its number") {
  NodeTable t;
  const NodeId a = t.remember_nameless(file(10, 0));
  t.opened(a, 1, Branch::local);
  CHECK_FALSE(t.path(a).has_value());
  t.add_name(a, kRootNode, "a");
  CHECK(t.remember(kRootNode, "a", file(10)) == a);
  t.closed(a, 1, Branch::local);
  t.forget(a, 2);
  CHECK(t.size() == 1);
}

TEST_CASE("what left is remembered while the kernel holds it, and not under its next name") {
  NodeTable t;
  const NodeId dir = t.remember(kRootNode, "d", directory());
  struct stat st {};
  st.st_mode = S_IFDIR | 0750;
  st.st_nlink = 2;
  t.leaving(kRootNode, "d", st);
  CHECK_FALSE(t.was(dir).has_value());  // it has its name yet
  t.remove_name(kRootNode, "d", true);
  REQUIRE(t.was(dir).has_value());
  CHECK(t.was(dir)->st_nlink == 0);
  CHECK(t.was(dir)->st_ino == 5);
  t.forget(dir, 1);
  CHECK_FALSE(t.was(dir).has_value());
}

TEST_CASE("a directory outlives its forgetting while a name hangs below it") {
  NodeTable t;
  const NodeId dir = t.remember(kRootNode, "d", directory());
  const NodeId a = t.remember(dir, "a", file(10));
  t.forget(dir, 1);
  CHECK(t.path(a) == "d/a");
  t.forget(a, 1);
  CHECK(t.size() == 1);
}

TEST_CASE("a directory's rename moves what is below it") {
  NodeTable t;
  const NodeId dir = t.remember(kRootNode, "d", directory());
  const NodeId a = t.remember(dir, "a", file(10));
  t.rename(kRootNode, "d", kRootNode, "e");
  CHECK(t.path(a) == "e/a");
  CHECK_FALSE(t.find("d").has_value());
}

TEST_CASE("a rename over another file leaves that one without a name") {
  NodeTable t;
  const NodeId a = t.remember(kRootNode, "a", file(10));
  const NodeId b = t.remember(kRootNode, "b", file(11));
  t.rename(kRootNode, "a", kRootNode, "b");
  CHECK(t.path(a) == "b");
  CHECK_FALSE(t.path(b).has_value());
  CHECK(t.find("b") == a);
}

TEST_CASE("exchange swaps the names") {
  NodeTable t;
  const NodeId dir = t.remember(kRootNode, "d", directory());
  const NodeId a = t.remember(dir, "a", file(10));
  const NodeId b = t.remember(kRootNode, "b", file(11));
  t.exchange(dir, "a", kRootNode, "b");
  CHECK(t.path(a) == "b");
  CHECK(t.path(b) == "d/a");
  t.forget(dir, 1);
  CHECK(t.path(b) == "d/a");
}

TEST_CASE("hard links share a node") {
  NodeTable t;
  const NodeId a = t.remember(kRootNode, "a", file(10, 2));
  CHECK(t.remember(kRootNode, "b", file(10, 2)) == a);
  t.remove_name(kRootNode, "a", false);
  CHECK(t.path(a) == "b");
}

TEST_CASE("an inode number that was used again is another file") {
  NodeTable t;
  const NodeId a = t.remember(kRootNode, "a", file(10));
  CHECK(t.remember(kRootNode, "b", file(10)) != a);
}

TEST_CASE("a file keeps its node and its number from local to vault and back") {
  NodeTable t;
  const NodeId a = t.remember(kRootNode, "a", file(10));
  CHECK(t.remember(kRootNode, "a", in_vault(10)) == a);
  t.opened(a, 7, Branch::vault);
  CHECK(t.remember(kRootNode, "a", file(77)) == a);
  CHECK(t.shown_inode(a) == 10);
}

TEST_CASE("a name that stands for another file while the old one is open gets a new node") {
  NodeTable t;
  const NodeId a = t.remember(kRootNode, "a", file(10));
  t.opened(a, 7, Branch::local);
  const NodeId other = t.remember(kRootNode, "a", file(11));
  CHECK(other != a);
  CHECK_FALSE(t.path(a).has_value());
  CHECK(t.handles(a) == std::vector<std::uint64_t>{7});
  t.forget(a, 1);
  CHECK(t.open_count(a) == 1);
  t.closed(a, 7, Branch::local);
  CHECK(t.handles(a).empty());
  CHECK(t.path(other) == "a");
}

TEST_CASE("a file that is opened with a new local copy is that one") {
  NodeTable t;
  const NodeId a = t.remember(kRootNode, "a", file(10));
  CHECK(t.remember(kRootNode, "a", in_vault(10)) == a);
  t.opened(a, 7, Branch::local, 1, 11);
  CHECK_FALSE(t.open_as_other(a, 1, 11));
  CHECK(t.remember(kRootNode, "a", file(11)) == a);
}

TEST_CASE("an unlinked file that is open stays without a name") {
  NodeTable t;
  const NodeId a = t.remember(kRootNode, "a", file(10));
  t.opened(a, 7, Branch::local);
  t.remove_name(kRootNode, "a", true);
  CHECK_FALSE(t.path(a).has_value());
  CHECK(t.handles(a) == std::vector<std::uint64_t>{7});
  t.opened(a, 8, Branch::local);
  CHECK(t.handles(a) == std::vector<std::uint64_t>{7, 8});
}

TEST_CASE("a file that became a directory is another node") {
  NodeTable t;
  const NodeId a = t.remember(kRootNode, "a", file(10));
  CHECK(t.remember(kRootNode, "a", directory()) != a);
}

TEST_CASE("content counts as the same while size and mtime are") {
  NodeTable t;
  const NodeId a = t.remember(kRootNode, "a", file(10));
  CHECK_FALSE(t.same_content(a, content(100, 5)));
  CHECK(t.same_content(a, content(100, 5)));
  CHECK_FALSE(t.same_content(a, content(100, 6)));
  CHECK_FALSE(t.same_content(a, content(101, 6)));
  CHECK_FALSE(t.same_content(a, content(101, 6, 2)));  // another file, of the same size and time
}

TEST_CASE("nodes: many that were forgotten leave room behind, and none of the others goes") {
  NodeTable table;
  const Seen seen{.branch = Branch::vault, .type = S_IFREG, .shown_inode = 7};
  const NodeId kept = table.remember(kRootNode, "kept", seen);
  std::vector<NodeId> many;
  for (int i = 0; i < 20'000; ++i) many.push_back(table.remember(kRootNode, std::to_string(i), seen));
  for (const NodeId id : many) table.forget(id, 1);
  CHECK(table.dropped() == many.size());
  table.shrink();
  CHECK(table.size() == 2);
  CHECK(table.find("kept") == kept);
  CHECK(table.children(kRootNode) == std::vector<NodeId>{kept});
  CHECK_FALSE(table.find("17"));
}

TEST_CASE("listings: those used last are kept, as far as there is room, and none that was read to its end") {
  Listings listings;
  const auto of = [](std::size_t count) {
    return std::make_shared<const Listing>(Listing{std::vector<DirItem>(count), 0});
  };
  for (NodeId id = 2; id < 102; ++id) listings.keep(id, of(1));
  CHECK_FALSE(listings.find(2));
  CHECK(listings.find(101));
  listings.drop(101);
  CHECK_FALSE(listings.find(101));
  listings.keep(200, of(40'000));
  CHECK(listings.find(100));
  listings.keep(201, of(40'000));
  CHECK_FALSE(listings.find(200));
  listings.keep(202, of(1'000'000));
  CHECK(listings.find(202));
  CHECK_FALSE(listings.find(201));
  listings.keep(203, of(10));
  CHECK_FALSE(listings.find(202));
}
