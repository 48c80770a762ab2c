// Which words of a name are technical. A strong word always is; a weak one only in technical company.
#include <algorithm>
#include <iterator>
#include <utility>

#include "pipeline/naming/release.h"
#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

using Pair = std::pair<std::string_view, std::string_view>;
constexpr Pair kPairs[] = {
    {"web", "dl"},         {"web", "rip"},      {"web", "dlrip"},  {"web", "cap"},    {"blu", "ray"},
    {"dvd", "rip"},        {"dvd", "r"},        {"dvd", "scr"},    {"hd", "tv"},      {"hd", "rip"},
    {"hd", "cam"},         {"hd", "ts"},        {"h", "264"},      {"h", "265"},      {"x", "264"},
    {"x", "265"},          {"dts", "hd"},       {"dts", "x"},      {"dvb", "rip"},    {"bd", "rip"},
    {"br", "rip"},         {"tv", "rip"},       {"dd", "5"},       {"dd", "2"},       {"ds", "rip"},
    {"open", "matte"},     {"split", "scenes"}, {"dual", "audio"}, {"read", "nfo"},   {"dolby", "vision"},
    {"dolby", "digital"},  {"true", "hd"},      {"10", "bit"},     {"8", "bit"},      {"bd", "remux"},
    {"half", "ou"},        {"half", "sbs"},     {"multi", "sub"},  {"multi", "subs"}, {"multi", "audio"},
    {"web", "hd"},         {"dvd", "screener"}, {"nl", "subs"},    {"eng", "sub"},    {"eng", "subs"},
    {"sub", "ita"},        {"sub", "eng"},      {"sub", "fr"},     {"hd", "dvd"},     {"vhs", "rip"},
    {"complete", "series"}};

bool has(const Name& name, std::size_t i, std::uint32_t bits) {
  return (name.tokens[i].word & bits) != 0;
}

bool is_checksum(const Name& name, std::size_t i) {
  const Token& t = name.tokens[i];
  if (t.bracket == 0 || t.end - t.begin != 8 || !(t.gap & kGapOpen) || !(name.gap_after(i) & kGapClose))
    return false;
  const std::string_view low = name.lower(i);
  return std::all_of(low.begin(), low.end(), [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); });
}

// "LiMiTED", "REAL": as no title in its usual spelling has it.
bool oddly_cased(std::string_view word) {
  if (word.size() < 2) return false;
  return std::any_of(word.begin() + 1, word.end(), is_upper);
}

bool shouts(const Name& name, std::size_t start) {
  for (std::size_t i = start; i < name.size(); ++i) {
    if (has(name, i, kStrong) || is_year(name, i)) break;
    const std::string_view w = name.word(i);
    if (std::any_of(w.begin(), w.end(), is_lower)) return false;
  }
  return true;
}

bool is_article(std::string_view low) {
  return low == "the" || low == "a" || low == "an" || low == "der" || low == "die" || low == "das" ||
         low == "le" || low == "la" || low == "el" || low == "of" || low == "my";
}

constexpr std::uint32_t kEditionBits = kEditionHead | kEditionTail | kEditionAlone;

std::string_view bare(std::string_view low) {
  return low == "s" ? std::string_view{} : low;
}

// Marks runs like "Special Edition", "Extended Directors Cut", "Edition Collector", IMAX.
struct EditionRun {
  std::size_t begin;
  std::size_t end;
  bool phrase;  // has a tail: Cut, Edition
};

std::vector<EditionRun> edition_runs(const Name& name, std::size_t start) {
  std::vector<EditionRun> runs;
  for (std::size_t i = start; i < name.size();) {
    if (!has(name, i, kEditionBits)) {
      ++i;
      continue;
    }
    std::size_t end = i;
    bool head = false, tail = false, alone = true;
    while (end < name.size() &&
           (has(name, end, kEditionBits) || (end > i && bare(name.lower(end)).empty()))) {
      head |= has(name, end, kEditionHead | kEditionAlone);
      tail |= has(name, end, kEditionTail);
      alone &= has(name, end, kEditionAlone);
      ++end;
    }
    // "International Final" or a lone "Edition" is no edition; a head may end at its last stand-alone word.
    if (!(head && tail) && !alone) {
      std::size_t from = end;
      while (from > i && has(name, from - 1, kEditionAlone)) --from;
      if (from < end) runs.push_back({from, end, false});
    } else {
      runs.push_back({i, end, head && tail});
    }
    i = end;
  }
  return runs;
}

bool ends_cleanly(const Name& name, std::size_t end, const std::vector<bool>& marks) {
  return end >= name.size() || marks[end] || is_year(name, end) ||
         (name.tokens[end].gap & (kGapOpen | kGapClose));
}

