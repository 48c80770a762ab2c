// Numbers that no word or letter marks as an episode: "- 07", "[12]", "Show.103.HDTV", "01 - Title".
#include <algorithm>

#include "pipeline/naming/cursor.h"
#include "pipeline/naming/release.h"

namespace mediafs::naming {

namespace {

constexpr int kMostInRange = 400;

struct Bare {
  int value = 0;
  std::size_t width = 0;
  std::size_t next = 0;     // the token after it, its version and end words
  bool glued_tail = false;  // 13END, 07v2
};

// The number that token i is, with "v2" and "END" after it.
std::optional<Bare> read_bare(const Name& name, std::size_t i) {
  Cursor c{name.low, name.tokens[i].begin};
  if (!is_digit(c.peek())) return std::nullopt;
  Bare bare;
  const auto n = c.number(1, 6);
  if (!n) return std::nullopt;
  bare.value = *n;
  bare.width = c.at - name.tokens[i].begin;
  bare.next = i + 1;
  if (c.at != name.tokens[i].end) {
    bare.glued_tail = true;
    if (c.eat('v') ? !c.number(1, 2) : !(c.eat("end") || c.eat("fin"))) return std::nullopt;
    if (c.at != name.tokens[i].end) return std::nullopt;
    return bare;
  }
  if (bare.next < name.size()) {
    const std::string_view w = name.lower(bare.next);
    const bool inside = !(name.tokens[bare.next].gap & (kGapOpen | kGapClose));
    if (inside &&
        ((name.tokens[bare.next].word & kVersion) || w == "end" || w == "fin" || w == "完" || w == "全"))
      ++bare.next;
  }
  return bare;
}

bool dashed(Gap gap) {
  return (gap & kGapDash) && (gap & (kGapSpace | kGapUnder | kGapDot));
}

class BareNumbers {
 public:
  BareNumbers(Release& release, const Hints& hints) : r_(release), n_(release.name), hints_(hints) {
    limit_ = n_.size();
    for (std::size_t i = r_.start + 1; i < n_.size(); ++i) {
      if (r_.marks[i] && !n_.tokens[i].digits) {
        limit_ = i;
        break;
      }
    }
  }

  void find() {
    if (range() || couple()) return;
    if (after_dash()) return;
    if (boxed()) return;
    if (leading()) return;
    if (r_.fansub && after_title_of_fansub()) return;
    if (!has_movie_year()) plain();
  }

 private:
  bool year_like(std::size_t i) const { return is_year(n_, i); }

  bool has_movie_year() const {
    for (std::size_t i = r_.start; i < n_.size(); ++i) {
      if (year_like(i) && (i > r_.start || n_.tokens[i].bracket)) return true;
    }
    return false;
  }

  // The number ends the title: what follows is technical, a bracket, or nothing.
  bool closes(std::size_t next) const {
    return next >= n_.size() || r_.marks[next] || (n_.tokens[next].gap & (kGapOpen | kGapClose));
  }

  void take_absolute(std::size_t from, std::size_t to, std::vector<double> values) {
    r_.numbers.absolute = std::move(values);
    if (r_.numbers.season && r_.numbers.episodes.empty()) {
      for (const double v : r_.numbers.absolute) r_.numbers.episodes.push_back(static_cast<int>(v));
      r_.numbers.absolute.clear();
    }
    r_.numbers.guessed = true;
    r_.numbers.cover(from, to);
  }

  void take_split(std::size_t from, std::size_t to, int value) {
    r_.numbers.season = value / 100;
    r_.numbers.episodes = {value % 100};
    r_.numbers.guessed = true;
    r_.numbers.cover(from, to);
  }

  // "01+02", "01 & 02", "01 and 02"
  bool couple() {
    for (std::size_t i = r_.start + 1; i + 1 < n_.size() && i <= limit_; ++i) {
      const auto a = read_bare(n_, i);
      if (!a || a->width != 2 || a->next != i + 1 || !(r_.fansub || dashed(n_.tokens[i].gap))) continue;
      const std::string_view word = n_.lower(i + 1);
      const std::size_t second = word == "&" || word == "and"        ? i + 2
                                 : (n_.tokens[i + 1].gap & kGapPlus) ? i + 1
                                                                     : n_.size();
      if (second >= n_.size()) continue;
      const auto b = read_bare(n_, second);
      if (!b || b->value != a->value + 1 || !closes(b->next)) continue;
      take_absolute(i, b->next, {static_cast<double>(a->value), static_cast<double>(b->value)});
      return true;
    }
    return false;
  }

