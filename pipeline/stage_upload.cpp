#include "common/log.h"
#include "common/path.h"
#include "pipeline/stages.h"

namespace mediafs::pipeline {

Handler upload_stage(Tools& tools) {
  return [&tools](const tier::Job& job, std::stop_token stop) -> Status {
    if (tools.branches.vault == nullptr) {
      return make_error(ErrorCode::changed, "upload " + printable(job.path), "no vault is configured");
    }
    MEDIAFS_TRY(tools.mover.upload(job.file_id, job.generation, std::move(stop)));
    log::info("uploaded", {{"path", printable(job.path)}, {"job", job.id}});
    if (tools.plan_eviction) tools.plan_eviction();
    return {};
  };
}

}  // namespace mediafs::pipeline
