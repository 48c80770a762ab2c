// Organize over a plain directory: its calls run in-process, and the "tree" is the local branch itself.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/path.h"
#include "common/writers.h"
#include "pipeline/stages.h"
#include "tests/tier/tier_rig.h"

using namespace mediafs;
using namespace mediafs::pipeline;
namespace stdfs = std::filesystem;

namespace {

struct Organizing : tier::TierRig {
  Status organize(const std::string& path) { return (*handler)(job_for(path), {}); }
  static tier::Job job_for(const std::string& path) {
    tier::Job job;
    job.stage = "organize";
    job.path = path;
    return job;
  }
  bool exists(const std::string& path) const { return stdfs::exists(local(path)); }

  std::unique_ptr<Tree> tree = Tree::open({.root = root + "/local", .program = ""});
  Tools tools{.branches = branches, .mover = mover, .tree = *tree, .mountpoint = root + "/local"};
  Result<Handler> handler = organize_stage(tools);
};

constexpr const char* kRelease = "Incoming/The.Quiet.Harbor.2014.1080p.BluRay.x264-GRP.mkv";
constexpr const char* kFiled = "Movies/The Quiet Harbor (2014)/The Quiet Harbor (2014).mkv";

}  // namespace

TEST_CASE("films, episodes, subtitles and unknown names find their places") {
  Organizing o;
  const std::pair<const char*, const char*> cases[] = {
      {kRelease, kFiled},
      {"Incoming/Harbor.Watch.S02E05.720p.WEB.H264-ABC.mkv",
       "Shows/Harbor Watch/Season 02/Harbor Watch - S02E05.mkv"},
      {"Incoming/The.Quiet.Harbor.2014.1080p.BluRay.x264-GRP.en.srt",
       "Movies/The Quiet Harbor (2014)/The Quiet Harbor (2014).en.srt"},
      {"Incoming/00112233445566778899aabbccddeeff.mkv", "Unsorted/00112233445566778899aabbccddeeff.mkv"},
      {"Incoming/notes.pdf", "Unsorted/notes.pdf"},
  };
  for (const auto& [from, to] : cases) {
    o.write(from, from);
    REQUIRE(o.organize(from));
    CHECK_FALSE(o.exists(from));
    CHECK(tier::TierRig::read(o.local(to)) == from);
  }
}

TEST_CASE("a job for a file that is gone is done") {
  Organizing o;
  CHECK(o.organize(kRelease).err().code == ErrorCode::changed);
}

TEST_CASE("a job leaves alone what is written again, or has taken its file's name") {
  Organizing o;
  o.write(kRelease, "film");
  tier::Job job = Organizing::job_for(kRelease);
  struct stat st {};
  REQUIRE(::stat(o.local(kRelease).c_str(), &st) == 0);
  job.generation = static_cast<std::int64_t>(st.st_ino);
  auto writer = open_at(AT_FDCWD, o.local(kRelease), O_RDWR | O_CLOEXEC);
  REQUIRE(writer);
  SUBCASE("open for writing") {}
  SUBCASE("its writer was cut off") {
    if (!mark_unfinished(writer->get())) {
      MESSAGE("skipped: no extended attributes here");
      return;
    }
    writer->reset();
  }
  SUBCASE("another file") {
    writer->reset();
    job.generation++;
  }
  CHECK((*o.handler)(job, {}).err().code == ErrorCode::changed);
  CHECK(o.exists(kRelease));
}

TEST_CASE("the same release dropped twice is kept once") {
  Organizing o;
  o.write(kRelease, "film");
  REQUIRE(o.organize(kRelease));
  o.write(kRelease, "film");
  REQUIRE(o.organize(kRelease));
  CHECK_FALSE(o.exists(kRelease));
  CHECK_FALSE(o.exists("Unsorted"));
}

