#include "pipeline/tree.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
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
  const char* program = std::getenv("MEDIAFS_TEST_AGENT");
  REQUIRE_MESSAGE(program != nullptr, "MEDIAFS_TEST_AGENT names the tree agents' program (ctest sets it)");
  Place place;
  auto tree = Tree::open({.root = place.root, .program = program, .agents = 3});
  std::vector<std::jthread> threads;
  for (int t = 0; t < 6; t++) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; i++) {
        const std::string name = std::to_string(t) + "/" + std::to_string(i) + "\nodd \xff name";
        CHECK(tree->write_file("tmp" + std::to_string(t), name));
        CHECK(tree->rename("tmp" + std::to_string(t), name));
        const auto got = tree->read_file(name);
        CHECK((got && *got == name));
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

TEST_CASE("an agent that does not answer is killed, its call ends in time, and the next one has another") {
  const char* program = std::getenv("MEDIAFS_TEST_AGENT");
  REQUIRE_MESSAGE(program != nullptr, "MEDIAFS_TEST_AGENT names the tree agents' program (ctest sets it)");
  Place place;
  const std::string script = place.root + "/agent";
  // The first that is started hangs; its environment is kept.
  std::ofstream(script) << "#!/bin/sh\nif mkdir " << place.root << "/hung 2>/dev/null; then env >"
                        << place.root << "/environment; echo $$ >" << place.root
                        << "/pid; exec sleep 1000; fi\nexec " << program << " tree-agent\n";
  stdfs::permissions(script, stdfs::perms::owner_all);
  setenv("MEDIAFS_VAULT_SECRET_KEY", "hush", 1);
  auto tree = Tree::open(
      {.root = place.root, .program = script, .agents = 1, .call_limit = std::chrono::milliseconds(3000)});
  CHECK(tree->stat("agent").err().code == ErrorCode::timeout);
  unsetenv("MEDIAFS_VAULT_SECRET_KEY");
  std::string pid;
  std::string line;
  std::ifstream(place.root + "/pid") >> pid;
  REQUIRE_FALSE(pid.empty());
  CHECK_FALSE(stdfs::exists("/proc/" + pid));
  for (std::ifstream in(place.root + "/environment"); std::getline(in, line);) {
    CHECK(line.find("hush") == std::string::npos);
  }
  CHECK(tree->stat("agent"));
}

TEST_CASE("a checksum through the tree ends when it is asked to") {
  Place place;
  const std::string script = place.root + "/agent";
  std::ofstream(script) << "#!/bin/sh\nexec sleep 1000\n";
  stdfs::permissions(script, stdfs::perms::owner_all);
  auto tree = Tree::open({.root = place.root, .program = script, .agents = 1});
  std::stop_source stop;
  stop.request_stop();
  CHECK(tree->checksum("agent", stop.get_token()).err().code == ErrorCode::cancelled);
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
