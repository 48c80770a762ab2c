#include <doctest/doctest.h>

#include <vector>

#include "pipeline/naming/parse.h"

using mediafs::naming::Kind;
using mediafs::naming::parse_name;
using mediafs::naming::Parsed;
using List = std::vector<int>;

namespace {

void check_episode(const char* name, const char* title, int season, const List& episodes) {
  CAPTURE(name);
  const Parsed p = parse_name(name);
  CHECK(p.kind == Kind::episode);
  CHECK(p.title == title);
  CHECK(p.season.value_or(-1) == season);
  CHECK(p.episodes == episodes);
}

void check_absolute(const char* name, const char* title, const std::vector<double>& numbers) {
  CAPTURE(name);
  const Parsed p = parse_name(name);
  CHECK(p.kind == Kind::episode);
  CHECK(p.title == title);
  CHECK(p.absolute == numbers);
  CHECK_FALSE(p.season.has_value());
}

void check_season(const char* name, const char* title, int season, const List& seasons) {
  CAPTURE(name);
  const Parsed p = parse_name(name);
  CHECK(p.kind == Kind::season);
  CHECK(p.title == title);
  CHECK(p.season.value_or(-1) == season);
  CHECK(p.seasons == seasons);
  CHECK(p.episodes.empty());
}

}  // namespace

TEST_CASE("season and episode in all their forms") {
  check_episode("Harbour.Lights.S02E07.720p.HDTV.x264-QWERTY.mkv", "Harbour Lights", 2, {7});
  check_episode("Harbour Lights - S02 E07 - The Fog", "Harbour Lights", 2, {7});
  check_episode("Harbour_Lights-s02-e07.mkv", "Harbour Lights", 2, {7});
  check_episode("Harbour.Lights.S2.Ep7.x265.mp4", "Harbour Lights", 2, {7});
  check_episode("Harbour Lights - 2x07 - The Fog.avi", "Harbour Lights", 2, {7});
  check_episode("Harbour Lights - [02x07] - The Fog.avi", "Harbour Lights", 2, {7});
  check_episode("Harbour Lights Season 2 Episode 7 720p", "Harbour Lights", 2, {7});
  check_episode("Harbour Lights S42 E10591", "Harbour Lights", 42, {10591});
  check_episode("Harbour.Lights.S2019E07.1080p", "Harbour Lights", 2019, {7});
  check_episode("Harbour Lights [HDTV][Cap.207](example.com).avi", "Harbour Lights", 2, {7});
}

TEST_CASE("several episodes in one file") {
  check_episode("Harbour.Lights.S02E07E08.720p", "Harbour Lights", 2, {7, 8});
  check_episode("Harbour.Lights.S02E07-E09.720p", "Harbour Lights", 2, {7, 8, 9});
  check_episode("Harbour.Lights.S02E07-09.720p", "Harbour Lights", 2, {7, 8, 9});
  check_episode("Harbour.Lights.S02E07.S02E08.720p", "Harbour Lights", 2, {7, 8});
  check_episode("Harbour Lights - 2x07-2x09 - Fog", "Harbour Lights", 2, {7, 8, 9});
  check_episode("Harbour Lights 2x07x08", "Harbour Lights", 2, {7, 8});
  check_episode("Harbour Lights (S02E07-09 of 12) Fog", "Harbour Lights", 2, {7, 8, 9});
}

TEST_CASE("what follows an episode is not one more") {
  check_episode("Harbour.Lights.S02E07.24.Hours.1080p", "Harbour Lights", 2, {7});
  check_episode("Harbour Lights - S02E13 - 9 to 5 [DVD]", "Harbour Lights", 2, {13});
  check_episode("Harbour.Lights.S02E07-1080p.mkv", "Harbour Lights", 2, {7});
  check_episode("harbour.lights.s2e7-482910.srt", "Harbour Lights", 2, {7});
}

TEST_CASE("a split episode and a recap") {
  check_episode("Harbour.Lights.S02E07b.Fog.1080p", "Harbour Lights", 2, {7});
  CHECK(parse_name("Harbour Lights S02E07.5 [SP]-The Fog").special);
}

