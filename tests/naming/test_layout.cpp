#include <doctest/doctest.h>

#include <string>

#include "pipeline/naming/layout.h"
#include "pipeline/naming/safe_name.h"

using namespace mediafs::naming;
using mediafs::ErrorCode;
using mediafs::Result;

namespace {

std::string place(const std::string& name, const Templates& templates = {}) {
  const Result<Layout> layout = Layout::compile(templates);
  REQUIRE(layout);
  const std::size_t slash = name.rfind('/');
  const auto path = layout->place(parse(name), slash == name.npos ? name : name.substr(slash + 1), "");
  REQUIRE(path);
  return *path;
}

std::string config_error(const Templates& templates) {
  const Result<Layout> layout = Layout::compile(templates);
  if (layout) return "compiled";
  CHECK(layout.err().code == ErrorCode::config);
  return layout.err().message();
}

bool mentions(const std::string& text, const char* what) {
  return text.find(what) != std::string::npos;
}

}  // namespace

TEST_CASE("films") {
  CHECK(place("Paper.Lanterns.2011.1080p.BluRay.x264-QWERTY.mkv") ==
        "Movies/Paper Lanterns (2011)/Paper Lanterns (2011).mkv");
  CHECK(place("Paper.Lanterns.1080p.BluRay.DTS.x264-QWERTY.mkv") ==
        "Movies/Paper Lanterns/Paper Lanterns.mkv");
  CHECK(place("Paper Lanterns (2011) Director's Cut.mkv") ==
        "Movies/Paper Lanterns (2011)/Paper Lanterns (2011) {edition-Director's Cut}.mkv");
  CHECK(place("Paper.Lanterns.2011.CD1.DVDRip.XviD-QWERTY.avi") ==
        "Movies/Paper Lanterns (2011)/Paper Lanterns (2011) - cd1.avi");
  CHECK(place("Paper Lanterns (2011) {tmdb-4711}.mkv") ==
        "Movies/Paper Lanterns (2011) {tmdb-4711}/Paper Lanterns (2011).mkv");
  CHECK(place("Paper.Lanterns.Part.II.1080p.BluRay.x264-QWERTY.mkv") ==
        "Movies/Paper Lanterns Part 2/Paper Lanterns Part 2.mkv");
}

TEST_CASE("episodes") {
  CHECK(place("Harbour.Lights.S02E07.Into.the.Fog.720p.HDTV.x264-QWERTY.mkv") ==
        "Shows/Harbour Lights/Season 02/Harbour Lights - S02E07 - Into the Fog.mkv");
  CHECK(place("Harbour.Lights.S02E07.720p.mkv") ==
        "Shows/Harbour Lights/Season 02/Harbour Lights - S02E07.mkv");
  CHECK(place("Harbour.Lights.S02E07-E09.720p.mkv") ==
        "Shows/Harbour Lights/Season 02/Harbour Lights - S02E07-E09.mkv");
  CHECK(place("Harbour.Lights.2014.S02E07.720p.mkv") ==
        "Shows/Harbour Lights (2014)/Season 02/Harbour Lights (2014) - S02E07.mkv");
  CHECK(place("[Group] Moon Garden - 07 [1080p].mkv") ==
        "Shows/Moon Garden/Season 01/Moon Garden - S01E07.mkv");
}

TEST_CASE("daily shows are filed by date") {
  CHECK(place("Evening.Hour.2016.05.23.A.Guest.720p.WEB.mkv") ==
        "Shows/Evening Hour/Season 2016/Evening Hour - 2016-05-23 - A Guest.mkv");
  Templates t;
  t.shows = "TV/{show}/{season}/{season}x{episode:02}{ - episode_title}.{ext}";
  CHECK(place("Evening.Hour.2016.05.23.A.Guest.720p.WEB.mkv", t) ==
        "TV/Evening Hour/2016/2016-05-23 - A Guest.mkv");
}

