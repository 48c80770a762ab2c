#include <doctest/doctest.h>

#include "pipeline/naming/parse.h"

using mediafs::naming::Kind;
using mediafs::naming::parse;
using mediafs::naming::Parsed;
using List = std::vector<int>;

TEST_CASE("a season's folder gives season and show") {
  const Parsed p = parse("TV/Harbour Lights/Season 02/07. Into the Fog.mkv");
  CHECK(p.kind == Kind::episode);
  CHECK(p.title == "Harbour Lights");
  CHECK(p.season.value_or(0) == 2);
  CHECK(p.episodes == List{7});
}

TEST_CASE("the show from its folder, the number from the file") {
  for (const char* path :
       {"TV/Harbour Lights/Season 2/E07.mkv", "TV/Harbour Lights/S02E07.mkv",
        "/mnt/x/Harbour Lights/Saison 2/Ep. 07 - Fog.avi",
        "TV/Harbour Lights/Season 2/2x07 - Harbour Lights - Fog.avi", "Harbour Lights S02/E07-Fog.mkv"}) {
    CAPTURE(path);
    const Parsed p = parse(path);
    CHECK(p.title == "Harbour Lights");
    CHECK(p.season.value_or(0) == 2);
    CHECK(p.episodes == List{7});
  }
}

TEST_CASE("a number that ends a show's folder is part of the show's name") {
  CHECK(parse("Outpost 23/S01E01.First.mkv").title == "Outpost 23");
}

TEST_CASE("a hashed file takes everything from its release's folder") {
  const Parsed p =
      parse("Incoming/Harbour.Lights.S02E07.720p.WEB-DL.x264-QWERTY/0e895c37245186812cb08aab1529cf8e.mkv");
  CHECK(p.title == "Harbour Lights");
  CHECK(p.episodes == List{7});
  CHECK(p.extension == "mkv");
  CHECK(parse("Incoming/Paper.Lanterns.2011.1080p.BluRay-QWERTY/abc.mkv").title == "Paper Lanterns");
}

TEST_CASE("a pack's folder does not overrule the file") {
  const Parsed p = parse("Harbour.Lights.S02E01.E10.720p.WEB-DL/Harbour.Lights.S02E07.720p.WEB-DL.mkv");
  CHECK(p.episodes == List{7});
}

TEST_CASE("a film's folder gives its year") {
  const Parsed p = parse("Movies/Paper Lanterns (2011)/Paper.Lanterns.FRENCH.DVDRip.XviD-QWERTY.avi");
  CHECK(p.title == "Paper Lanterns");
  CHECK(p.year.value_or(0) == 2011);
  CHECK(p.kind == Kind::movie);
}

TEST_CASE("a film's folder gives a title that the file shortens") {
  CHECK(parse("Movies/Ant-Farm (2002)/ant-farm.2002.1080p.bluray.x264.mkv").title == "Ant-Farm");
}

TEST_CASE("names written backwards") {
  const Parsed p = parse("x/YTREWQ-462.H.LD-BEW.p027.70E20S.sthgiL.ruobraH.mkv");
  CHECK(p.title == "Harbour Lights");
  CHECK(p.season.value_or(0) == 2);
  CHECK(p.episodes == List{7});
}

TEST_CASE("Windows paths") {
  const Parsed p = parse("c:\\Temp\\Harbour Lights\\Season 02\\Harbour Lights - S02E07.mkv");
  CHECK(p.title == "Harbour Lights");
  CHECK(p.episodes == List{7});
}
