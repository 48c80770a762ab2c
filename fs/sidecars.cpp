#include "fs/sidecars.h"

#include <linux/fs.h>
#include <stdio.h>

#include <array>

#include "common/log.h"
#include "common/path.h"

namespace mediafs::fs {
namespace {

constexpr std::array<std::string_view, 3> kAlgorithms{"sha1", "sha256", "xxh128"};

bool absent(const Error& e) {
  return e.code == ErrorCode::not_found || e.code == ErrorCode::not_directory;
}

// On the local branch.
bool stands(const SidecarsOf& of, std::string_view algorithm) {
  return of.place != nullptr && tree::is_file(*of.place, sidecar_path(base_name(of.path), algorithm));
}

void note(const Status& done, const std::string& path) {
  if (done || absent(done.error())) return;
  log::warning("a sidecar did not follow its file", done.error(), {{"path", printable(path)}});
}

Status remove_in(int root, const std::string& path) {
  auto st = tree::stat(root, path);
  return st && S_ISREG(st->st_mode) ? tree::unlink(root, path) : Status{};
}

// A name too long for a sidecar leaves the file without.
Status rename_in(int root, const std::string& from, const std::string& to, bool replaced) {
  auto st = tree::stat(root, from);
  if (!st || !S_ISREG(st->st_mode)) return replaced ? remove_in(root, to) : Status{};
  return check_path(to) ? tree::rename(root, from, to, 0) : tree::unlink(root, from);
}

// The node table follows, where it knows the names; the kernel looks anew when its entries' time is up, or when told.
void rename_nodes(Core& core, const std::string& from, const std::string& to) {
  const auto old_parent = core.nodes.find(parent_path(from));
  const auto new_parent = core.nodes.find(parent_path(to));
  if (!old_parent) return;
  if (!new_parent) return core.nodes.remove_name(*old_parent, base_name(from), true);
  if (!core.nodes.find(*old_parent, std::string(base_name(from)))) return;
  core.nodes.rename(*old_parent, base_name(from), *new_parent, base_name(to));
}

bool has_row(Core& core, const std::string& path) {
  auto row = core.b.catalogue->find(path);
  return row && row->has_value();
}

Status remove_on_share(Core& core, const std::string& path, const May& may) {
  ShareMemory::Change change(*core.share_memory);
  MEDIAFS_TRY(core.share->call<void>([path](int top) { return remove_in(top, path); }, may.stop));
  change.removed(path);
  return {};
}

Status rename_on_share(Core& core, const std::string& from, const std::string& to, bool replaced,
                       const May& may) {
  auto work = [from, to, replaced](int top) -> Result<bool> {
    const bool there = tree::stat(top, from).has_value();
    MEDIAFS_TRY(rename_in(top, from, to, replaced));
    return there;
  };
  ShareMemory::Change change(*core.share_memory);
  MEDIAFS_ASSIGN(const bool renamed, core.share->call<bool>(std::move(work), may.stop));
  if (renamed && check_path(to)) {
    change.renamed(from, to);
  } else {
    change.removed(renamed ? from : to);
  }
  return {};
}

void remove_one(Core& core, const std::string& path, bool share, const May& may) {
  const int root = core.local_root.get();
  if (has_row(core, path)) note(core.b.catalogue->remove_later(path, false), path);
  auto gone = remove_in(root, path);
  note(gone, path);
  if (share && core.share_usable()) {
    note(remove_on_share(core, path, may), path);
  }
  if (const auto parent = core.nodes.find(parent_path(path))) {
    if (gone && !tree::stat(root, path)) core.nodes.remove_name(*parent, base_name(path), true);
  }
}

void rename_one(Core& core, const std::string& from, const std::string& to, bool share, bool replaced,
                const May& may) {
  const int root = core.local_root.get();
  const bool there = tree::stat(root, from).has_value();
  const bool named = check_path(to).has_value();
  // What the share or the vault moved may have gone to a directory that the disk lacks.
  Status done = there && named ? core.ensure_local_directory(std::string(parent_path(to)), may) : Status{};
  if (done) done = rename_in(root, from, to, replaced);
  note(done, from);
  if (done && there && named) rename_nodes(core, from, to);
  if (share && core.share_usable()) note(rename_on_share(core, from, to, replaced, may), from);
  if (!has_row(core, from)) return;
  // A row below Incoming would be shown there for ever.
  const bool keeps = named && !core.b.in_incoming(to);
  note(keeps ? core.b.catalogue->rename({from, to, {}, false, false}) : core.b.catalogue->remove(from, false),
       from);
}

// Only local files are exchanged; their sidecars are on the disk, or the vault's listing showed them.
void exchange_one(Core& core, const std::string& one, const std::string& other, const May& may) {
  const int root = core.local_root.get();
  const bool at_one = tree::stat(root, one).has_value() || has_row(core, one);
  const bool at_other = tree::stat(root, other).has_value() || has_row(core, other);
  if (!at_one && !at_other) return;
  if (at_one != at_other) {
    const std::string& from = at_one ? one : other;
    return rename_one(core, from, at_one ? other : one, false, false, may);
  }
  if (has_row(core, one) || has_row(core, other)) {
    return log::warning("sidecars were not exchanged", {{"path", printable(one)}});
  }
  // The node table keeps them: the kernel goes by its old entries for a while, and finds the right bytes by name.
  note(tree::rename(root, one, other, RENAME_EXCHANGE), one);
}

}  // namespace

void rename_sidecars(Core& core, const SidecarsOf& from, const SidecarsOf& to, bool replaced,
                     const May& may) {
  if (is_sidecar(from.path) || is_sidecar(to.path)) return;
  for (const std::string_view algorithm : kAlgorithms) {
    const std::string sidecar = sidecar_path(from.path, algorithm);
    const bool on_disk = stands(from, algorithm) || (replaced && stands(to, algorithm));
    if (!on_disk && !from.share && !has_row(core, sidecar)) continue;
    rename_one(core, sidecar, sidecar_path(to.path, algorithm), from.share, replaced, may);
  }
}

void exchange_sidecars(Core& core, const std::string& one, const std::string& other, const May& may) {
  if (is_sidecar(one) || is_sidecar(other)) return;
  for (const std::string_view algorithm : kAlgorithms) {
    exchange_one(core, sidecar_path(one, algorithm), sidecar_path(other, algorithm), may);
  }
}

void remove_sidecars(Core& core, const SidecarsOf& of, const May& may) {
  if (is_sidecar(of.path)) return;
  for (const std::string_view algorithm : kAlgorithms) {
    const std::string sidecar = sidecar_path(of.path, algorithm);
    if (!stands(of, algorithm) && !of.share && !has_row(core, sidecar)) continue;
    if (check_path(sidecar)) remove_one(core, sidecar, of.share, may);
  }
}

}  // namespace mediafs::fs
