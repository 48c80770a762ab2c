#include "common/config_keys.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "common/path.h"

namespace mediafs::config_detail {

namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

const std::string* text_of(const RawValue& raw) {
  return std::get_if<std::string>(&raw.value);
}

Problem read_value(const RawValue& raw, bool& into) {
  if (const bool* value = std::get_if<bool>(&raw.value)) {
    into = *value;
    return {};
  }
  const std::string* text = raw.from_environment ? text_of(raw) : nullptr;
  if (text != nullptr && (*text == "true" || *text == "1" || *text == "yes" || *text == "on")) {
    into = true;
    return {};
  }
  if (text != nullptr && (*text == "false" || *text == "0" || *text == "no" || *text == "off")) {
    into = false;
    return {};
  }
  return "must be true or false";
}

Problem read_value(const RawValue& raw, int& into) {
  const char* const why = "must be a whole number";
  std::int64_t number = 0;
  if (const auto* value = std::get_if<std::int64_t>(&raw.value)) {
    number = *value;
  } else if (const std::string* text = text_of(raw); text != nullptr && raw.from_environment) {
    const auto parsed = std::from_chars(text->data(), text->data() + text->size(), number);
    if (text->empty() || parsed.ec != std::errc{} || parsed.ptr != text->data() + text->size()) return why;
  } else {
    return why;
  }
  if (number < INT32_MIN || number > INT32_MAX) return "is out of range";
  into = static_cast<int>(number);
  return {};
}

Problem read_value(const RawValue& raw, std::uint64_t& bytes) {
  if (const auto* value = std::get_if<std::int64_t>(&raw.value)) {
    if (*value < 0) return "must not be negative";
    bytes = static_cast<std::uint64_t>(*value);
    return {};
  }
  const std::string* text = text_of(raw);
  if (text == nullptr) return "must be a size in quotes, for example \"8G\"";
  auto parsed = parse_size(*text);
  if (!parsed) return parsed.error().message();
  bytes = *parsed;
  return {};
}

Problem read_value(const RawValue& raw, std::chrono::milliseconds& into) {
  const std::string* text = text_of(raw);
  if (text == nullptr) return "must be a time with its unit in quotes, for example \"5s\"";
  auto parsed = parse_duration(*text);
  if (!parsed) return parsed.error().message();
  into = *parsed;
  return {};
}

Problem read_value(const RawValue& raw, Watermark& into) {
  const std::string* text = text_of(raw);
  if (text == nullptr || !trimmed(*text).ends_with('%')) {
    std::uint64_t bytes = 0;
    if (auto problem = read_value(raw, bytes)) return *problem + ", or a share of the disk such as \"50%\"";
    into = Watermark{bytes, 0};
    return {};
  }
  std::string_view number = trimmed(*text);
  number.remove_suffix(1);
  number = trimmed(number);
  double percent = 0;
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), percent);
  const bool whole = parsed.ec == std::errc{} && parsed.ptr == number.data() + number.size();
  if (!whole || !(percent >= 0 && percent <= 100))
    return "\"" + printable(*text) + "\" is not between 0% and 100%";
  into = Watermark{0, percent};
  return {};
}

std::string show_value(const std::string& text) {
  return quote(text);
}
std::string show_value(bool value) {
  return value ? "true" : "false";
}
std::string show_value(int value) {
  return std::to_string(value);
}
std::string show_value(const std::vector<std::string>& texts) {
  return quote_list(texts);
}

// With the largest unit that divides it, so that the shown value reads back as the same.
std::string show_value(std::uint64_t bytes) {
  constexpr std::string_view kUnits = "KMGTP";
  std::string unit;
  for (const char u : kUnits) {
    if (bytes == 0 || bytes % 1024 != 0) break;
    bytes /= 1024;
    unit = std::string(1, u);
  }
  return quote(std::to_string(bytes) + unit);
}

