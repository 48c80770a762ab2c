#include "pipeline/naming/text.h"

#include <algorithm>
#include <array>

namespace mediafs::naming {

Decoded decode_utf8(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {lead, 1, true};
  std::size_t size = 0;
  char32_t code = 0;
  char32_t least = 0;
  if ((lead & 0xE0U) == 0xC0) {
    size = 2, code = lead & 0x1FU, least = 0x80;
  } else if ((lead & 0xF0U) == 0xE0) {
    size = 3, code = lead & 0x0FU, least = 0x800;
  } else if ((lead & 0xF8U) == 0xF0) {
    size = 4, code = lead & 0x07U, least = 0x10000;
  } else {
    return {0xFFFD, 1, false};
  }
  if (at + size > text.size()) return {0xFFFD, 1, false};
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(at + i) & 0xC0U) != 0x80) return {0xFFFD, 1, false};
    code = (code << 6U) | (byte(at + i) & 0x3FU);
  }
  if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {0xFFFD, 1, false};
  return {code, size, true};
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](char32_t c) { out += static_cast<char>(static_cast<unsigned char>(c)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0U | (code >> 6U));
    put(0x80U | (code & 0x3FU));
  } else if (code < 0x10000) {
    put(0xE0U | (code >> 12U));
    put(0x80U | ((code >> 6U) & 0x3FU));
    put(0x80U | (code & 0x3FU));
  } else {
    put(0xF0U | (code >> 18U));
    put(0x80U | ((code >> 12U) & 0x3FU));
    put(0x80U | ((code >> 6U) & 0x3FU));
    put(0x80U | (code & 0x3FU));
  }
}

bool is_ideograph(char32_t c) {
  return (c >= 0x3005 && c <= 0x3007) || (c >= 0x3040 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF);
}

bool is_invisible(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xAD || c == 0x61C || (c >= 0x200B && c <= 0x200F) ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
         (c >= 0xFFF9 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE0FFF);
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

std::string ascii_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (is_upper(c)) c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

int to_int(std::string_view text) {
  if (text.size() > 9) return 0;
  int value = 0;
  for (const char c : text) value = value * 10 + (c - '0');
  return value;
}

std::optional<int> roman_numeral(std::string_view lower) {
  static constexpr std::array<std::string_view, 20> kNumerals = {
      "i",  "ii",  "iii",  "iv",  "v",  "vi",  "vii",  "viii",  "ix",  "x",
      "xi", "xii", "xiii", "xiv", "xv", "xvi", "xvii", "xviii", "xix", "xx"};
  const auto* it = std::find(kNumerals.begin(), kNumerals.end(), lower);
  if (it == kNumerals.end()) return std::nullopt;
  return static_cast<int>(it - kNumerals.begin()) + 1;
}

std::optional<int> number_word(std::string_view lower) {
  static constexpr std::array<std::string_view, 10> kWords = {"one", "two",   "three", "four", "five",
                                                              "six", "seven", "eight", "nine", "ten"};
  const auto* it = std::find(kWords.begin(), kWords.end(), lower);
  if (it == kWords.end()) return std::nullopt;
  return static_cast<int>(it - kWords.begin()) + 1;
}

namespace {

char32_t plain_punctuation(char32_t c) {
  if (c >= 0xFF01 && c <= 0xFF5E) return c - 0xFEE0;  // full-width ASCII
  switch (c) {
    case 0x3010:
    case 0x300C:
    case 0x300E:
    case 0x3014:
    case 0x3016:
    case 0x300A:
    case 0x3008:
      return '[';
    case 0x3011:
    case 0x300D:
    case 0x300F:
    case 0x3015:
    case 0x3017:
    case 0x300B:
    case 0x3009:
      return ']';
    case 0x301C:
    case 0x223C:
      return '~';
    case 0x2010:
    case 0x2011:
    case 0x2012:
    case 0x2013:
    case 0x2014:
    case 0x2015:
    case 0x2212:
      return '-';
    case 0x2018:
    case 0x2019:
    case 0xB4:
    case 0x60:
      return '\'';
    case 0x201C:
    case 0x201D:
    case 0x201E:
    case 0xAB:
    case 0xBB:
      return '"';
    case 0xA0:
    case 0x3000:
    case 0x2003:
    case 0x2002:
    case 0x2009:
    case 0x202F:
    case 0x2605:
    case 0x2606:
      return ' ';
    default:
      return c;
  }
}

}  // namespace

std::string tidy(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const Decoded d = decode_utf8(bytes, at);
    at += d.size;
    if (d.code < 0x20 || d.code == 0x7F || !d.valid) {
      out += ' ';
    } else if (d.code < 0x80 && d.code != 0x60) {
      out += static_cast<char>(d.code);
    } else if (!is_invisible(d.code)) {
      append_utf8(out, plain_punctuation(d.code));
    }
  }
  return out;
}

std::string squash(std::string_view text) {
  std::string out;
  for (const char c : ascii_lower(text)) {
    if (is_word(c)) out += c;
  }
  return out;
}

}  // namespace mediafs::naming
