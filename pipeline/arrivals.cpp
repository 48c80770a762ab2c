// How a file below Incoming becomes a job.

#include "common/fd.h"
#include "common/path.h"
#include "pipeline/stages.h"

namespace mediafs::pipeline {

bool ignored_in_incoming(const Config::Incoming& incoming, std::string_view path) {
  if (!is_within(path, incoming.path) || path == incoming.path) return false;
  std::string_view rest = path.substr(incoming.path.size() + 1);
  while (!rest.empty()) {
    const auto slash = rest.find('/');
    const std::string_view name = rest.substr(0, slash);
    for (const auto& pattern : incoming.ignore) {
      if (glob_match(pattern, name)) return true;
    }
    rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
  }
  return false;
}

Status enqueue_arrival(Tools& tools, const std::string& path) {
  if (ignored_in_incoming(tools.branches.config.incoming, path)) return {};
  auto st = stat_at(tools.branches.local_root.get(), path);
  if (!st) return st.err().code == ErrorCode::not_found ? Status() : Status(std::move(st).error());
  return tools.branches.catalogue->arrived(path, st->st_ino);
}

}  // namespace mediafs::pipeline
