// What a rename replaces by hand, kept as settings: they are few and short-lived.
#include <sstream>

#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace rows {

namespace {

constexpr std::string_view kPrefix = "replacing.";

std::string hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

std::string bytes_of(std::string_view text) {
  const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes += static_cast<char>((digit(text[i]) << 4U | digit(text[i + 1])) & 255U);
  }
  return bytes;
}

void put(std::ostream& out, const std::optional<Fingerprint>& print) {
  out << (print ? " 1" : " 0");
  if (!print) return;
  out << ' ' << print->size_bytes << ' ' << print->mtime_ns << ' ' << print->ctime_ns << ' ' << print->device
      << ' ' << print->inode;
}

std::optional<Fingerprint> take(std::istream& in) {
  int there = 0;
  Fingerprint print;
  if (!(in >> there) || there == 0) return std::nullopt;
  in >> print.size_bytes >> print.mtime_ns >> print.ctime_ns >> print.device >> print.inode;
  return print;
}

}  // namespace

Status note_replacing(Tx& tx, const Replacing& r) {
  std::ostringstream value;
  value << hex(r.from);
  put(value, r.local);
  put(value, r.share);
  put(value, r.moving);
  put(value, r.source);
  put(value, r.follow);
  return set_setting(tx, std::string(kPrefix) + hex(r.to), value.str());
}

Status drop_replacing(Tx& tx, std::string_view to) {
  MEDIAFS_ASSIGN(auto remove, tx.db.prepare("DELETE FROM setting WHERE name = ?"));
  return remove.bind_text(1, std::string(kPrefix) + hex(to)).run();
}

}  // namespace rows

Status Catalogue::replacing(const Replacing& r) {
  MEDIAFS_TRY(check_path(r.from));
  MEDIAFS_TRY(check_path(r.to));
  return impl_->write([&](rows::Tx& tx) { return rows::note_replacing(tx, r); }, true);
}

Result<std::vector<Replacing>> Catalogue::replacings() {
  std::vector<Replacing> found;
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  MEDIAFS_ASSIGN(auto query,
                 lease.db().prepare("SELECT name, value FROM setting WHERE name >= ? AND name < ?"));
  query.bind_text(1, rows::kPrefix).bind_text(2, "replacing/");
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return found;
    std::istringstream value(query.text(1));
    std::string from;
    value >> from;
    Replacing r;
    r.from = rows::bytes_of(from);
    r.to = rows::bytes_of(query.view(0).substr(rows::kPrefix.size()));
    r.local = rows::take(value);
    r.share = rows::take(value);
    r.moving = rows::take(value);
    r.source = rows::take(value);  // both unset in an older program's
    r.follow = rows::take(value);
    found.push_back(std::move(r));
  }
}

Status Catalogue::replaced(std::string_view to) {
  return impl_->write([&](rows::Tx& tx) { return rows::drop_replacing(tx, to); });
}

// An empty transaction would not reach the disk: this one has something to write.
Status Catalogue::sync() {
  return impl_->write([](rows::Tx& tx) { return rows::set_setting(tx, "synced", std::to_string(tx.now_ns)); },
                      true);
}

}  // namespace mediafs::tier
