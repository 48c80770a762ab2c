#include "catalogue_fixture.h"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "common/path.h"

namespace mediafs::tier {

TempDirectory::TempDirectory() {
  const char* base = std::getenv("TMPDIR");
  std::string name = std::string(base != nullptr ? base : "/tmp") + "/mediafs-catalogue-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
  path_ = name;
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

struct stat file_stat(std::uint64_t inode, std::uint64_t size_bytes, std::int64_t mtime_s,
                      std::int64_t ctime_s) {
  struct stat st {};
  st.st_dev = 7;
  st.st_ino = inode;
  st.st_mode = S_IFREG | 0644;
  st.st_uid = 1000;
  st.st_gid = 1000;
  st.st_size = static_cast<off_t>(size_bytes);
  st.st_mtim.tv_sec = mtime_s;
  st.st_ctim.tv_sec = ctime_s != 0 ? ctime_s : mtime_s;
  return st;
}

struct stat directory_stat(std::uint64_t inode, std::int64_t mtime_s) {
  struct stat st = file_stat(inode, 4096, mtime_s);
  st.st_mode = S_IFDIR | 0755;
  return st;
}

Checksums sums_of(std::uint8_t seed, std::uint64_t size_bytes) {
  Checksums sums;
  sums.size_bytes = size_bytes;
  sums.xxh128.fill(seed);
  sums.sha1_hex = std::string(40, static_cast<char>('a' + seed % 6));
  return sums;
}

Request removal(const std::string& path) {
  return {path, {}, {}, true, true};
}

Request renaming(const std::string& from, const std::string& to, std::uint64_t inode) {
  return {from, to, file_stat(inode, 100, 1000, 2000), true, true};
}

std::string bytes_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void put_bytes(const std::string& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

void CatalogueFixture::reopen(bool has_vault) {
  catalogue_.reset();
  Catalogue::Options options;
  options.path = db_path();
  options.has_vault = has_vault;
  options.clock = &clock;
  options.on_shown = [this](const std::string& path) { told_shown.push_back(path); };
  options.on_job = [this](std::string_view stage) { told_jobs.emplace_back(stage); };
  options.on_change = [this](std::int64_t version) { told_versions.push_back(version); };
  auto opened = Catalogue::open(std::move(options));
  REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.err().message()));
  catalogue_ = std::move(*opened);
}

Adopted CatalogueFixture::see(const std::string& path) {
  const auto adopted =
      cat().adopt({path, disk.at(path), true}, [this](const std::string& old) { return disk.contains(old); });
  REQUIRE_MESSAGE(adopted.has_value(), (adopted ? "" : adopted.err().message()));
  return *adopted;
}

void CatalogueFixture::mv(const std::string& from, const std::string& to) {
  std::map<std::string, struct stat> next;
  for (auto& [path, st] : disk) {
    if (is_within(path, to) && !is_within(path, from)) continue;
    next[is_within(path, from) ? to + path.substr(from.size()) : path] = st;
  }
  disk = std::move(next);
  disk.at(to).st_ctim.tv_sec += 1;
}

bool CatalogueFixture::has_job(std::string_view stage, const std::string& path, JobState state) {
  const auto found = *jobs().list(state, 1000);
  return std::any_of(found.begin(), found.end(),
                     [&](const Job& j) { return j.stage == stage && j.path == path; });
}

std::size_t CatalogueFixture::job_count(std::string_view stage) {
  const auto found = *jobs().list(JobState::queued, 100'000);
  return static_cast<std::size_t>(
      std::count_if(found.begin(), found.end(), [&](const Job& j) { return j.stage == stage; }));
}

void CatalogueFixture::finish_jobs() {
  const auto counts = *jobs().counts();
  for (const auto& count : counts) {
    const auto taken = *jobs().take(count.stage, 1000);
    for (const auto& job : taken) REQUIRE(jobs().done(job.id));
  }
}

Lines CatalogueFixture::changes(std::int64_t since) {
  Lines lines;
  const auto found = *cat().changes(since, 1000, false);
  for (const auto& c : found) {
    if (c.kind == ChangeKind::renamed) {
      lines.push_back(c.from + ">" + c.path);
    } else {
      lines.push_back((c.kind == ChangeKind::added     ? "+"
                       : c.kind == ChangeKind::changed ? "~"
                                                       : "-") +
                      c.path);
    }
  }
  return lines;
}

Node CatalogueFixture::adopted(const std::string& path, const struct stat& st) {
  disk[path] = st;
  see(path);
  return *node(path);
}

Node CatalogueFixture::checksummed(const std::string& path, std::uint8_t seed) {
  const Node n = *node(path);
  const Fingerprint print = fingerprint_of(disk.at(path));
  REQUIRE(cat().checksummed(n.id, n.generation, print, sums_of(seed, print.size_bytes), true));
  return *node(path);
}

VaultCopy CatalogueFixture::object_of(const Node& n) {
  VaultCopy copy;
  copy.key = n.path;
  copy.size_bytes = n.size_bytes;
  copy.mtime_ns = n.mtime_ns;
  copy.etag = "e" + std::to_string(n.generation);
  copy.generation = n.generation;
  copy.checksum = n.checksum;
  return copy;
}

Node CatalogueFixture::uploaded(const std::string& path) {
  const Node n = *node(path);
  REQUIRE(cat().uploaded(n.id, n.generation, object_of(n)));
  return *node(path);
}

Node CatalogueFixture::synced(const std::string& path, std::uint64_t inode, std::uint8_t seed) {
  adopted(path, file_stat(inode, 100 + seed, 1000));
  checksummed(path, seed);
  const Node n = uploaded(path);
  finish_jobs();
  REQUIRE(n.in_vault());
  return n;
}

Node CatalogueFixture::evicted(const std::string& path, std::uint64_t inode, std::uint8_t seed) {
  const Node n = synced(path, inode, seed);
  REQUIRE(cat().drop_local(n.id, n.generation, n.local->fingerprint));
  disk.erase(path);
  return *node(path);
}

}  // namespace mediafs::tier
