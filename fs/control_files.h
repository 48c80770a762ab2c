// .mediafs/ in the mount: virtual files that tell what the library and the daemon are doing.
// Threads:    safe from any thread. text() may block as long as the daemon's own reports do.
// Borrows:    the catalogue (outlives it).
// Shapes:     version: decimal. changelog: N<TAB>path, newest first. version.txt: 1024 bytes, for readers of the
//             original heartbeat: the version as 16 bits, big-endian, skipping 0; newline; N<TAB>path lines, as many
//             as fit whole; NUL to the end.
#pragma once

#include <sys/stat.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"
#include "common/sync.h"
#include "tier/catalogue/catalogue.h"

namespace mediafs::fs {

inline constexpr std::size_t kVersionFileSize = 1024;
inline constexpr std::size_t kChangelogLines =
    100'000;  // the newest; the program's own command reads them all

std::uint16_t short_version(std::int64_t version) noexcept;
std::string version_file(std::int64_t version, const std::vector<tier::Change>& newest_first);

class ControlFiles {
 public:
  ControlFiles(tier::Catalogue& catalogue, std::function<std::string()> status_json,
               std::function<std::string()> jobs_json);
  static constexpr std::array<std::string_view, 5> kNames{"version", "changelog", "version.txt",
                                                          "status.json", "jobs.json"};
  // `path` is within the tree: ".mediafs" or one of the files below it; not_found for any other.
  Result<struct stat> stat(std::string_view path);
  Result<std::shared_ptr<const std::string>> text(std::string_view path);

 private:
  Result<std::string> make(std::size_t which);
  struct Made {
    std::int64_t version = -1;
    std::int64_t made_ns = 0;
    std::shared_ptr<const std::string> text;
  };
  tier::Catalogue& catalogue_;
  std::function<std::string()> status_json_, jobs_json_;
  const std::int64_t started_ns_;
  Mutex mutex_;
  std::array<Made, kNames.size()> made_ GUARDED_BY(mutex_);
};

}  // namespace mediafs::fs
