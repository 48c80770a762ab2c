#include "pipeline/naming/jsonl.h"

#include <nlohmann/json.hpp>

namespace mediafs::naming {

namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void put(Json& json, const char* key, const std::string& value) {
  if (!value.empty()) json[key] = value;
}

template <class T>
void put(Json& json, const char* key, const std::optional<T>& value) {
  if (value) json[key] = *value;
}

template <class T>
void put(Json& json, const char* key, const std::vector<T>& value) {
  if (!value.empty()) json[key] = value;
}

}  // namespace

std::string to_json(const Parsed& p, std::string_view id) {
  Json json;
  if (!id.empty()) json["id"] = std::string(id);
  json["kind"] = std::string(to_string(p.kind));
  put(json, "title", p.title);
  put(json, "year", p.year);
  put(json, "season", p.season);
  put(json, "seasons", p.seasons);
  put(json, "episodes", p.episodes);
  put(json, "absolute", p.absolute);
  put(json, "date", p.date);
  put(json, "part", p.part);
  put(json, "cd", p.cd);
  put(json, "edition", p.edition);
  put(json, "episode_title", p.episode_title);
  if (p.special) json["special"] = true;
  if (p.extra) json["extra"] = true;
  put(json, "tmdb", p.tmdb);
  put(json, "imdb", p.imdb);
  put(json, "tvdb", p.tvdb);
  put(json, "languages", p.languages);
  put(json, "resolution", p.resolution);
  put(json, "group", p.group);
  put(json, "extension", p.extension);
  json["confidence"] = p.confidence;
  json["why"] = p.why;
  return dump(json);
}

std::string answer_line(std::string_view line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("path") || !json["path"].is_string()) {
    return R"({"error":"not an object with a \"path\""})";
  }
  const std::string path = json["path"].get<std::string>();
  std::string id;
  if (json.contains("id")) id = json["id"].is_string() ? json["id"].get<std::string>() : json["id"].dump();
  const bool name = json.contains("form") && json["form"] == "name";
  return to_json(name ? parse_name(path) : parse(path), id);
}

}  // namespace mediafs::naming
