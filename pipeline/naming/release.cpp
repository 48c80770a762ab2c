#include "pipeline/naming/release.h"

#include <algorithm>
#include <utility>

#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

bool has(const Name& name, std::size_t i, std::uint32_t bits) {
  return (name.tokens[i].word & bits) != 0;
}

void skip_leading_date(Release& r) {
  Date date;
  const auto end = match_date(r.name, r.start, date);
  if (!end) return;
  const std::size_t next = r.name.token_at(*end);
  if (next >= r.name.size() || r.name.tokens[next].bracket) return;
  r.numbers.date = date;
  r.numbers.first = kNoToken;
  r.start = next;
}

void find_year(Release& r) {
  const Name& n = r.name;
  // "(1995) Title"
  if (n.tokens[r.start].bracket == '(' && is_year(n, r.start) && r.start + 1 < n.size() &&
      (n.gap_after(r.start) & kGapClose)) {
    r.year_token = r.start++;
    return;
  }
  const std::size_t strong = [&] {
    for (std::size_t i = r.start; i < n.size(); ++i) {
      if (r.marks[i] && has(n, i, kStrong)) return i;
    }
    return n.size();
  }();
  std::size_t plain = kNoToken;
  for (std::size_t i = r.start; i < n.size(); ++i) {
    if (!is_year(n, i)) continue;
    const bool numbered = i >= r.numbers.first && i < r.numbers.last;
    if (numbered && !n.tokens[i].bracket) continue;
    const bool closed = (n.gap_after(i) & kGapClose) != 0;
    if (n.tokens[i].bracket && closed && (i > r.start || n.size() == 1)) {
      r.year_token = i;
      return;
    }
    if (i > r.start && (i < strong || plain == kNoToken)) {
      // A year long after an episode's number belongs to its title.
      const bool late = r.numbers.has_episode() && i > r.numbers.last && i < strong && !r.marks[i] &&
                        i + 1 < n.size() && i != r.numbers.last;
      if (!late) plain = i;
    }
  }
  if (plain != kNoToken) r.year_token = plain;
}

void read_part(Release& r) {
  const Name& n = r.name;
  for (std::size_t i = r.start + 1; i < n.size(); ++i) {
    const std::string_view w = n.lower(i);
    std::optional<int> number;
    std::size_t to = i + 1;
    const bool disc = w.substr(0, 2) == "cd" || w.substr(0, 4) == "disc" || w.substr(0, 4) == "disk";
    const std::size_t head = disc ? (w[0] == 'c' ? 2U : 4U)
                                  : (w.substr(0, 4) == "part" ? 4U
                                     : w.substr(0, 2) == "pt" ? 2U
                                                              : 0U);
    const bool short_part = !disc && head == 0 && w.size() == 2 && w[0] == 'p' && is_digit(w[1]) &&
                            r.numbers.season && i == r.numbers.last;
    if (short_part) number = w[1] - '0';
    if (head > 0 && w.size() > head && w.size() <= head + 2 && all_digits(w.substr(head)))
      number = to_int(w.substr(head));
    if (head > 0 && w.size() == head && i + 1 < n.size() && n.tokens[i + 1].block == n.tokens[i].block) {
      const std::string_view next = n.lower(i + 1);
      if (next.size() <= 2 && all_digits(next)) number = to_int(next);
      if (!number && !disc) number = roman_numeral(next);
      if (!number && !disc) number = number_word(next);
      to = i + 2;
    }
    if (!number) continue;
    // Files named part1 and part2 are one film; "Part 2" apart is a film of its own.
    const bool stacked = head > 0 && w.size() > head && !r.numbers.any();
    if (disc || stacked) {
      r.numbers.cd = number;
      r.title_end = std::min(r.title_end, i);
      continue;
    }
    if (r.numbers.part) continue;
    r.numbers.part = number;
    const bool in_title = i < r.title_end && to >= r.title_end;
    // With its year the part is part of a film's name: Kill Bill Part 2 (2004).
    if (in_title && !r.year_token) r.title_end = i;
  }
}

void read_ids(Release& r) {
  const Name& n = r.name;
  for (std::size_t i = 0; i < n.size(); ++i) {
    const std::string_view w = n.lower(i);
    if (w.size() >= 9 && w.size() <= 10 && w.substr(0, 2) == "tt" && all_digits(w.substr(2)))
      r.parsed.imdb = w;
    if (i + 1 >= n.size() || !n.tokens[i + 1].digits) continue;
    const std::string_view id = n.word(i + 1);
    const bool joined = n.tokens[i + 1].gap == kGapDash || n.tokens[i + 1].gap == kGapOther ||
                        n.tokens[i + 1].gap == kGapColon;
    if (!joined || !n.tokens[i].bracket) continue;
    if (w == "tmdb" || w == "tmdbid") r.parsed.tmdb = id;
    if (w == "tvdb" || w == "tvdbid") r.parsed.tvdb = id;
  }
}