TEST_CASE("specials go to season 00") {
  CHECK(place("Harbour.Lights.S00E03.Making.Of.720p.HDTV.mkv") ==
        "Shows/Harbour Lights/Season 00/Harbour Lights - S00E03 - Making Of.mkv");
  CHECK(place("[Group] Moon Garden OVA [720p][ABCD1234].mkv") ==
        "Shows/Moon Garden/Season 00/[Group] Moon Garden OVA [720p][ABCD1234].mkv");
}

TEST_CASE("what is uncertain keeps its name in Unsorted") {
  CHECK(place("x/1c84a2f09b6de35577a0c1e2d3f4b5a6.mkv") == "Unsorted/1c84a2f09b6de35577a0c1e2d3f4b5a6.mkv");
  CHECK(place("holiday clip.mp4") == "Unsorted/holiday clip.mp4");
  CHECK(place("Harbour.Lights.S02.1080p.BluRay.x264-QWERTY.mkv") ==
        "Unsorted/Harbour.Lights.S02.1080p.BluRay.x264-QWERTY.mkv");
  Templates t;
  t.unsorted = "Other/To do";
  CHECK(place("holiday clip.mp4", t) == "Other/To do/holiday clip.mp4");
}

TEST_CASE("templates of one's own") {
  Templates t;
  t.movies = "{title}{ (year)}{ [resolution]}.{ext}";
  t.shows = "{show}/{season:2}x{episode:03}{-{last:03}}.{ext}";
  CHECK(place("Paper.Lanterns.2011.1080p.BluRay.mkv", t) == "Paper Lanterns (2011) [1080p].mkv");
  CHECK(place("Harbour.Lights.S02E07-E09.720p.mkv", t) == "Harbour Lights/02x007-009.mkv");
}

TEST_CASE("bad templates are refused with what and where") {
  Templates t;
  t.movies = "Movies/{titel}.{ext}";
  CHECK(mentions(config_error(t), "organize.movies, character 8"));
  CHECK(mentions(config_error(t), "titel"));
  t.movies = "Movies/{title.{ext}";
  CHECK(mentions(config_error(t), "organize.movies"));
  t.movies = "Movies/title}.{ext}";
  CHECK(mentions(config_error(t), "character 13"));
  t.movies = "Movies/{title}";
  CHECK(mentions(config_error(t), "{ext}"));
  t.movies = "/Movies/{title}.{ext}";
  CHECK(mentions(config_error(t), "not a path"));
  t.movies = "../{title}.{ext}";
  CHECK(mentions(config_error(t), "not a path"));
  t.movies = "Movies/{title:x}.{ext}";
  CHECK(mentions(config_error(t), "width"));
  t.movies = "Movies/{title}{/year}.{ext}";
  CHECK(mentions(config_error(t), "'/'"));
  t = {};
  t.shows = "Shows/{show}/S{season:02}.{ext}";
  CHECK(mentions(config_error(t), "{episode}"));
  t = {};
  t.unsorted = "../x";
  CHECK(mentions(config_error(t), "organize.unsorted"));
  t.unsorted = "";
  CHECK(mentions(config_error(t), "organize.unsorted"));
}

TEST_CASE("characters that Windows and SMB can't hold") {
  CHECK(safe_component("Paper: Lanterns") == "Paper - Lanterns");
  CHECK(safe_component("9:30") == "9-30");
  CHECK(safe_component("Who? What*") == "Who What");
  CHECK(safe_component("a/b\\c|d<e>f\"g") == "a-b-c-d-e-f'g");
  CHECK(safe_component(" ..name.. ") == "name");
  CHECK(safe_component("nul") == "_nul");
  CHECK(safe_component("COM1.mkv") == "_COM1.mkv");
  CHECK(safe_component("console") == "console");
  CHECK(safe_component("a\x01"
                       "b\xE2\x80\xAE"
                       "c") == "abc");
  CHECK(safe_component("a\xFF") == "a_");
  CHECK(safe_component("") == "_");
}
