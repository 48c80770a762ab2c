// How a file below Incoming becomes a job.

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
  return tools.branches.catalogue->jobs().enqueue({.stage = std::string(kStageOrganize), .path = path});
}

}  // namespace mediafs::pipeline
