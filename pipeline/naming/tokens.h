// A name cut into words, with what stood between them.
// Threads:    values.
// Invariants: (1) tokens are in order and don't overlap; (2) text and low have the same length, byte for byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/naming/vocabulary.h"

namespace mediafs::naming {

// What stands between a word and the one before it: bits.
using Gap = std::uint16_t;
inline constexpr Gap kGapSpace = 1, kGapDot = 2, kGapUnder = 4, kGapDash = 8, kGapComma = 16, kGapSlash = 32,
                     kGapTilde = 64, kGapPlus = 128, kGapOpen = 256, kGapClose = 512, kGapColon = 1024,
                     kGapOther = 2048;

struct Token {
  std::size_t begin = 0;
  std::size_t end = 0;
  Gap gap = 0;       // before it
  char bracket = 0;  // the innermost '[', '(' or '{' that it stands in
  int block = 0;     // which bracket that is; 0 outside
  bool ideograph = false;
  bool digits = false;
  std::uint32_t word = 0;  // WordClass bits
};

struct Name {
  std::string text;  // tidy
  std::string low;   // in lower case
  std::vector<Token> tokens;
  Gap tail = 0;  // what stands after the last word

  std::size_t size() const { return tokens.size(); }
  std::string_view word(std::size_t i) const {
    return std::string_view(text).substr(tokens[i].begin, tokens[i].end - tokens[i].begin);
  }
  std::string_view lower(std::size_t i) const {
    return std::string_view(low).substr(tokens[i].begin, tokens[i].end - tokens[i].begin);
  }
  // The gap after token i.
  Gap gap_after(std::size_t i) const {
    return i + 1 < tokens.size() ? tokens[i + 1].gap : static_cast<Gap>(tail);
  }
  // The first token that begins at or after this byte; size() if none.
  std::size_t token_at(std::size_t byte) const;
};

Name tokenize(std::string text);

}  // namespace mediafs::naming
