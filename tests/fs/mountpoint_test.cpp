#include "fs/mountpoint.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "common/result.h"
#include "tests/common/temp_dir.h"

using namespace mediafs;

TEST_CASE("what is wrong with a mount point is said with its path and what to do") {
  const test::TempDir dir;
  REQUIRE(::mkdir((dir / "local").c_str(), 0755) == 0);
  const std::string local = dir / "local";

  auto missing = fs::prepare_mountpoint(dir / "missing", local);
  CHECK(missing.error().code == ErrorCode::not_found);
  CHECK(missing.error().message().find("mkdir -p " + dir / "missing") != std::string::npos);

  test::put(dir / "file", "");
  CHECK(fs::prepare_mountpoint(dir / "file", local).error().code == ErrorCode::not_directory);

  REQUIRE(::mkdir((dir / "full").c_str(), 0755) == 0);
  test::put(dir / "full/thing", "");
  auto full = fs::prepare_mountpoint(dir / "full", local);
  CHECK(full.error().code == ErrorCode::not_empty);
  CHECK(full.error().message().find("thing") != std::string::npos);

  REQUIRE(::mkdir((dir / "local/inside").c_str(), 0755) == 0);
  CHECK(fs::prepare_mountpoint(dir / "local/inside", local).error().code == ErrorCode::invalid);
  CHECK(fs::prepare_mountpoint(dir.path(), local).error().code == ErrorCode::invalid);
  CHECK(fs::prepare_mountpoint("", local).error().code == ErrorCode::invalid);

  REQUIRE(::mkdir((dir / "good").c_str(), 0755) == 0);
  CHECK(*fs::prepare_mountpoint(dir / "good/", local) == std::filesystem::canonical(dir / "good").string());
}
