#include "pipeline/naming/template.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/path.h"
#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

using Field = TemplatePiece::Field;

struct FieldName {
  std::string_view name;
  Field field;
};
constexpr std::array<FieldName, 7> kMovieFields = {{{"title", Field::title},
                                                    {"year", Field::year},
                                                    {"edition", Field::edition},
                                                    {"part", Field::part},
                                                    {"ext", Field::ext},
                                                    {"resolution", Field::resolution},
                                                    {"cd", Field::part}}};
constexpr std::array<FieldName, 8> kShowFields = {{{"show", Field::show},
                                                   {"season", Field::season},
                                                   {"episode", Field::episode},
                                                   {"last", Field::last},
                                                   {"episode_title", Field::episode_title},
                                                   {"year", Field::year},
                                                   {"ext", Field::ext},
                                                   {"resolution", Field::resolution}}};

bool is_name_char(char c) {
  return is_lower(c) || c == '_';
}

class Compiler {
 public:
  Compiler(std::string_view key, std::string_view text, bool movies)
      : key_(key), text_(text), movies_(movies) {}

  Result<Template> run() {
    for (at_ = 0; at_ < text_.size();) {
      const char c = text_[at_];
      if (c == '}') return bad("a '}' without its '{'", at_);
      if (c != '{') {
        literal_ += c;
        ++at_;
        continue;
      }
      const std::size_t open = at_;
      std::string_view body;
      if (!group(body)) return bad("a '{' that is never closed", open);
      MEDIAFS_ASSIGN(TemplatePiece piece, parse_group(body, open));
      flush();
      pieces_.push_back(std::move(piece));
    }
    flush();
    join_brackets();
    return std::move(pieces_);
  }

 private:
  Error bad(const std::string& why, std::size_t at) const {
    return make_error(ErrorCode::config,
                      "organize." + std::string(key_) + ", character " + std::to_string(at + 1),
                      why + " in \"" + std::string(text_) + "\"");
  }

  bool group(std::string_view& body) {
    int depth = 0;
    for (std::size_t i = at_; i < text_.size(); ++i) {
      if (text_[i] == '{') ++depth;
      if (text_[i] == '}' && --depth == 0) {
        body = text_.substr(at_ + 1, i - at_ - 1);
        at_ = i + 1;
        return true;
      }
    }
    return false;
  }

  // "title", "season:02", " - episode_title", "-E{last:02}"
  Result<TemplatePiece> parse_group(std::string_view body, std::size_t at) const {
    TemplatePiece piece;
    const std::size_t inner = body.find('{');
    std::string_view field = body;
    if (inner != body.npos) {
      const std::size_t close = body.find('}', inner);
      if (body.find('{', inner + 1) != body.npos || close == body.npos)
        return bad("a group may hold one field only", at);
      piece.before = body.substr(0, inner);
      piece.after = body.substr(close + 1);
      field = body.substr(inner + 1, close - inner - 1);
    } else {
      const auto* begin = std::find_if(body.begin(), body.end(), is_name_char);
      const auto* end = std::find_if_not(begin, body.end(), is_name_char);
      if (end != body.end() && *end == ':') end = std::find_if_not(end + 1, body.end(), is_digit);
      piece.before = body.substr(0, static_cast<std::size_t>(begin - body.begin()));
      piece.after = body.substr(static_cast<std::size_t>(end - body.begin()));
      field =
          body.substr(static_cast<std::size_t>(begin - body.begin()), static_cast<std::size_t>(end - begin));
    }
    if (piece.before.find('/') != std::string::npos || piece.after.find('/') != std::string::npos) {
      return bad("a group can't hold a '/'", at);
    }
    MEDIAFS_TRY(read_field(field, at, piece));
    return piece;
  }

  Status read_field(std::string_view field, std::size_t at, TemplatePiece& piece) const {
    const std::size_t colon = field.find(':');
    const std::string_view name = field.substr(0, colon);
    if (colon != field.npos) {
      const std::string_view format = field.substr(colon + 1);
      if (!all_digits(format) || format.size() > 2 || to_int(format) < 1 || to_int(format) > 9) {
        return bad("\"" + std::string(field) + "\": after the colon stands a width, 02 for two digits", at);
      }
      piece.width = static_cast<std::size_t>(to_int(format));
    }
    const auto find = [&](const auto& table) {
      for (const FieldName& f : table) {
        if (f.name == name) {
          piece.field = f.field;
          return true;
        }
      }
      return false;
    };
    if (movies_ ? find(kMovieFields) : find(kShowFields)) return {};
    return bad("no field is called \"" + std::string(name) + "\" (there are " + known() + ")", at);
  }

