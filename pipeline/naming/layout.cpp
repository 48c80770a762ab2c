#include "pipeline/naming/layout.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/path.h"
#include "pipeline/naming/safe_name.h"
#include "pipeline/naming/template.h"
#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

using Field = TemplatePiece::Field;

struct Values {
  std::string title;  // film or show
  std::optional<int> year, season, episode, last;
  std::string edition, part, ext, episode_title, resolution, date, id;
};

std::string padded(int number, std::size_t width) {
  std::string text = std::to_string(number);
  if (text.size() < width) text.insert(0, width - text.size(), '0');
  return text;
}

std::string number(const std::optional<int>& n, std::size_t width) {
  return n ? padded(*n, width) : std::string{};
}

std::string value_of(const TemplatePiece& piece, const Values& v) {
  switch (piece.field) {
    case Field::text:
      return {};
    case Field::title:
    case Field::show:
      return v.title;
    case Field::year:
      return number(v.year, piece.width);
    case Field::edition:
      return v.edition;
    case Field::part:
      return v.part;
    case Field::ext:
      return v.ext;
    case Field::season:
      return number(v.season, piece.width);
    case Field::episode:
      return number(v.episode, piece.width);
    case Field::last:
      return number(v.last, piece.width);
    case Field::episode_title:
      return v.episode_title;
    case Field::resolution:
      return v.resolution;
    case Field::date:
      return v.date;
  }
  return {};
}

// The components of the path; values can't add a '/'. The first folder that bears the title gets the id.
std::vector<std::string> render(const Template& pieces, const Values& v) {
  std::vector<std::string> parts(1);
  std::optional<std::size_t> bearer;
  for (const TemplatePiece& piece : pieces) {
    if (piece.field == Field::text) {
      for (const char c : piece.before) {
        if (c == '/') {
          parts.emplace_back();
        } else {
          parts.back() += c;
        }
      }
      continue;
    }
    const std::string value = safe_text(value_of(piece, v));
    if (value.empty()) continue;
    if (!bearer && (piece.field == Field::title || piece.field == Field::show)) bearer = parts.size() - 1;
    parts.back() += piece.before + value + piece.after;
  }
  if (bearer && !v.id.empty() && *bearer + 1 < parts.size()) parts[*bearer] += " " + v.id;
  return parts;
}

std::string id_tag(const Parsed& p) {
  if (!p.tmdb.empty()) return "{tmdb-" + p.tmdb + "}";
  if (!p.tvdb.empty()) return "{tvdb-" + p.tvdb + "}";
  if (!p.imdb.empty()) return "{imdb-" + p.imdb + "}";
  return {};
}

Values film_values(const Parsed& p) {
  Values v;
  v.title = p.title;
  // A part that isn't a disc is a film of its own.
  if (p.part && ascii_lower(p.title).find("part") == std::string::npos)
    v.title += " Part " + std::to_string(*p.part);
  v.year = p.year;
  if (!p.edition.empty()) v.edition = " {edition-" + p.edition + "}";
  if (p.cd) v.part = " - cd" + std::to_string(*p.cd);
  v.resolution = p.resolution;
  v.id = id_tag(p);
  return v;
}

Values episode_values(const Parsed& p) {
  Values v;
  v.title = p.title;
  v.year = p.year == p.season ? std::nullopt : p.year;
  if (v.year && !p.date) v.title += " (" + std::to_string(*v.year) + ")";
  v.season = p.season;
  v.episode_title = p.episode_title;
  v.resolution = p.resolution;
  v.id = id_tag(p);
  if (!p.episodes.empty()) {
    v.episode = p.episodes.front();
    if (p.episodes.size() > 1) v.last = p.episodes.back();
  } else if (!p.absolute.empty() && p.absolute.front() == static_cast<int>(p.absolute.front())) {
    v.episode = static_cast<int>(p.absolute.front());
    if (p.absolute.size() > 1) v.last = static_cast<int>(p.absolute.back());
  } else if (p.date) {
    v.date = *p.date;
    v.season = to_int(std::string_view(*p.date).substr(0, 4));
  }
  if (p.part && !v.episode_title.empty()) v.episode_title += " Part " + std::to_string(*p.part);
  if (p.special && !p.season) v.season = 0;
  if (!v.season) v.season = 1;
  return v;
}

Result<std::string> join(std::vector<std::string> parts, std::string_view extension) {
  std::string path;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const bool file = i + 1 == parts.size();
    path = join_path(path, safe_component(parts[i], file && !extension.empty() ? extension.size() + 1 : 0));
  }
  MEDIAFS_TRY(check_path(path));
  return path;
}

std::string own_extension(std::string_view file_name) {
  const std::size_t dot = file_name.rfind('.');
  return dot == file_name.npos || dot == 0 ? std::string{} : ascii_lower(file_name.substr(dot + 1));
}

}  // namespace

Result<Layout> Layout::compile(const Templates& templates) {
  Layout layout;
  MEDIAFS_ASSIGN(layout.movies_, compile_template("movies", templates.movies, true));
  MEDIAFS_ASSIGN(layout.shows_, compile_template("shows", templates.shows, false));
  layout.daily_ = daily_template(layout.shows_);
  if (const Status ok = check_path(templates.unsorted); !ok || templates.unsorted.empty()) {
    return make_error(ErrorCode::config, "organize.unsorted",
                      "\"" + templates.unsorted + "\" is not a folder in the tree");
  }
  if (templates.unsorted.find_first_of("{}") != std::string::npos) {
    return make_error(ErrorCode::config, "organize.unsorted",
                      "\"" + templates.unsorted + "\" can't have fields");
  }
  layout.unsorted_ = templates.unsorted;
  return layout;
}

bool Layout::is_filed(const Parsed& p) {
  if (p.title.empty() || p.confidence < kFilingConfidence) return false;
  if (p.kind == Kind::movie) return true;
  return p.kind == Kind::episode && (!p.episodes.empty() || !p.absolute.empty() || p.date || p.special);
}

Result<std::string> Layout::place(const Parsed& p, std::string_view file_name,
                                  std::string_view extension) const {
  const std::string ext = extension.empty() ? own_extension(file_name) : std::string(extension);
  if (!is_filed(p)) {
    const std::string path = join_path(unsorted_, safe_file_name(file_name));
    MEDIAFS_TRY(check_path(path));
    return path;
  }
  if (p.kind == Kind::movie) {
    Values v = film_values(p);
    v.ext = ext;
    return join(render(movies_, v), ext);
  }
  Values v = episode_values(p);
  v.ext = ext;
  if (!v.date.empty()) return join(render(daily_, v), ext);
  std::vector<std::string> parts = render(shows_, v);
  if (!v.episode) {  // a special without a number keeps its name, in the specials' folder
    v.season = 0;
    parts = render(shows_, v);
    parts.back() = safe_file_name(file_name);
  }
  return join(std::move(parts), ext);
}

}  // namespace mediafs::naming
