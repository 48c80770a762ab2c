// Text helpers of the name parser: UTF-8 in, ASCII-punctuated UTF-8 out.
// Threads:    pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mediafs::naming {

struct Decoded {
  char32_t code;
  std::size_t size;  // bytes taken, at least 1
  bool valid;
};
// REQUIRES: at < text.size()
Decoded decode_utf8(std::string_view text, std::size_t at);
void append_utf8(std::string& out, char32_t code);

bool is_ideograph(char32_t code);  // Han and kana, which need no spaces around Latin words
bool is_invisible(char32_t code);  // control, direction and zero-width characters
inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
inline bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
inline bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
inline bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
// A byte that belongs to a word: letters, digits and every byte of a non-ASCII character.
inline bool is_word(char c) {
  return is_digit(c) || is_alpha(c) || (static_cast<unsigned char>(c) & 0x80U) != 0;
}

bool all_digits(std::string_view text);
std::string ascii_lower(std::string_view text);
// Digits as a number; 0 if there are more than nine. REQUIRES: all_digits(text)
int to_int(std::string_view text);
std::optional<int> roman_numeral(std::string_view lower);  // i to xx
std::optional<int> number_word(std::string_view lower);    // one to ten

// Valid UTF-8 in which full-width and CJK punctuation stand as ASCII, and invisible characters are gone.
std::string tidy(std::string_view bytes);
// Letters and digits only, in lower case: to compare two spellings of a title.
std::string squash(std::string_view text);

}  // namespace mediafs::naming
