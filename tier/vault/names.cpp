#include "tier/vault/names.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "common/path.h"

namespace mediafs::tier {

namespace {

constexpr std::string_view kQuote = "\xE2\x80\x9B";
constexpr std::string_view kGoesOn = "\xE2\x80\x9B{+}";
constexpr std::string_view kFileMark = "\xE2\x80\x9B{file}";
constexpr std::string_view kFolderMark = "\xE2\x80\x9B{dir}";
constexpr std::string_view kEmpty = "\xE2\x80\x9B{}";
constexpr std::string_view kOwn = ".mediafs";
constexpr std::string_view kHex = "0123456789ABCDEF";
constexpr std::size_t kLongestName = 255;

int hex_value(char c) {
  const auto at = kHex.find(c);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

bool is_any_hex(char c) {
  return hex_value(c) >= 0 || (c >= 'a' && c <= 'f');
}

std::optional<char> hex_byte(std::string_view two) {
  if (two.size() < 2 || hex_value(two[0]) < 0 || hex_value(two[1]) < 0) return std::nullopt;
  return static_cast<char>(hex_value(two[0]) * 16 + hex_value(two[1]));
}

void append_hex(std::string& out, char c) {
  const auto byte = static_cast<std::uint8_t>(c);
  out += kHex[byte >> 4U];
  out += kHex[byte & 15U];
}

bool is_plain_text(std::string_view text) {
  if (text.find(kQuote) != std::string_view::npos) return false;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

// A quote of the name's own is doubled where it would be taken for ours, or rclone's.
std::string encoded(std::string_view name) {
  std::string out;
  for (std::size_t i = 0; i < name.size();) {
    const std::size_t length = utf8_length(name.substr(i));
    const std::string_view piece = name.substr(i, std::max<std::size_t>(length, 1));
    if (length == 0) {
      out += kQuote;
      append_hex(out, name[i]);
    } else {
      out += piece;
      const std::string_view rest = name.substr(i + piece.size());
      const bool quotes_next =
          !rest.empty() && (utf8_length(rest) == 0 || rest.starts_with(kQuote) ||
                            (rest.size() > 1 && is_any_hex(rest[0]) && is_any_hex(rest[1])));
      if (piece == kQuote && quotes_next) out += kQuote;
    }
    i += piece.size();
  }
  return out;
}

std::string decoded(std::string_view part) {
  std::string out;
  for (std::size_t i = 0; i < part.size();) {
    const std::string_view rest = part.substr(i);
    if (!rest.starts_with(kQuote)) {
      out += part[i++];
      continue;
    }
    i += kQuote.size();
    const std::string_view next = part.substr(i);
    const auto byte = hex_byte(next);
    if (next.starts_with(kQuote)) {
      out += kQuote;
      i += kQuote.size();
    } else if (byte && (static_cast<std::uint8_t>(*byte) & 0x80U) != 0) {
      out += *byte;
      i += 2;
    } else {
      out += kQuote;
    }
  }
  return out;
}

bool is_special(std::string_view part) {
  return part.empty() || part == "." || part == ".." || part.starts_with(kTemporaryPrefix) ||
         part.find('\0') != std::string_view::npos;
}

// The name that the part has without any Q{, if there is one.
std::optional<std::string> plain_name(std::string_view part) {
  if (is_special(part)) return std::nullopt;
  if (part.size() <= kLongestName && is_plain_text(part)) return std::string(part);
  std::string name = decoded(part);
  if (name.size() > kLongestName || is_escaped(name) || encoded(name) != part) return std::nullopt;
  return name;
}

// Names of at most 255 bytes, all but the last with the mark that says so.
void append_escaped(std::string& path, std::string_view part) {
  if (part.empty()) {
    path += kEmpty;
    return;
  }
  const bool special = is_special(part);
  std::vector<std::string> atoms;
  std::size_t total = 0;
  for (std::size_t i = 0; i < part.size();) {
    const std::size_t length = utf8_length(part.substr(i));
    std::string atom(part.substr(i, std::max<std::size_t>(length, 1)));
    i += atom.size();
    const bool dot =
        special && atom == "." && i <= 2 && part.substr(0, i).find_first_not_of('.') == part.npos;
    if (length == 0 || atom == kQuote || atom[0] == '\0' || dot) {
      std::string escaped(kEscape);
      for (const char c : atom) append_hex(escaped, c);
      atom = escaped + "}";
    }
    total += atom.size();
    atoms.push_back(std::move(atom));
  }
  std::size_t size = 0;
  for (const std::string& atom : atoms) {
    if (total > kLongestName && size + atom.size() + kGoesOn.size() > kLongestName) {
      path.append(kGoesOn).append(1, '/');
      size = 0;
    }
    path += atom;
    size += atom.size();
  }
}

// A name with Q{ as a part of a key, or what there is of it; nullopt: Q{ with what is none of ours.
std::optional<std::string> unescaped(std::string_view name, bool& goes_on) {
  std::string out;
  goes_on = name.ends_with(kGoesOn);
  if (goes_on) name.remove_suffix(kGoesOn.size());
  for (std::size_t i = 0; i < name.size();) {
    if (!name.substr(i).starts_with(kEscape)) {
      out += name[i++];
      continue;
    }
    for (i += kEscape.size(); i < name.size() && name[i] != '}'; i += 2) {
      const auto byte = hex_byte(name.substr(i));
      if (!byte) return std::nullopt;
      out += *byte;
    }
    if (i++ >= name.size()) return std::nullopt;
  }
  return out;
}

template <class Each>
void each_part(std::string_view path, const Each& each) {
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    each(path.substr(start, end - start));
    start = end + 1;
  }
}

std::optional<std::string> unescaped_path(std::string_view path) {
  std::string key;
  bool fine = true;
  bool first = true;
  bool goes_on = false;
  bool within = false;  // a part that has begun in the name before
  each_part(path, [&](std::string_view name) {
    if (!std::exchange(first, false) && !goes_on) key += '/';
    within = std::exchange(goes_on, false);
    if (!within && !is_escaped(name)) {
      key += encoded(name);
      return;
    }
    const auto part = unescaped(name, goes_on);
    fine = fine && part;
    if (part) key += *part;
  });
  return fine && !goes_on ? std::optional(key) : std::nullopt;
}

}  // namespace

std::string path_of_key(std::string_view key) {
  const bool own = key.size() > kOwn.size() && is_within(key, kOwn);
  if (own && check_path(key)) return std::string(key);
  if (key == kOwn) return std::string(kEscape) + "2E}mediafs";
  std::string path;
  bool first = true;
  each_part(key, [&](std::string_view part) {
    if (!std::exchange(first, false)) path += '/';
    if (const auto name = plain_name(part)) {
      path += *name;
    } else {
      append_escaped(path, part);
    }
  });
  return path;
}

Result<std::string> key_of_path(std::string_view path) {
  if (!is_escaped(path)) {
    if (is_plain_text(path)) return std::string(path);
    std::string key;
    each_part(path, [&](std::string_view name) {
      if (!key.empty()) key += '/';
      key += encoded(name);
    });
    return key;
  }
  const std::string plain = unmarked(path);
  const auto key = unescaped_path(plain);
  if (!key || path_of_key(*key) != plain) {
    return make_error(ErrorCode::invalid, "name " + printable(path),
                      "names with \xE2\x80\x9B{ are kept for objects that other programs wrote (rename it)");
  }
  return *key;
}

std::string marked_file(std::string_view path) {
  return std::string(path).append(kFileMark);
}

std::string marked_folder(std::string_view path) {
  return std::string(path).append(kFolderMark);
}

std::string unmarked(std::string_view path) {
  std::string out;
  if (!is_escaped(path)) return std::string(path);
  bool first = true;
  each_part(path, [&](std::string_view name) {
    if (!std::exchange(first, false)) out += '/';
    for (const std::string_view mark : {kFileMark, kFolderMark}) {
      if (name.size() > mark.size() && name.ends_with(mark)) name.remove_suffix(mark.size());
    }
    out += name;
  });
  return out;
}

std::vector<std::string> same_object(std::string_view path) {
  const std::string plain = unmarked(path);
  std::vector<std::string> all{plain, marked_file(plain)};
  for (auto at = plain.find('/'); at != std::string::npos; at = plain.find('/', at + 1))
    all.push_back(marked_folder(plain.substr(0, at)) + plain.substr(at));
  if (std::find(all.begin(), all.end(), path) == all.end()) all.emplace_back(path);
  return all;
}

std::string folder_marker(std::string_view folder) {
  return join_path(folder, kEmpty);
}

}  // namespace mediafs::tier
