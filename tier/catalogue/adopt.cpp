#include <algorithm>

#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace rows {

namespace {

bool owner_differs(const Node& node, const struct stat& st) {
  return node.mode != permission_bits(st) || node.uid != st.st_uid || node.gid != st.st_gid;
}

// What is known already needs no writer. A directory's size and change time say nothing; its mtime is kept
// because same_directory() asks for it.
bool is_known(const Node& node, const struct stat& st) {
  const Fingerprint seen = fingerprint_of(st);
  if (!node.local || owner_differs(node, st)) return false;
  if (S_ISREG(st.st_mode)) return node.kind == NodeKind::file && node.local->fingerprint == seen;
  const Fingerprint& had = node.local->fingerprint;
  return node.kind == NodeKind::directory && had.device == seen.device && had.inode == seen.inode &&
         had.mtime_ns == seen.mtime_ns;
}

bool may_be_renamed(const Node& node, const struct stat& st, std::string_view to) {
  if (!node.local || node.path == to || node.path.empty() || is_within(to, node.path)) return false;
  if (S_ISDIR(st.st_mode)) return node.kind == NodeKind::directory;
  return node.kind == NodeKind::file && node.local->fingerprint.same_content_hint(fingerprint_of(st));
}

struct Candidate {
  Node node;
  std::string child;  // of a directory: the name of something local in it; "" if nothing is
};

Result<std::string> local_child(sql::Connection& db, std::int64_t id) {
  MEDIAFS_ASSIGN(auto query,
                 db.prepare("SELECT n.name FROM node n JOIN copy l ON l.node = n.id AND l.branch = 1 WHERE "
                            "n.parent = ? ORDER BY n.kind DESC LIMIT 1"));
  query.bind(1, id);
  MEDIAFS_ASSIGN(const bool row, query.step());
  return row ? query.text(0) : std::string();
}

struct Seen {
  bool known = false;
  std::vector<Candidate> candidates;
  std::optional<Node> other_kind;  // what stood at the path, if it was no file now, or no directory
};

Result<Seen> look(sql::Connection& db, const AdoptRequest& request) {
  Seen seen;
  MEDIAFS_ASSIGN(const auto node, load(db, request.path));
  if (node && is_known(*node, request.st)) {
    seen.known = true;
    return seen;
  }
  if (node && (node->kind == NodeKind::directory) != S_ISDIR(request.st.st_mode)) seen.other_kind = node;
  const Fingerprint print = fingerprint_of(request.st);
  if (node && node->local && node->local->fingerprint.device == print.device &&
      node->local->fingerprint.inode == print.inode) {
    return seen;
  }
  MEDIAFS_ASSIGN(const auto ids, by_inode(db, print.device, print.inode));
  for (const std::int64_t id : ids) {
    MEDIAFS_ASSIGN(const auto other, load(db, id));
    if (!other || !may_be_renamed(*other, request.st, request.path)) continue;
    Candidate candidate{*other, {}};
    if (other->kind == NodeKind::directory) {
      MEDIAFS_ASSIGN(candidate.child, local_child(db, id));
    }
    seen.candidates.push_back(std::move(candidate));
  }
  return seen;
}

// Disks give a removed directory's inode number to the next one made, so the number alone is no proof:
// either nothing changed in it since, or what the catalogue knows in it must stand under the new path.
bool same_directory(const Candidate& candidate, const AdoptRequest& request,
                    const std::function<bool(const std::string&)>& still_there) {
  if (candidate.node.local->fingerprint.mtime_ns == fingerprint_of(request.st).mtime_ns) return true;
  return !candidate.child.empty() && still_there(join_path(request.path, candidate.child));
}

std::optional<Node> renamed_from(const Seen& seen, const AdoptRequest& request,
                                 const std::function<bool(const std::string&)>& still_there) {
  for (const Candidate& candidate : seen.candidates) {
    if (still_there(candidate.node.path)) continue;
    if (S_ISDIR(request.st.st_mode) && !same_directory(candidate, request, still_there)) continue;
    return candidate.node;
  }
  return std::nullopt;
}

Status adopt_directory(Tx& tx, std::string_view path, const std::optional<Node>& node,
                       const struct stat& st) {
  const Fingerprint print = fingerprint_of(st);
  if (node) {
    MEDIAFS_TRY(set_owner(tx, *node, permission_bits(st), st.st_uid, st.st_gid));
    MEDIAFS_TRY(put_local(tx, node->id, print, kUnproven));
    return node->inode == 0 ? give_inode(tx, node->id, print) : Status{};
  }
  Node fresh;
  fresh.kind = NodeKind::directory;
  fresh.mode = permission_bits(st);
  fresh.uid = st.st_uid;
  fresh.gid = st.st_gid;
  MEDIAFS_ASSIGN(const std::int64_t id, insert_node(tx, path, fresh));
  MEDIAFS_TRY(put_local(tx, id, print, kUnproven));
  return give_inode(tx, id, print);
}

Result<Adopted> adopt_file(Tx& tx, Node node, const struct stat& st) {
  const Fingerprint print = fingerprint_of(st);
  if (node.local && node.local->fingerprint == print) {
    MEDIAFS_TRY(set_owner(tx, node, permission_bits(st), st.st_uid, st.st_gid));
    return Adopted::unchanged;
  }
  const bool same = node.local ? node.local->fingerprint.same_content_hint(print)
                               : node.size_bytes == print.size_bytes && node.mtime_ns == print.mtime_ns;
  if (!same) {
    ++node.generation;
    node.size_bytes = print.size_bytes;
    node.mtime_ns = print.mtime_ns;
    node.checksum.reset();
    node.sha1_hex.clear();
    MEDIAFS_TRY(set_content(tx, node));
    MEDIAFS_TRY(put_local(tx, node.id, print, node.generation));
    MEDIAFS_TRY(add_change(tx, ChangeKind::changed, node.path));
  } else if (!node.local) {
    MEDIAFS_TRY(put_local(tx, node.id, print, kUnproven));
  }
  // else: the old fingerprint stays until the bytes have been read, so that evict refuses meanwhile.
  MEDIAFS_TRY(set_owner(tx, node, permission_bits(st), st.st_uid, st.st_gid));
  MEDIAFS_TRY(enqueue_for(tx, kStageChecksum, node));
  return same ? Adopted::recheck : Adopted::changed;
}

// The file's ctime changed with the rename, and perhaps with more: it keeps its old fingerprint until it is
// read.
Status adopt_renamed(Tx& tx, const std::optional<Node>& replaced, const Node& node,
                     const AdoptRequest& request) {
  if (replaced) {
    if (replaced->kind == NodeKind::directory) MEDIAFS_TRY(forget_markers(tx, replaced->path));
    MEDIAFS_TRY(replaced->kind == NodeKind::file ? end_file(tx, *replaced) : delete_node(tx, replaced->id));
  }
  MEDIAFS_TRY(move_row(tx, node, request.path));
  MEDIAFS_TRY(add_change(tx, ChangeKind::renamed, request.path, node.path));
  const Fingerprint print = fingerprint_of(request.st);
  if (node.kind == NodeKind::directory) MEDIAFS_TRY(put_local(tx, node.id, print, kUnproven));
  Node moved = node;
  moved.path = request.path;
  MEDIAFS_TRY(set_owner(tx, moved, permission_bits(request.st), request.st.st_uid, request.st.st_gid));
  if (node.kind == NodeKind::file && node.local->fingerprint != print) {
    MEDIAFS_TRY(enqueue_for(tx, kStageChecksum, moved));
  }
  return {};
}

// Whether the candidate is, in this transaction, still what it was when its old path was looked at.
Result<bool> still_renamed(Tx& tx, const std::optional<Node>& at_path, const Node& candidate) {
  MEDIAFS_ASSIGN(const auto now, load(tx.db, candidate.id));
  if (!now || now->path != candidate.path || !now->local ||
      now->local->fingerprint != candidate.local->fingerprint) {
    return false;
  }
  if (!at_path) return true;
  if (at_path->kind != candidate.kind || at_path->id == candidate.id) return false;
  if (at_path->kind == NodeKind::file) return true;
  MEDIAFS_ASSIGN(const bool children, has_children(tx.db, at_path->id));
  return !children;
}

Result<Adopted> adopt_row(Tx& tx, const AdoptRequest& request, const std::optional<Node>& candidate,
                          const std::vector<std::string>& aside) {
  MEDIAFS_ASSIGN(auto node, load(tx.db, request.path));
  const bool directory = S_ISDIR(request.st.st_mode);
  if (node && (node->kind == NodeKind::directory) != directory) {
    MEDIAFS_TRY(replace_kind(tx, *node, aside));
    node.reset();
  }
  if (candidate) {
    MEDIAFS_ASSIGN(const bool renamed, still_renamed(tx, node, *candidate));
    if (renamed) {
      MEDIAFS_TRY(adopt_renamed(tx, node, *candidate, request));
      return Adopted::renamed;
    }
  }
  if (directory) {
    MEDIAFS_TRY(adopt_directory(tx, request.path, node, request.st));
    return node ? Adopted::unchanged : Adopted::added;
  }
  if (node) return adopt_file(tx, std::move(*node), request.st);
  MEDIAFS_TRY(insert_file(tx, request.path, request.st, ChangeKind::added));
  return Adopted::added;
}

}  // namespace

