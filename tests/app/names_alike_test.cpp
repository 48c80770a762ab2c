#include "app/names_alike.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>

using namespace mediafs;
using namespace mediafs::app;

TEST_CASE("letters of either case are the same, and nothing else is") {
  CHECK(without_case("The FILM (1999).MKV") == "the film (1999).mkv");
  CHECK(without_case("\xc3\x89\xc5\xa0\xce\xa9\xd0\x96\xd0\x81") ==
        "\xc3\xa9\xc5\xa1\xcf\x89\xd0\xb6\xd1\x91");
  for (const char* same : {"\xc3\x97", "\xff\xc3", "\xe4\xb8\xad",
                           "stra\xc3\x9f"
                           "e",
                           "a_b[1]~"}) {
    CHECK(without_case(same) == same);
  }
}

TEST_CASE("names on the share that differ only by case are found, the first ones by path") {
  std::string dir = std::filesystem::temp_directory_path() / "mediafs-alike-XXXXXX";
  REQUIRE(mkdtemp(dir.data()) != nullptr);
  {
    auto catalogue = tier::Catalogue::open({.path = dir + "/catalogue.db"});
    REQUIRE(catalogue);
    const auto entry = [](const char* name, mode_t type) {
      return tier::ShareEntry{.name = name, .mode = type | 0755U};
    };
    REQUIRE(
        (*catalogue)
            ->remember_share("", {entry("Movies", S_IFDIR), entry("movies", S_IFDIR), entry("a", S_IFREG)}));
    REQUIRE((*catalogue)
                ->remember_share("Movies", {entry("Film.mkv", S_IFREG), entry("film.MKV", S_IFREG),
                                            entry("FILM.mkv", S_IFREG)}));
    REQUIRE(
        (*catalogue)->remember_share("movies", {entry("film.mkv", S_IFREG), entry("other.mkv", S_IFREG)}));
    auto found = names_alike(**catalogue, 10);
    REQUIRE(found);
    CHECK(found->groups == 2);
    CHECK(found->some ==
          std::vector<std::vector<std::string>>{{"Movies", "movies"},
                                                {"Movies/FILM.mkv", "Movies/Film.mkv", "Movies/film.MKV"}});
    found = names_alike(**catalogue, 1);
    REQUIRE(found);
    CHECK(found->groups == 2);
    CHECK(found->some.size() == 1);
  }
  std::filesystem::remove_all(dir);
}