  bool range() {
    for (std::size_t i = r_.start + 1; i + 1 < n_.size() && i <= limit_; ++i) {
      const auto a = read_bare(n_, i);
      if (!a || a->glued_tail || a->next != i + 1 || year_like(i) || a->width < 2) {
        if (!a || a->width != 1 || !(n_.tokens[i + 1].gap & (kGapDash | kGapTilde))) continue;
      }
      const Gap gap = n_.tokens[i + 1].gap;
      const bool tilde = (gap & kGapTilde) != 0;
      if (!(gap & (kGapDash | kGapTilde)) || (gap & ~(kGapDash | kGapTilde | kGapSpace))) continue;
      const bool loose = (gap & kGapSpace) && !tilde;
      // "Show 21 - 101" is a title and a number; "01 - 119" can only be a range.
      if (loose && !(n_.word(i).front() == '0' && (r_.fansub || n_.word(i + 1).front() == '0'))) continue;
      const auto b = read_bare(n_, i + 1);
      if (!b || b->value <= a->value || b->value - a->value > kMostInRange || year_like(i + 1) ||
          !closes(b->next))
        continue;
      std::vector<double> all;
      for (int v = a->value; v <= b->value; ++v) all.push_back(v);
      take_absolute(i, b->next, std::move(all));
      return true;
    }
    return false;
  }

  bool after_dash() {
    std::size_t found = kNoToken;
    for (std::size_t i = r_.start + 1; i < n_.size() && i <= limit_; ++i) {
      if (!dashed(n_.tokens[i].gap) || (n_.tokens[i].gap & kGapOpen) || n_.tokens[i].bracket) continue;
      const auto b = read_bare(n_, i);
      if (!b || (year_like(i) && !r_.fansub) || b->width > 4 || r_.marks[i]) continue;
      if (b->width == 1 && !r_.fansub && !closes(b->next)) continue;
      const bool decimal =
          b->next < n_.size() && n_.tokens[b->next].gap == kGapDot && n_.tokens[b->next].digits;
      if (closes(b->next) || decimal || dashed(n_.tokens[b->next].gap) || r_.marks[b->next]) found = i;
      if (found == kNoToken && b->next < n_.size() && n_.word(i).front() == '0') found = i;
    }
    if (found == kNoToken) return false;
    const auto b = read_bare(n_, found);
    if (decimal_after(found, *b)) return true;
    const bool splits =
        !r_.fansub && b->width == 3 && b->value >= 101 && b->value % 100 != 0 && b->next >= n_.size();
    if (splits) {
      take_split(found, b->next, b->value);
    } else {
      take_absolute(found, b->next, {static_cast<double>(b->value)});
    }
    return true;
  }

  // 10.5: a recap between two episodes
  bool decimal_after(std::size_t i, const Bare& b) {
    if (b.next >= n_.size() || n_.tokens[b.next].gap != kGapDot || !n_.tokens[b.next].digits) return false;
    const std::string_view w = n_.word(b.next);
    if (w.size() != 1) return false;
    std::size_t next = b.next + 1;
    if (next < n_.size() && n_.tokens[next].gap == kGapDot && n_.tokens[next].digits) ++next;
    take_absolute(i, next, {b.value + to_int(w) / 10.0});
    r_.numbers.special = true;
    return true;
  }

  bool boxed() {
    for (std::size_t i = r_.start + 1; i < n_.size(); ++i) {
      if (n_.tokens[i].bracket != '[' || !(n_.tokens[i].gap & kGapOpen) || year_like(i)) continue;
      const auto b = read_bare(n_, i);
      if (!b || b->width > 4 || b->width < 2 ||
          !(b->next >= n_.size() ? n_.tail & kGapClose : n_.tokens[b->next].gap & kGapClose))
        continue;
      if (hints_.season && b->width == 3 && b->value / 100 == *hints_.season) {
        take_split(i, b->next, b->value);
        return true;
      }
      if (!r_.fansub && b->width == 3 && b->value % 100 != 0) {
        take_split(i, b->next, b->value);
        return true;
      }
      take_absolute(i, b->next, {static_cast<double>(b->value)});
      return true;
    }
    return false;
  }

