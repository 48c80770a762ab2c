#include "watcher/pending.h"

#include <doctest/doctest.h>

using namespace mediafs;
using namespace mediafs::watcher;
using std::chrono::seconds;

TEST_CASE("pending: entries come due in order, and a touch starts over") {
  PendingTable table;
  const SteadyTime t0{};
  table.touch(1, "a", false, t0 + seconds(1));
  table.touch(1, "b", false, t0 + seconds(2));
  CHECK(table.first_due(t0) == nullptr);
  CHECK(table.next_due() == t0 + seconds(1));
  PendingTable::Entry* first = table.first_due(t0 + seconds(3));
  REQUIRE(first != nullptr);
  CHECK(first->key->second == "a");
  first->seen = Fingerprint{};
  table.touch(1, "a", false, t0 + seconds(4));
  CHECK(table.size() == 2);
  CHECK(!table.find(1, "a")->seen);
  CHECK(table.first_due(t0 + seconds(3))->key->second == "b");
}

TEST_CASE("pending: content outranks attributes, and a scan does not disturb who waits") {
  PendingTable table;
  const SteadyTime t0{};
  table.touch(1, "a", true, t0);
  CHECK(table.find(1, "a")->attrib_only);
  table.touch(1, "a", false, t0);
  table.touch(1, "a", true, t0);
  CHECK(!table.find(1, "a")->attrib_only);
  table.found(1, "a", t0 + seconds(9));
  CHECK(table.next_due() == t0);
}

TEST_CASE("pending: a directory's entries go together, its neighbours' stay") {
  PendingTable table;
  const SteadyTime t0{};
  table.touch(1, "a", false, t0);
  table.touch(2, "", false, t0);
  table.touch(2, "\xff", false, t0);
  table.touch(3, "a", false, t0);
  table.erase_dir(2);
  CHECK(table.size() == 2);
  table.erase(1, "a");
  table.erase(1, "a");
  CHECK(table.first_due(t0)->key->first == 3);
}
