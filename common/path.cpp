#include "common/path.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace mediafs {

namespace {

constexpr std::size_t kNameLimit = 255;
constexpr std::array<std::string_view, 3> kSidecarSuffixes{".sha1", ".sha256", ".xxh128"};

Error bad_path(std::string_view path, const char* why) {
  return make_error(ErrorCode::invalid, "path " + printable(path), why);
}

// The length of the well-formed UTF-8 sequence at the start of `bytes` and its code point; 0 if there is
// none.
std::size_t utf8_length(std::string_view bytes, std::uint32_t& point) {
  const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const std::uint8_t lead = at(0);
  if (lead < 0x80) {
    point = lead;
    return 1;
  }
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || bytes.size() < length) return 0;
  point = lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xC0) != 0x80) return 0;
    point = point << 6 | (at(i) & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  return point < kLeast.at(length) || point > 0x10FFFF || surrogate ? 0 : length;
}

// Control characters, and those that reorder a line: both let a name forge what a terminal shows.
bool is_hostile(std::uint32_t point) {
  return point < 0x20 || (point >= 0x7F && point < 0xA0) || point == 0x2028 || point == 0x2029 ||
         (point >= 0x202A && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069);
}

}  // namespace

Status check_path(std::string_view path) {
  if (path.empty()) return {};
  if (path.front() == '/') return bad_path(path, "must be relative to the tree's root");
  if (path.find('\0') != std::string_view::npos) return bad_path(path, "contains a NUL byte");
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string_view name = path.substr(start, end - start);
    if (name.empty()) return bad_path(path, "has an empty component");
    if (name == "." || name == "..") return bad_path(path, "has a component . or ..");
    if (name.size() > kNameLimit) {
      return make_error(ErrorCode::name_too_long, "path " + printable(path),
                        "a name is longer than 255 bytes");
    }
    start = end + 1;
  }
  return {};
}

std::string_view parent_path(std::string_view path) {
  const auto slash = path.find_last_of('/');
  return slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash);
}

std::string_view base_name(std::string_view path) {
  const auto slash = path.find_last_of('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string join_path(std::string_view dir, std::string_view name) {
  if (dir.empty()) return std::string(name);
  if (name.empty()) return std::string(dir);
  std::string path;
  path.reserve(dir.size() + 1 + name.size());
  path.append(dir).append(1, '/').append(name);
  return path;
}

bool is_within(std::string_view path, std::string_view dir) {
  if (dir.empty()) return true;
  return path.starts_with(dir) && (path.size() == dir.size() || path[dir.size()] == '/');
}

bool is_sidecar(std::string_view path, std::string* media) {
  const std::string_view name = base_name(path);
  if (!name.starts_with('.')) return false;
  for (const auto suffix : kSidecarSuffixes) {
    if (!name.ends_with(suffix) || name.size() < suffix.size() + 2) continue;
    if (media != nullptr) {
      *media = join_path(parent_path(path), name.substr(1, name.size() - 1 - suffix.size()));
    }
    return true;
  }
  return false;
}

bool is_temporary(std::string_view path) {
  return base_name(path).starts_with(kTemporaryPrefix);
}

std::string sidecar_path(std::string_view media, std::string_view algorithm) {
  std::string name = ".";
  name.append(base_name(media)).append(1, '.').append(algorithm);
  return join_path(parent_path(media), name);
}

bool glob_match(std::string_view pattern, std::string_view name) {
  return ::fnmatch(std::string(pattern).c_str(), std::string(name).c_str(), 0) == 0;
}

std::size_t utf8_length(std::string_view bytes) {
  std::uint32_t point = 0;
  return bytes.empty() ? 0 : utf8_length(bytes, point);
}

std::string printable(std::string_view bytes) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    std::uint32_t point = 0;
    const std::size_t length = utf8_length(bytes, point);
    const std::string_view piece = bytes.substr(0, std::max<std::size_t>(length, 1));
    if (length > 0 && !is_hostile(point)) {
      out.append(piece);
    } else {
      for (const char c : piece) {
        const auto byte = static_cast<std::uint8_t>(c);
        out.append("\\x").append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
      }
    }
    bytes.remove_prefix(piece.size());
  }
  return out;
}

}  // namespace mediafs
