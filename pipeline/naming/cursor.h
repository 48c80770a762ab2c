// A reader of lower-case bytes for the numbering matchers. Internal to pipeline/naming.
// Threads:    values.
#pragma once

#include <optional>
#include <string_view>

#include "pipeline/naming/text.h"

namespace mediafs::naming {

struct Cursor {
  std::string_view text;
  std::size_t at = 0;

  char peek(std::size_t ahead = 0) const { return at + ahead < text.size() ? text[at + ahead] : '\0'; }
  bool done() const { return at >= text.size(); }
  // A word ends here. Ideographs may touch a number, so only ASCII letters and digits bind.
  bool boundary() const { return !is_digit(peek()) && !is_alpha(peek()); }

  bool eat(char c) {
    if (peek() != c || done()) return false;
    ++at;
    return true;
  }
  bool eat(std::string_view word) {
    if (text.substr(at, word.size()) != word) return false;
    at += word.size();
    return true;
  }
  bool eat_any(std::string_view set) {
    if (done() || set.find(peek()) == std::string_view::npos) return false;
    ++at;
    return true;
  }
  // Up to `most` separators of the set.
  int skip(std::string_view set, int most = 3) {
    int n = 0;
    while (n < most && eat_any(set)) ++n;
    return n;
  }
  // A whole run of digits, if it is `least` to `most` long.
  std::optional<int> number(std::size_t least, std::size_t most) {
    std::size_t n = 0;
    while (n <= most && is_digit(peek(n))) ++n;
    if (n < least || n > most) return std::nullopt;
    const int value = to_int(text.substr(at, n));
    at += n;
    return value;
  }
};

}  // namespace mediafs::naming
