// Hooks are run here for real, as /bin/sh.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "pipeline/stages.h"
#include "tests/tier/tier_rig.h"

using namespace mediafs;
using namespace mediafs::pipeline;

namespace {

struct Hooking : tier::TierRig {
  Status run(const std::string& script, std::stop_token stop = {}) {
    branches.config.hooks = {{.on = "filed", .run = {"/bin/sh", "-c", script, "sh", "{}"}}};
    tier::Job job;
    job.stage = "hook";
    job.path = "0:filed:Movies/a.mkv";
    return hook_stage(tools)(job, std::move(stop));
  }
  // What a hook that succeeded said: it ends its job as done, with a note.
  std::string said(const std::string& script) {
    const Status done = run(script);
    if (done) return "";
    REQUIRE(done.err().code == ErrorCode::changed);
    return done.err().cause;
  }

  std::unique_ptr<Tree> tree = Tree::open({.root = root + "/local", .program = ""});
  Tools tools{.branches = branches, .mover = mover, .tree = *tree, .mountpoint = "/mnt/Media"};
};

// Gone, or dead and not collected by whoever adopted it.
bool ended(const std::string& pid) {
  const std::string stat = tier::TierRig::read("/proc/" + pid + "/stat");
  return stat.empty() || stat.find(") Z ") != std::string::npos;
}

}  // namespace

TEST_CASE("a hook gets its path and event, and nothing else of ours") {
  Hooking h;
  setenv("MEDIAFS_VAULT_SECRET_KEY", "hush", 1);
  setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const auto pipe_before = signal(SIGPIPE, SIG_IGN);
  const Fd ours(dup3(0, 77, 0));  // no close-on-exec, as a library might open one
  const std::string text = h.said(
      "env; echo \"path $1\"; grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -d '\\t'; ls /proc/self/fd | tr "
      "'\\n' ' '; echo; echo err >&2; [ $(ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat) = $$ "
      "] "
      "&& echo own group");
  signal(SIGPIPE, pipe_before);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  unsetenv("MEDIAFS_VAULT_SECRET_KEY");
  unsetenv("AWS_SECRET_ACCESS_KEY");
  INFO(text);
  CHECK(text.find("hush") == std::string::npos);
  CHECK(text.find("PATH=") != std::string::npos);
  CHECK(text.find("MEDIAFS_EVENT=filed\n") != std::string::npos);
  CHECK(text.find("MEDIAFS_PATH=/mnt/Media/Movies/a.mkv\n") != std::string::npos);
  CHECK(text.find("path /mnt/Media/Movies/a.mkv\n") != std::string::npos);
  CHECK(text.find("SigBlk:0000000000000000\n") != std::string::npos);
  const auto ignored = text.find("SigIgn:");
  REQUIRE(ignored != std::string::npos);
  // Above these are the C library's own two.
  CHECK((std::strtoull(text.c_str() + ignored + 7, nullptr, 16) & 0x7fffffffU) == 0);
  CHECK(text.find("\n0 1 2 3 \n") != std::string::npos);  // 3 is the directory that ls reads
  CHECK(text.find("err\n") != std::string::npos);
  CHECK(text.find("own group") != std::string::npos);
}

TEST_CASE("a hook's failure says how, with the end of its output") {
  Hooking h;
  const Status failed = h.run("head -c 1000000 /dev/zero | tr '\\0' x; echo the end; exit 3");
  REQUIRE_FALSE(failed);
  CHECK(failed.err().code == ErrorCode::io);
  CHECK(failed.err().cause.starts_with("exit status 3: xxx"));
  CHECK(failed.err().cause.ends_with("the end"));
  CHECK(failed.err().cause.size() < 3000);
  CHECK(h.run("true"));
  CHECK(h.run("kill -9 $$").err().cause == "ended by signal 9");
}

TEST_CASE("a hook that takes too long is ended, with all that it has started") {
  Hooking h;
  h.tools.hook_limit = std::chrono::milliseconds(300);
  const std::string file = h.root + "/pids";
  const Status late =
      h.run("trap '' TERM; sleep 1000 & echo $! >" + file + "; echo waiting; wait; sleep 1000");
  REQUIRE_FALSE(late);
  CHECK(late.err().code == ErrorCode::io);
  CHECK(late.err().cause.find("waiting") != std::string::npos);
  std::string pid = tier::TierRig::read(file);
  pid.pop_back();
  bool gone = ended(pid);
  for (int i = 0; i < 1000 && !gone; i++) {  // SIGKILL is on its way; a bound, not a pause
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    gone = ended(pid);
  }
  CHECK(gone);
}

TEST_CASE("a hook is stopped with the daemon, and its job with `cancelled`") {
  Hooking h;
  std::stop_source source;
  source.request_stop();
  CHECK(h.run("sleep 1000", source.get_token()).err().code == ErrorCode::cancelled);
}

TEST_CASE("a hook that is no longer configured leaves nothing to do") {
  Hooking h;
  h.branches.config.hooks = {{.on = "evicted", .run = {"/bin/false"}}};
  tier::Job job;
  for (const char* path : {"0:filed:a", "1:evicted:a", "nonsense"}) {
    job.path = path;
    CHECK(hook_stage(h.tools)(job, {}).err().code == ErrorCode::changed);
  }
}