std::string show_value(std::chrono::milliseconds time) {
  const auto ms = time.count();
  if (ms % 1000 != 0) return quote(std::to_string(ms) + "ms");
  if (ms == 0 || ms % 60'000 != 0) return quote(std::to_string(ms / 1000) + "s");
  if (ms % 3'600'000 != 0) return quote(std::to_string(ms / 60'000) + "m");
  return quote(std::to_string(ms / 3'600'000) + "h");
}

std::string show_value(const Watermark& mark) {
  if (mark.percent <= 0) return show_value(mark.bytes);
  char text[32];
  std::snprintf(text, sizeof text, "%.10g%%", mark.percent);
  return quote(text);
}

template <auto Section, auto Member>
Key key(std::string_view section, std::string_view name) {
  return {section, name,
          [](Config& config, const RawValue& raw) { return read_value(raw, (config.*Section).*Member); },
          [](const Config& config) { return show_value((config.*Section).*Member); }};
}

}  // namespace

Problem read_value(const RawValue& raw, std::string& into) {
  const std::string* text = text_of(raw);
  if (text == nullptr) return "must be text in quotes";
  if (text->find('\0') != std::string::npos) return "must not contain a NUL character";
  into = *text;
  return {};
}

Problem read_value(const RawValue& raw, std::vector<std::string>& into) {
  if (const auto* list = std::get_if<std::vector<std::string>>(&raw.value)) {
    into = *list;
    return {};
  }
  const std::string* text = text_of(raw);
  if (text == nullptr || !raw.from_environment) return "must be a list of texts, for example [\"a\", \"b\"]";
  into.clear();
  for (std::string_view rest = *text; !rest.empty();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view item = trimmed(rest.substr(0, comma));
    if (!item.empty()) into.emplace_back(item);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return {};
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.append(1, '\\').append(1, c);
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04X", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out.append(escape);
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

std::string quote_list(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts) out.append(out.size() > 1 ? ", " : "").append(quote(text));
  return out + "]";
}

const std::vector<Key>& keys() {
  using C = Config;
  static const std::vector<Key> table{
      key<&C::mount, &C::Mount::path>("mount", "path"),
      key<&C::mount, &C::Mount::allow_other>("mount", "allow_other"),
      key<&C::mount, &C::Mount::read_only>("mount", "read_only"),
      key<&C::mount, &C::Mount::fsname>("mount", "fsname"),
      key<&C::mount, &C::Mount::subtype>("mount", "subtype"),
      key<&C::mount, &C::Mount::uid>("mount", "uid"),
      key<&C::mount, &C::Mount::gid>("mount", "gid"),
      key<&C::mount, &C::Mount::umask>("mount", "umask"),
      key<&C::mount, &C::Mount::options>("mount", "options"),
      key<&C::local, &C::Local::path>("local", "path"),
      key<&C::local, &C::Local::state>("local", "state"),
      key<&C::local, &C::Local::reserve_bytes>("local", "reserve"),
      key<&C::local, &C::Local::evict_below_free>("local", "evict_below_free"),
      key<&C::local, &C::Local::evict_until_free>("local", "evict_until_free"),
      key<&C::share, &C::Share::path>("share", "path"),
      key<&C::share, &C::Share::marker>("share", "marker"),
      key<&C::share, &C::Share::timeout>("share", "timeout"),
      key<&C::share, &C::Share::passthrough>("share", "passthrough"),
      key<&C::vault, &C::VaultCfg::url>("vault", "url"),
      key<&C::vault, &C::VaultCfg::endpoint>("vault", "endpoint"),
      key<&C::vault, &C::VaultCfg::path_style>("vault", "path_style"),
      key<&C::vault, &C::VaultCfg::region>("vault", "region"),
      key<&C::vault, &C::VaultCfg::credentials>("vault", "credentials"),
      key<&C::vault, &C::VaultCfg::ca>("vault", "ca"),
      key<&C::vault, &C::VaultCfg::upload_limit>("vault", "upload_limit"),
      key<&C::vault, &C::VaultCfg::download_limit>("vault", "download_limit"),
      key<&C::vault, &C::VaultCfg::cache_bytes>("vault", "cache_size"),
      key<&C::vault, &C::VaultCfg::trash>("vault", "trash"),
      key<&C::vault, &C::VaultCfg::read_back>("vault", "read_back"),
      key<&C::vault, &C::VaultCfg::snapshot_every>("vault", "snapshot_every"),
      key<&C::incoming, &C::Incoming::path>("incoming", "path"),
      key<&C::incoming, &C::Incoming::settle>("incoming", "settle"),
      key<&C::incoming, &C::Incoming::ignore>("incoming", "ignore"),
      key<&C::organize, &C::Organize::movies>("organize", "movies"),
      key<&C::organize, &C::Organize::shows>("organize", "shows"),
      key<&C::organize, &C::Organize::unsorted>("organize", "unsorted"),
      key<&C::organize, &C::Organize::on_conflict>("organize", "on_conflict"),
      key<&C::jobs, &C::Jobs::organize>("jobs", "organize"),
      key<&C::jobs, &C::Jobs::upload>("jobs", "upload"),
      key<&C::jobs, &C::Jobs::checksum>("jobs", "checksum"),
      key<&C::checksum, &C::Checksum::sidecar>("checksum", "sidecar"),
      key<&C::log, &C::Log::level>("log", "level"),
      key<&C::log, &C::Log::file>("log", "file"),
  };
  return table;
}

}  // namespace mediafs::config_detail
