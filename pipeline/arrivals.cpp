// How a file below Incoming becomes a job, and the tree that jobs change.
#include <fcntl.h>

#include "common/path.h"
#include "pipeline/stages.h"

namespace mediafs::pipeline {

Result<Fd> open_tree(const Tools& tools) {
  MEDIAFS_ASSIGN(auto fd, open_at(AT_FDCWD, tools.tree, O_PATH | O_DIRECTORY | O_CLOEXEC));
  MEDIAFS_ASSIGN(const auto st, stat_fd(fd.get()));
  if (tools.tree_device != 0 && st.st_dev != tools.tree_device) {
    return make_error(ErrorCode::offline, tools.tree, "the tree is not mounted");
  }
  return fd;
}

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
