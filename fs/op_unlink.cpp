// unlink and rmdir: on every branch that has the path. The vault's part is the catalogue's at once and a job's later.
#include <cerrno>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "fs/ops.h"
#include "fs/sidecars.h"

namespace mediafs::fs {
namespace {

struct Standing {                    // where a path stands, all branches
  std::optional<tree::Place> place;  // its directory on the local branch
  std::optional<struct stat> local;
  bool share = false;
  std::optional<tier::Node> row;  // asked for where nothing else has it, or all are to be known

  bool nowhere() const { return !local && !share && !row; }
};

enum class Ask : std::uint8_t { all, first };

Result<Standing> standing(Core& core, const std::string& path, Ask ask, const May& may) {
  Standing at;
  MEDIAFS_ASSIGN(at.place, tree::place_if_there(core.local_root.get(), path));
  if (at.place) {
    MEDIAFS_ASSIGN(at.local, tree::stat_if_there(*at.place));
  }
  MEDIAFS_ASSIGN(const auto shared, core.on_share(path, may));
  at.share = shared.has_value();
  if (ask == Ask::all || at.nowhere()) {
    MEDIAFS_ASSIGN(at.row, core.b.catalogue->find(path));
  }
  return at;
}

bool is_directory(const Standing& at) {
  return at.local ? S_ISDIR(at.local->st_mode) : at.row && at.row->kind == tier::NodeKind::directory;
}

Status none_has(const std::string& path) {
  return errno_error(ENOENT, "remove " + printable(path));
}

// The catalogue forgot the path but the disk kept it: what is there counts again.
void take_back(Core& core, const std::string& path, const struct stat& st) {
  auto adopted =
      core.b.catalogue->adopt({path, st, core.b.visible(path)}, [](const std::string&) { return true; });
  if (!adopted) log::error("can't catalogue again", adopted.error(), {{"path", printable(path)}});
}

// Catalogue first: were it the disk, a crash in between would leave a file that its vault copy brings back. Whether it
// has a row is the catalogue's to find out, later.
Status remove_file(Core& core, const std::string& path, const Standing& at, const May& may) {
  MEDIAFS_TRY(core.b.catalogue->remove_later(path, core.b.visible(path)));
  crash_point("unlink.before_disk");
  if (at.local) {
    auto gone = tree::unlink(*at.place);
    if (!gone && gone.error().code != ErrorCode::not_found) {
      take_back(core, path, *at.local);
      return gone;
    }
    if (core.b.space != nullptr && at.local->st_nlink == 1) core.b.space->freed();
  }
  crash_point("unlink.after_disk");
  if (!at.share) return {};
  ShareMemory::Change change(*core.share_memory);
  MEDIAFS_TRY(core.share->call<void>([path](int root) { return tree::unlink(root, path); }, may.stop));
  crash_point("unlink.after_share");
  change.removed(path);
  return {};
}

Status rmdir_path(Core& core, const std::string& path, const May& may) {
  if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
  MEDIAFS_ASSIGN(const Standing at, standing(core, path, Ask::all, may));
  if (at.nowhere()) return none_has(path);
  if (at.share && may.level < Level::share) return needs(Level::share);
  MEDIAFS_ASSIGN(const auto items, core.list(path, may));
  if (!items.empty()) return errno_error(ENOTEMPTY, "rmdir " + printable(path));
  if (at.share) {
    ShareMemory::Change change(*core.share_memory);
    auto gone =
        core.share->call<void>([path](int root) { return tree::remove_directory(root, path); }, may.stop);
    if (!gone && gone.error().code != ErrorCode::not_found) return gone;
    change.removed(path);
  }
  if (at.local) {
    auto gone = tree::remove_directory(core.local_root.get(), path);
    if (!gone && gone.error().code != ErrorCode::not_found) return gone;
  }
  crash_point("rmdir.after_disk");
  if (!at.local) core.names_changed(std::string(parent_path(path)));
  if (at.row) return core.b.catalogue->remove(path, core.b.visible(path));
  return {};
}

}  // namespace

void op_unlink(Core& core, StatusReply reply, NodeId parent, std::string name) {
  auto body = [&core, parent, name](const May& may) -> Status {
    MEDIAFS_ASSIGN(const auto claimed, core.claim_names({{parent, name}}, may));
    const std::string& path = claimed.paths.front();
    if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
    MEDIAFS_ASSIGN(const Standing at, standing(core, path, Ask::first, may));
    if (at.nowhere()) return none_has(path);
    if (at.share && may.level < Level::share) return needs(Level::share);
    if (is_directory(at)) return errno_error(EISDIR, "unlink " + printable(path));
    MEDIAFS_TRY(remove_file(core, path, at, may));
    const bool last = !at.local || at.local->st_nlink <= 1;
    if (!at.local) core.names_changed(std::string(parent_path(path)));
    if (at.local && last) core.nodes.leaving(parent, name, *at.local);
    core.nodes.remove_name(parent, name, last);
    remove_sidecars(core, {path, at.place ? &*at.place : nullptr, at.share}, may);
    return {};
  };
  core.serve(std::move(reply), std::move(body), [](StatusReply& r) { r.ok(); });
}

void op_rmdir(Core& core, StatusReply reply, NodeId parent, std::string name) {
  auto body = [&core, parent, name](const May& may) -> Status {
    MEDIAFS_ASSIGN(const auto claimed, core.claim_names({{parent, name}}, may));
    MEDIAFS_ASSIGN(const auto was, core.resolve(claimed.paths.front(), may));
    MEDIAFS_TRY(rmdir_path(core, claimed.paths.front(), may));
    core.nodes.leaving(parent, name, was.st);
    core.nodes.remove_name(parent, name, true);
    return {};
  };
  core.serve(std::move(reply), std::move(body), [](StatusReply& r) { r.ok(); });
}

}  // namespace mediafs::fs
