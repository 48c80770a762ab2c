#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "pipeline/naming/jsonl.h"

using mediafs::naming::answer_line;
using Json = nlohmann::json;

TEST_CASE("a line in, an object out") {
  const Json a = Json::parse(answer_line(R"({"id":"7","path":"TV/Harbour Lights/S02E07.mkv"})"));
  CHECK(a["id"] == "7");
  CHECK(a["kind"] == "episode");
  CHECK(a["title"] == "Harbour Lights");
  CHECK(a["season"] == 2);
  CHECK(a["episodes"] == Json::array({7}));
  CHECK_FALSE(a.contains("year"));
}

TEST_CASE("form name takes a slash for a letter") {
  const Json a = Json::parse(answer_line(R"({"id":"1","path":"AC/Film (2011) 1080p","form":"name"})"));
  CHECK(a["title"] == "AC/Film");
}

TEST_CASE("bad lines are answered, not fatal") {
  for (const char* line : {"", "{", "[]", "7", R"({"id":"1"})", R"({"path":7})"}) {
    CHECK(Json::parse(answer_line(line)).contains("error"));
  }
}
