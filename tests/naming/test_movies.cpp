#include <doctest/doctest.h>

#include "pipeline/naming/parse.h"

using mediafs::naming::Kind;
using mediafs::naming::parse;
using mediafs::naming::parse_name;
using mediafs::naming::Parsed;

namespace {

void check_movie(const Parsed& p, const char* title, int year) {
  CHECK(p.kind == Kind::movie);
  CHECK(p.title == title);
  CHECK(p.year.value_or(0) == year);
}

}  // namespace

TEST_CASE("a film's title ends at its year or at the first technical word") {
  check_movie(parse_name("Paper.Lanterns.2011.1080p.BluRay.x264-QWERTY.mkv"), "Paper Lanterns", 2011);
  check_movie(parse_name("Paper Lanterns (2011) [1080p].mkv"), "Paper Lanterns", 2011);
  check_movie(parse_name("Paper_Lanterns_(2011).avi"), "Paper Lanterns", 2011);
  check_movie(parse_name("Paper.Lanterns.720p.HDTV.x264-QWERTY"), "Paper Lanterns", 0);
  check_movie(parse_name("Paper Lanterns.mkv"), "Paper Lanterns", 0);
}

TEST_CASE("the last year before the technical words is the film's") {
  check_movie(parse_name("1984.Revisited.2003.1080p.WEB-DL.mkv"), "1984 Revisited", 2003);
  check_movie(parse_name("Summer 1969 (2014) 720p.mkv"), "Summer 1969", 2014);
  check_movie(parse_name("2010.1080p.BluRay.x264-QWERTY.mkv"), "2010", 0);
}

TEST_CASE("technical words stay in a title where they are ordinary words") {
  check_movie(parse_name("The.Web.2012.1080p.BluRay.x264-QWERTY"), "The Web", 2012);
  check_movie(parse_name("A Limited Heart (2009).mkv"), "A Limited Heart", 2009);
  check_movie(parse_name("The.Final.Cut.1999.DVDRip.XviD-QWERTY"), "The Final Cut", 1999);
  check_movie(parse_name("The.Quiet.Italian.1988.ITALIAN.DVDRip.XviD-QWERTY"), "The Quiet Italian", 1988);
}

TEST_CASE("languages and releases' adjectives before the technical words are not the title") {
  check_movie(parse_name("Lange.Nacht.German.DL.1080p.BluRay.x264-QWERTY"), "Lange Nacht", 0);
  const Parsed p = parse_name("Nuit.Blanche.TRUEFRENCH.DVDRip.XviD-QWERTY.avi");
  check_movie(p, "Nuit Blanche", 0);
  REQUIRE(p.languages.size() == 1);
  CHECK(p.languages[0] == "fr");
}

TEST_CASE("editions") {
  CHECK(parse_name("Stone Garden (1999) Director's Cut.mkv").edition == "Director's Cut");
  CHECK(parse_name("Stone.Garden.EXTENDED.1999.1080p.BluRay.mkv").edition == "EXTENDED");
  CHECK(parse_name("Stone.Garden.1999.Special.Edition.Remastered.720p.mkv").edition ==
        "Special Edition Remastered");
  CHECK(parse_name("Stone Garden 1999 DC (1080p x265)").edition == "Director's Cut");
  CHECK(parse_name("Stone Garden 1999 IMAX.mkv").edition == "IMAX");
  check_movie(parse_name("Stone.Garden.EXTENDED.1999.1080p.BluRay.mkv"), "Stone Garden", 1999);
  CHECK(parse_name("The.Winter.Edition.1952.720p.HDTV.x264-QWERTY").edition.empty());
}

TEST_CASE("parts, discs and ids") {
  const Parsed part = parse_name("Iron Harbour Part II.mkv");
  CHECK(part.title == "Iron Harbour");
  CHECK(part.part.value_or(0) == 2);
  const Parsed disc = parse_name("Iron.Harbour.1977.CD2.XviD-QWERTY.avi");
  check_movie(disc, "Iron Harbour", 1977);
  CHECK(disc.cd.value_or(0) == 2);
  CHECK(parse_name("Iron Harbour (1977) {tmdb-4711}.mkv").tmdb == "4711");
  CHECK(parse_name("Iron Harbour (1977) [imdbid-tt0012345].mkv").imdb == "tt0012345");
  CHECK(parse_name("Iron Harbour (1977) [tmdbid=4711].mkv").tmdb == "4711");
}

TEST_CASE("files that make up one film, and parts that are films") {
  CHECK(parse("Movies/Film (2010)/Film (2010) - part2.avi").cd.value_or(0) == 2);
  CHECK_FALSE(parse("Movies/Film (2010)/Film (2010) - part2.avi").part.has_value());
  const Parsed bonus = parse("Movies/Agent_Y-f21-Casino-x02-Making_Of.mkv");
  CHECK(bonus.title == "Casino");
  CHECK(bonus.extra);
}

TEST_CASE("a year in front") {
  check_movie(parse_name("(1995) Paper Lanterns.mkv"), "Paper Lanterns", 1995);
}

TEST_CASE("acronyms keep their dots") {
  check_movie(parse_name("T.H.U.N.D.E.R.2009.720p.BluRay.x264-QWERTY"), "T.H.U.N.D.E.R.", 2009);
  check_movie(parse_name("3.Weeks.in.N.Y.1996.720p.WEB.H264-QWERTY"), "3 Weeks in N.Y.", 1996);
}

TEST_CASE("two titles in one name") {
  check_movie(parse_name("Tiha.Noc.AKA.Silent.Night.Out.2006.DVDRip.x264-QWERTY"), "Tiha Noc", 2006);
  check_movie(parse_name("Тихая ночь / Silent Night Out (2006) WEB-DL 1080p"), "Тихая ночь", 2006);
  check_movie(parse_name("La.Nuit.(The.Night).1994.DVDRip.XviD-QWERTY"), "La Nuit", 1994);
}

TEST_CASE("adverts and groups before the title") {
  check_movie(parse_name("www.example-site.org - Paper Lanterns 2011 720p x264-QWERTY"), "Paper Lanterns",
              2011);
  check_movie(parse_name("[ www.example.com ] - Paper.Lanterns.2011.720p.x264-QWERTY"), "Paper Lanterns",
              2011);
  check_movie(parse_name("qwy-paper.lanterns.2011.1080p.bluray.x264.mkv"), "Paper Lanterns", 2011);
}

TEST_CASE("capitals: given ones are kept, all lower case gets them") {
  CHECK(parse_name("McKenna and the iDog (2013).mkv").title == "McKenna and the iDog");
  CHECK(parse_name("paper lanterns (2011).mkv").title == "Paper Lanterns");
}

TEST_CASE("confidence decides between the library and Unsorted") {
  using mediafs::naming::kFilingConfidence;
  CHECK(parse_name("Paper.Lanterns.2011.1080p.BluRay.x264-QWERTY.mkv").confidence >= 0.8);
  CHECK(parse_name("Paper Lanterns (2011).mkv").confidence >= kFilingConfidence);
  CHECK(parse_name("Voyager 13.mkv").confidence < kFilingConfidence);
  CHECK(parse_name("holiday clip.mp4").confidence < kFilingConfidence);
  CHECK_FALSE(parse_name("Paper Lanterns (2011).mkv").why.empty());
}
