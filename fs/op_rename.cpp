// rename: on every branch that has the path. The source gets its new name before anything that it replaces goes.
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>

#include <cerrno>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "fs/ops.h"
#include "fs/replacing.h"
#include "fs/sidecars.h"

namespace mediafs::fs {
namespace {

struct Move {
  std::string from, to;
  unsigned flags = 0;
  std::optional<tree::Place> place_from, place_to;  // their directories on the local branch
  std::optional<struct stat> local_from, local_to, share_from, share_to;
  bool plain = false;
  bool row_from = false;             // not asked for where it is plain
  std::optional<tier::Node> target;  // nor where the local branch has the target too
  bool row_to = false;               // and it is shown
  bool directory = false;

  bool anything_at_to() const { return local_to || share_to || row_to; }
};

Status look_on_disk(Core& core, Move& m) {
  const int root = core.local_root.get();
  MEDIAFS_ASSIGN(m.place_from, tree::place_if_there(root, m.from));
  if (m.place_from && parent_path(m.from) == parent_path(m.to)) {
    m.place_to = tree::beside(*m.place_from, base_name(m.to));
  } else {
    MEDIAFS_ASSIGN(m.place_to, tree::place_if_there(root, m.to));
  }
  if (m.place_from) {
    MEDIAFS_ASSIGN(m.local_from, tree::stat_if_there(*m.place_from));
  }
  if (m.place_to) {
    MEDIAFS_ASSIGN(m.local_to, tree::stat_if_there(*m.place_to));
  }
  return {};
}

// A file of the local branch, that alone: the disk answers for it, and the catalogue follows without being asked about
// the source.
bool is_plain(const Move& m) {
  return m.local_from && S_ISREG(m.local_from->st_mode) && !m.share_from && !m.share_to &&
         (m.flags & RENAME_EXCHANGE) == 0;
}

Status look(Core& core, Move& m, const May& may) {
  MEDIAFS_TRY(look_on_disk(core, m));
  mode_t type = m.local_from ? m.local_from->st_mode : 0;
  MEDIAFS_ASSIGN(m.share_from, core.on_share(m.from, may));
  MEDIAFS_ASSIGN(m.share_to, core.on_share(m.to, may));
  m.plain = is_plain(m);
  if (m.plain && m.local_to) return {};
  MEDIAFS_ASSIGN(m.target, core.b.catalogue->find(m.to));
  // A row that has lost every copy is shown to nobody, and in nobody's way.
  m.row_to = m.target && (m.target->kind == tier::NodeKind::directory || m.target->vault || m.local_to);
  if (m.plain) return {};
  if (type == 0 && m.share_from) type = m.share_from->st_mode;
  MEDIAFS_ASSIGN(const auto row_from, core.b.catalogue->find(m.from));
  m.row_from = row_from.has_value();
  if (!m.local_from && !m.share_from && !m.row_from)
    return errno_error(ENOENT, "rename " + printable(m.from));
  if (type == 0) type = row_from->kind == tier::NodeKind::directory ? S_IFDIR : S_IFREG;
  m.directory = S_ISDIR(type);
  return {};
}

Status may_replace(Core& core, const Move& m, const May& may) {
  if (!m.anything_at_to()) return {};
  if ((m.flags & RENAME_NOREPLACE) != 0) return errno_error(EEXIST, "rename to " + printable(m.to));
  if (!m.directory) return {};
  MEDIAFS_ASSIGN(const auto items, core.list(m.to, may));
  if (!items.empty()) return errno_error(ENOTEMPTY, "rename to " + printable(m.to));
  return {};
}

// What leaves the library leaves the vault too. Bytes that only the vault has can't go along: EXDEV makes mv copy them.
Status may_leave_library(Core& core, const Move& m) {
  if (!m.row_from || core.b.visible(m.to)) return {};
  if (!core.b.visible(m.from) && !core.b.in_incoming(m.to))
    return {};  // from one sidecar's name to another's
  const Error refused = errno_error(EXDEV, "rename " + printable(m.from));
  if (!m.directory) return m.local_from ? Status() : Status(refused);
  std::string after;
  for (;;) {
    MEDIAFS_ASSIGN(const auto page, core.b.catalogue->walk(m.from, after, 1000));
    if (page.empty()) return {};
    after = page.back().path;
    for (const tier::Node& node : page) {
      if (node.kind == tier::NodeKind::file && !node.local) return refused;
    }
  }
}

// Nothing that changes the share is interrupted, only timed out: nobody would know whether it happened.
Status share_renames(Core& core, const Move& m) {
  auto work = [from = m.from, to = m.to, flags = m.flags](int root) -> Status {
    return rename_on_share(root, from, to, flags);
  };
  ShareMemory::Change change(*core.share_memory);
  MEDIAFS_TRY(core.share->call<void>(std::move(work)));
  change.renamed(m.from, m.to);
  return {};
}

Status share_removes_directory(Core& core, const Move& m) {
  auto work = [to = m.to](int root) -> Status { return tree::remove_directory(root, to); };
  ShareMemory::Change change(*core.share_memory);
  MEDIAFS_TRY(core.share->call<void>(std::move(work)));
  change.removed(m.to);
  return {};
}

bool catalogued_kind(const struct stat& st) {
  return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
}

Status adopt(Core& core, const std::string& path, const struct stat& st) {
  if (!catalogued_kind(st)) return {};
  auto adopted = core.b.catalogue->adopt({path, st, core.b.visible(path)}, [&core](const std::string& other) {
    return tree::stat(core.local_root.get(), other).has_value();
  });
  if (!adopted) return std::move(adopted).error();
  return {};
}

// What came into the library with its directory.
Status adopt_below(Core& core, const std::string& dir) {
  MEDIAFS_ASSIGN(const auto items, tree::list(core.local_root.get(), dir));
  for (const tree::Item& item : items) {
    const std::string path = join_path(dir, item.name);
    auto st = tree::stat(core.local_root.get(), path);
    if (!st) continue;
    MEDIAFS_TRY(adopt(core, path, *st));
    if (S_ISDIR(st->st_mode)) MEDIAFS_TRY(adopt_below(core, path));
  }
  return {};
}

Status tell_catalogue(Core& core, const Move& m, const std::optional<tier::Replacing>& replacing = {}) {
  const bool from_visible = core.b.visible(m.from);
  const bool to_visible = core.b.visible(m.to);
  std::optional<struct stat> st;
  if (m.local_from) {
    auto now = tree::stat_if_there(*m.place_to);
    if (now && *now && catalogued_kind(**now)) st = **now;
  }
  if (m.plain) return core.b.catalogue->rename_later({m.from, m.to, st, from_visible, to_visible});
  // Links and devices are not catalogued, nor is what the share has; but they may replace what is.
  if (!m.row_from && !st) return m.row_to ? core.b.catalogue->remove(m.to, to_visible) : Status{};
  if (!m.row_from && !m.row_to && !to_visible) return {};
  // A file of the vault's alone that takes a free name in its directory: nothing can refuse it.
  const bool certain = m.row_from && !m.directory && !m.share_from && !m.anything_at_to() && from_visible &&
                       to_visible && parent_path(m.from) == parent_path(m.to);
  const tier::Catalogue::RenameRequest request{m.from,     m.to,      st,     from_visible,
                                               to_visible, replacing, certain};
  MEDIAFS_TRY(m.local_from || certain ? core.b.catalogue->rename_later(request)
                                      : core.b.catalogue->rename(request));
  const bool arrived = m.directory && to_visible && (!from_visible || !m.row_from);
  return arrived && st ? adopt_below(core, m.to) : Status{};
}

// The disk first: one rename(2) there replaces whatever the local branch has, and the scan makes the catalogue follow
// if we are killed before we do. What the share has of either name would show once the local file is evicted: that it
// follows is noted before.
Status rename_local(Core& core, Move& m, const May& may) {
  if (!m.place_to) {
    MEDIAFS_TRY(core.ensure_local_directory(std::string(parent_path(m.to)), may));
    MEDIAFS_ASSIGN(m.place_to, tree::place(core.local_root.get(), m.to));
  }
  const bool on_share = m.share_from || m.share_to;
  tier::Replacing r{m.from, m.to, {}, {}, {}};
  if (on_share) {
    r.source = tier::fingerprint_of(*m.local_from);
    if (m.share_from) r.follow = tier::fingerprint_of(*m.share_from);
    if (m.share_to) r.share = tier::fingerprint_of(*m.share_to);
    MEDIAFS_TRY(core.b.catalogue->replacing(r));
  }
  crash_point("rename.before_disk");
  if (auto renamed = tree::rename(*m.place_from, *m.place_to, m.flags); !renamed) {
    if (on_share) MEDIAFS_TRY(core.b.catalogue->replaced(m.to));
    return renamed;
  }
  crash_point("rename.after_disk");
  if (auto told = tell_catalogue(core, m); !told) {
    log::error("catalogue missed a rename", told.error(), {{"path", printable(m.to)}});
  }
  crash_point("rename.after_told");
  if (!on_share) return {};
  r.source.reset();
  Status followed = core.b.catalogue->replacing(r);
  if (followed) followed = remove_replaced(core, r);
  if (!followed) log::warning("rename on the share failed", followed.error(), {{"path", printable(m.from)}});
  return {};
}

// The rename did not happen after all: what is at `to` stays.
Status call_off(Core& core, const Move& m, Status why) {
  log::warning("rename called off", why.error(), {{"path", printable(m.from)}});
  auto back = core.b.catalogue->call_off({m.from, m.to, {}, core.b.visible(m.from), core.b.visible(m.to)},
                                         m.row_to ? m.target : std::nullopt);
  if (!back) log::error("catalogue keeps a rename", back.error(), {{"path", printable(m.to)}});
  if (m.local_to) {
    if (auto kept = adopt(core, m.to, *m.local_to); !kept)
      log::error("can't catalogue again", kept.error(), {{"path", printable(m.to)}});
  }
  return why;
}

// The note stays where the share may have renamed, or may yet.
Status share_renames_first(Core& core, const Move& m, tier::Replacing& r, bool replaces) {
  if (replaces) {
    r.moving = tier::fingerprint_of(*m.share_from);
    MEDIAFS_TRY(core.b.catalogue->replacing(r));
    r.moving.reset();
  }
  crash_point("rename.before_share");
  if (auto moved = share_renames(core, m); !moved) {
    if (replaces && may_have_happened(moved.error())) {
      core.share_memory->ask_for_task();
    } else if (replaces) {
      MEDIAFS_TRY(core.b.catalogue->replaced(m.to));
    }
    return moved;
  }
  crash_point("rename.after_share");
  return {};
}

// A source without a local copy. First it gets its new name where it is; what stands in its way elsewhere goes last,
// and is noted before, so that a kill in between neither loses it nor lets it hide the source for ever.
Status rename_elsewhere(Core& core, const Move& m) {
  tier::Replacing r{m.from, m.to, {}, {}, {}};
  if (m.local_to && !m.directory) r.local = tier::fingerprint_of(*m.local_to);
  if (m.share_to && !m.share_from && !m.directory) r.share = tier::fingerprint_of(*m.share_to);
  const bool replaces = r.local || r.share;
  if (m.share_from) MEDIAFS_TRY(share_renames_first(core, m, r, replaces));
  MEDIAFS_TRY(tell_catalogue(core, m, replaces ? std::optional(r) : std::nullopt));
  crash_point("rename.after_commit");
  core.names_changed(std::string(parent_path(m.from)));
  if (parent_path(m.to) != parent_path(m.from)) core.names_changed(std::string(parent_path(m.to)));
  if (m.directory) {
    // Empty ones, which would merge with what came if they stayed.
    if (m.share_to && !m.share_from) static_cast<void>(share_removes_directory(core, m));
    if (m.local_to) static_cast<void>(tree::remove_directory(core.local_root.get(), m.to));
    return {};
  }
  if (!replaces) return {};
  auto removed = remove_replaced(core, r);
  if (removed || m.share_from) return removed;
  return call_off(core, m, std::move(removed));
}

// Both on the local branch and nowhere hidden on the share: one system call does it.
Status exchange(Core& core, const Move& m) {
  const Error refused = errno_error(EINVAL, "exchange " + printable(m.from));
  if (!m.local_from) return refused;
  if (!m.anything_at_to()) return errno_error(ENOENT, "exchange " + printable(m.from));
  if (!m.local_to || m.share_from || m.share_to) return refused;
  const bool directories = S_ISDIR(m.local_from->st_mode) || S_ISDIR(m.local_to->st_mode);
  if (directories && m.row_from != m.row_to) return refused;
  const int root = core.local_root.get();
  MEDIAFS_TRY(tree::rename(root, m.from, m.to, RENAME_EXCHANGE));
  crash_point("exchange.after_disk");
  auto at_from = tree::stat(root, m.from);
  auto at_to = tree::stat(root, m.to);
  Status told;
  if (!at_from || !at_to || !(m.row_from || m.row_to)) return {};  // changed underneath: the scan's
  if (m.row_from && m.row_to) {
    told = core.b.catalogue->exchange({m.from, m.to, *at_from, *at_to});
  } else if (m.row_from) {
    told = core.b.catalogue->rename({m.from, m.to, *at_to, core.b.visible(m.from), core.b.visible(m.to)});
    if (told) told = adopt(core, m.from, *at_from);
  } else {
    told = core.b.catalogue->rename({m.to, m.from, *at_from, core.b.visible(m.to), core.b.visible(m.from)});
    if (told) told = adopt(core, m.to, *at_to);
  }
  if (!told) log::error("catalogue missed an exchange", told.error(), {{"path", printable(m.to)}});
  crash_point("exchange.after_commit");
  return {};
}

SidecarsOf sidecars_of(const std::string& path, const std::optional<tree::Place>& place, bool share) {
  return {path, place ? &*place : nullptr, share};
}

bool one_file(const Move& m) {
  return m.local_from && m.local_to && m.local_from->st_ino == m.local_to->st_ino &&
         m.local_from->st_dev == m.local_to->st_dev;
}

Status rename_claimed(Core& core, Move& m, const May& may) {
  if (core.is_control(m.from) || core.is_control(m.to))
    return make_error(ErrorCode::read_only, printable(m.to));
  if ((m.flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0) return errno_error(EINVAL, "rename");
  MEDIAFS_TRY(look(core, m, may));
  if ((m.share_from || m.share_to) && may.level < Level::share) return needs(Level::share);
  if ((m.flags & RENAME_EXCHANGE) != 0) return exchange(core, m);
  MEDIAFS_TRY(may_leave_library(core, m));
  MEDIAFS_TRY(may_replace(core, m, may));
  // Files that come along are catalogued one by one, which takes its time.
  if (m.directory && !m.row_from && core.b.visible(m.to) && may.level == Level::now)
    return needs(Level::block);
  if (one_file(m)) return {};  // two links of one file: rename(2) does nothing then
  MEDIAFS_TRY(m.local_from ? rename_local(core, m, may) : rename_elsewhere(core, m));
  return {};
}

}  // namespace

void op_rename(Core& core, StatusReply reply, RenameNames names, unsigned flags) {
  auto body = [&core, names, flags](const May& may) -> Status {
    const std::vector<NodeTable::Name> both{{names.parent, names.name}, {names.new_parent, names.new_name}};
    MEDIAFS_ASSIGN(const auto claimed, core.claim_names(both, may));
    Move m;
    m.from = claimed.paths[0];
    m.to = claimed.paths[1];
    m.flags = flags;
    if (m.from == m.to) return {};
    MEDIAFS_TRY(rename_claimed(core, m, may));
    if ((flags & RENAME_EXCHANGE) != 0) {
      core.nodes.exchange(names.parent, names.name, names.new_parent, names.new_name);
      if (!m.directory && !S_ISDIR(m.local_to->st_mode)) exchange_sidecars(core, m.from, m.to, may);
    } else if (!one_file(m)) {
      if (m.local_to && (m.directory || m.local_to->st_nlink <= 1))
        core.nodes.leaving(names.new_parent, names.new_name, *m.local_to);
      core.nodes.rename(names.parent, names.name, names.new_parent, names.new_name);
      if (!m.directory)
        rename_sidecars(core, sidecars_of(m.from, m.place_from, m.share_from.has_value()),
                        sidecars_of(m.to, m.place_to, m.share_to.has_value()), m.anything_at_to(), may);
    }
    return {};
  };
  core.serve(std::move(reply), std::move(body), [](StatusReply& r) { r.ok(); });
}

}  // namespace mediafs::fs
