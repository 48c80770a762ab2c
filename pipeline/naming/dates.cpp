#include <array>
#include <cstdio>

#include "pipeline/naming/cursor.h"
#include "pipeline/naming/release.h"

namespace mediafs::naming {

namespace {

constexpr int kFirstYear = 1888;
constexpr int kLastYear = 2035;

bool is_valid(const Date& d) {
  static constexpr std::array<int, 12> kDays = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (d.year < 1930 || d.year > kLastYear || d.month < 1 || d.month > 12 || d.day < 1) return false;
  const bool leap = (d.year % 4 == 0 && d.year % 100 != 0) || d.year % 400 == 0;
  if (d.month == 2 && d.day == 29 && !leap) return false;
  return d.day <= kDays[static_cast<std::size_t>(d.month - 1)];
}

// 2016.05.23, 30-04-2024, 03-29-2012
std::optional<std::size_t> three_numbers(const Name& name, std::size_t i, Date& date) {
  if (i + 2 >= name.size()) return std::nullopt;
  std::array<int, 3> n{};
  std::array<std::size_t, 3> width{};
  for (std::size_t k = 0; k < 3; ++k) {
    const Token& t = name.tokens[i + k];
    if (!t.digits) return std::nullopt;
    if (k > 0 && t.begin - name.tokens[i + k - 1].end != 1) return std::nullopt;
    width[k] = t.end - t.begin;
    n[k] = to_int(name.word(i + k));
  }
  const std::size_t end = name.tokens[i + 2].end;
  if (width[0] == 4 && width[1] <= 2 && width[2] <= 2) {
    date = {n[0], n[1], n[2]};
    if (is_valid(date)) return end;
    date = {n[0], n[2], n[1]};
    if (is_valid(date)) return end;
  }
  if (width[0] == 2 && width[1] == 2 && width[2] == 4) {
    date = {n[2], n[1], n[0]};
    if (is_valid(date)) return end;
    date = {n[2], n[0], n[1]};
    if (is_valid(date)) return end;
  }
  return std::nullopt;
}

// 20161024, and 140722 when it can't be read otherwise
std::optional<std::size_t> packed(const Name& name, std::size_t i, Date& date) {
  const Token& t = name.tokens[i];
  if (!t.digits) return std::nullopt;
  const std::string_view w = name.word(i);
  if (w.size() == 8) {
    date = {to_int(w.substr(0, 4)), to_int(w.substr(4, 2)), to_int(w.substr(6, 2))};
    if (is_valid(date)) return t.end;
  }
  if (w.size() == 6) {
    const int a = to_int(w.substr(0, 2));
    const int b = to_int(w.substr(2, 2));
    const int c = to_int(w.substr(4, 2));
    if (c == b + 1) return std::nullopt;  // season and two episodes
    date = {2000 + a, b, c};
    if (a <= kLastYear - 2000 && is_valid(date)) return t.end;
  }
  return std::nullopt;
}

// 31st Jan 2025, 5 March 2024
std::optional<std::size_t> worded(const Name& name, std::size_t i, Date& date) {
  if (i + 2 >= name.size() || !(name.tokens[i + 1].word & kMonth) || !name.tokens[i + 2].digits)
    return std::nullopt;
  Cursor c{name.low, name.tokens[i].begin};
  const auto day = c.number(1, 2);
  if (!day) return std::nullopt;
  const bool ordinal = c.eat("st") || c.eat("nd") || c.eat("rd") || c.eat("th");
  if (c.at != name.tokens[i].end || (!ordinal && name.lower(i + 1) == "mar")) return std::nullopt;
  date = {to_int(name.word(i + 2)), *month_number(name.lower(i + 1)), *day};
  if (!is_valid(date)) return std::nullopt;
  return name.tokens[i + 2].end;
}

// June 1, 2011
std::optional<std::size_t> month_first(const Name& name, std::size_t i, Date& date) {
  if (!(name.tokens[i].word & kMonth) || i == 0 || i + 2 >= name.size()) return std::nullopt;
  if (!name.tokens[i + 1].digits || !name.tokens[i + 2].digits || name.word(i + 1).size() > 2)
    return std::nullopt;
  date = {to_int(name.word(i + 2)), *month_number(name.lower(i)), to_int(name.word(i + 1))};
  if (!is_valid(date)) return std::nullopt;
  return name.tokens[i + 2].end;
}

// 11.06.01, only where a broadcast's technical words follow
std::optional<std::size_t> short_year(const Name& name, std::size_t i, Date& date) {
  if (i == 0 || i + 3 >= name.size() || !(name.tokens[i + 3].word & (kTvSource | kStrong)))
    return std::nullopt;
  for (std::size_t k = i; k < i + 3; ++k) {
    if (!name.tokens[k].digits || name.word(k).size() != 2) return std::nullopt;
  }
  date = {2000 + to_int(name.word(i)), to_int(name.word(i + 1)), to_int(name.word(i + 2))};
  if (!is_valid(date)) return std::nullopt;
  return name.tokens[i + 2].end;
}

}  // namespace

std::optional<std::size_t> match_date(const Name& name, std::size_t token, Date& date) {
  if (!is_digit(name.text[name.tokens[token].begin])) return month_first(name, token, date);
  if (auto end = three_numbers(name, token, date)) return end;
  if (auto end = packed(name, token, date)) return end;
  if (auto end = short_year(name, token, date)) return end;
  return worded(name, token, date);
}

bool is_year(const Name& name, std::size_t token) {
  const Token& t = name.tokens[token];
  if (!t.digits || t.end - t.begin != 4) return false;
  const int n = to_int(name.word(token));
  return n >= kFirstYear && n <= kLastYear;
}

std::string iso_date(const Date& date) {
  char text[40];
  std::snprintf(text, sizeof text, "%04d-%02d-%02d", date.year, date.month, date.day);
  return text;
}

}  // namespace mediafs::naming
