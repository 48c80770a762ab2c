// Where in a name the title begins.
#include <algorithm>

#include "pipeline/naming/release.h"
#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

bool has(const Name& name, std::size_t i, std::uint32_t bits) {
  return (name.tokens[i].word & bits) != 0;
}

bool is_site(std::string_view lower) {
  static constexpr std::string_view kEndings[] = {".com", ".org",  ".net", ".tv", ".to", ".tc",
                                                  ".ru",  ".info", ".cc",  ".pl", ".io", ".me"};
  if (lower.substr(0, 4) == "www.") return true;
  return std::any_of(std::begin(kEndings), std::end(kEndings), [&](std::string_view e) {
    return lower.size() > e.size() && lower.substr(lower.size() - e.size()) == e;
  });
}

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '_')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '_')) s.remove_suffix(1);
  return s;
}

// All-lower scene files carry their group in front: "grp-some.film.2016.1080p.bluray.x264".
std::size_t leading_group(const Name& name) {
  if (name.size() < 5 || name.tokens[1].gap != kGapDash || name.tokens[0].digits || name.tokens[0].word != 0)
    return 0;
  const std::string_view first = name.word(0);
  if (std::any_of(name.text.begin(), name.text.end(), is_upper) || first.size() < 2 || first.size() > 8)
    return 0;
  bool technical = false;
  for (std::size_t i = 2; i < name.size(); ++i) {
    if (name.tokens[i].gap != kGapDot) return 0;
    technical |= has(name, i, kStrong) || is_year(name, i);
  }
  return technical ? 1 : 0;
}

// Where the title may begin: after [group] blocks, a group, a run of technical words, "(1)".
std::size_t after_groups(const Name& n, bool& technical_only) {
  std::size_t last_outside = n.size();
  while (last_outside > 0 && n.tokens[last_outside - 1].bracket != 0) --last_outside;
  std::size_t i = 0;
  while (i < n.size() && n.tokens[i].bracket == '[') {
    const int block = n.tokens[i].block;
    std::size_t end = i;
    bool technical = false;
    while (end < n.size() && n.tokens[end].bracket == '[' && n.tokens[end].block >= block) {
      if (n.tokens[end].block != block && (n.tokens[end].gap & kGapClose)) break;
      technical |= has(n, end, kStrong);
      ++end;
    }
    if (end >= n.size()) break;
    technical_only &= technical;
    i = end;
    // Everything in brackets, as Chinese groups write: only the first is the group.
    if (end >= last_outside && n.tokens[end].bracket == '[' && !technical) break;
  }
  return i < n.size() ? i : 0;
}

bool is_language_label(const Name& n, std::size_t i) {
  return has(n, i, kLanguage) && i + 2 < n.size() && (n.tokens[i + 1].gap & kGapDash) &&
         (n.tokens[i + 1].gap & kGapSpace);
}

bool ideographs_only_outside(const Name& n, std::size_t from) {
  bool any = false;
  for (std::size_t i = from; i < n.size(); ++i) {
    if (n.tokens[i].bracket != 0) continue;
    if (!n.tokens[i].ideograph && !n.tokens[i].digits) return false;
    any |= n.tokens[i].ideograph;
  }
  return any;
}

}  // namespace

// "www.site.org - Name", "From [ www.site.com ] - Name", "[site.com].Name"
std::string_view without_site(std::string_view text) {
  std::string_view rest = text;
  if (ascii_lower(rest.substr(0, 5)) == "from ") rest.remove_prefix(5);
  if (!rest.empty() && (rest.front() == '[' || rest.front() == '{')) {
    const std::size_t close = rest.find_first_of("]}");
    if (close == rest.npos || !is_site(ascii_lower(trimmed(rest.substr(1, close - 1))))) return text;
    rest.remove_prefix(close + 1);
    while (!rest.empty() && std::string_view(" -._").find(rest.front()) != rest.npos) rest.remove_prefix(1);
    return rest.empty() ? text : rest;
  }
  const std::size_t space = rest.find(" - ");
  if (space != rest.npos && rest.substr(0, space).find(' ') == rest.npos &&
      is_site(ascii_lower(rest.substr(0, space)))) {
    return rest.substr(space + 3);
  }
  return text;
}

std::size_t find_start(Release& r) {
  const Name& n = r.name;
  bool technical_only = true;
  std::size_t i = after_groups(n, technical_only);
  r.fansub = i > 0 && !technical_only;
  if (i == 0) i = leading_group(n);
  std::size_t run = i;
  while (run < n.size() && n.tokens[run].bracket == 0 && has(n, run, kStrong | kWeak)) ++run;
  if (run > i && run < n.size() && (n.tokens[run].gap & (kGapColon | kGapDash)) &&
      (n.tokens[run].gap & kGapSpace))
    i = run;
  if (i + 1 < n.size() && n.tokens[i].bracket == '(' && n.tokens[i].digits && n.word(i).size() <= 3 &&
      (n.tokens[i + 1].gap & kGapClose))
    ++i;
  if (is_language_label(n, i)) ++i;
  return i;
}

// In "[Group][标题][Title][12]" the title is the first block with Latin words, or the first at all.
void choose_block(Release& r) {
  Name& n = r.name;
  const bool boxed = n.tokens[r.start].bracket == '[' && r.start > 0;
  // "[组]★10月新番★[标题/Title][12]": a label outside, the title in a bracket.
  const bool labelled = r.start > 0 && n.tokens[r.start].bracket == 0 && ideographs_only_outside(n, r.start);
  if (!boxed && !labelled) return;
  std::size_t fallback = kNoToken;
  for (std::size_t i = r.start; i < n.size();) {
    const int block = n.tokens[i].block;
    std::size_t end = i;
    bool latin = false, usable = n.tokens[i].bracket == '[';
    while (end < n.size() && n.tokens[end].block == block) {
      const std::string_view w = n.word(end);
      latin |= w.size() >= 2 && is_alpha(w[0]) && is_alpha(w[1]) && !has(n, end, kStrong | kWeak | kLanguage);
      usable = usable && !has(n, end, kStrong);
      ++end;
    }
    usable = usable && !(end - i == 1 && n.tokens[i].digits);
    if (usable && latin) {
      r.start = i;
      return;
    }
    // A two-ideograph block is a label (国漫), not a title.
    if (usable && fallback == kNoToken && n.tokens[end - 1].end - n.tokens[i].begin > 8) fallback = i;
    i = std::max(end, i + 1);
  }
  if (boxed && fallback != kNoToken) r.start = fallback;
}

}  // namespace mediafs::naming
