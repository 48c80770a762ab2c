#include <doctest/doctest.h>

#include <string>

#include "pipeline/naming/companion.h"

using namespace mediafs::naming;
using List = std::vector<std::string>;

TEST_CASE("what a file is, by its name") {
  CHECK(file_role("a/Film.mkv") == FileRole::video);
  CHECK(file_role("a/Film.M2TS") == FileRole::video);
  CHECK(file_role("a/film-sample.mkv") == FileRole::sample);
  CHECK(file_role("a/Sample/film.mkv") == FileRole::sample);
  CHECK(file_role("a/The Sample Maker (2001).mkv") == FileRole::video);
  CHECK(file_role("film.en.srt") == FileRole::subtitle);
  CHECK(file_role("film.nfo") == FileRole::nfo);
  CHECK(file_role("poster.JPG") == FileRole::artwork);
  CHECK(file_role("film.rar") == FileRole::archive);
  CHECK(file_role("film.r07") == FileRole::archive);
  CHECK(file_role("film.part02.rar") == FileRole::archive);
  CHECK(file_role("film.7z.001") == FileRole::archive);
  CHECK(file_role("film.sfv") == FileRole::clutter);
  CHECK(file_role("Thumbs.db") == FileRole::clutter);
  CHECK(file_role("www.example.org.txt") == FileRole::clutter);
  CHECK(file_role("notes.txt") == FileRole::other);
  CHECK(file_role("README") == FileRole::other);
}

TEST_CASE("a subtitle's language and flags") {
  CHECK(subtitle_tags(".en.forced").language == "en");
  CHECK(subtitle_tags(".en.forced").flags == List{"forced"});
  CHECK(subtitle_tags(".eng").language == "en");
  CHECK(subtitle_tags(".German.SDH").language == "de");
  CHECK(subtitle_tags("2_English").language == "en");
  CHECK(subtitle_tags(".pt-BR").language == "pt-BR");
  CHECK(subtitle_tags(".hi").language == "hi");
  CHECK(subtitle_tags(".en.hi").language == "en");
  CHECK(subtitle_tags(".en.hi").flags == List{"hi"});
  CHECK(subtitle_tags("").language.empty());
}

TEST_CASE("companions follow their video") {
  const std::string target = "Movies/Paper Lanterns (2011)/Paper Lanterns (2011).mkv";
  const std::string source = "Paper.Lanterns.2011.1080p-QWERTY.mkv";
  const auto at = [&](const char* name) { return place_companion(target, name, source).value(); };
  CHECK(at("Paper.Lanterns.2011.1080p-QWERTY.en.forced.srt") ==
        "Movies/Paper Lanterns (2011)/Paper Lanterns (2011).en.forced.srt");
  CHECK(at("Paper.Lanterns.2011.1080p-QWERTY.srt") ==
        "Movies/Paper Lanterns (2011)/Paper Lanterns (2011).srt");
  CHECK(at("Subs/3_French.srt") == "Movies/Paper Lanterns (2011)/Paper Lanterns (2011).fr.srt");
  CHECK(at("paper.lanterns.2011.1080p-qwerty.nfo") ==
        "Movies/Paper Lanterns (2011)/Paper Lanterns (2011).nfo");
  CHECK(at("poster.jpg") == "Movies/Paper Lanterns (2011)/poster.jpg");
  CHECK(at("Paper.Lanterns.2011.1080p-QWERTY-fanart.jpg") ==
        "Movies/Paper Lanterns (2011)/Paper Lanterns (2011)-fanart.jpg");
  CHECK(place_companion(target, "setup.rar", source).error().code == mediafs::ErrorCode::invalid);
}