TEST_CASE("numbers in the show's title") {
  check_episode("77.Sunset.S01E02.1080p.mkv", "77 Sunset", 1, {2});
  check_episode("1899 S01E02", "1899", 1, {2});
  check_episode("Unit 101 - S01E07 - Debate 109", "Unit 101", 1, {7});
}

TEST_CASE("numbers without a letter") {
  check_episode("harbour.lights.207.hdtv-qwy.mp4", "Harbour Lights", 2, {7});
  check_episode("Harbour.Lights.1013.720p.HDTV.x264-QWERTY", "Harbour Lights", 10, {13});
  check_episode("Harbour.Lights.10708.hdtv-qwy.mp4", "Harbour Lights", 1, {7, 8});
  check_absolute("Harbour.Lights.14.HDTV-QWERTY", "Harbour Lights", {14});
}

TEST_CASE("a year before the number is the show's") {
  const Parsed p = parse_name("Harbour.Lights.2014.S02E07.720p.mkv");
  CHECK(p.title == "Harbour Lights");
  CHECK(p.year.value_or(0) == 2014);
}

TEST_CASE("episode titles") {
  CHECK(parse_name("Harbour.Lights.S02E07.Into.the.Fog.720p.HDTV.x264-QWERTY").episode_title ==
        "Into the Fog");
  CHECK(parse_name("Harbour Lights - 2x07 - Into the Fog (Part 2).avi").episode_title == "Into the Fog");
  CHECK(parse_name("Harbour.Lights.S02E07.720p.mkv").episode_title.empty());
}

TEST_CASE("daily shows") {
  const auto date = [](const char* name) { return parse_name(name).date.value_or("none"); };
  CHECK(date("Evening.Hour.2016.05.23.720p.WEB.mkv") == "2016-05-23");
  CHECK(date("Evening Hour 23.05.2016 1080i HDTV") == "2016-05-23");
  CHECK(date("Evening.Hour.05-23-2016.HDTV") == "2016-05-23");
  CHECK(date("Evening Hour 23rd May 2016 1080p") == "2016-05-23");
  CHECK(date("Evening_Hour_160523_720p_HDTV") == "2016-05-23");
  CHECK(date("2016-05-23 - Evening Hour.mkv") == "2016-05-23");
  CHECK(date("Evening.Hour.2016.13.45.720p.WEB.mkv") == "none");
  CHECK(parse_name("Evening.Hour.2016.05.23.720p.WEB.mkv").title == "Evening Hour");
  CHECK(parse_name("2016-05-23 - Evening Hour.mkv").title == "Evening Hour");
}

TEST_CASE("season packs") {
  check_season("Harbour.Lights.S02.1080p.BluRay.x264-QWERTY", "Harbour Lights", 2, {});
  check_season("Harbour Lights Season 2 [1080p]", "Harbour Lights", 2, {});
  check_season("Harbour Lights Saison IV FRENCH DVDRip", "Harbour Lights", 4, {});
  check_season("Harbour Lights Seasons 1 to 3 720p BluRay", "Harbour Lights", 1, {1, 2, 3});
  check_season("Harbour Lights S01-S03 1080p WEB-DL", "Harbour Lights", 1, {1, 2, 3});
  check_season("Harbour Lights / S2E1-8 of 8 [2022, WEB-DL]", "Harbour Lights", 2, {});
  CHECK(parse_name("Harbour.Lights.S02.EXTRAS.DVDRip.XviD-QWERTY").extra);
  CHECK(parse_name("Harbour.Lights.S02.Part.2.1080p.WEB-DL").part.value_or(0) == 2);
}

TEST_CASE("anime: absolute numbers") {
  check_absolute("[Group] Moon Garden - 07 [1080p].mkv", "Moon Garden", {7});
  check_absolute("[Group] Moon Garden - 07v2 [1080p][ABCD1234].mkv", "Moon Garden", {7});
  check_absolute("[Group]_Moon_Garden_07_[1080p].mkv", "Moon Garden", {7});
  check_absolute("[Group] Moon Garden 21 - 101 [480p].mkv", "Moon Garden 21", {101});
  check_absolute("[Group] Moon Garden - 01-03 [1080p]", "Moon Garden", {1, 2, 3});
  check_absolute("[Group] Moon Garden (01~03) [1080p]", "Moon Garden", {1, 2, 3});
  check_absolute("[Group] Moon Garden - 10.5 [1080p].mkv", "Moon Garden", {10.5});
  check_absolute("[Group] Moon Garden 1004 [ABCD1234].mkv", "Moon Garden", {1004});
  check_absolute("Moon Garden - 722 [HD_1280x720].mp4", "Moon Garden", {722});
  CHECK(parse_name("[Group] Moon Garden - 07 [1080p].mkv").group == "Group");
}

