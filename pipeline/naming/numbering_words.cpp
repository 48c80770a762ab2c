#include <algorithm>

#include "pipeline/naming/cursor.h"
#include "pipeline/naming/release.h"

namespace mediafs::naming {

namespace {

constexpr std::string_view kLoose = " ._";
constexpr int kMostInRange = 400;

std::size_t head_letters(std::string_view word) {
  std::size_t n = 0;
  while (n < word.size() && is_alpha(word[n])) ++n;
  return n;
}

bool is_ordinal(std::string_view lower) {
  if (lower.size() < 3 || !is_digit(lower.front())) return false;
  const std::string_view tail = lower.substr(lower.size() - 2);
  return (tail == "st" || tail == "nd" || tail == "rd" || tail == "th") &&
         all_digits(lower.substr(0, lower.size() - 2));
}

// "-5", " to 5", ".a.3", "&3", ".4", " 04": what may follow a number in a list; says whether it is a range.
enum class Link { none, list, range };
Link read_link(Cursor& c, bool allow_space) {
  Cursor t = c;
  t.skip(kLoose, 1);
  if (t.eat("to") || t.eat("thru") || t.eat("bis") ||
      (t.at > c.at && t.eat("a") && kLoose.find(t.peek()) != kLoose.npos)) {
    t.skip(kLoose, 1);
    if (is_digit(t.peek())) return c = t, Link::range;
    return Link::none;
  }
  if (t.eat('&') || t.eat('+') || t.eat(',') ||
      (t.at > c.at && (t.eat("and") || t.eat("en") || t.eat("et") || t.eat("y ")))) {
    t.skip(kLoose, 1);
    if (is_digit(t.peek())) return c = t, Link::list;
    return Link::none;
  }
  t = c;
  if (t.eat('-') || t.eat('~') || t.eat('_')) return is_digit(t.peek()) ? (c = t, Link::range) : Link::none;
  if (allow_space && t.skip(" .", 1) == 1 && is_digit(t.peek())) return c = t, Link::list;
  return Link::none;
}

void read_list(Cursor& c, std::vector<int>& list, std::size_t most_digits, bool allow_space) {
  for (int i = 0; i < 60; ++i) {
    Cursor t = c;
    const Link link = read_link(t, allow_space);
    if (link == Link::none) return;
    const std::size_t at = t.at;
    const auto n = t.number(1, most_digits);
    if (!n || !t.boundary() || *n <= list.back() || *n - list.back() > kMostInRange) return;
    if (link == Link::list && (t.at - at == 4 || *n - list.back() > 3)) return;  // a year, or a title
    for (int k = link == Link::range ? list.back() + 1 : *n; k <= *n; ++k) list.push_back(k);
    c = t;
  }
}

void skip_total(Cursor& c) {  // "2of5", "08 of 24"
  Cursor t = c;
  t.skip(kLoose, 1);
  if (!t.eat("of")) return;
  t.skip(kLoose, 1);
  if (t.number(1, 4) && t.boundary()) c = t;
}

std::optional<int> read_small_roman(Cursor& c) {
  std::size_t n = 0;
  while (is_alpha(c.peek(n))) ++n;
  const auto value = roman_numeral(c.text.substr(c.at, n));
  if (value) c.at += n;
  return value;
}

// "Season 2", "Saison VII", "Seasons 1 to 5", "Season 01 - Season 07"
std::optional<std::size_t> season_after(const Name& name, std::size_t i, Cursor c, Numbers& out) {
  if (i > 0 && is_ordinal(name.lower(i - 1))) return std::nullopt;
  const std::size_t word_end = c.at;
  const int gap = c.skip(" ._-", 2);
  if (gap == 2 && c.text[word_end] == ' ') return std::nullopt;
  const std::size_t at = c.at;
  auto n = c.number(1, 4);
  if (!n && gap > 0) n = read_small_roman(c);
  const std::size_t width = c.at - at;
  if (!n || (width == 3 && is_digit(c.text[at])) || (width == 4 && (*n < 1900 || *n > 2100)))
    return std::nullopt;
  Cursor t = c;
  skip_total(t);
  std::vector<int> seasons{*n};
  if (t.at != c.at) {
    c = t;
  } else {
    if (!c.boundary()) return std::nullopt;
    read_list(c, seasons, 2, true);
    t = c;
    t.skip(" ._-", 3);
    if (t.eat(name.lower(i)) || t.eat('s')) {  // a range written out
      t.skip(kLoose, 1);
      const auto last = t.number(1, 2);
      if (last && t.boundary() && *last > seasons.back() && *last < seasons.back() + 60) {
        for (int k = seasons.back() + 1; k <= *last; ++k) seasons.push_back(k);
        c = t;
      }
    }
  }
  out.season = seasons.front();
  if (seasons.size() > 1) out.seasons = std::move(seasons);
  return c.at;
}

// Spanish and Portuguese sites count 104 for season 1, episode 4.
std::optional<std::size_t> chapter(Cursor c, Numbers& out) {
  c.skip(" ._", 2);
  const std::size_t at = c.at;
  const auto n = c.number(1, 4);
  if (!n || !c.boundary()) return std::nullopt;
  out.paired = c.at - at >= 3;
  if (out.paired) out.season = *n / 100;
  out.episodes = {out.paired ? *n % 100 : *n};
  Cursor t = c;
  if (t.eat('_') || t.eat('-')) {
    const auto last = t.number(1, 4);
    if (last && t.boundary() && *last > *n && *last - *n < 99) {
      for (int k = 1; k <= *last - *n; ++k) out.episodes.push_back(out.episodes.front() + k);
      c = t;
    }
  }
  return c.at;
}

void read_more_episodes(Cursor& c, std::vector<int>& list, std::string_view word) {
  for (int i = 0; i < kMostInRange; ++i) {
    Cursor t = c;
    bool dash = false;
    for (int k = 0; k < 3 && (t.peek() == ' ' || t.peek() == '.' || t.peek() == '_' || t.peek() == '-');
         ++k) {
      dash |= t.peek() == '-';
      ++t.at;
    }
    if (!t.eat(word)) return;
    const auto n = t.number(1, 4);
    if (!n || *n <= list.back() || *n - list.back() > kMostInRange) return;
    for (int k = dash ? list.back() + 1 : *n; k <= *n; ++k) list.push_back(k);
    c = t;
  }
}

// "E07", "Ep 03", "Episode 4", "Ep01-12", "Folge 3", "afl.3 en 4"
std::optional<std::size_t> episode_after(const Name& name, std::size_t i, Cursor c, std::string_view word,
                                         Numbers& out) {
  const bool letter = word == "e";
  const int gap = letter ? 0 : c.skip(" ._", 2);
  const std::size_t at = c.at;
  const auto n = c.number(1, 5);
  if (!n || (gap > 0 && c.at - at > 4)) return std::nullopt;
  const bool padded = c.at - at >= 2;
  if (letter && !padded) return std::nullopt;
  if (word == "episode" && gap > 0 && i == 0 && name.size() == 2) return std::nullopt;
  out.episodes = {*n};
  read_more_episodes(c, out.episodes, word);
  if (c.peek() == 'v' && is_digit(c.peek(1))) c.at += 2;
  if (!c.boundary()) {
    out.episodes.clear();
    return std::nullopt;
  }
  read_list(c, out.episodes, 4, letter && padded && out.episodes.size() < 400);
  skip_total(c);
  return c.at;
}

// "3of9", "14.of.21", "60.Bolum"
std::optional<std::size_t> number_before(const Name& name, std::size_t i, Numbers& out) {
  Cursor c{name.low, name.tokens[i].begin};
  const auto n = c.number(1, 4);
  if (!n || (i == 0 && name.size() < 3)) return std::nullopt;
  Cursor t = c;
  skip_total(t);
  if (t.at == c.at) {
    t.skip(" ._", 2);
    if (!t.eat("bolum") && !t.eat("bölüm") && !t.eat("blm")) return std::nullopt;
    if (t.at - c.at < 4 || !t.boundary()) return std::nullopt;
  }
  out.episodes = {*n};
  return t.at;
}

// "4ª Temporada"
std::optional<std::size_t> ordinal_season(const Name& name, std::size_t i, Numbers& out) {
  if (i == 0 || i + 1 >= name.size() || name.tokens[i + 1].gap & (kGapDash | kGapOpen | kGapClose))
    return std::nullopt;
  Cursor c{name.low, name.tokens[i].begin};
  const auto n = c.number(1, 2);
  if (!n || !(c.eat("ª") || c.eat("º") || c.eat("a")) || c.at != name.tokens[i].end) return std::nullopt;
  if (name.lower(i + 1) != "temporada") return std::nullopt;
  out.season = *n;
  return name.tokens[i + 1].end;
}

// "2. Staffel"
std::optional<std::size_t> season_before(const Name& name, std::size_t i, Numbers& out) {
  const Token& t = name.tokens[i];
  if (!t.digits || t.end - t.begin > 2 || i == 0 || i + 1 >= name.size()) return std::nullopt;
  const Gap gap = name.tokens[i + 1].gap;
  const bool joined = (gap & kGapDot) && !(gap & (kGapDash | kGapOpen | kGapClose));
  const std::string_view word = name.lower(i + 1);
  if (!joined || (word != "staffel" && word != "sezon" && word != "sezona" && word != "sesong"))
    return std::nullopt;
  out.season = to_int(name.word(i));
  return name.tokens[i + 1].end;
}

// "Series 3 Episode 4", as British broadcasters count
bool is_british_series(const Name& name, std::size_t i) {
  if (name.lower(i) != "series" || i == 0 || i + 2 >= name.size() || !name.tokens[i + 1].digits) return false;
  const std::string_view word = name.lower(i + 2);
  return word == "episode" || word == "ep";
}

// 第1008话, 第12集, 第1季
std::optional<std::size_t> ideographic(const Name& name, std::size_t i, Numbers& out) {
  if (!name.tokens[i].digits || i + 1 >= name.size()) return std::nullopt;
  std::size_t last = i;  // 第01-12集
  if (i + 2 < name.size() && name.tokens[i + 1].digits && name.tokens[i + 1].gap == kGapDash) last = i + 1;
  if (name.tokens[last + 1].gap != 0) return std::nullopt;
  const std::string_view next = name.word(last + 1);
  const auto starts = [&](std::string_view s) { return next.substr(0, s.size()) == s; };
  const int n = to_int(name.word(i));
  if (starts("季") && last == i) {
    // The Latin title after the slash says it again.
    if (name.text.find('/', name.tokens[i].end) != std::string::npos) return std::nullopt;
    out.season = n;
    return name.tokens[i].end;
  }
  const bool counter = starts("话") || starts("話") || starts("集") || starts("回");
  if (!counter) return std::nullopt;
  const int to = to_int(name.word(last));
  for (int k = n; k <= to && k - n <= kMostInRange; ++k) out.absolute.push_back(k);
  return name.tokens[last].end + 3;  // with the counter
}

}  // namespace

std::optional<std::size_t> match_worded(const Name& name, std::size_t token, Numbers& out) {
  const Token& t = name.tokens[token];
  const std::string_view low = name.lower(token);
  if (is_digit(low.front())) {
    if (const auto end = ideographic(name, token, out)) return end;
    if (const auto end = season_before(name, token, out)) return end;
    if (const auto end = ordinal_season(name, token, out)) return end;
    return number_before(name, token, out);
  }
  const std::size_t letters = head_letters(low);
  const std::string_view head = low.substr(0, letters);
  const std::uint32_t bits = letters == low.size() ? t.word : classify_word(head);
  const Cursor c{name.low, t.begin + letters};
  if ((bits & kSeasonWord) || is_british_series(name, token)) return season_after(name, token, c, out);
  if (!(bits & kEpisodeWord)) return std::nullopt;
  if (head == "cap" || head == "capitulo") return chapter(c, out);
  return episode_after(name, token, c, head, out);
}

}  // namespace mediafs::naming
