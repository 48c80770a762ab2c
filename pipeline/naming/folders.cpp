#include "pipeline/naming/folders.h"

#include <algorithm>
#include <array>

#include "pipeline/naming/release.h"
#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

constexpr std::array<std::string_view, 6> kMovies = {"movies", "movie",     "films",
                                                     "film",   "moviesdvd", "kids movies"};
constexpr std::array<std::string_view, 11> kShows = {"tv",         "tv shows",  "shows",         "series",
                                                     "tvshows",    "tv series", "nosubstvshows", "anime",
                                                     "television", "tv-shows",  "show"};
constexpr std::array<std::string_view, 32> kGeneric = {
    "incoming", "downloads", "download", "completed", "complete", "media",   "medias", "videos",
    "video",    "share",     "mnt",      "home",      "var",      "data",    "nas",    "temp",
    "tmp",      "unsorted",  "subs",     "subtitles", "sample",   "samples", "mkv",    "avi",
    "mp4",      "test",      "torrents", "usenet",    "new",      "extras",  "nzb",    "incomplete"};

template <std::size_t N>
bool among(const std::array<std::string_view, N>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

}  // namespace

Folder read_folder(std::string_view name) {
  const std::string text = tidy(name);
  std::string low = ascii_lower(text);
  while (!low.empty() && (low.front() == ' ' || low.front() == '_')) low.erase(low.begin());
  while (!low.empty() && (low.back() == ' ' || low.back() == '_')) low.pop_back();
  if (among(kMovies, low)) return {FolderRole::movies, {}};
  if (among(kShows, low)) return {FolderRole::shows, {}};
  if (among(kGeneric, low) || low.size() <= 1) return {FolderRole::generic, {}};
  if (low == "specials" || low == "season 0") return {FolderRole::season, 0};
  const Name tokens = tokenize(text);
  if (tokens.size() == 0 || (tokens.size() == 1 && is_year(tokens, 0))) return {FolderRole::generic, {}};
  Numbers numbers;
  auto end = match_paired(tokens, 0, numbers);
  if (!end) end = match_worded(tokens, 0, numbers);
  if (!end || !numbers.season || !numbers.episodes.empty()) return {};
  return {FolderRole::season, numbers.season};
}

}  // namespace mediafs::naming
