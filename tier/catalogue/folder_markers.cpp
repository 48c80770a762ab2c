// Folders that another program keeps in the vault by an object "folder/" of no bytes. Kept as settings: most vaults have few.
#include "common/path.h"
#include "tier/catalogue/impl.h"
#include "tier/vault/names.h"

namespace mediafs::tier::rows {

namespace {

constexpr std::string_view kPrefix = "marker.";
constexpr std::string_view kDigits = "0123456789abcdef";

// Two digits a byte keep the order, and what is below a folder together: its slash is 2f.
std::string name_of(std::string_view folder) {
  std::string text(kPrefix);
  for (const char c : folder) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

std::string folder_of(std::string_view name) {
  const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  std::string bytes;
  for (std::size_t i = kPrefix.size(); i + 1 < name.size(); i += 2)
    bytes += static_cast<char>((digit(name[i]) << 4U | digit(name[i + 1])) & 255U);
  return bytes;
}

}  // namespace

Status note_marker(Tx& tx, std::string_view folder) {
  return set_setting(tx, name_of(folder), "1");
}

Status forget_markers(Tx& tx, std::string_view folder) {
  const std::string own = name_of(folder);
  std::vector<std::string> names;
  {
    MEDIAFS_ASSIGN(auto query,
                   tx.db.prepare("SELECT name FROM setting WHERE name = ?1 OR (name >= ?2 AND name < ?3)"));
    query.bind_text(1, own).bind_text(2, own + "2f").bind_text(3, own + "30");
    for (;;) {
      MEDIAFS_ASSIGN(const bool row, query.step());
      if (!row) break;
      names.push_back(query.text(0));
    }
  }
  for (const std::string& name : names) {
    MEDIAFS_TRY(forget_key(tx, folder_marker(folder_of(name))));
    MEDIAFS_ASSIGN(auto remove, tx.db.prepare("DELETE FROM setting WHERE name = ?"));
    MEDIAFS_TRY(remove.bind_text(1, name).run());
  }
  return {};
}

}  // namespace mediafs::tier::rows
