#include "app/space_check.h"

#include <sys/statvfs.h>

#include "app/progress.h"
#include "common/log.h"

namespace mediafs::app {

std::vector<Misfit> space_misfits(const Config::Local& config, std::uint64_t total_bytes) {
  std::vector<Misfit> found;
  const std::uint64_t reserve = config.reserve_bytes;
  const std::uint64_t below = config.evict_below_free.of(total_bytes);
  const std::uint64_t until = config.evict_until_free.of(total_bytes);
  const std::string disk = "the disk of local.path (" + human_bytes(total_bytes) + ")";
  if (reserve >= total_bytes) {
    found.push_back(
        {"local.reserve (" + human_bytes(reserve) + ") is not less than " + disk + ": nothing can be written",
         "lower local.reserve, to some percent of the disk"});
  } else if (reserve >= below) {
    found.push_back({"local.reserve (" + human_bytes(reserve) + ") is not below local.evict_below_free (" +
                         human_bytes(below) + " on " + disk + "): writers would wait before eviction begins",
                     "lower local.reserve, or raise local.evict_below_free"});
  }
  const auto mark = [&](const char* name, std::uint64_t bytes) {
    if (bytes < total_bytes) return;
    found.push_back({std::string(name) + " (" + human_bytes(bytes) + ") is not less than " + disk +
                         ": whatever is in the vault is evicted at once",
                     "lower " + std::string(name) + ", or give it as a percentage"});
  };
  mark("local.evict_below_free", below);
  if (until > below) mark("local.evict_until_free", until);
  return found;
}

void warn_of_misfits(const Config::Local& config) {
  struct statvfs fs {};
  if (statvfs(config.path.c_str(), &fs) != 0 || fs.f_blocks == 0) return;
  const std::uint64_t total_bytes = std::uint64_t(fs.f_blocks) * fs.f_frsize;
  for (const Misfit& misfit : space_misfits(config, total_bytes))
    log::warning(misfit.what, {{"advice", misfit.advice}});
}

}  // namespace mediafs::app
