// Names that say nothing: hashes, random keys, obfuscated posts.
#include <algorithm>

#include "pipeline/naming/release.h"
#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

struct Shape {
  int letters = 0, digits = 0, upper = 0, vowels = 0, changes = 0, longest_consonants = 0;
  bool hexadecimal = true;
};

Shape measure(std::string_view word) {
  Shape s;
  int last = -1;
  int run = 0;
  for (const char c : word) {
    const int kind = is_digit(c) ? 0 : is_upper(c) ? 1 : 2;
    if (kind == 0) ++s.digits;
    if (kind != 0) ++s.letters;
    if (kind == 1) ++s.upper;
    const char low = is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c;
    const bool vowel = std::string_view("aeiouy").find(low) != std::string_view::npos;
    if (vowel) ++s.vowels;
    run = kind != 0 && !vowel ? run + 1 : 0;
    s.longest_consonants = std::max(s.longest_consonants, run);
    if (!is_digit(c) && (low < 'a' || low > 'f')) s.hexadecimal = false;
    if (last >= 0 && kind != last && !(last == 1 && kind == 2)) ++s.changes;
    last = kind;
  }
  return s;
}

bool is_ascii_word(std::string_view word) {
  return std::all_of(word.begin(), word.end(), [](char c) { return is_digit(c) || is_alpha(c); });
}

bool looks_random(std::string_view word) {
  if (!is_ascii_word(word)) return false;
  const Shape s = measure(word);
  if (s.hexadecimal && s.digits >= 3 && s.letters >= 1 && word.size() >= 12) return true;
  if (s.hexadecimal && word.size() >= 24) return true;
  if (word.size() >= 10 && s.digits >= 2 && s.changes >= 4) return true;
  if (word.size() >= 16 && s.changes >= 7) return true;
  if (word.size() >= 10 && s.digits >= 1 && s.changes >= 5) return true;
  if (word.size() >= 12 && static_cast<std::size_t>(s.changes) * 3 >= word.size()) return true;
  // No word of any language: hardly a vowel, or a long run of consonants.
  if (word.size() >= 12 && s.letters >= 8 && (s.vowels * 6 < s.letters || s.longest_consonants >= 7))
    return true;
  return word.size() >= 12 && s.digits >= 3 && s.letters >= 6 && s.longest_consonants >= 5;
}

// IMG_1234, VID_20200101_120000, 20200101_120000: a camera's counter or clock.
bool is_camera_file(const Name& name) {
  static constexpr std::string_view kPrefixes[] = {"img", "vid", "dsc",  "dscn",    "dscf",
                                                   "mvi", "pxl", "gopr", "whatsapp"};
  std::size_t i = 0;
  if (std::find(std::begin(kPrefixes), std::end(kPrefixes), name.lower(0)) != std::end(kPrefixes)) i = 1;
  std::size_t digits = 0;
  const bool prefixed = i == 1;
  for (; i < name.size(); ++i) {
    if (!name.tokens[i].digits) return false;
    digits += name.word(i).size();
  }
  return prefixed ? digits >= 3 : digits == 14 && name.size() <= 2;
}

bool mixes(std::string_view word) {
  const Shape s = measure(word);
  return is_ascii_word(word) && s.digits > 0 && s.letters > 0;
}

}  // namespace

bool is_garbage(const Name& name) {
  if (name.size() == 0) return true;
  if (is_camera_file(name)) return true;
  std::size_t random = 0, mixed = 0, length = 0, longest_other = 0, technical = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const std::string_view w = name.word(i);
    Numbers numbers;
    if (is_digit(w.back()) && match_paired(name, i, numbers) == name.tokens[i].end && numbers.paired)
      return false;
    length += w.size();
    if (name.tokens[i].word & kStrong) ++technical;
    if (mixes(w)) ++mixed;
    if (looks_random(w)) {
      ++random;
    } else {
      longest_other = std::max(longest_other, w.size());
    }
  }
  if (technical > 0) return false;
  if (name.size() == 1) {
    const std::string_view w = name.word(0);
    // One word with digits inside it has no readable title.
    const Shape s = measure(w);
    const bool inner = is_ascii_word(w) && s.digits >= 2 && s.letters >= 4 && s.changes >= 2 && w.size() >= 9;
    const bool checksum = s.hexadecimal && w.size() == 8 && s.digits >= 2 && s.letters >= 2;
    return random == 1 || inner || checksum;
  }
  if (mixed == name.size() && length >= 16) return true;
  // password - "bdc435cb-93c4-…" yEnc, abc.xyz.af6021c37f7852
  const bool hex_tail = looks_random(name.word(name.size() - 1)) && longest_other <= 4;
  if (random == name.size() || hex_tail) return true;
  const bool posted = name.lower(name.size() - 1) == "yenc" || name.lower(0) == "password";
  return posted && mixed >= 2;
}

bool looks_reversed(const Name& name) {
  for (std::size_t i = 0; i < name.size(); ++i) {
    const std::string_view w = name.lower(i);
    if (w == "p027" || w == "p0801" || w == "p0612" || w == "ld-bew" || w == "462x" || w == "562x")
      return true;
    // 21E20S
    if (w.size() < 5 || w.back() != 's') continue;
    const std::size_t e = w.find('e');
    if (e != std::string_view::npos && e >= 2 && e <= 4 && all_digits(w.substr(0, e)) && w.size() - e >= 4 &&
        all_digits(w.substr(e + 1, w.size() - e - 2))) {
      return true;
    }
  }
  return false;
}

std::string reversed(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t at = end - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80) --at;
    out.append(text.substr(at, end - at));
    end = at;
  }
  return out;
}

}  // namespace mediafs::naming
