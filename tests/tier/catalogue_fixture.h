// A catalogue in a directory of its own, and short ways to say what was seen. The disk is a map of paths.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tier/catalogue/catalogue.h"

namespace mediafs::tier {

using Lines = std::vector<std::string>;
using Request = Catalogue::RenameRequest;

class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

struct stat file_stat(std::uint64_t inode, std::uint64_t size_bytes, std::int64_t mtime_s,
                      std::int64_t ctime_s = 0);
struct stat directory_stat(std::uint64_t inode, std::int64_t mtime_s = 100);
Checksums sums_of(std::uint8_t seed, std::uint64_t size_bytes);
Request removal(const std::string& path);
Request renaming(const std::string& from, const std::string& to, std::uint64_t inode = 11);
std::string bytes_of(const std::string& file);
void put_bytes(const std::string& file, const std::string& bytes);

// By value: a range-for over `*call()` would outlive the Result.
template <class T>
T got(Result<T> result) {
  REQUIRE_MESSAGE(result.has_value(), (result ? "" : result.err().message()));
  return std::move(*result);
}

class CatalogueFixture {
 public:
  CatalogueFixture() { reopen(); }

  void reopen(bool has_vault = true);
  Catalogue& cat() { return *catalogue_; }
  Jobs& jobs() { return catalogue_->jobs(); }
  std::string db_path() const { return dir_.file("catalogue.db"); }
  const TempDirectory& dir() const { return dir_; }
  void close() { catalogue_.reset(); }

  // The local branch.
  std::map<std::string, struct stat> disk;
  Adopted see(const std::string& path);                     // adopts what `disk` has there
  void mv(const std::string& from, const std::string& to);  // on disk, with everything below

  std::optional<Node> node(const std::string& path) { return *catalogue_->find(path); }
  bool has_job(std::string_view stage, const std::string& path, JobState state = JobState::queued);
  std::size_t job_count(std::string_view stage);
  void finish_jobs();                     // all due ones are taken and done
  Lines changes(std::int64_t since = 0);  // "+a", "~a", "-a", "a>b"

  // A file on its way: adopted, checksummed with `seed`, uploaded.
  Node adopted(const std::string& path, const struct stat& st);
  Node checksummed(const std::string& path, std::uint8_t seed);
  Node uploaded(const std::string& path);
  Node synced(const std::string& path, std::uint64_t inode, std::uint8_t seed);
  Node evicted(const std::string& path, std::uint64_t inode, std::uint8_t seed);
  static VaultCopy object_of(const Node& node);

  ManualClock clock;
  Lines told_jobs;
  Lines told_shown;
  std::vector<std::int64_t> told_versions;

 private:
  TempDirectory dir_;
  std::unique_ptr<Catalogue> catalogue_;
};

}  // namespace mediafs::tier
