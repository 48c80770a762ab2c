#include <doctest/doctest.h>

#include <random>
#include <string>

#include "pipeline/naming/jsonl.h"
#include "pipeline/naming/layout.h"
#include "pipeline/naming/parse.h"
#include "pipeline/naming/safe_name.h"
#include "pipeline/naming/text.h"

using namespace mediafs::naming;
using mediafs::Result;

namespace {

bool is_valid_utf8(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const Decoded d = decode_utf8(text, at);
    if (!d.valid || is_invisible(d.code)) return false;
    at += d.size;
  }
  return true;
}

std::string repeat(std::string_view piece, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += piece;
  return out;
}

}  // namespace

TEST_CASE("hashes and keys are unknown, not guessed") {
  for (const char* name :
       {"1c84a2f09b6de35577a0c1e2d3f4b5a6", "f00dfacef00dfacef00dfacef00dfacef00dface.mkv",
        "kX3fQ9aLw72bTzR5vYp1Jm8Ns", "Qk4e7Aba9Zt gmDjuWgR7W3QxdsLEHZF2ZRBRkw8",
        "password - \"1de435cb-93c4-4902-97ea-ca00568c3887.337\" yEnc", "BXQFMZTGHKWD660.mkv",
        "IMG_20200101_120000.mp4", "MVI_0042.avi", "7f8b9a31.mkv", "wVmByQzxK4.mkv", "JUST SOME WORDS", ""}) {
    CAPTURE(name);
    const Parsed p = parse_name(name);
    CHECK(p.kind == Kind::unknown);
    CHECK(p.confidence == 0);
  }
}

TEST_CASE("real single words are not taken for hashes") {
  for (const char* name :
       {"Rhythms.mkv", "WhoWasThereFirst.2000.BluRay.1080p.mkv", "Supercalifragilistic (1988).mkv"}) {
    CAPTURE(name);
    CHECK(parse_name(name).kind == Kind::movie);
  }
}

TEST_CASE("strings are valid UTF-8 without control or direction characters") {
  for (const std::string& name :
       {std::string("Paper\xFFLanterns\xC3 2011 1080p\x80.mkv"),
        std::string("Paper \xE2\x80\xAELanterns (2011)\x07.mkv"), std::string("a\0b (2011).mkv", 14),
        std::string("\xF0\x9F\x8E\xAC Film (2011).mkv")}) {
    const Parsed p = parse(name);
    CHECK(is_valid_utf8(p.title));
    CHECK(is_valid_utf8(p.episode_title));
    CHECK(is_valid_utf8(p.why));
    CHECK(is_valid_utf8(to_json(p, "1")));
  }
}

TEST_CASE("long garbage is answered") {
  for (const char* piece : {"a",
                            "1",
                            ".",
                            "[",
                            "(",
                            "]",
                            "S01E01",
                            "S01E01-",
                            "E01",
                            "1x01",
                            "1-2-3-",
                            "Season 1 ",
                            "2016.05.23.",
                            " - 01",
                            "\xE6\x9C\x88",
                            "\xFF",
                            "[a]",
                            "((",
                            "Extended Cut ",
                            "part ",
                            "german ",
                            "- ",
                            "01~",
                            "s",
                            "9",
                            "of 3 ",
                            "v2 ",
                            "a.b/",
                            "Season 2/"}) {
    CAPTURE(piece);
    const std::string name = repeat(piece, 20'000);
    CHECK(parse_name(name).confidence <= 1);
    CHECK(parse(name).confidence <= 1);
  }
}

TEST_CASE("a list of episodes is bounded") {
  std::string name = "Show";
  for (int i = 1; i < 30'000; ++i) name += " x S01E" + std::to_string(i);
  const Parsed p = parse_name(name);
  CHECK(p.kind == Kind::episode);
  CHECK(p.episodes.size() <= 400);
  CHECK(parse_name("Show S01E001-E99999").episodes.size() <= 400);
}

TEST_CASE("random bytes are answered") {
  std::mt19937 random(7);
  const std::string alphabet = "aZ09 ._-[](){}/\\~+&'!SsEeXx\xFF\xC3\xA9\xE6\x9C\x88\x80\n";
  const Result<Layout> layout = Layout::compile({});
  REQUIRE(layout);
  for (int round = 0; round < 3000; ++round) {
    std::string name;
    const std::size_t length = random() % 80;
    for (std::size_t i = 0; i < length; ++i) name += alphabet[random() % alphabet.size()];
    const Parsed p = parse(name);
    CHECK(is_valid_utf8(p.title));
    const auto path = layout->place(p, name.empty() ? "x" : name, "");
    CAPTURE(name);
    CHECK(path.has_value());
  }
}

TEST_CASE("names of 255 bytes stay within a component") {
  const Result<Layout> layout = Layout::compile({});
  REQUIRE(layout);
  const std::string title = repeat("\xC3\xA9", 118);
  const std::string file = title + " (2011).mkv";
  const auto path = layout->place(parse(file), file, "mkv");
  REQUIRE(path);
  CHECK(path->substr(path->size() - 4) == ".mkv");
  CHECK(is_valid_utf8(*path));
  const std::string base = path->substr(path->rfind('/') + 1);
  CHECK(base.size() <= kLongestName);
  CHECK(base.size() > 200);
}

TEST_CASE("a name can't leave the library") {
  const Result<Layout> layout = Layout::compile({});
  REQUIRE(layout);
  Parsed p = parse_name("Paper.Lanterns.2011.1080p.BluRay.mkv");
  p.title = "../../etc/passwd";
  CHECK(layout->place(p, "x.mkv", "mkv").value() == "Movies/-..-etc-passwd (2011)/-..-etc-passwd (2011).mkv");
  p.title = "..";
  const auto path = layout->place(p, "..", "mkv");
  REQUIRE(path);
  CHECK(path->find("..") == std::string::npos);
  Parsed none;
  CHECK(layout->place(none, "../../x.mkv", "").value() == "Unsorted/-..-x.mkv");
  CHECK(layout->place(none, "...", "").value() == "Unsorted/_");
}
