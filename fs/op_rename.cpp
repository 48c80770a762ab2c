// rename: on every branch that has the path; the catalogue's part follows the disk's.
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>

#include <cerrno>

#include "common/log.h"
#include "common/path.h"
#include "fs/ops.h"

namespace mediafs::fs {
namespace {

bool absent(const Error& e) {
  return e.code == ErrorCode::not_found || e.code == ErrorCode::not_directory;
}

struct Move {
  std::string from, to;
  unsigned flags = 0;
  std::optional<struct stat> local_from, local_to;
  bool share_from = false, share_to = false;
  bool row_from = false, row_to = false;
  bool directory = false;

  bool anything_at_to() const { return local_to || share_to || row_to; }
};

Result<std::optional<struct stat>> local_stat(Core& core, const std::string& path) {
  auto st = tree::stat(core.local_root.get(), path);
  if (st) return std::optional<struct stat>(*st);
  if (absent(st.error())) return std::optional<struct stat>{};
  return std::move(st).error();
}

Status look(Core& core, Move& m, const May& may) {
  MEDIAFS_ASSIGN(m.local_from, local_stat(core, m.from));
  MEDIAFS_ASSIGN(m.local_to, local_stat(core, m.to));
  mode_t type = m.local_from ? m.local_from->st_mode : 0;
  if (core.share_usable()) {
    if (may.level == Level::now) return needs(Level::block);
    auto from =
        core.share->call<struct stat>([p = m.from](int root) { return tree::stat(root, p); }, may.stop);
    auto to = core.share->call<struct stat>([p = m.to](int root) { return tree::stat(root, p); }, may.stop);
    m.share_from = from.has_value();
    m.share_to = to.has_value();
    if (type == 0 && from) type = from->st_mode;
  }
  MEDIAFS_ASSIGN(const auto row_from, core.b.catalogue->find(m.from));
  MEDIAFS_ASSIGN(const auto row_to, core.b.catalogue->find(m.to));
  m.row_from = row_from.has_value();
  // A row that has lost every copy is shown to nobody, and in nobody's way.
  m.row_to = row_to && (row_to->kind == tier::NodeKind::directory || row_to->vault || m.local_to);
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
  if (!m.row_from || !core.b.visible(m.from) || core.b.visible(m.to)) return {};
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

Status move_local(Core& core, const Move& m, const May& may) {
  const int root = core.local_root.get();
  if (m.local_from) {
    MEDIAFS_TRY(core.ensure_local_directory(std::string(parent_path(m.to)), may));
    return tree::rename(root, m.from, m.to, m.flags);
  }
  if (!m.local_to) return {};
  // What moves is on other branches only: this file would hide it.
  if (m.directory) return tree::remove_directory(root, m.to);
  return tree::unlink(root, m.to);
}

Status make_directories(int root, std::string_view path) {
  if (path.empty()) return {};
  if (tree::stat(root, std::string(path))) return {};
  MEDIAFS_TRY(make_directories(root, parent_path(path)));
  return tree::make_directory(root, std::string(path), 0777);
}

Status move_share(Core& core, const Move& m, const May& may) {
  if (!m.share_from && !m.share_to) return {};
  auto work = [from = m.from, to = m.to, both = m.share_from, directory = m.directory](int root) -> Status {
    if (both) {
      MEDIAFS_TRY(make_directories(root, parent_path(to)));
      return tree::rename(root, from, to, 0);
    }
    return directory ? tree::remove_directory(root, to) : tree::unlink(root, to);
  };
  return core.share->call<void>(std::move(work), may.stop);
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

Status tell_catalogue(Core& core, const Move& m) {
  const bool from_visible = core.b.visible(m.from);
  const bool to_visible = core.b.visible(m.to);
  std::optional<struct stat> st;
  if (auto now = tree::stat(core.local_root.get(), m.to); now && catalogued_kind(*now)) st = *now;
  // Links and devices are not catalogued, but may replace what is.
  if (!m.row_from && !st) return m.row_to ? core.b.catalogue->remove(m.to, to_visible) : Status{};
  if (!m.row_from && !m.row_to && !to_visible) return {};
  MEDIAFS_TRY(core.b.catalogue->rename({m.from, m.to, st, from_visible, to_visible}));
  const bool arrived = m.directory && to_visible && (!from_visible || !m.row_from);
  return arrived && st ? adopt_below(core, m.to) : Status{};
}

Status exchange(Core& core, const Move& m) {
  if (!m.local_from || !m.local_to) {
    return make_error(ErrorCode::unsupported, "exchange " + printable(m.from),
                      "both must be on the local branch");
  }
  const bool directories = S_ISDIR(m.local_from->st_mode) || S_ISDIR(m.local_to->st_mode);
  if (directories && (m.row_from || m.row_to)) {
    return make_error(ErrorCode::unsupported, "exchange " + printable(m.from), "a directory of the library");
  }
  MEDIAFS_TRY(tree::rename(core.local_root.get(), m.from, m.to, RENAME_EXCHANGE));
  // Each path has other content now.
  if (m.row_from) MEDIAFS_TRY(adopt(core, m.from, *m.local_to));
  if (m.row_to) MEDIAFS_TRY(adopt(core, m.to, *m.local_from));
  return {};
}

Status rename_paths(Core& core, Move m, const May& may) {
  if (core.is_control(m.from) || core.is_control(m.to))
    return make_error(ErrorCode::read_only, printable(m.to));
  if ((m.flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0) return errno_error(EINVAL, "rename");
  MEDIAFS_ASSIGN(auto claim, core.claim({m.from, m.to}, may));
  MEDIAFS_TRY(look(core, m, may));
  if ((m.flags & RENAME_EXCHANGE) != 0) return exchange(core, m);
  MEDIAFS_TRY(may_leave_library(core, m));
  MEDIAFS_TRY(may_replace(core, m, may));
  // Files that come along are catalogued one by one, which takes its time.
  if (m.directory && !m.row_from && core.b.visible(m.to) && may.level == Level::now)
    return needs(Level::block);
  const bool one_file = m.local_from && m.local_to && m.local_from->st_ino == m.local_to->st_ino &&
                        m.local_from->st_dev == m.local_to->st_dev;
  MEDIAFS_TRY(move_local(core, m, may));
  if (one_file) return {};  // two links of one file: rename(2) does nothing then
  if (auto moved = move_share(core, m, may); !moved) {
    if (!m.local_from) return moved;
    log::warning("rename on the share failed", moved.error(), {{"path", printable(m.from)}});
  }
  auto told = tell_catalogue(core, m);
  if (!told && m.local_from) {
    // The disk is right and the next reconcile makes the catalogue follow.
    log::error("catalogue missed a rename", told.error(), {{"path", printable(m.to)}});
    return {};
  }
  return told;
}

}  // namespace

void op_rename(Core& core, StatusReply reply, RenameNames names, unsigned flags) {
  auto body = [&core, names, flags](const May& may) -> Status {
    Move m;
    MEDIAFS_ASSIGN(m.from, core.path_of(names.parent, names.name));
    MEDIAFS_ASSIGN(m.to, core.path_of(names.new_parent, names.new_name));
    m.flags = flags;
    if (m.from == m.to) return {};
    MEDIAFS_TRY(rename_paths(core, std::move(m), may));
    if ((flags & RENAME_EXCHANGE) != 0) {
      core.nodes.exchange(names.parent, names.name, names.new_parent, names.new_name);
    } else {
      core.nodes.rename(names.parent, names.name, names.new_parent, names.new_name);
    }
    return {};
  };
  core.serve(std::move(reply), std::move(body), [](StatusReply& r) { r.ok(); });
}

}  // namespace mediafs::fs