void read_attributes(Release& r) {
  const Name& n = r.name;
  for (std::size_t i = r.start; i < n.size(); ++i) {
    if (has(n, i, kResolution) && r.parsed.resolution.empty()) r.parsed.resolution = n.lower(i);
    if (i < r.title_end) continue;
    if (has(n, i, kLanguage) && (r.marks[i] || i >= r.numbers.last)) {
      const std::string_view code = language_code(n.lower(i));
      auto& all = r.parsed.languages;
      if (!code.empty() && std::find(all.begin(), all.end(), code) == all.end()) all.emplace_back(code);
    }
    if (has(n, i, kExtraWord) && i == r.numbers.last) r.parsed.extra = true;
    if (has(n, i, kSpecialWord) && n.lower(i) != "sp") r.parsed.special = true;
  }
  const std::size_t last = n.size() - 1;
  const bool group =
      n.tokens[last].gap == kGapDash && last > 0 && r.marks[last - 1] && !has(n, last, kStrong);
  if (group) {
    r.parsed.group = std::string(n.word(last));
  } else if (r.fansub) {
    std::size_t end = 1;
    while (end < n.size() && n.tokens[end].block == n.tokens[0].block) ++end;
    r.parsed.group = text_between(n, 0, end);
  }
  r.parsed.edition = find_edition(r);
}

// "Show OVA", "Show - NCOP": an episode though it has no number.
bool special_word_ends_title(Release& r) {
  const Name& n = r.name;
  for (std::size_t i = r.start + 1; i < n.size(); ++i) {
    const std::string_view w = n.lower(i);
    if (!has(n, i, kSpecialWord) && w.substr(0, 2) != "sp") continue;
    const bool anime = w == "ova" || w == "ona" || w == "oad" || w == "oav" || w == "ncop" || w == "nced";
    const bool numbered =
        r.fansub && w.size() >= 3 && w.size() <= 4 && w.substr(0, 2) == "sp" && all_digits(w.substr(2));
    if (numbered) r.numbers.episodes = {to_int(w.substr(2))};
    if (!anime && !numbered) continue;
    r.numbers.cover(i, i + 1);
    r.parsed.special = true;
    return true;
  }
  return false;
}

// "Show 2005 50th Anniversary Special …": a special that follows the show's year.
bool special_after_year(Release& r) {
  const Name& n = r.name;
  if (!r.year_token || n.tokens[*r.year_token].bracket) return false;
  for (std::size_t i = *r.year_token + 1; i < n.size() && !r.marks[i]; ++i) {
    const bool special = n.lower(i) == "special" || n.lower(i) == "specials";
    if (!special || (i + 1 < n.size() && has(n, i + 1, kEditionTail))) continue;
    r.numbers.cover(*r.year_token, *r.year_token + 1);
    r.parsed.special = true;
    return true;
  }
  return false;
}

bool tv_part(const Release& r) {
  if (!r.numbers.part || r.numbers.any()) return false;
  for (std::size_t i = r.title_end; i < r.name.size(); ++i) {
    if (has(r.name, i, kTvSource)) return true;
  }
  return false;
}

bool is_series_pack(const Release& r) {
  const Name& n = r.name;
  for (std::size_t i = r.title_end; i + 1 < n.size(); ++i) {
    if (n.lower(i) == "complete" && n.lower(i + 1) == "series") return true;
  }
  return false;
}

int count_evidence(const Release& r, bool special) {
  int e = 0;
  const Numbers& k = r.numbers;
  if (k.paired) e += 6;
  if (!k.paired && k.any()) e += !k.guessed ? 4 : r.fansub || k.season ? 3 : 1;
  if (r.year_token) e += r.name.tokens[*r.year_token].bracket ? 3 : 2;
  if (special) e += 2;
  for (std::size_t i = r.title_end; i < r.name.size() && e < 12; ++i) {
    if (r.marks[i] && has(r.name, i, kStrong)) ++e;
  }
  if (!r.parsed.edition.empty() || k.cd || k.part) e += 1;
  if (r.name.text.find("()") != std::string::npos) e += 1;  // a template's empty year
  if (!r.parsed.tmdb.empty() || !r.parsed.imdb.empty() || !r.parsed.tvdb.empty()) e += 6;
  return e;
}

void fill(Release& r, bool special, bool has_extension) {
  Parsed& p = r.parsed;
  Numbers& k = r.numbers;
  if (r.year_token) p.year = to_int(r.name.word(*r.year_token));
  p.title = make_title(r);
  p.season = k.season;
  p.seasons = k.seasons;
  p.episodes = k.episodes;
  if (p.absolute.empty()) p.absolute = k.absolute;
  p.part = k.part;
  p.cd = k.cd;
  p.special |= k.special || (k.season && *k.season == 0);
  if (k.date) p.date = iso_date(*k.date);
  if (k.season && *k.season >= 1900 && !p.year) p.year = *k.season;
  if (k.has_episode() || special || k.disc) p.kind = Kind::episode;
  if (k.whole || (p.kind == Kind::unknown && k.season)) p.kind = Kind::season;
  if (p.kind == Kind::season) p.episodes.clear();
  if (p.kind == Kind::unknown && is_series_pack(r)) p.kind = Kind::season;
  if (tv_part(r)) {
    p.kind = Kind::episode;
    p.episodes = {*k.part};
  }
  if (p.kind == Kind::unknown && (r.evidence > 0 || has_extension || (r.release_style && r.name.size() > 1)))
    p.kind = Kind::movie;
}

