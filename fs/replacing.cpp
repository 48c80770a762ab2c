#include "fs/replacing.h"

#include "common/log.h"
#include "common/path.h"

namespace mediafs::fs {
namespace {

using tier::Fingerprint;
using tier::fingerprint_of;

bool is_still(int root, const std::string& path, const Fingerprint& print) {
  auto st = tree::stat(root, path);
  return st && fingerprint_of(*st) == print;
}

// A rename changes ctime.
bool has_moved(int root, const std::string& from, const std::string& to, const Fingerprint& moving) {
  auto left = tree::stat(root, from);
  auto st = tree::stat(root, to);
  if (left || !st) return false;
  const Fingerprint now = fingerprint_of(*st);
  return now.same_content_hint(moving) && now.inode == moving.inode;
}

Status remove_from_share(Core& core, const std::string& path, const Fingerprint& print, const May& may) {
  auto work = [path, print](int root) -> Status {
    return is_still(root, path, print) ? tree::unlink(root, path) : Status{};
  };
  ShareMemory::Change change(*core.share_memory);
  MEDIAFS_TRY(core.share->call<void>(std::move(work), may.stop));
  change.removed(path);
  return {};
}

// The share's part of a rename that was cut off, as far as the share can say now.
Status finish(Core& core, tier::Replacing r) {
  tier::Catalogue& catalogue = *core.b.catalogue;
  if ((r.moving || r.share) && !core.share_usable()) {
    return make_error(ErrorCode::offline, "rename to " + printable(r.to), "the share is absent");
  }
  const May may{Level::block};
  if (r.moving) {
    auto work = [from = r.from, to = r.to, moving = *r.moving](int root) -> Result<bool> {
      return has_moved(root, from, to, moving);
    };
    MEDIAFS_ASSIGN(const bool moved, core.share->call<bool>(std::move(work)));
    if (!moved) return catalogue.replaced(r.to);
    r.moving.reset();
    MEDIAFS_ASSIGN(const auto row, catalogue.find(r.from));
    const bool from_visible = core.b.visible(r.from);
    const bool to_visible = core.b.visible(r.to);
    MEDIAFS_TRY(row ? catalogue.rename({r.from, r.to, {}, from_visible, to_visible, r})
                    : catalogue.remove(r.to, to_visible));
  }
  return remove_replaced(core, r, may);
}

}  // namespace

Status remove_replaced(Core& core, const tier::Replacing& r, const May& may) {
  if (r.share) MEDIAFS_TRY(remove_from_share(core, r.to, *r.share, may));
  const int root = core.local_root.get();
  if (r.local && is_still(root, r.to, *r.local)) MEDIAFS_TRY(tree::unlink(root, r.to));
  return core.b.catalogue->replaced(r.to);
}

void finish_replacings(Core& core) {
  auto left = core.b.catalogue->replacings();
  if (!left) return log::error("can't look for renames that were cut off", left.error());
  for (const tier::Replacing& r : *left) {
    if (auto done = finish(core, r); !done) {
      log::warning("a rename that was cut off is not finished", done.error(), {{"path", printable(r.to)}});
    }
  }
}

}  // namespace mediafs::fs
