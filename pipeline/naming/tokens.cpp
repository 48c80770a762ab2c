#include "pipeline/naming/tokens.h"

#include <algorithm>
#include <utility>

#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

Gap gap_of(char c) {
  switch (c) {
    case ' ':
      return kGapSpace;
    case '.':
      return kGapDot;
    case '_':
      return kGapUnder;
    case '-':
      return kGapDash;
    case ',':
      return kGapComma;
    case '/':
    case '\\':
    case '|':
      return kGapSlash;
    case '~':
      return kGapTilde;
    case '+':
      return kGapPlus;
    case '(':
    case '[':
    case '{':
      return kGapOpen;
    case ')':
    case ']':
    case '}':
      return kGapClose;
    case ':':
    case ';':
      return kGapColon;
    case '#':
    case '"':
    case '<':
    case '>':
    case '=':
      return kGapOther;
    default:
      return 0;
  }
}

struct Brackets {
  std::vector<std::pair<char, int>> open;
  int count = 0;

  void see(char c) {
    if (c == '(' || c == '[' || c == '{') {
      // Deeper nesting means nothing in a name and would only cost memory.
      if (open.size() < 8) open.emplace_back(c, ++count);
    } else if ((c == ')' || c == ']' || c == '}') && !open.empty()) {
      open.pop_back();
    }
  }
};

}  // namespace

std::size_t Name::token_at(std::size_t byte) const {
  const auto it = std::lower_bound(tokens.begin(), tokens.end(), byte,
                                   [](const Token& t, std::size_t b) { return t.begin < b; });
  return static_cast<std::size_t>(it - tokens.begin());
}

Name tokenize(std::string text) {
  Name name;
  name.text = std::move(text);
  name.low = ascii_lower(name.text);
  Brackets brackets;
  Gap gap = 0;
  for (std::size_t at = 0; at < name.text.size();) {
    const char c = name.text[at];
    if (const Gap g = gap_of(c); g != 0) {
      gap = static_cast<Gap>(gap | g);
      brackets.see(c);
      ++at;
      continue;
    }
    Token token;
    token.begin = at;
    token.gap = gap;
    const Decoded first = decode_utf8(name.text, at);
    token.ideograph = is_ideograph(first.code);
    while (at < name.text.size() && gap_of(name.text[at]) == 0) {
      const Decoded d = decode_utf8(name.text, at);
      const bool scripted = d.code >= 0x80 || is_word(name.text[at]);
      if (at > token.begin && scripted && is_ideograph(d.code) != token.ideograph) break;
      at += d.size;
    }
    token.end = at;
    if (!brackets.open.empty()) {
      token.bracket = brackets.open.back().first;
      token.block = brackets.open.back().second;
    }
    token.digits = all_digits(std::string_view(name.text).substr(token.begin, token.end - token.begin));
    name.tokens.push_back(token);
    gap = 0;
  }
  name.tail = gap;
  for (std::size_t i = 0; i < name.size(); ++i) name.tokens[i].word = classify_word(name.lower(i));
  return name;
}

}  // namespace mediafs::naming
