// The checksum stage and the eviction planner over a plain directory.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <thread>

#include "common/hash.h"
#include "pipeline/eviction.h"
#include "pipeline/stages.h"
#include "tests/tier/tier_rig.h"

using namespace mediafs;
using namespace mediafs::pipeline;

namespace {

struct Staged : tier::TierRig {
  std::unique_ptr<Tree> tree = Tree::open({.root = root + "/local", .program = ""});
  Tools tools{.branches = branches, .mover = mover, .tree = *tree, .mountpoint = root + "/local"};
  Handler checksum = checksum_stage(tools);

  tier::Job take_checksum() {
    const auto jobs = catalogue->jobs().take(tier::kStageChecksum, 10);
    REQUIRE(jobs);
    REQUIRE(jobs->size() == 1);
    return jobs->at(0);
  }
  void finish_checksum() {
    const tier::Job job = take_checksum();
    REQUIRE(checksum(job, {}));
    REQUIRE(catalogue->jobs().done(job.id));
  }
  std::string sidecar(const std::string& name) const { return read(local("." + name + ".sha1")); }
};

std::string sha1_line(std::string_view text) {
  return digest_hex(Digest::sha1, text) + "\n";
}

}  // namespace

TEST_CASE(
    "new content under the old size and time gets its sidecar, even after a kill before that is written") {
  Staged s;
  s.write("a.mkv", "film a");
  REQUIRE(s.reconcile->file_settled("a.mkv"));
  s.finish_checksum();
  CHECK(s.sidecar("a.mkv") == sha1_line("film a"));
  struct stat st {};
  REQUIRE(stat(s.local("a.mkv").c_str(), &st) == 0);
  s.write("a.mkv", "film b");
  const struct timespec times[2] = {st.st_atim, st.st_mtim};
  utimensat(AT_FDCWD, s.local("a.mkv").c_str(), times, 0);
  REQUIRE(s.reconcile->file_settled("a.mkv"));
  const tier::Job job = s.take_checksum();
  REQUIRE(s.mover.checksum(job.file_id, job.generation, {}));   // committed, and killed
  CHECK(s.checksum(job, {}).err().code == ErrorCode::changed);  // the same job at the next start
  REQUIRE(s.catalogue->jobs().done(job.id));
  s.finish_checksum();
  CHECK(s.sidecar("a.mkv") == sha1_line("film b"));
  CHECK(s.catalogue->jobs().take(tier::kStageChecksum, 10)->empty());
}

TEST_CASE("the planner goes on behind files that are held, without end in sight or not") {
  Staged s;
  constexpr std::size_t kFiles = 700;  // more than a page
  for (std::size_t i = 0; i < kFiles; i++) {
    struct stat st {};
    st.st_mode = S_IFREG | 0644;
    st.st_size = 10;
    st.st_ino = 1000 + i;
    const std::string path = "f" + std::to_string(i);
    REQUIRE(s.catalogue->adopt({path, st, true}, [](const std::string&) { return true; }));
    tier::Node node = s.node(path);
    Checksums sums;
    sums.size_bytes = 10;
    REQUIRE(s.catalogue->checksummed(node.id, node.generation, node.local->fingerprint, sums, true));
    REQUIRE(s.catalogue->uploaded(node.id, node.generation,
                                  {.key = path, .size_bytes = 10, .etag = "e", .checksum = sums.xxh128}));
  }
  tier::Space space([] { return tier::SpaceFigures{10'000, 0, 0, 10'000, 10'000}; }, [] {});
  s.branches.space = &space;
  EvictionPlanner planner(s.tools);
  planner.start();
  planner.wake();
  std::size_t planned = 0;
  for (int i = 0; i < 1000 && planned < kFiles; i++) {  // nobody runs the jobs: all that are chosen stay held
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const auto jobs = s.catalogue->jobs().list(tier::JobState::queued, 10'000);
    REQUIRE(jobs);
    planned = 0;
    for (const auto& job : *jobs) planned += job.stage == tier::kStageEvict ? 1 : 0;
  }
  planner.stop();
  CHECK(planned == kFiles);
  s.branches.space = nullptr;
}
