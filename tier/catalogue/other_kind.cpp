// A path changed its kind underneath: a file took a directory's place, or the other way round. The disk is right about
// the local branch. What the vault alone had there would be hidden by it: it takes a free name beside it.
#include "common/log.h"
#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier::rows {

namespace {

constexpr std::string_view kAsideMark = " (from the vault";
constexpr std::size_t kLongestName = 255;
constexpr std::size_t kLongestExtension = 16;
constexpr int kMostAside = 50;

// `stem` shortened to at most `limit` bytes, not within a character.
std::string_view shortened(std::string_view stem, std::size_t limit) {
  if (stem.size() <= limit) return stem;
  while (limit > 0 && (static_cast<unsigned char>(stem[limit]) & 0xC0U) == 0x80U) --limit;
  return stem.substr(0, limit);
}

std::string aside_name(const Node& node, int n) {
  const std::string_view name = base_name(node.path);
  const std::size_t dot = node.kind == NodeKind::file ? name.rfind('.') : std::string_view::npos;
  const bool extension = dot != std::string_view::npos && dot > 0 && name.size() - dot <= kLongestExtension;
  const std::string_view end = extension ? name.substr(dot) : std::string_view();
  std::string mark(kAsideMark);
  if (n > 1) mark += " " + std::to_string(n);
  mark += ")";
  mark += end;
  std::string made(shortened(name.substr(0, name.size() - end.size()), kLongestName - mark.size()));
  made += mark;
  return join_path(parent_path(node.path), made);
}

Result<bool> is_free(Tx& tx, const std::string& path) {
  MEDIAFS_ASSIGN(const std::int64_t row, resolve(tx.db, path));
  if (row != 0) return false;
  MEDIAFS_ASSIGN(const bool forgetting, tombstoned(tx.db, path));
  if (forgetting) return false;
  MEDIAFS_ASSIGN(auto query, tx.db.prepare("SELECT 1 FROM share_entry WHERE dir = ? AND name = ?"));
  MEDIAFS_ASSIGN(const bool shared,
                 query.bind_bytes(1, parent_path(path)).bind_bytes(2, base_name(path)).step());
  return !shared;
}

Status move_aside(Tx& tx, const Node& node, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    MEDIAFS_ASSIGN(const bool free, is_free(tx, name));
    if (!free) continue;
    MEDIAFS_TRY(move_row(tx, node, name));
    tx.shown.push_back(name);
    log::warning("something else took the place of what only the vault has: that has another name now",
                 {{"path", printable(node.path)}, {"name", printable(name)}});
    return add_change(tx, ChangeKind::renamed, name, node.path);
  }
  return make_error(node.kind == NodeKind::file ? ErrorCode::exists : ErrorCode::is_directory,
                    printable(node.path),
                    "the vault alone has what bore this name before: rename what is on the local branch");
}

}  // namespace

std::vector<std::string> aside_names(const Node& node,
                                     const std::function<bool(const std::string& path)>& on_disk) {
  std::vector<std::string> names;
  for (int n = 1; n <= kMostAside; ++n) {
    std::string name = aside_name(node, n);
    if (!on_disk(name)) names.push_back(std::move(name));
  }
  return names;
}

Status replace_kind(Tx& tx, const Node& node, const std::vector<std::string>& names) {
  if (node.kind == NodeKind::directory) {
    MEDIAFS_TRY(local_directory_gone(tx, node, true));
    MEDIAFS_ASSIGN(const auto left, load(tx.db, node.id));
    return left ? move_aside(tx, *left, names) : Status{};
  }
  if (node.vault && !node.local) return move_aside(tx, node, names);
  MEDIAFS_TRY(end_file(tx, node));
  return add_change(tx, ChangeKind::deleted, node.path);
}

}  // namespace mediafs::tier::rows