void mark_blocks(const Name& name, std::vector<bool>& marks, std::size_t start) {
  for (std::size_t i = start; i < name.size();) {
    const int block = name.tokens[i].block;
    std::size_t end = i + 1;
    if (block == 0) {
      i = end;
      continue;
    }
    bool strong = false, all = true;
    for (end = i; end < name.size() && name.tokens[end].block == block; ++end) {
      strong |= has(name, end, kStrong) || is_checksum(name, end);
      all &= has(name, end, kStrong | kWeak | kLanguage | kEditionAlone | kVersion | kSubtitled) ||
             (name.tokens[end].end - name.tokens[end].begin <= 3 && end > i);
    }
    if (strong || (all && !(end - i == 1 && has(name, i, kLanguage) && name.tokens[i].bracket == '('))) {
      std::fill(marks.begin() + static_cast<std::ptrdiff_t>(i),
                marks.begin() + static_cast<std::ptrdiff_t>(end), true);
    }
    i = end;
  }
}

}  // namespace

void join_phrases(Name& name) {
  for (std::size_t i = 0; i + 1 < name.size(); ++i) {
    const std::string_view next = name.lower(i + 1);
    const bool media = next == "cd" || next == "cds" || next == "dvds" || next == "discs";
    if (media && name.tokens[i].digits && name.tokens[i].end - name.tokens[i].begin == 1) {  // "2 CD"
      name.tokens[i].word |= kStrong;
      name.tokens[i + 1].word |= kStrong;
    }
    if (name.tokens[i].block != name.tokens[i + 1].block) continue;
    const Pair pair{name.lower(i), name.lower(i + 1)};
    if (std::find(std::begin(kPairs), std::end(kPairs), pair) == std::end(kPairs)) continue;
    name.tokens[i].word |= kStrong;
    name.tokens[i + 1].word |= kStrong;
    if (pair.second == "tv") name.tokens[i].word |= kTvSource;
  }
}

std::vector<bool> find_marks(const Name& name, std::size_t start) {
  std::vector<bool> marks(name.size(), false);
  mark_blocks(name, marks, start);
  const bool loud = shouts(name, start);
  const auto runs = edition_runs(name, start + 1);
  auto run = runs.rbegin();
  std::size_t first_year = kNoToken;
  for (std::size_t i = start + 1; i < name.size() && first_year == kNoToken; ++i) {
    if (is_year(name, i)) first_year = i;
  }
  for (std::size_t k = name.size(); k > start; --k) {
    const std::size_t i = k - 1;
    const bool before_mark = k < name.size() && marks[k];
    const bool before_year = k < name.size() && is_year(name, k);
    if (has(name, i, kStrong)) marks[i] = true;
    if (marks[i]) continue;
    if (has(name, i, kVersion) &&
        (before_mark || k == name.size() || (name.gap_after(i) & (kGapOpen | kGapClose)))) {
      marks[i] = i > start;
      continue;
    }
    while (run != runs.rend() && run->begin > i) ++run;
    const bool in_run = run != runs.rend() && i < run->end;
    if (in_run && i + 1 == run->end) {
      const bool lone_article = run->begin == start + 1 && is_article(name.lower(start));
      const bool standing =
          run->phrase || before_mark || name.tokens[i].bracket != 0 ||
          (k == name.size() ? first_year < i : oddly_cased(name.word(i)) || first_year < i || before_year);
      if (!lone_article && standing && ends_cleanly(name, k, marks)) {
        for (std::size_t m = run->begin; m < run->end; ++m) marks[m] = true;
      }
      if (marks[i]) continue;
    }
    if (!has(name, i, kWeak | kLanguage)) continue;
    if (before_mark) {
      marks[i] = !has(name, i, kPlainWord) || (oddly_cased(name.word(i)) && !loud);
    } else if (before_year) {
      marks[i] = i > start + 1 && oddly_cased(name.word(i)) && !loud && !is_article(name.lower(i - 1));
    } else if (k == name.size()) {
      marks[i] = has(name, i, kTrailing | kSubtitled) ||
                 (!has(name, i, kPlainWord | kLanguage) && oddly_cased(name.word(i)) && !loud) ||
                 (has(name, i, kLanguage) && oddly_cased(name.word(i)) && !loud);
    }
  }
  return marks;
}

std::string find_edition(const Release& release) {
  const Name& name = release.name;
  std::string edition;
  for (const EditionRun& run : edition_runs(name, release.start + 1)) {
    const bool technical = release.marks[run.begin] || run.begin >= release.title_end;
    if (!technical) continue;
    if (!run.phrase && run.end - run.begin == 1 && name.lower(run.begin) == "dc" &&
        name.word(run.begin) != "DC")
      continue;
    std::string text = text_between(name, run.begin, run.end);
    if (name.lower(run.begin) == "dc") text = "Director's Cut";
    if (!edition.empty()) edition += ' ';
    edition += text;
  }
  return edition;
}

}  // namespace mediafs::naming
