// The vault's share of renames, deletes and new attributes.
#include "common/path.h"
#include "pipeline/stages.h"

namespace mediafs::pipeline {

namespace {

Status no_vault(const tier::Job& job) {
  return make_error(ErrorCode::changed, job.stage + " " + printable(job.path), "no vault is configured");
}

}  // namespace

Handler relocate_stage(Tools& tools) {
  return [&tools](const tier::Job& job, std::stop_token stop) -> Status {
    if (tools.branches.vault == nullptr) return no_vault(job);
    const auto before = tools.branches.catalogue->find(job.file_id);
    MEDIAFS_TRY(tools.mover.relocate(job.file_id, std::move(stop)));
    if (tools.streams != nullptr && before && *before && (*before)->vault)
      tools.streams->forget((*before)->vault->key);
    return {};
  };
}

Handler forget_stage(Tools& tools) {
  return [&tools](const tier::Job& job, std::stop_token stop) -> Status {
    if (tools.branches.vault == nullptr) return no_vault(job);
    MEDIAFS_TRY(tools.mover.forget(job.path, std::move(stop)));
    if (tools.streams != nullptr) tools.streams->forget(job.path);
    return {};
  };
}

Handler restat_stage(Tools& tools) {
  return [&tools](const tier::Job& job, std::stop_token stop) -> Status {
    if (tools.branches.vault == nullptr) return no_vault(job);
    return tools.mover.restat(job.file_id, std::move(stop));
  };
}

}  // namespace mediafs::pipeline