TEST_CASE("of two releases that want one name the better stays and the other is kept aside") {
  Organizing o;
  o.write(kRelease, "film");
  REQUIRE(o.organize(kRelease));
  o.write(kRelease, "a longer film");
  REQUIRE(o.organize(kRelease));
  CHECK(tier::TierRig::read(o.local(kFiled)) == "a longer film");
  CHECK(tier::TierRig::read(o.local("Unsorted/The Quiet Harbor (2014).mkv")) == "film");
  o.write(kRelease, "mini");
  REQUIRE(o.organize(kRelease));
  CHECK(tier::TierRig::read(o.local(kFiled)) == "a longer film");
  CHECK(tier::TierRig::read(o.local("Unsorted/The.Quiet.Harbor.2014.1080p.BluRay.x264-GRP.mkv")) == "mini");
}

TEST_CASE("equal names in Unsorted are numbered, never overwritten") {
  Organizing o;
  for (const char* text : {"one", "two!", "three"}) {
    o.write("Incoming/notes.pdf", text);
    REQUIRE(o.organize("Incoming/notes.pdf"));
  }
  CHECK(tier::TierRig::read(o.local("Unsorted/notes.pdf")) == "one");
  CHECK(tier::TierRig::read(o.local("Unsorted/notes (2).pdf")) == "two!");
  CHECK(tier::TierRig::read(o.local("Unsorted/notes (3).pdf")) == "three");
}

TEST_CASE("names at the limit, with an extension that leaves no room for a number, are numbered too") {
  for (const std::string& name :
       {"a." + std::string(250, 'x'), std::string(250, 'y') + ".pdf", "." + std::string(254, 'z'),
        std::string(4, 'n') + "." + std::string(236, 'x')}) {
    Organizing o;
    o.branches.config.incoming.ignore.clear();
    for (const char* text : {"one", "two!", "three"}) {
      o.write("Incoming/" + name, text);
      REQUIRE(o.organize("Incoming/" + name));
      CHECK_FALSE(o.exists("Incoming/" + name));
    }
    std::size_t kept = 0;
    for (const auto& entry : stdfs::directory_iterator(o.local("Unsorted"))) {
      CHECK(entry.path().filename().string().size() <= 255);
      kept++;
    }
    CHECK(kept == 3);
  }
}

namespace {

// The library's film is in the vault alone: the tree shows it, the local branch does not.
struct OrganizingEvicted : Organizing {
  OrganizingEvicted() {
    add(kFiled, "film");
    const tier::Node node = this->node(kFiled);
    REQUIRE(mover.evict(node.id, node.generation));
    stdfs::create_directories(root + "/tree");
    stdfs::create_directory_symlink(root + "/local/Incoming", root + "/tree/Incoming");
    show(kFiled);
    write(kRelease, "film");
  }
  std::string shown(const std::string& path) const { return root + "/tree/" + path; }
  void show(const std::string& path) const {
    stdfs::create_directories(stdfs::path(shown(path)).parent_path());
    std::ofstream(shown(path)) << "????";
  }
  Status organize_shown() { return (*shown_handler)(job_for(kRelease), {}); }

  std::unique_ptr<Tree> shown_tree = Tree::open({.root = root + "/tree", .program = ""});
  Tools shown_tools{.branches = branches, .mover = mover, .tree = *shown_tree, .mountpoint = root + "/tree"};
  Result<Handler> shown_handler = organize_stage(shown_tools);
};

constexpr const char* kAside = "Unsorted/The Quiet Harbor (2014).mkv";

}  // namespace

