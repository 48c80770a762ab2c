// Checksum: one read for all digests; the sidecar beside the file.
#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "pipeline/stages.h"

namespace mediafs::pipeline {

namespace {

std::string digest_of(const Checksums& sums, const std::string& kind) {
  if (kind == "sha256") return sums.sha256_hex;
  if (kind == "xxh128") return to_hex(sums.xxh128);
  return sums.sha1_hex;
}

// Through the tree; a sidecar that says the same already is left alone.
Status write_sidecar(Tools& tools, const std::string& path, const Checksums& sums) {
  const std::string& kind = tools.branches.config.checksum.sidecar;
  if (kind == "none") return {};
  const std::string sidecar = sidecar_path(path, kind);
  if (base_name(sidecar).size() > 255) {
    log::warning("no sidecar: its name would be too long", {{"path", printable(path)}});
    return {};
  }
  const std::string text = digest_of(sums, kind) + "\n";
  auto now = tools.tree.read_file(sidecar);
  if (now && *now == text) return {};
  auto there = tools.tree.stat(path);
  if (!there && there.err().code == ErrorCode::not_found) return {};  // renamed or deleted meanwhile
  if (!there) return std::move(there).error();
  return tools.tree.write_file(sidecar, text);
}

// Who renames or removes a file takes its sidecars along, but saw none if we wrote it only after that.
Status follow(Tools& tools, const tier::Job& job, const std::string& path) {
  MEDIAFS_ASSIGN(const auto row, tools.branches.catalogue->find(job.file_id));
  if (row && row->path == path) return {};
  const std::string& kind = tools.branches.config.checksum.sidecar;
  auto there = tools.tree.stat(path);
  if (kind == "none" || there || there.err().code != ErrorCode::not_found) return {};
  auto gone = tools.tree.unlink(sidecar_path(path, kind));
  if (!gone && gone.err().code != ErrorCode::not_found) return gone;
  if (!row) return {};
  return make_error(ErrorCode::busy, "checksum " + printable(row->path), "it was renamed just now");
}

}  // namespace

Handler checksum_stage(Tools& tools) {
  return [&tools](const tier::Job& job, std::stop_token stop) -> Status {
    MEDIAFS_ASSIGN(auto summed, tools.mover.checksum(job.file_id, job.generation, std::move(stop)));
    MEDIAFS_ASSIGN(const auto row, tools.branches.catalogue->find(job.file_id));
    if (row && row->checksum != summed.sums.xxh128) return {};  // newer content, whose job writes its own
    crash_point("sidecar.before_write");
    MEDIAFS_TRY(write_sidecar(tools, summed.path, summed.sums));
    crash_point("sidecar.after_write");
    return follow(tools, job, summed.path);
  };
}

}  // namespace mediafs::pipeline
