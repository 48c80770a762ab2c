#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "common/fd.h"
#include "temp_dir.h"

using namespace mediafs;
using mediafs::test::TempDir;

namespace {

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}
bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

}  // namespace

TEST_CASE("fd: closes what it owns, once") {
  int raw = -1;
  {
    auto fd = open_at(AT_FDCWD, "/dev/null", O_RDONLY);
    REQUIRE(fd);
    raw = fd->get();
    CHECK((::fcntl(raw, F_GETFD) & FD_CLOEXEC) != 0);
    const Fd moved = std::move(*fd);
    CHECK(!*fd);
    CHECK(moved.get() == raw);
    CHECK(is_open(raw));
  }
  CHECK(!is_open(raw));
}

TEST_CASE("fd: errors carry errno and the path") {
  const auto missing = open_at(AT_FDCWD, "/no/such/file", O_RDONLY);
  REQUIRE(!missing);
  CHECK(missing.err().code == ErrorCode::not_found);
  CHECK(missing.err().sys_errno == ENOENT);
  CHECK(missing.err().message() == "open /no/such/file: No such file or directory");
}

TEST_CASE("fd: write_all and read_some move everything, past the end stops short") {
  const TempDir dir;
  auto fd = open_at(AT_FDCWD, dir / "f", O_RDWR | O_CREAT, 0600);
  REQUIRE(fd);
  REQUIRE(write_all(fd->get(), bytes("0123456789"), 5));
  std::vector<std::byte> into(100);
  const auto got = read_some(fd->get(), into, 3);
  REQUIRE(got);
  CHECK(*got == 12);
  CHECK(into[2] == std::byte{'0'});
  CHECK(read_some(fd->get(), into, 15).value() == 0);
  CHECK(stat_fd(fd->get())->st_size == 15);
}

TEST_CASE("fd: stat does not follow links, and \"\" is the directory itself") {
  const TempDir dir;
  REQUIRE(::symlink("nowhere", (dir / "link").c_str()) == 0);
  const auto root = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY);
  REQUIRE(root);
  CHECK(S_ISLNK(stat_at(root->get(), "link")->st_mode));
  CHECK(S_ISDIR(stat_at(root->get(), "")->st_mode));
  CHECK(stat_at(root->get(), "x").err().code == ErrorCode::not_found);
}

TEST_CASE("fd: mkdirs makes what is missing and stops at a file") {
  const TempDir dir;
  const auto root = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY);
  REQUIRE(mkdirs_at(root->get(), "a/b/c", 0755));
  REQUIRE(mkdirs_at(root->get(), "a/b/c", 0755));
  REQUIRE(mkdirs_at(AT_FDCWD, dir / "a/d", 0755));
  CHECK(S_ISDIR(stat_at(root->get(), "a/d")->st_mode));
  test::put(dir / "file", "x");
  const auto blocked = mkdirs_at(root->get(), "file/x", 0755);
  REQUIRE(!blocked);
  CHECK(blocked.err().code == ErrorCode::not_directory);
}

TEST_CASE("fd: read_file knows its limit") {
  const TempDir dir;
  test::put(dir / "f", std::string(1000, 'x'));
  CHECK(read_file(AT_FDCWD, dir / "f", 1000)->size() == 1000);
  CHECK(read_file(AT_FDCWD, dir / "f", 999).err().code == ErrorCode::too_large);
  CHECK(read_file(AT_FDCWD, "/proc/self/status", 1 << 20)->find("VmRSS") != std::string::npos);
  CHECK(read_file(AT_FDCWD, dir.path(), 10).err().code == ErrorCode::is_directory);
}

TEST_CASE("fd: write_file_atomic replaces whole files and leaves nothing behind") {
  const TempDir dir;
  const auto root = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY);
  REQUIRE(mkdirs_at(root->get(), "sub", 0755));
  REQUIRE(write_file_atomic(root->get(), "sub/f", "one", 0640));
  REQUIRE(write_file_atomic(root->get(), "sub/f", "two", 0644));
  CHECK(test::get(dir / "sub/f") == "two");
  CHECK((stat_at(root->get(), "sub/f")->st_mode & 07777) == 0644);
  REQUIRE(mkdirs_at(root->get(), "sub/d/x", 0755));
  CHECK(!write_file_atomic(root->get(), "sub/d", "three", 0644));  // rename over a directory fails
  int entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir / "sub")) {
    CAPTURE(entry.path().string());
    ++entries;
  }
  CHECK(entries == 2);  // f and d: the failed one's temp file is gone
  CHECK(write_file_atomic(root->get(), "none/f", "x", 0644).err().code == ErrorCode::not_found);
}
