#include "app/space_check.h"

#include <doctest/doctest.h>

using namespace mediafs;
using namespace mediafs::app;

TEST_CASE("figures of [local] that do not fit the disk are told, with what to change") {
  constexpr std::uint64_t kGiB = 1ULL << 30;
  Config::Local local;  // 8 GiB, 50 %, 55 %
  CHECK(space_misfits(local, 100 * kGiB).empty());
  auto found = space_misfits(local, 4 * kGiB);
  REQUIRE(found.size() == 1);
  CHECK(found[0].what.find("local.reserve (8.0 GiB) is not less than the disk of local.path (4.0 GiB)") == 0);
  CHECK(found[0].advice.find("lower local.reserve") == 0);
  found = space_misfits(local, 10 * kGiB);
  REQUIRE(found.size() == 1);
  CHECK(found[0].what.find("local.reserve (8.0 GiB) is not below local.evict_below_free (5.0 GiB") == 0);
  local.reserve_bytes = kGiB;
  local.evict_until_free = {200 * kGiB, 0};
  found = space_misfits(local, 100 * kGiB);
  REQUIRE(found.size() == 1);
  CHECK(found[0].what.find("local.evict_until_free (200 GiB)") == 0);
  local.evict_below_free = {150 * kGiB, 0};
  found = space_misfits(local, 100 * kGiB);
  REQUIRE(found.size() == 2);
  CHECK(found[0].what.find("local.evict_below_free (150 GiB)") == 0);
}