TEST_CASE("a film that the vault alone has is dropped again: it goes on the store's own word only") {
  OrganizingEvicted o;
  SUBCASE("the vault has it") {
    REQUIRE(o.organize_shown());
    CHECK_FALSE(o.exists(kRelease));
    CHECK(tier::TierRig::read(o.shown(kFiled)) == "????");
  }
  SUBCASE("the vault does not answer") {
    o.branches.vault = nullptr;
    CHECK(o.organize_shown().err().code == ErrorCode::busy);
    CHECK(tier::TierRig::read(o.local(kRelease)) == "film");
  }
  SUBCASE("others overwrote the object: both are kept") {
    std::ofstream(o.object(kFiled)) << "mlif";
    REQUIRE(o.organize_shown());
    CHECK(tier::TierRig::read(o.shown(kFiled)) == "????");
    CHECK(tier::TierRig::read(o.shown("Unsorted/" + std::string(base_name(kRelease)))) == "film");
  }
  SUBCASE("others deleted the object: the new one takes its place") {
    stdfs::remove(o.object(kFiled));
    CHECK(o.organize_shown().err().code == ErrorCode::busy);
    CHECK(o.node(kFiled).vault->lost);
    CHECK(tier::TierRig::read(o.local(kRelease)) == "film");
    REQUIRE(o.organize_shown());
    CHECK(tier::TierRig::read(o.shown(kFiled)) == "film");
    CHECK(tier::TierRig::read(o.shown(kAside)) == "????");
  }
}

TEST_CASE("a lost film gives way to whatever is dropped for it") {
  OrganizingEvicted o;
  stdfs::remove(o.object(kFiled));
  REQUIRE(o.catalogue->vault_lost(o.node(kFiled).id, kFiled));
  bool row_aside = false;
  SUBCASE("its own bytes") {
    // The row that the mount would have moved aside.
    o.add("Movies/again.mkv", "film");
    const tier::Node again = o.node("Movies/again.mkv");
    REQUIRE(o.mover.evict(again.id, again.generation));
    stdfs::remove(o.object("Movies/again.mkv"));
    REQUIRE(o.catalogue->vault_lost(again.id, "Movies/again.mkv"));
    REQUIRE(o.catalogue->rename({.from = "Movies/again.mkv", .to = kAside, .st = {}}));
    row_aside = true;
  }
  SUBCASE("a smaller film") {
    o.write(kRelease, "f");
  }
  SUBCASE("other bytes of its size") {
    o.write(kRelease, "mlif");
  }
  const std::string dropped = tier::TierRig::read(o.local(kRelease));
  REQUIRE(o.organize_shown());
  CHECK_FALSE(o.exists(kRelease));
  CHECK(tier::TierRig::read(o.shown(kFiled)) == dropped);
  CHECK(tier::TierRig::read(o.shown(kAside)) == "????");
  if (row_aside) CHECK_FALSE(o.catalogue->find(kAside)->has_value());
}

TEST_CASE("a file that a killed organize has filed waits for its row") {
  Organizing o;
  o.write(kFiled, "film");
  tier::Job job = Organizing::job_for(kRelease);
  job.generation = static_cast<std::int64_t>(stat_at(o.branches.local_root.get(), kFiled)->st_ino);
  CHECK((*o.handler)(job, {}).err().code == ErrorCode::busy);
  REQUIRE(o.reconcile->file_settled(kFiled));
  CHECK((*o.handler)(job, {}).err().code == ErrorCode::changed);
}

TEST_CASE("a place outside the library is refused") {
  Organizing o;
  o.branches.config.organize.unsorted = "Incoming/again";
  auto handler = organize_stage(o.tools);
  REQUIRE(handler);
  o.write("Incoming/notes.pdf", "x");
  CHECK((*handler)(Organizing::job_for("Incoming/notes.pdf"), {}).err().code == ErrorCode::config);
  CHECK(o.exists("Incoming/notes.pdf"));
}

TEST_CASE("names that [incoming] ignore leaves alone") {
  Config::Incoming incoming;
  CHECK(ignored_in_incoming(incoming, "Incoming/.film.mkv.Xa12"));
  CHECK(ignored_in_incoming(incoming, "Incoming/film.mkv.part"));
  CHECK(ignored_in_incoming(incoming, "Incoming/.tmp/film.mkv"));
  CHECK_FALSE(ignored_in_incoming(incoming, "Incoming/film.mkv"));
  CHECK_FALSE(ignored_in_incoming(incoming, "Movies/.film.mkv"));
}
