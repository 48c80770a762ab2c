#include <doctest/doctest.h>

#include "common/mounts.h"

using namespace mediafs;

TEST_CASE("mounts: the kernel's table is read") {
  const auto mounts = parse_mounts(
      "27 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
      "50 27 8:1 / /data rw shared:5 master:2 - xfs /dev/sda1 rw\n"
      "61 50 0:47 / /data/My\\040Media rw,nosuid shared:9 - fuse.mediafs nas\\134x rw,user_id=0\n"
      "62 50 0:48 / /data/My\\040Media rw - fuse x rw\n"
      "broken line\n"
      "63 27 0:49 / /database rw - fusectl none rw");
  REQUIRE(mounts.size() == 5);
  CHECK(mounts[2].point == "/data/My Media");
  CHECK(mounts[2].source == "nas\\x");
  CHECK(mounts[2].type == "fuse.mediafs");
  CHECK(mounts[2].id == 61);
  CHECK(mounts[2].minor == 47);
  CHECK(mounts[2].shared);
  CHECK(mounts[2].is_fuse());
  CHECK(!mounts[4].is_fuse());
  CHECK(mounted_at(mounts, "/data/My Media")->minor == 48);
  CHECK(mounted_at(mounts, "/data/My") == nullptr);
  CHECK(mount_above(mounts, "/data/My Media")->point == "/data");
  CHECK(mount_above(mounts, "/data/My Media/x")->minor == 48);
  CHECK(mount_above(mounts, "/databases")->point == "/");
  CHECK(!mount_above(mounts, "/databases")->shared);
}

TEST_CASE("mounts: this machine's can be read") {
  const auto mounts = mounts_of();
  REQUIRE(mounts.has_value());
  CHECK(mount_above(*mounts, "/proc/self") != nullptr);
  CHECK(!mounts_of("0").has_value());
}