// "Saga Episode 9 Subtitle 2019 1080p" is a film: its year comes after the number, and no one broadcast it.
void drop_saga_number(Release& r) {
  const Name& n = r.name;
  const Numbers& k = r.numbers;
  if (k.season || k.date || k.episodes.size() != 1 || k.first + 2 != k.last || n.lower(k.first) != "episode")
    return;
  if (n.word(k.first + 1).size() > 1) return;
  bool year = false;
  for (std::size_t i = k.last; i < n.size(); ++i) {
    if (has(n, i, kTvSource)) return;
    year |= is_year(n, i) && (i + 1 == n.size() || r.marks[i + 1] || (n.gap_after(i) & kGapClose));
  }
  if (year) r.numbers = {};
}

// "02-Show.5x03": a list's number in front of a full one
void skip_list_number(Release& r) {
  const Name& n = r.name;
  if (r.start + 1 >= r.numbers.first || r.numbers.first == kNoToken || !n.tokens[r.start].digits) return;
  if (n.word(r.start).front() != '0' || !(n.tokens[r.start + 1].gap & kGapDash) ||
      n.tokens[r.start + 1].digits)
    return;
  ++r.start;
}

// "003. Show - Title": the number stands before both.
void split_show_from_title(Release& r) {
  for (std::size_t i = r.start + 1; i < r.title_end; ++i) {
    const Gap gap = r.name.tokens[i].gap;
    if (!(gap & kGapDash) || !(gap & (kGapSpace | kGapDot | kGapUnder))) continue;
    r.title_end = i;
    r.numbers.last = i;
    return;
  }
  r.numbers.last = r.title_end;
}

// Chinese groups write "标题 _ Title" as well as "标题 / Title".
std::string slash_titles(std::string text) {
  const std::size_t bar = text.find(" _ ");
  const auto high = [](char c) { return (static_cast<unsigned char>(c) & 0x80U) != 0; };
  if (bar != std::string::npos && std::any_of(text.begin(), text.end(), high)) text[bar + 1] = '/';
  return text;
}

}  // namespace

Release analyse(std::string_view raw, bool has_extension, const Hints& hints) {
  Release r;
  const std::string text = slash_titles(tidy(raw));
  r.name = tokenize(std::string(without_site(text)));
  if (looks_reversed(r.name)) r.name = tokenize(reversed(text));
  if (is_garbage(r.name)) {
    r.garbage = true;
    return r;
  }
  join_phrases(r.name);
  const Name& n = r.name;
  r.start = find_start(r);
  choose_block(r);
  r.release_style = n.text.find(' ') == std::string::npos && n.text.find_first_of("._") != std::string::npos;
  r.marks = find_marks(n, r.start);
  if (n.tokens.back().bracket && r.marks.back() && n.tokens.back().end - n.tokens.back().begin == 8)
    r.fansub = true;
  skip_leading_date(r);
  find_numbers(r);
  bool special = false;
  if (r.numbers.episodes.empty() && r.numbers.absolute.empty() &&
      !(r.numbers.date && r.numbers.first != kNoToken)) {
    const bool season_pack = r.numbers.season && r.numbers.first != kNoToken;
    if (!season_pack && hints.guess_numbers) find_bare_numbers(r, hints);
  }
  drop_saga_number(r);
  if (r.numbers.paired) skip_list_number(r);
  find_year(r);
  if (!r.numbers.any()) special = special_word_ends_title(r) || special_after_year(r);
  r.title_end = find_title_end(r);
  find_film_marks(r, r.title_end);
  read_part(r);
  if (r.numbers.last == 0) r.numbers.last = r.title_end;
  // Bare numbers can come first: "01 - Title".
  if (r.numbers.first == r.start) {
    const bool title_follows = r.numbers.guessed && !hints.season;
    if (title_follows) {
      r.start = r.numbers.last;
      r.numbers.first = kNoToken;
      r.title_end = find_title_end(r);
      split_show_from_title(r);
      r.numbers.first = 0;
    } else {
      r.title_end = r.start;
    }
  }
  read_ids(r);
  read_attributes(r);
  r.evidence = count_evidence(r, special);
  fill(r, special, has_extension);
  if (r.parsed.kind == Kind::episode && r.numbers.last > 0) read_episode_title(r);
  return r;
}

}  // namespace mediafs::naming
