#include <cstdio>
#include <ctime>

#include "common/path.h"
#include "tier/catalogue/trash.h"
#include "tier/vault/names.h"

namespace mediafs::tier {

namespace {

constexpr std::string_view kSlash = "\xE2\x88\x95";  // U+2215, which looks like one
constexpr std::string_view kCut = "\xE2\x80\xA6";    // U+2026: the beginning is missing
constexpr std::size_t kLongestName = 255;
constexpr WallNs kSecond = 1'000'000'000;

std::tm calendar(WallNs at_ns) {
  const auto seconds = static_cast<std::time_t>(at_ns / kSecond);
  std::tm tm{};
  gmtime_r(&seconds, &tm);
  return tm;
}

std::string formatted(const std::tm& tm, const char* form) {
  char text[64];
  return {text, std::strftime(text, sizeof(text), form, &tm)};
}

std::string replaced_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (std::size_t at = 0;;) {
    const std::size_t next = text.find(from, at);
    out += text.substr(at, next - at);
    if (next == std::string_view::npos) return out;
    out += to;
    at = next + from.size();
  }
}

// The end of it, which has the name and what kind of file it is; not from within a character.
std::string_view last_bytes(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t from = text.size() - limit;
  while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0U) == 0x80U) ++from;
  return text.substr(from);
}

}  // namespace

std::string trash_key(WallNs at_ns, std::int64_t id, std::string_view path) {
  const std::tm at = calendar(at_ns);
  std::string name = formatted(at, "%H.%M.%S") + "-" + std::to_string(id) + " ";
  // What stands for a key that can't be a name (vault/names.h) would mean something here, too.
  const std::string flat = replaced_all(replaced_all(path, "/", kSlash), kEscape, "\xE2\x80\x9B(");
  const std::size_t room = kLongestName - name.size();
  if (flat.size() > room) name += kCut;
  name += flat.size() > room ? last_bytes(flat, room - kCut.size()) : std::string_view(flat);
  return std::string(kTrashKeys) + formatted(at, "%Y-%m-%d") + "/" + name;
}

std::optional<TrashEntry> from_trash_key(std::string_view key) {
  if (!key.starts_with(kTrashKeys)) return std::nullopt;
  const std::string text(key.substr(kTrashKeys.size()));
  std::tm at{};
  const char* const rest = strptime(text.c_str(), "%Y-%m-%d/%H.%M.%S-", &at);
  if (rest == nullptr || rest == text.c_str()) return std::nullopt;
  TrashEntry entry;
  const char* digit = rest;
  for (; *digit >= '0' && *digit <= '9' && entry.id < INT64_MAX / 100; ++digit)
    entry.id = entry.id * 10 + (*digit - '0');
  if (digit == rest || *digit != ' ') return std::nullopt;
  std::string_view flat = std::string_view(text).substr(static_cast<std::size_t>(digit + 1 - text.c_str()));
  if (flat.starts_with(kCut)) flat.remove_prefix(kCut.size());
  if (flat.starts_with(kSlash)) flat.remove_prefix(kSlash.size());
  entry.path = replaced_all(flat, kSlash, "/");
  if (entry.path.empty() || !check_path(entry.path)) return std::nullopt;
  entry.state = TrashState::kept;
  entry.at_ns = static_cast<WallNs>(timegm(&at)) * kSecond;
  entry.source = entry.path;
  entry.key = key;
  return entry;
}

}  // namespace mediafs::tier