  std::string known() const {
    std::string all;
    const auto list = [&](const auto& table) {
      for (const FieldName& f : table) {
        if (!all.empty()) all += ", ";
        all += f.name;
      }
    };
    if (movies_) {
      list(kMovieFields);
    } else {
      list(kShowFields);
    }
    return all;
  }

  void flush() {
    if (!literal_.empty()) pieces_.push_back({Field::text, std::exchange(literal_, {}), {}, 0});
  }

  // " ({year})": the brackets go with their field.
  void join_brackets() {
    for (std::size_t i = 1; i + 1 < pieces_.size(); ++i) {
      TemplatePiece& left = pieces_[i - 1];
      TemplatePiece& right = pieces_[i + 1];
      TemplatePiece& piece = pieces_[i];
      if (left.field != Field::text || right.field != Field::text || left.before.empty() ||
          right.before.empty())
        continue;
      const char open = left.before.back();
      const char close = open == '(' ? ')' : open == '[' ? ']' : '\0';
      if (close == '\0' || right.before.front() != close || piece.field == Field::text) continue;
      left.before.pop_back();
      piece.before.insert(0, 1, open);
      if (!left.before.empty() && left.before.back() == ' ') {
        left.before.pop_back();
        piece.before.insert(0, 1, ' ');
      }
      piece.after += close;
      right.before.erase(0, 1);
    }
  }

  std::string_view key_;
  std::string_view text_;
  bool movies_;
  std::size_t at_ = 0;
  std::string literal_;
  Template pieces_;
};

Status check_literals(std::string_view key, std::string_view text) {
  // With every field taken for a letter the rest must be a path.
  std::string shape;
  int depth = 0;
  for (const char c : text) {
    if (c == '{' && depth++ == 0) shape += 'x';
    if (depth == 0) shape += c;
    if (c == '}') --depth;
  }
  const Status ok = check_path(shape);
  if (ok) return {};
  return make_error(ErrorCode::config, "organize." + std::string(key),
                    "\"" + std::string(text) + "\" is not a path in the tree: " + ok.err().message());
}

bool uses(const Template& t, Field field) {
  return std::any_of(t.begin(), t.end(), [&](const TemplatePiece& p) { return p.field == field; });
}

}  // namespace

Result<Template> compile_template(std::string_view key, std::string_view text, bool movies) {
  MEDIAFS_ASSIGN(Template pieces, Compiler(key, text, movies).run());
  MEDIAFS_TRY(check_literals(key, text));
  const auto missing = [&](std::string_view field) {
    return make_error(ErrorCode::config, "organize." + std::string(key),
                      "\"" + std::string(text) + "\" needs {" + std::string(field) +
                          "}: without it files would share one name");
  };
  if (movies && !uses(pieces, Field::title)) return missing("title");
  if (!movies && !uses(pieces, Field::show)) return missing("show");
  if (!movies && !uses(pieces, Field::season)) return missing("season");
  if (!movies && !uses(pieces, Field::episode)) return missing("episode");
  if (!uses(pieces, Field::ext)) return missing("ext");
  return pieces;
}

Template daily_template(const Template& shows) {
  std::size_t file = 0;  // the first piece of the last component
  for (std::size_t i = 0; i < shows.size(); ++i) {
    if (shows[i].field == Field::text && shows[i].before.find('/') != std::string::npos) file = i;
  }
  const auto numbered = [](const TemplatePiece& p) {
    return p.field == Field::season || p.field == Field::episode || p.field == Field::last;
  };
  std::size_t first = shows.size(), last = 0;
  for (std::size_t i = file; i < shows.size(); ++i) {
    if (!numbered(shows[i])) continue;
    first = std::min(first, i);
    last = i;
  }
  Template daily(shows.begin(), shows.begin() + static_cast<std::ptrdiff_t>(first));
  if (first == shows.size()) return daily;
  // The "S" of "S01E02" goes with the numbers.
  if (!daily.empty() && daily.back().field == Field::text) {
    std::string& text = daily.back().before;
    while (!text.empty() && is_alpha(text.back())) text.pop_back();
  }
  daily.push_back({Field::date, {}, {}, 0});
  daily.insert(daily.end(), shows.begin() + static_cast<std::ptrdiff_t>(last) + 1, shows.end());
  return daily;
}

}  // namespace mediafs::naming
