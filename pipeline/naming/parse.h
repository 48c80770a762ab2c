// Release names: what a file or folder name says about the film or episode that it holds.
// Threads:    pure functions; safe from any thread.
// Shapes:     paths are bytes; every string that comes back is valid UTF-8 without control or direction characters.
// Units:      numbers as the name counts them; date is YYYY-MM-DD; confidence runs from 0 to 1.
// Errors:     none: what can't be read is Kind::unknown, never a guess.
// Invariants: (1) time is linear in the length of the name; (2) kind unknown means confidence 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mediafs::naming {

enum class Kind : std::uint8_t { movie, episode, season, unknown };
std::string_view to_string(Kind kind) noexcept;

struct Parsed {
  Kind kind = Kind::unknown;
  std::string title;
  std::optional<int> year;
  std::optional<int> season;
  std::vector<int> seasons;  // a pack of several; empty for one
  std::vector<int> episodes;
  std::vector<double> absolute;     // numbers that run through all seasons; 10.5 is a recap or special
  std::optional<std::string> date;  // of a daily show's episode
  std::optional<int> part;          // "Part 2" of a film or episode
  std::optional<int> cd;            // the second file of one film
  std::string edition;
  std::string episode_title;
  bool special = false;
  bool extra = false;  // bonus material, trailers, subtitle packs
  std::string tmdb, imdb, tvdb;
  std::vector<std::string> languages;  // ISO 639-1 codes; "multi"
  std::string resolution;              // "1080p"
  std::string group;
  std::string extension;  // lower case, without the dot
  double confidence = 0;
  std::string why;  // for people: what the answer rests on
};

// Below this confidence a name goes to Unsorted instead of the library.
inline constexpr double kFilingConfidence = 0.5;

// `path` with '/' (or '\') between folders; parent folders give what the file's own name leaves out.
Parsed parse(std::string_view path);
// One release title, in which '/' is a letter.
Parsed parse_name(std::string_view name);

}  // namespace mediafs::naming
