#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/config_keys.h"
#include "common/path.h"

namespace mediafs {

namespace {

struct Unit {
  std::string_view name;  // lower case
  double factor;
};

struct Amount {
  double number = 0;
  std::uint64_t whole = 0;
  bool is_whole = false;
  std::string unit;  // lower case
};

std::optional<Amount> split_amount(std::string_view text) {
  const auto trim = [](std::string_view s) {
    while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
    while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
    return s;
  };
  text = trim(text);
  const std::size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string_view number = text.substr(0, digits);
  Amount amount;
  const char* end = number.data() + number.size();
  const auto parsed = std::from_chars(number.data(), end, amount.number, std::chars_format::fixed);
  if (number.empty() || parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  const auto whole = std::from_chars(number.data(), end, amount.whole);
  amount.is_whole = whole.ec == std::errc{} && whole.ptr == end;
  for (const char c : trim(text.substr(digits))) {
    amount.unit.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  return amount;
}

// The amount in base units, rounded; none for an unknown unit or one too large for 63 bits.
template <std::size_t N>
std::optional<std::uint64_t> scaled(const Amount& amount, const std::array<Unit, N>& units) {
  const auto unit =
      std::find_if(units.begin(), units.end(), [&](const Unit& u) { return u.name == amount.unit; });
  if (unit == units.end()) return std::nullopt;
  const double value = amount.number * unit->factor;
  if (!(value < 9.2e18)) return std::nullopt;
  if (amount.is_whole) return amount.whole * static_cast<std::uint64_t>(unit->factor);
  return static_cast<std::uint64_t>(std::llround(value));
}

constexpr double kKi = 1024;

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  static constexpr std::array<Unit, 18> kUnits{{{"", 1},
                                                {"b", 1},
                                                {"k", kKi},
                                                {"kib", kKi},
                                                {"kb", 1e3},
                                                {"m", kKi * kKi},
                                                {"mib", kKi * kKi},
                                                {"mb", 1e6},
                                                {"g", kKi * kKi * kKi},
                                                {"gib", kKi * kKi * kKi},
                                                {"gb", 1e9},
                                                {"t", kKi * kKi * kKi * kKi},
                                                {"tib", kKi * kKi * kKi * kKi},
                                                {"tb", 1e12},
                                                {"p", kKi * kKi * kKi * kKi * kKi},
                                                {"pib", kKi * kKi * kKi * kKi * kKi},
                                                {"pb", 1e15},
                                                {"bytes", 1}}};
  const auto amount = split_amount(text);
  const auto bytes = amount ? scaled(*amount, kUnits) : std::nullopt;
  if (!bytes) {
    return make_error(ErrorCode::invalid, "\"" + printable(text) + "\" is not a size",
                      "write for example \"512M\", \"8G\" or \"1.5TiB\"");
  }
  return *bytes;
}

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  static constexpr std::array<Unit, 8> kUnits{{{"ms", 1},
                                               {"s", 1e3},
                                               {"sec", 1e3},
                                               {"m", 6e4},
                                               {"min", 6e4},
                                               {"h", 3.6e6},
                                               {"d", 8.64e7},
                                               {"w", 6.048e8}}};
  auto amount = split_amount(text);
  if (amount && amount->unit.empty() && amount->number == 0) amount->unit = "s";
  const auto ms = amount ? scaled(*amount, kUnits) : std::nullopt;
  if (!ms) {
    return make_error(ErrorCode::invalid, "\"" + printable(text) + "\" is not a time",
                      "write for example \"500ms\", \"2s\", \"5m\" or \"1h\"");
  }
  return std::chrono::milliseconds(*ms);
}

}  // namespace mediafs

namespace mediafs::config_detail {

namespace {

// Optimal string alignment: insert, delete, replace and swap of neighbours cost one each.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string nearest(std::string_view text, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, text.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(text, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string suggestion(std::string_view text, const std::vector<std::string>& candidates) {
  const std::string best = nearest(text, candidates);
  return best.empty() ? "" : " (did you mean \"" + best + "\"?)";
}

}  // namespace mediafs::config_detail
