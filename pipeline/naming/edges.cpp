// Where the title, and an episode's title, end.
#include <algorithm>

#include "pipeline/naming/release.h"
#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

bool has(const Name& name, std::size_t i, std::uint32_t bits) {
  return (name.tokens[i].word & bits) != 0;
}

// A "(…)" ends a film's title when only technical words follow it.
bool closing_parenthesis(const Release& r, std::size_t i) {
  const Name& n = r.name;
  if (n.tokens[i].bracket != '(' || !(n.tokens[i].gap & kGapOpen)) return false;
  std::size_t end = i;
  while (end < n.size() && n.tokens[end].block == n.tokens[i].block) ++end;
  if (r.marks[i] || (r.year_token && *r.year_token >= i && *r.year_token < end)) return true;
  if (r.numbers.has_episode() || r.numbers.season) return false;
  return end >= n.size() || r.marks[end] || (r.year_token && *r.year_token == end) ||
         (n.tokens[end].gap & kGapOpen);
}

// What may stand before an episode's number and is no title: "The Complete", "Ep", "313-315", "- 05.5".
std::size_t trim_before_numbers(Release& r, std::size_t end) {
  const Name& n = r.name;
  if (r.numbers.first != end) return end;
  while (end > r.start + 1) {
    const std::string_view w = n.lower(end - 1);
    if (w == "complete" || (w == "the" && end < r.numbers.first && n.lower(end) == "complete") ||
        (has(n, end - 1, kEpisodeWord) && w != "e")) {
      --end;
      continue;
    }
    if (w == "ova" || w == "ona" || w == "oad" || w == "oav") {
      r.parsed.special = true;
      --end;
      continue;
    }
    const Gap before = n.tokens[end - 1].gap;
    const bool apart = (before & kGapDash) && (before & (kGapSpace | kGapUnder));
    if (r.numbers.paired && apart && n.tokens[end - 1].digits && w.size() >= 2 && w.size() <= 4 &&
        !is_year(n, end - 1)) {
      r.numbers.absolute = {static_cast<double>(to_int(w))};  // "- 003 (1x03)"
      --end;
      continue;
    }
    if (end < r.start + 3 || !n.tokens[end - 1].digits || !n.tokens[end - 2].digits) break;
    const int first = to_int(n.word(end - 2));
    const int last = to_int(n.word(end - 1));
    const Gap gap = n.tokens[end - 1].gap;
    const bool range = gap == kGapDash && n.word(end - 2).size() >= 3 && last > first && last - first < 100 &&
                       !is_year(n, end - 2);
    const bool decimal = gap == kGapDot && n.word(end - 1).size() == 1 && (n.tokens[end - 2].gap & kGapDash);
    if (!range && !decimal) break;
    if (range) {
      for (int k = first; k <= last; ++k) r.numbers.absolute.push_back(k);
    }
    end -= 2;
  }
  return end;
}

std::size_t text_end(const Release& r, std::size_t from) {
  const Name& n = r.name;
  for (std::size_t i = from; i < n.size(); ++i) {
    if (r.marks[i]) return i;
    if ((n.tokens[i].gap & kGapOpen) && (n.tokens[i].bracket == '[' || n.tokens[i].bracket == '{')) return i;
    if ((n.tokens[i].gap & kGapOpen) && n.tokens[i].bracket == '(') {
      std::size_t end = i;
      while (end < n.size() && n.tokens[end].block == n.tokens[i].block) ++end;
      if (end >= n.size() || r.marks[end] || r.marks[i]) return i;
    }
    if (r.year_token == i && i == from) return i;
  }
  return n.size();
}

std::size_t raw_title_end(const Release& r) {
  const Name& n = r.name;
  const std::size_t numbered = r.numbers.first == kNoToken ? n.size() : r.numbers.first;
  for (std::size_t i = r.start; i < n.size(); ++i) {
    if (i == numbered) return i;
    if (i == r.start) continue;
    if (r.year_token == i && (i >= r.start)) return i;
    if (r.marks[i]) return i;
    const Token& t = n.tokens[i];
    const bool new_block = t.block != n.tokens[r.start].block;
    if (new_block && (t.gap & kGapOpen) && (t.bracket == '[' || t.bracket == '{')) return i;
    if (n.tokens[r.start].bracket == '[' && new_block) return i;
    if (closing_parenthesis(r, i) && t.gap != kGapOpen) return i;
    if (closing_parenthesis(r, i) && !(r.numbers.has_episode())) return i;
  }
  return n.size();
}

}  // namespace

std::size_t find_title_end(Release& r) {
  return trim_before_numbers(r, raw_title_end(r));
}

// "-x09-" (bonus) and "-f21-" (film of a series) between dashes.
void find_film_marks(Release& r, std::size_t& end) {
  const Name& n = r.name;
  for (std::size_t i = r.start + 1; i + 1 < n.size(); ++i) {
    const std::string_view w = n.lower(i);
    if (w.size() != 3 || !all_digits(w.substr(1)) || !(n.tokens[i].gap & kGapDash) ||
        !(n.tokens[i + 1].gap & kGapDash))
      continue;
    if (w[0] == 'x') {
      r.parsed.extra = true;
      end = std::min(end, i);
      return;
    }
    if (w[0] == 'f') r.start = i + 1;
  }
}

void read_episode_title(Release& r) {
  const Name& n = r.name;
  std::size_t from = r.numbers.last;
  while (from < n.size() && r.year_token == from) ++from;
  // "S01E03 - 003 - Title"
  if (from + 1 < n.size() && n.tokens[from].digits && n.word(from).size() == 3 &&
      (n.tokens[from].gap & kGapDash) && (n.tokens[from + 1].gap & kGapDash) &&
      (n.tokens[from + 1].gap & kGapSpace)) {
    r.parsed.absolute = {static_cast<double>(to_int(n.word(from)))};
    ++from;
  }
  std::size_t end = text_end(r, from);
  // "S01E02-GROUP"
  if (from + 1 == n.size() && n.tokens[from].gap == kGapDash && !n.tokens[from].digits) return;
  for (std::size_t i = from; i < end; ++i) {
    const std::string_view w = n.lower(i);
    const bool part =
        (w == "part" && i + 1 < n.size()) || (w.size() == 5 && w.substr(0, 4) == "part" && is_digit(w[4]));
    if (part && r.numbers.part) end = i;
  }
  r.parsed.episode_title = text_between(n, from, end);
}

}  // namespace mediafs::naming
