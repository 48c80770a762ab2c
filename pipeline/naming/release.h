// One component of a path read on its own: the working state of the parser. Internal to pipeline/naming.
// Threads:    values and pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/naming/parse.h"
#include "pipeline/naming/tokens.h"

namespace mediafs::naming {

inline constexpr std::size_t kNoToken = static_cast<std::size_t>(-1);

struct Date {
  int year = 0;
  int month = 0;
  int day = 0;
};

// What the folders around a name tell about it.
struct Hints {
  bool movies = false;
  bool shows = false;
  std::optional<int> season;
  bool guess_numbers = true;  // numbers without a marker may be episodes
};

struct Numbers {
  std::optional<int> season;
  std::vector<int> seasons;
  std::vector<int> episodes;
  std::vector<double> absolute;
  std::optional<Date> date;
  std::optional<int> part;
  std::optional<int> cd;
  bool paired = false;  // season and episode were written together
  bool special = false;
  bool extra = false;
  bool disc = false;             // S01D2: a disc of a season
  bool whole = false;            // "S1E1-8 of 8"
  bool guessed = false;          // from a bare number
  std::size_t first = kNoToken;  // the first token of any of it
  std::size_t last = 0;          // the token after the last of it

  bool any() const { return season || !episodes.empty() || !absolute.empty() || date; }
  bool has_episode() const { return !episodes.empty() || !absolute.empty() || date.has_value(); }
  void cover(std::size_t from, std::size_t to);
};

struct Release {
  Name name;
  std::vector<bool> marks;  // tokens that are technical
  Numbers numbers;
  std::size_t start = 0;      // the title's first token
  std::size_t title_end = 0;  // and the one after its last
  std::optional<std::size_t> year_token;
  bool fansub = false;  // [Group] in front or a checksum behind
  bool garbage = false;
  bool release_style = false;  // dots or underscores for spaces
  Parsed parsed;
  int evidence = 0;  // how much of the name was understood
};

// `name` is one component; `has_extension` says that a media extension was cut off.
Release analyse(std::string_view name, bool has_extension, const Hints& hints);

// marks.cpp
void join_phrases(Name& name);
std::vector<bool> find_marks(const Name& name, std::size_t start);
bool is_year(const Name& name, std::size_t token);
std::string find_edition(const Release& release);

// dates.cpp: a date that begins at this token; the byte after it, or nothing.
std::optional<std::size_t> match_date(const Name& name, std::size_t token, Date& date);
std::string iso_date(const Date& date);

// numbering.cpp: SxxEyy and 1x02 forms; numbering_words.cpp: "Season 1", "Ep 3", "Cap.104", "3of9".
std::optional<std::size_t> match_paired(const Name& name, std::size_t token, Numbers& out);
std::optional<std::size_t> match_worded(const Name& name, std::size_t token, Numbers& out);
void find_numbers(Release& release);
// numbering_bare.cpp: numbers without a marker.
void find_bare_numbers(Release& release, const Hints& hints);

// start.cpp
std::string_view without_site(std::string_view text);
std::size_t find_start(Release& release);
void choose_block(Release& release);

// edges.cpp
std::size_t find_title_end(Release& release);
void find_film_marks(Release& release, std::size_t& end);
void read_episode_title(Release& release);

// title.cpp
std::string clean_text(std::string_view text);
std::string make_title(const Release& release);
std::string text_between(const Name& name, std::size_t from, std::size_t to);

// garbage.cpp
bool is_garbage(const Name& name);
bool looks_reversed(const Name& name);
std::string reversed(std::string_view text);

}  // namespace mediafs::naming