  // "003. Show Name", "01 - Title", "03-Show"; in a season's folder "2 Title" as well.
  bool leading() {
    const std::size_t i = r_.start;
    if (i + 1 >= n_.size() || n_.tokens[i].bracket) return false;
    const auto b = read_bare(n_, i);
    if (!b || b->width > 3 || b->next >= n_.size()) return false;
    const Gap gap = n_.tokens[b->next].gap;
    const bool list = (gap & kGapDash) || ((gap & kGapDot) && (gap & kGapSpace));
    const bool padded = n_.word(i).front() == '0';
    if (!hints_.season && (!list || has_movie_year() || hints_.movies)) return false;
    if (!hints_.season && gap == kGapDash && (!padded || n_.tokens[b->next].digits)) return false;
    if (!hints_.season && !padded && !r_.fansub && b->width < 2) return false;
    if (hints_.season) {
      r_.numbers.episodes = {b->value};
      r_.numbers.cover(i, b->next);
      r_.numbers.guessed = true;
      return true;
    }
    take_absolute(i, b->next, {static_cast<double>(b->value)});
    return true;
  }

  bool after_title_of_fansub() {
    std::size_t found = kNoToken;
    for (std::size_t i = r_.start + 1; i < n_.size() && i <= limit_; ++i) {
      if (n_.tokens[i].bracket && n_.tokens[i].bracket != '[') continue;
      const auto b = read_bare(n_, i);
      if (!b || b->width > 4 || (b->width < 2 && !b->glued_tail)) continue;
      if (n_.tokens[i].gap == kGapDot && n_.tokens[i - 1].digits) continue;
      if (closes(b->next)) {
        found = i;
      } else if (found == kNoToken && n_.word(i).front() == '0') {
        found = i;
      }
    }
    if (found == kNoToken || year_like(found)) return false;
    const auto b = read_bare(n_, found);
    take_absolute(found, b->next, {static_cast<double>(b->value)});
    return true;
  }

  bool is_subtitled() const {
    return std::any_of(n_.tokens.begin(), n_.tokens.end(),
                       [](const Token& t) { return t.word & kSubtitled; });
  }

  void plain() {
    if (hints_.movies) return;
    for (std::size_t i = r_.start + 1; i < n_.size() && i <= limit_; ++i) {
      const auto b = read_bare(n_, i);
      if (!b || n_.tokens[i].bracket || r_.marks[i] || year_like(i)) continue;
      if (i > 0 && n_.tokens[i - 1].digits && n_.tokens[i].gap == kGapDot) continue;
      const bool padded = n_.word(i).front() == '0';
      const bool closing = b->next >= n_.size() || r_.marks[b->next] ||
                           ((n_.tokens[b->next].gap & (kGapOpen | kGapClose)) != 0);
      if (take_plain(i, *b, padded, closing)) return;
    }
  }

  bool take_plain(std::size_t i, const Bare& b, bool padded, bool closing) {
    if (b.width == 2 && (closing || padded)) {
      take_absolute(i, b.next, {static_cast<double>(b.value)});
      return true;
    }
    if (!closing) return false;
    const int ep = b.value % 100;
    if (b.width == 3 && (padded || is_subtitled() || ep == 0)) {
      take_absolute(i, b.next, {static_cast<double>(b.value)});
      return true;
    }
    if ((b.width == 3 || b.width == 4) && ep > 0 && (b.width == 3 || ep < 60)) {
      take_split(i, b.next, b.value);
      return true;
    }
    if (b.width == 5 || b.width == 6) {  // 10708: season 1, episodes 7 and 8
      const int second = b.value % 100;
      const int first = b.value / 100 % 100;
      if (second != first + 1) return false;
      r_.numbers.season = b.value / 10000;
      r_.numbers.episodes = {first, second};
      r_.numbers.guessed = true;
      r_.numbers.cover(i, b.next);
      return true;
    }
    return false;
  }

  Release& r_;
  const Name& n_;
  const Hints& hints_;
  std::size_t limit_ = 0;
};

}  // namespace

void find_bare_numbers(Release& release, const Hints& hints) {
  if (release.name.size() == 0) return;
  BareNumbers(release, hints).find();
}

}  // namespace mediafs::naming