Status insert_file(Tx& tx, std::string_view path, const struct stat& st, ChangeKind kind) {
  const Fingerprint print = fingerprint_of(st);
  Node node;
  node.path = path;
  node.generation = 1;
  node.size_bytes = print.size_bytes;
  node.mtime_ns = print.mtime_ns;
  node.mode = permission_bits(st);
  node.uid = st.st_uid;
  node.gid = st.st_gid;
  MEDIAFS_ASSIGN(node.id, insert_node(tx, path, node));
  MEDIAFS_TRY(put_local(tx, node.id, print, node.generation));
  MEDIAFS_TRY(give_inode(tx, node.id, print));
  MEDIAFS_TRY(add_change(tx, kind, path));
  if (kind == ChangeKind::added) MEDIAFS_TRY(tell_filed(tx, path, print.inode));
  return enqueue_for(tx, kStageChecksum, node);
}

}  // namespace rows

Result<Adopted> Catalogue::adopt(const AdoptRequest& request,
                                 const std::function<bool(const std::string& path)>& still_there) {
  MEDIAFS_TRY(check_path(request.path));
  // What arrives and sidecars have no rows; nor has what is neither file nor directory.
  if (!request.visible && !request.path.empty()) return Adopted::unchanged;
  if (!S_ISREG(request.st.st_mode) && !S_ISDIR(request.st.st_mode)) return Adopted::unchanged;
  rows::Seen seen;
  {
    MEDIAFS_ASSIGN(auto lease, impl_->readers.at_once());
    MEDIAFS_ASSIGN(seen, rows::look(lease.db(), request));
  }
  if (seen.known) return Adopted::unchanged;
  const std::optional<Node> candidate = rows::renamed_from(seen, request, still_there);
  const std::vector<std::string> aside =
      seen.other_kind ? rows::aside_names(*seen.other_kind, still_there) : std::vector<std::string>();
  Adopted adopted = Adopted::unchanged;
  MEDIAFS_TRY(impl_->write([&](rows::Tx& tx) -> Status {
    MEDIAFS_ASSIGN(adopted, rows::adopt_row(tx, request, candidate, aside));
    return {};
  }));
  return adopted;
}

}  // namespace mediafs::tier
