#include "watcher/dir_table.h"

#include <doctest/doctest.h>

using namespace mediafs::watcher;

TEST_CASE("dir table: a rename takes everything below along") {
  DirTable table({1, 1});
  const DirId a = table.add(kRootDir, "a", {1, 2});
  const DirId b = table.add(a, "b", {1, 3});
  const DirId c = table.add(b, "c", {1, 4});
  table.set_watch(c, 7);
  CHECK(table.path(c) == "a/b/c");
  table.move(b, kRootDir, "z");
  CHECK(table.path(c) == "z/c");
  CHECK(table.by_watch(7) == c);
  CHECK(table.child(a, "b") == kNoDir);
  CHECK(table.child(kRootDir, "z") == b);
  CHECK(table.is_within(c, b));
  CHECK(!table.is_within(c, a));
}

TEST_CASE("dir table: removal takes everything below along, watches too") {
  DirTable table({1, 1});
  const DirId a = table.add(kRootDir, "a", {1, 2});
  const DirId b = table.add(a, "b", {1, 3});
  table.set_watch(a, 1);
  table.set_watch(b, 2);
  CHECK(table.unwatched().size() == 1);  // the root
  const auto removed = table.remove(a);
  CHECK(removed.size() == 2);
  CHECK(table.find(b) == nullptr);
  CHECK(table.by_watch(2) == kNoDir);
  CHECK(table.size() == 1);
  CHECK(table.add(kRootDir, "a", {1, 2}) != a);
}

TEST_CASE("dir table: a directory's watch can change") {
  DirTable table({1, 1});
  table.set_watch(kRootDir, 5);
  CHECK(table.unwatched().empty());
  table.set_watch(kRootDir, -1);
  CHECK(table.by_watch(5) == kNoDir);
  CHECK(table.unwatched().contains(kRootDir));
}
