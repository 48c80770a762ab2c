#include <doctest/doctest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "common/crash.h"
#include "temp_dir.h"

using namespace mediafs;

// Run by the test below in a process of its own: the point is armed when a program starts.
TEST_CASE("crash child" * doctest::skip()) {
  const char* const file = std::getenv("CRASH_TEST_FILE");
  if (file == nullptr) return;
  for (int i = 0; i < 5; ++i) {
    std::ofstream(file, std::ios::app) << 'x';
    crash_point("test.other");
    crash_point("test.point");
    if (const char* const arm = std::getenv("CRASH_TEST_ARM"); arm != nullptr && i == 1)
      std::ofstream(arm) << "test.point:2";
  }
  std::_Exit(42);
}

namespace {

int run_child(const std::string& armed, const std::string& file) {
  std::vector<std::string> env{"CRASH_TEST_FILE=" + file};
  if (!armed.empty()) env.push_back("MEDIAFS_CRASH=" + armed);
  if (armed.starts_with("@")) env.push_back("CRASH_TEST_ARM=" + armed.substr(1));
  std::vector<char*> envp;
  for (std::string& entry : env) envp.push_back(entry.data());
  envp.push_back(nullptr);
  std::vector<std::string> args{"/proc/self/exe", "--test-case=crash child", "--no-skip"};
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  REQUIRE(::posix_spawn(&pid, args[0].c_str(), nullptr, nullptr, argv.data(), envp.data()) == 0);
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  return status;
}

}  // namespace

TEST_CASE("crash: a point kills at the pass it was armed for") {
  const test::TempDir dir;
  const int third = run_child("test.point:3", dir / "third");
  CHECK(WIFSIGNALED(third));
  CHECK(WTERMSIG(third) == SIGKILL);
  CHECK(test::get(dir / "third") == "xxx");
  const int first = run_child("test.point", dir / "first");
  CHECK(WIFSIGNALED(first));
  CHECK(test::get(dir / "first") == "x");
}

TEST_CASE("crash: other points and an empty environment do nothing") {
  const test::TempDir dir;
  for (const char* armed : {"", "test.poin:1", "test.point:6"}) {
    const int status = run_child(armed, dir / ("f" + std::string(armed)));
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 42);
  }
}

TEST_CASE("crash: a file arms while the program runs, and passes count from then") {
  const test::TempDir dir;
  const int status = run_child("@" + (dir / "arm"), dir / "passes");
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGKILL);
  CHECK(test::get(dir / "passes") == "xxxx");
}
