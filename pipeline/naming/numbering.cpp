#include <algorithm>

#include "pipeline/naming/cursor.h"
#include "pipeline/naming/release.h"

namespace mediafs::naming {

namespace {

constexpr std::size_t kMostInRange = 400;

void append(std::vector<int>& list, int value) {
  if (std::find(list.begin(), list.end(), value) == list.end()) list.push_back(value);
}

bool append_range(std::vector<int>& list, int last) {
  const int first = list.back();
  if (last <= first || last - first > static_cast<int>(kMostInRange)) return false;
  for (int n = first + 1; n <= last; ++n) list.push_back(n);
  return true;
}

bool is_resolution_number(int n) {
  return n == 480 || n == 540 || n == 576 || n == 720 || n == 1080 || n == 1440 || n == 2160;
}

struct Gap2 {
  bool dash = false;
  bool any = false;
};

Gap2 skip_gap(Cursor& c) {
  Gap2 gap;
  for (int i = 0; i < 3; ++i) {
    const char ch = c.peek();
    if (ch == '-' || ch == '~') {
      gap.dash = true;
    } else if (ch != ' ' && ch != '.' && ch != '_' && ch != '+' && ch != '&' && ch != ',') {
      break;
    }
    gap.any = true;
    ++c.at;
  }
  return gap;
}

// "E03", "-E03", ".S01E03", "x03" after an episode: one more or a range's end.
bool more_marked(Cursor& c, std::vector<int>& episodes, bool crosses) {
  Cursor t = c;
  const Gap2 gap = skip_gap(t);
  const bool touches = !gap.any;
  if (t.eat('s')) {
    if (!t.number(1, 4)) return false;
    t.skip(".", 1);
  }
  if (crosses && !t.eat('x')) {
    if (touches || !t.number(1, 2) || !t.eat('x')) return false;
  } else if (!crosses && (!t.eat('e') || (t.eat('p'), false))) {
    return false;
  }
  const auto n = t.number(1, 5);
  if (!n) return false;
  if (!gap.dash || !append_range(episodes, *n)) append(episodes, *n);
  c = t;
  return true;
}

// "-03" glued to an episode.
bool more_plain(Cursor& c, std::vector<int>& episodes) {
  Cursor t = c;
  if (!t.eat('-') && !t.eat('~')) return false;
  const auto n = t.number(1, 4);
  if (!n || !t.boundary() || is_resolution_number(*n) || !append_range(episodes, *n)) return false;
  c = t;
  return true;
}

void read_episode_suffix(Cursor& c, Numbers& out) {
  Cursor t = c;
  if (t.peek() >= 'a' && t.peek() <= 'd') {  // S06E01b: half of a split episode
    ++t.at;
    if (t.boundary()) c = t;
    return;
  }
  if (t.eat('.') && t.number(1, 1) && t.boundary() && c.peek(1) == '5' && (t.peek() == ' ' || t.done())) {
    out.special = true;  // S01E11.5: a recap between two episodes
    c = t;
  }
}

bool all_of_total(Cursor& c, const std::vector<int>& episodes) {
  Cursor t = c;
  t.skip(" .", 1);
  if (!t.eat("of")) return false;
  t.skip(" .", 1);
  const auto total = t.number(1, 3);
  if (!total || !t.boundary()) return false;
  c = t;
  return episodes.size() > 1 && episodes.front() == 1 && episodes.back() == *total;
}

std::optional<std::size_t> finish_episodes(Cursor c, int season, Numbers& out, std::vector<int> episodes,
                                           bool crosses) {
  read_episode_suffix(c, out);
  for (std::size_t i = 0; i < kMostInRange && (more_marked(c, episodes, crosses) || more_plain(c, episodes));
       ++i) {
  }
  if (!c.boundary() && !(c.peek() == 'v' && is_digit(c.peek(1)))) return std::nullopt;
  if (all_of_total(c, episodes)) out.whole = true;
  out.season = season;
  out.episodes = std::move(episodes);
  out.paired = true;
  return c.at;
}

// S01, S01-S03, S01 S02, S01-03: a pack.
std::optional<std::size_t> read_season_list(Cursor c, int season, std::size_t width, Numbers& out) {
  std::vector<int> seasons{season};
  for (int i = 0; i < 60; ++i) {
    Cursor t = c;
    const Gap2 gap = skip_gap(t);
    if (!gap.any || t.at - c.at > 3) break;
    const bool marked = t.eat('s');
    const bool spaced = t.at - c.at > 1 && !marked;
    const auto n = marked ? t.number(1, 2) : t.number(2, 2);
    if (!n || !t.boundary() || spaced || (!marked && width != 2)) break;
    // "S02.21.Title" is a title that starts with a number; a list counts up from the season.
    if (!marked && !gap.dash && (*n <= seasons.back() || *n > seasons.back() + 9)) break;
    if (!gap.dash || !append_range(seasons, *n)) append(seasons, *n);
    c = t;
  }
  out.season = seasons.front();
  if (seasons.size() > 1) out.seasons = std::move(seasons);
  return c.at;
}

std::optional<std::size_t> match_s_form(Cursor c, Numbers& out) {
  if (!c.eat('s')) return std::nullopt;
  const bool apart = c.peek() == ' ';
  if (apart) ++c.at;
  const std::size_t digits_at = c.at;
  const auto season = c.number(apart ? 2 : 1, 4);
  if (!season || (c.at - digits_at == 4 && *season > 100 && (*season < 1900 || *season > 2100)))
    return std::nullopt;
  const std::size_t width = c.at - digits_at;
  Cursor t = c;
  t.skip(" ._-", 3);
  const bool ep = t.eat("episode") || t.eat("eps") || t.eat("ep") || t.eat('e') ||
                  (t.at == c.at && t.eat('x') && (t.eat('e'), true));
  if (ep) {
    t.skip(" ._", 1);
    if (const auto episode = t.number(1, 5)) {
      Numbers trial = out;
      if (const auto end = finish_episodes(t, *season, trial, {*episode}, false)) {
        out = std::move(trial);
        return end;
      }
    }
  }
  t = c;
  if (t.eat('d') && t.number(1, 2) && t.boundary()) {
    out.season = *season;
    out.disc = true;
    return t.at;
  }
  t = c;
  if (t.eat("extras") && t.boundary()) {
    out.season = *season;
    out.extra = true;
    return t.at;
  }
  if (!c.boundary()) return std::nullopt;
  return read_season_list(c, *season, width, out);
}

std::optional<std::size_t> match_cross_form(Cursor c, Numbers& out) {
  const std::size_t begin = c.at;
  const auto season = c.number(1, 4);
  if (!season || c.at - begin == 3) return std::nullopt;
  const bool yearly = c.at - begin == 4;
  if (yearly && (*season < 1900 || *season > 2100)) return std::nullopt;
  if (!c.eat('x')) return std::nullopt;
  if (c.eat("all") && c.boundary()) {
    out.season = *season;
    return c.at;
  }
  const auto episode = c.number(1, yearly ? 2 : 3);
  if (!episode) return std::nullopt;
  return finish_episodes(c, *season, out, {*episode}, true);
}

}  // namespace

void Numbers::cover(std::size_t from, std::size_t to) {
  first = first == kNoToken ? from : std::min(first, from);
  last = std::max(last, to);
}

std::optional<std::size_t> match_paired(const Name& name, std::size_t token, Numbers& out) {
  const Cursor c{name.low, name.tokens[token].begin};
  if (c.peek() == 's') return match_s_form(c, out);
  if (is_digit(c.peek())) return match_cross_form(c, out);
  return std::nullopt;
}

namespace {

// "S02 - 07", "S02][07]", "(Season 2) - 33": a number that can only be the episode of the season before it.
bool pair_with_next(const Name& name, std::size_t next, Numbers& numbers) {
  if (next >= name.size() || !name.tokens[next].digits || is_year(name, next)) return false;
  const Gap gap = name.tokens[next].gap;
  const bool dashed = (gap & kGapDash) && (gap & (kGapSpace | kGapUnder | kGapDot));
  const bool boxed =
      (gap & kGapOpen) && name.tokens[next].bracket == '[' && (name.gap_after(next) & kGapClose);
  const std::string_view digits = name.word(next);
  const bool spaced = gap == kGapSpace && digits.size() == 2 && digits.front() == '0';
  if ((!dashed && !boxed && !spaced) || digits.size() < 2 || digits.size() > 4) return false;
  if (dashed && name.gap_after(next) == kGapDot && next + 1 < name.size() && name.tokens[next + 1].digits)
    return false;
  numbers.episodes = {to_int(digits)};
  numbers.guessed = true;
  numbers.cover(next, next + 1);
  return true;
}

void merge(Numbers& total, const Numbers& found, std::size_t from, std::size_t to) {
  const bool again = total.paired && found.paired;
  if (again && (total.season != found.season || total.episodes == found.episodes)) return;
  if (total.paired && !found.paired && !found.date) return;
  total.cover(from, to);
  if (found.paired && !total.paired) {
    total.season = found.season;
    total.seasons.clear();
    total.episodes = found.episodes;
    total.paired = true;
  } else if (again) {
    for (const int n : found.episodes) {
      if (total.episodes.size() < kMostInRange) append(total.episodes, n);
    }
  } else {
    if (found.season && !total.season) {
      total.season = found.season;
      total.seasons = found.seasons;
    } else if (found.season && total.seasons.empty() && *found.season != *total.season &&
               found.episodes.empty()) {
      total.seasons = {*total.season, *found.season};
    }
    if (total.episodes.empty()) total.episodes = found.episodes;
    if (total.absolute.empty()) total.absolute = found.absolute;
  }
  total.special |= found.special;
  total.disc |= found.disc;
  total.extra |= found.extra;
  total.whole |= found.whole;
}

}  // namespace

void find_numbers(Release& release) {
  const Name& name = release.name;
  Numbers& numbers = release.numbers;
  for (std::size_t i = release.start; i < name.size();) {
    Numbers found;
    Date date;
    auto end = match_date(name, i, date);
    if (end) {
      if (!numbers.date) {
        numbers.date = date;
        numbers.cover(i, name.token_at(*end));
      }
      i = std::max(i + 1, name.token_at(*end));
      continue;
    }
    end = match_paired(name, i, found);
    if (!end) end = match_worded(name, i, found);
    if (!end) {
      ++i;
      continue;
    }
    const std::size_t next = std::max(i + 1, name.token_at(*end));
    merge(numbers, found, i, next);
    if (found.season && found.episodes.empty() && found.seasons.empty() && numbers.episodes.empty()) {
      pair_with_next(name, next, numbers);
    }
    i = next;
  }
}

}  // namespace mediafs::naming
