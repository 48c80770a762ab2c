#include "pipeline/tree.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <thread>

#include "pipeline/tree_wire.h"

using namespace mediafs;
using namespace mediafs::pipeline;
namespace stdfs = std::filesystem;

namespace {

struct Place {
  Place() {
    std::string form = stdfs::temp_directory_path() / "mediafs-tree-XXXXXX";
    REQUIRE(mkdtemp(form.data()) != nullptr);
    root = form;
  }
  ~Place() { stdfs::remove_all(root); }
  std::string root;
};

}  // namespace

TEST_CASE("agents carry out calls, several at a time, and errors come back with their code") {
  const char* program = std::getenv("MEDIAFS_TEST_PROGRAM");
  REQUIRE_MESSAGE(program != nullptr, "MEDIAFS_TEST_PROGRAM names the mediafs program (ctest sets it)");
  Place place;
  auto tree = Tree::open({.root = place.root, .program = program, .agents = 3});
  std::vector<std::jthread> threads;
  for (int t = 0; t < 6; t++) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; i++) {
        const std::string name = std::to_string(t) + "/" + std::to_string(i) + "\nodd \xff name";
        CHECK(tree->write_file("tmp" + std::to_string(t), name));
        CHECK(tree->rename("tmp" + std::to_string(t), name));
        CHECK(*tree->read_file(name) == name);
      }
    });
  }
  threads.clear();
  CHECK(tree->stat("missing").err().code == ErrorCode::not_found);
  REQUIRE(tree->write_file("a", "1"));
  CHECK(tree->rename("a", "0/0\nodd \xff name").err().code == ErrorCode::exists);
  CHECK(tree->stat("a")->size_bytes == 1);
  CHECK(tree->unlink("a"));
}

TEST_CASE("packets that are not ours are refused") {
  for (const char* packet : {"", "5:abc", "x", "1:a1:b", "99999999999999999999:a", "1:r1:/1:01:a"}) {
    CHECK_FALSE(wire::decode_request(packet));
  }
  const wire::Request request{
      .operation = wire::kRename, .root = "/x", .device = 7, .a = std::string("a\0b", 3), .b = "5:c"};
  auto back = wire::decode_request(wire::encode(request));
  REQUIRE(back);
  CHECK(back->a == request.a);
  CHECK(back->b == request.b);
  CHECK(back->device == 7);
}
