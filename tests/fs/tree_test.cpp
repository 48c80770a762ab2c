#include "fs/tree.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "tests/common/temp_dir.h"

using namespace mediafs;
namespace tree = mediafs::fs::tree;

TEST_CASE("no symbolic link on the way leads out of the tree") {
  const test::TempDir dir;
  REQUIRE(::mkdir((dir / "root").c_str(), 0755) == 0);
  REQUIRE(::mkdir((dir / "outside").c_str(), 0755) == 0);
  test::put(dir / "outside/secret", "x");
  REQUIRE(::symlink("../outside", (dir / "root/way").c_str()) == 0);
  REQUIRE(::symlink("../outside/secret", (dir / "root/file").c_str()) == 0);
  auto root = open_at(AT_FDCWD, dir / "root", O_RDONLY | O_DIRECTORY);
  REQUIRE(root);
  CHECK_FALSE(tree::stat(root->get(), "way/secret"));
  CHECK_FALSE(tree::open_file(root->get(), "way/secret", O_RDONLY, false));
  CHECK_FALSE(tree::unlink(root->get(), "way/secret"));
  CHECK_FALSE(tree::list(root->get(), "way"));
  CHECK_FALSE(tree::stat(root->get(), "../outside/secret"));
  CHECK(tree::open_file(root->get(), "file", O_RDONLY, false).error().sys_errno == ELOOP);
  CHECK(S_ISLNK(tree::stat(root->get(), "file")->st_mode));
  CHECK(test::get(dir / "outside/secret") == "x");
}

TEST_CASE("a file under a write lease is not waited for") {
  const test::TempDir dir;
  test::put(dir / "f", "x");
  auto root = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY);
  REQUIRE(root);
  auto leased = open_at(root->get(), "f", O_RDWR);
  REQUIRE(leased);
  REQUIRE(::fcntl(leased->get(), F_SETSIG, SIGURG) == 0);
  REQUIRE(::fcntl(leased->get(), F_SETLEASE, F_WRLCK) == 0);
  CHECK(tree::open_file(root->get(), "f", O_RDONLY, false).error().sys_errno == EWOULDBLOCK);
  leased->reset();
  CHECK(tree::open_file(root->get(), "f", O_RDONLY, false));
}

TEST_CASE("lists without the dots, with kinds") {
  const test::TempDir dir;
  test::put(dir / "f", "x");
  REQUIRE(::mkdir((dir / "d").c_str(), 0755) == 0);
  auto root = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY);
  REQUIRE(root);
  auto items = tree::list(root->get(), "");
  REQUIRE(items);
  REQUIRE(items->size() == 2);
  for (const tree::Item& item : *items) CHECK(item.type == (item.name == "d" ? S_IFDIR : S_IFREG));
}

TEST_CASE("a path may be longer than the kernel takes at once") {
  const test::TempDir dir;
  auto root = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY);
  REQUIRE(root);
  std::string path;
  for (int i = 0; i < 30; ++i) {
    path += (path.empty() ? "" : "/") + std::string(250, 'd');
    REQUIRE(tree::make_directory(root->get(), path, 0755));
  }
  const std::string file = path + "/f";
  REQUIRE(tree::create_file(root->get(), file, O_WRONLY, 0644));
  CHECK(tree::stat(root->get(), file)->st_size == 0);
  CHECK(tree::list(root->get(), path)->size() == 1);
  REQUIRE(tree::rename(root->get(), file, "short", 0));
  CHECK(tree::stat(root->get(), "short"));
  CHECK(tree::stat(root->get(), std::string(5000, 'n')).error().sys_errno == ENAMETOOLONG);
  for (; !path.empty(); path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/')))
    REQUIRE(tree::remove_directory(root->get(), path));
}
