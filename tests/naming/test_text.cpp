#include <doctest/doctest.h>

#include "pipeline/naming/text.h"
#include "pipeline/naming/vocabulary.h"

using namespace mediafs::naming;

TEST_CASE("UTF-8 is decoded strictly") {
  CHECK(decode_utf8("\xC3\xA9", 0).code == 0xE9);
  CHECK_FALSE(decode_utf8("\xC0\x80", 0).valid);      // overlong
  CHECK_FALSE(decode_utf8("\xED\xA0\x80", 0).valid);  // half of a pair
  CHECK_FALSE(decode_utf8("\xF5\x80\x80\x80", 0).valid);
  CHECK_FALSE(decode_utf8("\xE6\x9C", 0).valid);  // cut short
  std::string out;
  for (const char32_t c : {U'a', U'\u00E9', U'\u6708', U'\U0001F3AC'}) append_utf8(out, c);
  CHECK(out == "a\xC3\xA9\xE6\x9C\x88\xF0\x9F\x8E\xAC");
}

TEST_CASE("full-width and CJK punctuation becomes ASCII") {
  CHECK(tidy("【組】（１）～") == "[組](1)~");
  CHECK(tidy("a\u2013b\u2019c") == "a-b'c");
  CHECK(tidy("a\u202Eb\u200Bc") == "abc");
}

TEST_CASE("numerals") {
  CHECK(roman_numeral("vii").value() == 7);
  CHECK_FALSE(roman_numeral("iiii").has_value());
  CHECK(number_word("three").value() == 3);
  CHECK(to_int("0042") == 42);
  CHECK(to_int("99999999999999999999") == 0);
}

TEST_CASE("words with a pattern") {
  for (const char* w : {"1080p", "720i", "1280x720", "10bit", "6ch", "700mb", "x264", "1080p24"}) {
    CAPTURE(w);
    CHECK((classify_word(w) & kStrong) != 0);
  }
  for (const char* w : {"1080", "4x4", "web", "the", "2160", "12x34", "p", ""}) {
    CAPTURE(w);
    CHECK((classify_word(w) & kStrong) == 0);
  }
}
