#include "tier/catalogue/hooks.h"

#include <charconv>

#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace rows {

Status tell_hooks(Tx& tx, std::string_view event, std::string_view path) {
  if (tx.hooks == nullptr) return {};
  for (std::size_t i = 0; i < tx.hooks->size(); ++i) {
    if ((*tx.hooks)[i] != event) continue;
    MEDIAFS_TRY(enqueue(tx, {.stage = std::string(kStageHook),
                             .generation = tx.now_ns,
                             .path = hook_job_path({i, std::string(event), std::string(path)})}));
  }
  return {};
}

Status tell_filed(Tx& tx, std::string_view path, std::uint64_t inode) {
  if (tx.hooks == nullptr || tx.hooks->empty()) return {};
  bool organized = false;
  {
    MEDIAFS_ASSIGN(auto query, tx.db.prepare("SELECT 1 FROM job WHERE stage = ? AND file = 0 AND generation "
                                             "= ? AND state < 4 LIMIT 1"));
    query.bind_text(1, kStageOrganize).bind(2, static_cast<std::int64_t>(inode));
    MEDIAFS_ASSIGN(organized, query.step());
  }
  return organized ? tell_hooks(tx, kEventFiled, path) : Status{};
}

namespace {

Result<bool> is_known(Tx& tx, const JobSpec& spec) {
  MEDIAFS_ASSIGN(auto query, tx.db.prepare("SELECT 1 FROM job WHERE stage = ? AND file = ? AND generation = "
                                           "? AND path = ? AND state < 4"));
  query.bind_text(1, spec.stage).bind(2, spec.file_id).bind(3, spec.generation).bind_bytes(4, spec.path);
  return query.step();
}

}  // namespace

}  // namespace rows

std::string hook_job_path(const HookCall& call) {
  return std::to_string(call.index) + ":" + call.event + ":" + call.path;
}

std::optional<HookCall> hook_call(std::string_view job_path) {
  const auto colon = job_path.find(':');
  const auto second = colon == std::string_view::npos ? colon : job_path.find(':', colon + 1);
  if (second == std::string_view::npos) return std::nullopt;
  HookCall call;
  const auto [end, bad] = std::from_chars(job_path.data(), job_path.data() + colon, call.index);
  if (bad != std::errc() || end != job_path.data() + colon) return std::nullopt;
  call.event = job_path.substr(colon + 1, second - colon - 1);
  call.path = job_path.substr(second + 1);
  return call;
}

Status Catalogue::arrived(std::string_view path, std::uint64_t inode) {
  MEDIAFS_TRY(check_path(path));
  return impl_->write([&](rows::Tx& tx) -> Status {
    const JobSpec spec{.stage = std::string(kStageOrganize),
                       .generation = static_cast<std::int64_t>(inode),
                       .path = std::string(path)};
    MEDIAFS_ASSIGN(const bool known, rows::is_known(tx, spec));
    MEDIAFS_TRY(rows::enqueue(tx, spec));
    return known ? Status{} : rows::tell_hooks(tx, kEventArrived, path);
  });
}

}  // namespace mediafs::tier
