#include "fs/replacing.h"

#include <cerrno>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"

namespace mediafs::fs {
namespace {

using tier::Fingerprint;
using tier::fingerprint_of;

bool absent(const Error& e) {
  return e.code == ErrorCode::not_found || e.code == ErrorCode::not_directory;
}

// A directory's size and times change with what is in it. A filesystem that was mounted again has another st_dev, and
// may have numbered its files anew; what any change of a file sets is its ctime.
bool is_the_same(const struct stat& st, const Fingerprint& print) {
  if (S_ISDIR(st.st_mode)) return st.st_ino == print.inode;
  const Fingerprint now = fingerprint_of(st);
  if (now.device == print.device) return now == print;
  return now.same_content_hint(print) && now.ctime_ns == print.ctime_ns;
}

Result<bool> is_still(int root, const std::string& path, const Fingerprint& print) {
  auto st = tree::stat(root, path);
  if (st) return is_the_same(*st, print);
  if (absent(st.error())) return false;
  return std::move(st).error();
}

// A rename changes ctime.
bool has_moved(int root, const std::string& from, const std::string& to, const Fingerprint& moving) {
  auto left = tree::stat(root, from);
  auto st = tree::stat(root, to);
  if (left || !st || st->st_ino != moving.inode) return false;
  return S_ISDIR(st->st_mode) || fingerprint_of(*st).same_content_hint(moving);
}

Status remove_any(int root, const std::string& path) {
  auto st = tree::stat(root, path);
  if (!st) return absent(st.error()) ? Status{} : Status(std::move(st).error());
  return S_ISDIR(st->st_mode) ? tree::remove_directory(root, path) : tree::unlink(root, path);
}

Status follow(int root, const tier::Replacing& r) {
  MEDIAFS_ASSIGN(const bool there, is_still(root, r.from, *r.follow));
  if (!there) return {};
  auto at_to = tree::stat(root, r.to);
  if (!at_to && !absent(at_to.error())) return std::move(at_to).error();
  if (at_to && !(r.share && is_the_same(*at_to, *r.share))) return {};  // somebody else's
  return rename_on_share(root, r.from, r.to, 0);
}

Status do_on_share(Core& core, const tier::Replacing& r) {
  auto work = [r](int root) -> Status {
    if (r.follow) return follow(root, r);
    MEDIAFS_ASSIGN(const bool there, is_still(root, r.to, *r.share));
    return there ? remove_any(root, r.to) : Status{};
  };
  ShareMemory::Change change(*core.share_memory);
  MEDIAFS_TRY(core.share->call<void>(std::move(work)));
  if (r.follow) {
    change.renamed(r.from, r.to);
  } else {
    change.removed(r.to);
  }
  return {};
}

Status remove_local(Core& core, const tier::Replacing& r) {
  const int root = core.local_root.get();
  if (!r.local) return {};
  MEDIAFS_ASSIGN(const bool there, is_still(root, r.to, *r.local));
  return there ? tree::unlink(root, r.to) : Status{};
}

Status keep_for_the_share(Core& core, tier::Replacing& r) {
  MEDIAFS_TRY(remove_local(core, r));
  r.local.reset();
  return core.b.catalogue->replacing(r);
}

bool anything_at(Core& core, const std::string& path) {
  if (tree::stat(core.local_root.get(), path)) return true;
  auto row = core.b.catalogue->find(path);
  return !row || row->has_value();
}

// Whether the rename took place on the share; then it counts.
Result<bool> moved_on_share(Core& core, tier::Replacing& r) {
  tier::Catalogue& catalogue = *core.b.catalogue;
  if (!core.share_usable())
    return make_error(ErrorCode::offline, "rename to " + printable(r.to), "the share is absent");
  auto work = [from = r.from, to = r.to, moving = *r.moving](int root) -> Result<bool> {
    return has_moved(root, from, to, moving);
  };
  MEDIAFS_ASSIGN(const bool moved, core.share->call<bool>(std::move(work)));
  if (!moved) return false;
  r.moving.reset();
  MEDIAFS_ASSIGN(const auto row, catalogue.find(r.from));
  // What was made there since is another file.
  const bool its_own = row && !tree::stat(core.local_root.get(), r.from);
  const bool from_visible = core.b.visible(r.from);
  const bool to_visible = core.b.visible(r.to);
  MEDIAFS_TRY(its_own ? catalogue.rename({r.from, r.to, {}, from_visible, to_visible, r})
                      : catalogue.remove(r.to, to_visible));
  return true;
}

// A rename that was cut off, as far as the share can say now. The local part never waits for the share: what it
// replaces would be taken for new bytes of the file that has its name.
Status finish(Core& core, tier::Replacing r) {
  tier::Catalogue& catalogue = *core.b.catalogue;
  if (r.source) {
    if (!has_moved(core.local_root.get(), r.from, r.to, *r.source)) return catalogue.replaced(r.to);
    r.source.reset();
    MEDIAFS_TRY(catalogue.replacing(r));
  }
  if (r.moving) {
    MEDIAFS_ASSIGN(const bool moved, moved_on_share(core, r));
    if (!moved) return catalogue.replaced(r.to);
  }
  if (r.local) MEDIAFS_TRY(keep_for_the_share(core, r));
  if (r.follow && !anything_at(core, r.to)) return catalogue.replaced(r.to);  // removed since
  if (r.share || r.follow) {
    if (!core.share_usable())
      return make_error(ErrorCode::offline, "rename to " + printable(r.to), "the share is absent");
    MEDIAFS_TRY(do_on_share(core, r));
  }
  crash_point("replace.before_finished");
  return catalogue.replaced(r.to);
}

Status finish_one(Core& core, const std::string& from, const std::string& to) {
  MEDIAFS_ASSIGN(const auto claimed, core.b.claims->claim({from, to}));
  MEDIAFS_ASSIGN(const auto left, core.b.catalogue->replacings());
  for (const tier::Replacing& r : left) {  // under the claim it may be done, or another one's
    if (r.to == to && r.from == from) return finish(core, r);
  }
  return {};
}

Status make_directories(int root, std::string_view path) {
  if (path.empty()) return {};
  if (tree::stat(root, std::string(path))) return {};
  MEDIAFS_TRY(make_directories(root, parent_path(path)));
  return tree::make_directory(root, std::string(path), 0777);
}

}  // namespace

Status rename_on_share(int root, const std::string& from, const std::string& to, unsigned flags) {
  MEDIAFS_TRY(make_directories(root, parent_path(to)));
  auto renamed = tree::rename(root, from, to, flags);
  if (renamed || flags == 0 || renamed.error().sys_errno != EINVAL) return renamed;
  auto there = tree::stat(root, to);
  if (there) return errno_error(EEXIST, "rename to " + printable(to));
  if (!absent(there.error())) return std::move(there).error();
  return tree::rename(root, from, to, 0);
}

bool may_have_happened(const Error& error) noexcept {
  return error.code == ErrorCode::timeout || error.code == ErrorCode::cancelled ||
         error.code == ErrorCode::offline || error.code == ErrorCode::io;
}

Status remove_replaced(Core& core, tier::Replacing r) {
  if (r.share || r.follow) {
    if (auto done = do_on_share(core, r); !done) {
      if (!may_have_happened(done.error())) return done;
      log::warning("the share has yet to follow a rename", done.error(), {{"path", printable(r.to)}});
      if (auto kept = keep_for_the_share(core, r); !kept)
        log::error("can't finish a rename", kept.error(), {{"path", printable(r.to)}});
      core.share_memory->ask_for_task();
      return {};
    }
  }
  crash_point("replace.before_local");
  MEDIAFS_TRY(remove_local(core, r));
  crash_point("replace.after_local");
  return core.b.catalogue->replaced(r.to);
}

bool finish_replacings(Core& core) {
  auto left = core.b.catalogue->replacings();
  if (!left) {
    log::error("can't look for renames that were cut off", left.error());
    return false;
  }
  bool all = true;
  for (const tier::Replacing& r : *left) {
    if (auto done = finish_one(core, r.from, r.to); !done) {
      log::warning("a rename that was cut off is not finished", done.error(), {{"path", printable(r.to)}});
      all = all && !may_have_happened(done.error());
    }
  }
  return all;
}

}  // namespace mediafs::fs
