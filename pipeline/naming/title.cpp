#include <algorithm>

#include "pipeline/naming/release.h"
#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

// "S.H.I.E.L.D." and "R.I.P.D" keep their dots: single letters between them.
bool acronym_dot(std::string_view s, std::size_t dot) {
  const auto lone = [&](std::size_t i) {
    const bool left = i == 0 || !is_word(s[i - 1]);
    const bool right = i + 1 >= s.size() || !is_word(s[i + 1]);
    return is_upper(s[i]) && left && right;
  };
  if (dot == 0 || !lone(dot - 1)) return false;
  const bool next = dot + 1 < s.size() && lone(dot + 1);
  const bool before = dot >= 3 && s[dot - 2] == '.' && lone(dot - 3);
  return next || before;
}

std::string_view trim_edges(std::string_view s) {
  constexpr std::string_view kHead = " -.,:;_~+=)]}|/\\\"";
  constexpr std::string_view kTail = " -,:;_~+=([{|/\\\"";
  while (!s.empty() && kHead.find(s.front()) != kHead.npos) s.remove_prefix(1);
  while (!s.empty() && kTail.find(s.back()) != kTail.npos) s.remove_suffix(1);
  return s;
}

bool is_all_lower(std::string_view s) {
  bool letters = false;
  for (const char c : s) {
    if (is_upper(c) || (static_cast<unsigned char>(c) & 0x80U)) return false;
    letters |= is_lower(c);
  }
  return letters;
}

bool has_latin(std::string_view s) {
  int run = 0;
  for (const char c : s) {
    run = is_alpha(c) ? run + 1 : 0;
    if (run >= 2) return true;
  }
  return false;
}

bool has_ideograph(std::string_view s) {
  for (std::size_t at = 0; at < s.size();) {
    const Decoded d = decode_utf8(s, at);
    if (is_ideograph(d.code)) return true;
    at += d.size;
  }
  return false;
}

// Of two titles in one name the one in Latin letters if the other is in ideographs, else the first.
std::string_view pick_alternative(std::string_view s) {
  for (const std::string_view sep :
       {std::string_view(" / "), std::string_view("/"), std::string_view(" | ")}) {
    const std::size_t cut = s.find(sep);
    if (cut == s.npos || cut == 0) continue;
    const std::string_view first = s.substr(0, cut);
    const std::string_view second = s.substr(cut + sep.size());
    if (sep == "/" && !has_ideograph(s)) continue;
    if (has_ideograph(first) && has_latin(second) && !has_ideograph(second)) return second;
    return first;
  }
  return s;
}

std::string drop_ideographs(std::string_view s) {
  if (!has_ideograph(s) || !has_latin(s)) return std::string(s);
  std::string out;
  for (std::size_t at = 0; at < s.size();) {
    const Decoded d = decode_utf8(s, at);
    if (is_ideograph(d.code)) {
      out += ' ';
    } else {
      out.append(s.substr(at, d.size));
    }
    at += d.size;
  }
  return out;
}

std::string_view cut_aka(std::string_view s) {
  const std::string low = ascii_lower(s);
  for (const std::string_view sep : {std::string_view(" aka "), std::string_view("(aka ")}) {
    const std::size_t cut = low.find(sep);
    if (cut != std::string::npos && cut > 0) return s.substr(0, cut);
  }
  return s;
}

// "Infinite Stratos - IS": the initials of the words before add nothing.
std::string_view cut_initials(std::string_view s) {
  const std::size_t dash = s.rfind(" - ");
  if (dash == s.npos) return s;
  const std::string_view tail = s.substr(dash + 3);
  if (tail.size() < 2 || tail.size() > 6) return s;
  std::string initials;
  for (std::size_t i = 0; i < dash; ++i) {
    if (is_alpha(s[i]) && (i == 0 || !is_word(s[i - 1]))) initials += s[i];
  }
  return ascii_lower(initials) == ascii_lower(tail) ? s.substr(0, dash) : s;
}

}  // namespace

std::string clean_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '_' || (c == '.' && !acronym_dot(text, i))) c = ' ';
    if (c == ' ' && (out.empty() || out.back() == ' ')) continue;
    out += c;
  }
  const bool ends_acronym = out.size() >= 2 && out.back() == '.' && acronym_dot(out, out.size() - 1);
  std::string_view view = trim_edges(out);
  while (!view.empty() && view.back() == '.' && !ends_acronym) view.remove_suffix(1);
  return std::string(trim_edges(view));
}

std::string text_between(const Name& name, std::size_t from, std::size_t to) {
  if (from >= to || from >= name.size()) return {};
  const std::size_t begin = name.tokens[from].begin;
  std::size_t end = to < name.size() ? name.tokens[to].begin : name.text.size();
  // What stands between two words belongs to the first only if it closes something the text opened.
  end = std::min(end, name.text.size());
  std::string_view raw = std::string_view(name.text).substr(begin, end - begin);
  const std::size_t last_word = name.tokens[to - 1].end - begin;
  std::size_t keep = last_word;
  int open = 0;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] == '(' || raw[i] == '[') ++open;
    if (raw[i] == ')' || raw[i] == ']') {
      if (open > 0 && i >= last_word) keep = i + 1;
      if (open > 0) --open;
    }
  }
  if (keep < raw.size() && raw[keep] == '.' && acronym_dot(raw, keep)) ++keep;
  return clean_text(raw.substr(0, keep));
}

std::string make_title(const Release& release) {
  std::string text = text_between(release.name, release.start, release.title_end);
  std::string_view view = trim_edges(cut_aka(pick_alternative(text)));
  std::string title = clean_text(drop_ideographs(view));
  title = std::string(trim_edges(cut_initials(title)));
  if (title.empty()) title = text;
  constexpr std::string_view kCounter = "第";  // of "第12集"
  const bool counted = release.numbers.first == release.title_end && title.size() > kCounter.size();
  if (counted && title.substr(title.size() - kCounter.size()) == kCounter) {
    title = clean_text(std::string_view(title).substr(0, title.size() - kCounter.size()));
  }
  if (is_all_lower(title)) {
    for (std::size_t i = 0; i < title.size(); ++i) {
      if (is_lower(title[i]) && (i == 0 || title[i - 1] == ' '))
        title[i] = static_cast<char>(title[i] - 'a' + 'A');
    }
  }
  return title;
}

}  // namespace mediafs::naming