TEST_CASE("anime: a season before the number") {
  check_episode("[Group] Moon Garden S2 - 07 [1080p].mkv", "Moon Garden", 2, {7});
  check_episode("[Group][Moon Garden S02][07][1080p]", "Moon Garden", 2, {7});
}

TEST_CASE("anime: specials and films of a group") {
  const Parsed ova = parse_name("[Group] Moon Garden OVA v2 [540p][128BAC43].mkv");
  CHECK(ova.kind == Kind::episode);
  CHECK(ova.title == "Moon Garden");
  CHECK(ova.special);
  CHECK(parse_name("[Group] Moon Garden - Princess of the Tide [BD 1080p] [CD298D48].mkv").kind ==
        Kind::movie);
}

TEST_CASE("anime: brackets and titles of Chinese groups") {
  check_absolute("【某某字幕组】[月之花园][Moon Garden][12END][1080p][简体]", "Moon Garden", {12});
  check_absolute("[Group][月之花园][2019][234][1080P]", "月之花园", {234});
  check_absolute("[Group] 月之花园 / Moon Garden - 07 [1080p]", "Moon Garden", {7});
  check_absolute("[Group][MOON GARDEN 月之花园][第108话][1080P]", "MOON GARDEN", {108});
}

TEST_CASE("a number of its own beside season and episode is absolute") {
  for (const char* name : {"[Group] Moon Garden - 05 (S02E05) [1080p]", "Moon Garden - 005 - S02E05.mkv",
                           "Moon Garden - S02E05 - 005 - Tide.mkv"}) {
    CAPTURE(name);
    const Parsed p = parse_name(name);
    CHECK(p.title == "Moon Garden");
    CHECK(p.season.value_or(0) == 2);
    CHECK(p.episodes == List{5});
    CHECK(p.absolute == std::vector<double>{5});
  }
  CHECK(parse_name("Bleak Tide s16e03-05 - 313-315.mkv").episodes == List{3, 4, 5});
  CHECK(parse_name("Bleak Tide 313-315 s16e03-05.mkv").title == "Bleak Tide");
}

TEST_CASE("two absolute numbers") {
  check_absolute("[Group] Moon Garden - 01+02 [1080p]", "Moon Garden", {1, 2});
  check_absolute("[Group] Moon Garden - 01 & 02 [1080p]", "Moon Garden", {1, 2});
  check_absolute("[Group][Moon Garden][第01-03集][1080p]", "Moon Garden", {1, 2, 3});
}

TEST_CASE("seasons of other languages and broadcasters") {
  check_season("Harbour Lights 4ª Temporada 1080p", "Harbour Lights", 4, {});
  check_season("Harbour Lights Season 1,2,3 1080p", "Harbour Lights", 1, {1, 2, 3});
  check_episode("Harbour Lights 2. Staffel Folge 3", "Harbour Lights", 2, {3});
  check_episode("Harbour Lights Series 2 Episode 3", "Harbour Lights", 2, {3});
  check_episode("Harbour Lights Stagione 2 Episodio 3", "Harbour Lights", 2, {3});
}

TEST_CASE("an episode of a saga of films is a film") {
  const Parsed film = parse_name("Star.Harbour.Episode.9.The.Tide.2019.1080p.BluRay");
  CHECK(film.kind == Kind::movie);
  CHECK(film.year.value_or(0) == 2019);
  CHECK(parse_name("Star.Harbour.Episode.9.720p.HDTV").kind == Kind::episode);
}

TEST_CASE("a number of a list in front of the show") {
  const Parsed p = parse_name("02-Harbour.Lights.5x03.Reckoner.avi");
  CHECK(p.title == "Harbour Lights");
  CHECK(p.episodes == List{3});
  CHECK(parse_name("003. Harbour Lights - Fog.mkv").episode_title == "Fog");
}
