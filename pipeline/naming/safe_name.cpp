#include "pipeline/naming/safe_name.h"

#include <algorithm>
#include <array>

#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

bool is_edge(char c) {
  return c == '.' || c == ' ';
}

void trim(std::string& s) {
  while (!s.empty() && is_edge(s.back())) s.pop_back();
  s.erase(0, static_cast<std::size_t>(std::find_if_not(s.begin(), s.end(), is_edge) - s.begin()));
}

// CON, NUL and such are devices on Windows, whatever their extension.
bool is_device(std::string_view name) {
  static constexpr std::array<std::string_view, 4> kDevices = {"con", "prn", "aux", "nul"};
  const std::string low = ascii_lower(name.substr(0, name.find('.')));
  if (std::find(kDevices.begin(), kDevices.end(), low) != kDevices.end()) return true;
  return low.size() == 4 && (low.substr(0, 3) == "com" || low.substr(0, 3) == "lpt") && low[3] >= '1' &&
         low[3] <= '9';
}

std::size_t boundary_before(std::string_view s, std::size_t at) {
  while (at > 0 && (static_cast<unsigned char>(s[at]) & 0xC0U) == 0x80) --at;
  return at;
}

}  // namespace

std::string safe_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Decoded d = decode_utf8(text, at);
    const std::string_view bytes = text.substr(at, d.size);
    at += d.size;
    if (!d.valid) {
      out += '_';
      continue;
    }
    if (is_invisible(d.code)) {
      if (d.code == '\t' || d.code == '\n') out += ' ';
      continue;
    }
    switch (d.code) {
      case ':':
        // "Title: Subtitle" reads best as "Title - Subtitle".
        out += at < text.size() && text[at] == ' ' && !out.empty() && out.back() != ' ' ? " -" : "-";
        break;
      case '"':
        out += '\'';
        break;
      case '/':
      case '\\':
      case '|':
      case '<':
      case '>':
        out += '-';
        break;
      case '?':
      case '*':
        break;
      default:
        out.append(bytes);
    }
  }
  return out;
}

std::string safe_component(std::string_view text, std::size_t keep_tail) {
  std::string out = safe_text(text);
  trim(out);
  if (out.size() > kLongestName) {
    const std::size_t tail_at = boundary_before(out, out.size() - std::min(keep_tail, std::size_t{64}));
    const std::string tail = out.substr(tail_at);
    out.resize(boundary_before(out, kLongestName - tail.size()));
    while (!out.empty() && is_edge(out.back())) out.pop_back();
    out += tail;
    trim(out);
  }
  if (out.empty()) return "_";
  if (is_device(out)) out.insert(0, "_");
  return out;
}

std::string safe_file_name(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  const std::size_t tail = dot == name.npos || dot == 0 || name.size() - dot > 12 ? 0 : name.size() - dot;
  return safe_component(name, tail);
}

}  // namespace mediafs::naming
