#include "pipeline/naming/parse.h"

#include <algorithm>
#include <utility>

#include "pipeline/naming/folders.h"
#include "pipeline/naming/release.h"
#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

constexpr std::size_t kDeepest = 6;  // folders above a file that are looked at

// Cuts a known extension off; returns it in lower case.
std::string cut_extension(std::string_view& name) {
  const std::size_t dot = name.rfind('.');
  if (dot == name.npos || dot == 0 || name.size() - dot > 8) return {};
  std::string ext = ascii_lower(name.substr(dot + 1));
  if (!is_known_extension(ext)) return {};
  name = name.substr(0, dot);
  return ext;
}

// "video_ts-film": the disc structure's name says nothing.
std::string_view without_disc_name(std::string_view name) {
  constexpr std::string_view kDisc = "video_ts";
  if (name.size() <= kDisc.size() || ascii_lower(name.substr(0, kDisc.size())) != kDisc) return name;
  const std::string_view rest = name.substr(kDisc.size() + 1);
  return is_word(name[kDisc.size()]) || rest.empty() ? name : rest;
}

struct Path {
  std::string_view file;
  std::vector<std::string_view> folders;  // nearest first
};

Path split(std::string_view path) {
  Path out;
  const bool windows = path.find('/') == path.npos || (path.size() > 2 && path[1] == ':' && path[2] == '\\');
  const std::string_view separators = windows ? "/\\" : "/";
  while (!path.empty() && separators.find(path.back()) != separators.npos) path.remove_suffix(1);
  for (bool first = true; !path.empty() && out.folders.size() < kDeepest; first = false) {
    const std::size_t cut = path.find_last_of(separators);
    const std::string_view part = cut == path.npos ? path : path.substr(cut + 1);
    if (first) {
      out.file = part;
    } else if (!part.empty()) {
      out.folders.push_back(part);
    }
    path = cut == path.npos ? std::string_view{} : path.substr(0, cut);
  }
  return out;
}

void conclude(Parsed& p, const Release& r, std::string context) {
  const int evidence = r.evidence;
  if (p.title.empty()) {
    p.confidence = p.kind == Kind::unknown ? 0 : 0.2;
  } else if (p.kind == Kind::unknown) {
    p.confidence = 0;
  } else {
    p.confidence = std::min(0.98, 0.3 + 0.1 * evidence);
    if (r.numbers.guessed && p.kind == Kind::episode) p.confidence = std::min(p.confidence, 0.75);
  }
  std::string why;
  const auto add = [&](std::string_view text) {
    if (!why.empty()) why += ", ";
    why += text;
  };
  if (r.numbers.paired) add("season and episode");
  if (!r.numbers.paired && r.numbers.season) add("a season");
  if (!r.numbers.paired && !p.episodes.empty())
    add(r.numbers.guessed ? "a number taken for the episode" : "an episode number");
  if (!p.absolute.empty()) add("an absolute number");
  if (p.date) add("a date");
  if (p.year) add("a year");
  if (!p.resolution.empty()) add("the resolution");
  if (!context.empty()) add(context);
  if (why.empty()) why = p.kind == Kind::unknown ? "nothing in the name says what it is" : "only the title";
  p.why = std::move(why);
}

// The show or film that the folders name, when the file leaves it out.
struct Context {
  Hints hints;
  std::vector<std::string_view> candidates;  // folders that may bear a title, nearest first
};

Context read_context(const Path& path) {
  Context c;
  for (const std::string_view folder : path.folders) {
    const Folder f = read_folder(folder);
    switch (f.role) {
      case FolderRole::season:
        if (!c.hints.season) c.hints.season = f.season;
        c.hints.shows = true;
        break;
      case FolderRole::movies:
        c.hints.movies = !c.hints.shows;
        return c;
      case FolderRole::shows:
        c.hints.shows = true;
        return c;
      case FolderRole::generic:
        break;
      case FolderRole::plain:
        c.candidates.push_back(folder);
        break;
    }
  }
  return c;
}

bool contains(const std::string& whole, const std::string& piece) {
  return !piece.empty() && whole.find(piece) != std::string::npos;
}

void adopt_show(Parsed& p, const Parsed& folder) {
  p.title = folder.title;
  if (!p.year) p.year = folder.year;
  const std::string show = squash(folder.title);
  // "2x05 - Show - Title" repeats the show that its folder names.
  const std::size_t dash = p.episode_title.find(" - ");
  if (dash != std::string::npos && squash(p.episode_title.substr(0, dash)) == show)
    p.episode_title.erase(0, dash + 3);
}

bool same_numbers(const Parsed& a, const Parsed& b) {
  return a.season && a.season == b.season && !a.episodes.empty() && a.episodes == b.episodes;
}

// Takes from the folder's reading what the file's own lacks. True if the folder decided the title.
bool merge_folder(Parsed& p, const Release& own, const Release& folder) {
  const Parsed& f = folder.parsed;
  if (f.title.empty()) return false;
  if (p.title.empty()) {
    adopt_show(p, f);
    if (!p.season && f.kind == Kind::season) p.season = f.season;
    return true;
  }
  const std::string mine = squash(p.title);
  const std::string theirs = squash(f.title);
  if (same_numbers(p, f)) {
    if (mine != theirs && contains(mine, theirs)) {
      if (p.episode_title.empty() && p.title.find(" - ") != std::string::npos)
        p.episode_title = p.title.substr(0, p.title.find(" - "));
      p.title = f.title;
    }
    if (p.episode_title.empty()) p.episode_title = f.episode_title;
    return mine != theirs;
  }
  if (p.kind == Kind::movie && f.kind == Kind::movie && (!p.year || !f.year || p.year == f.year) &&
      (((f.year || folder.evidence > own.evidence) && contains(mine, theirs)) ||
       (f.year && p.year == f.year && contains(theirs, mine)))) {
    if (f.year) p.year = f.year;
    p.title = f.title;
    return true;
  }
  if (p.kind == Kind::episode && mine == theirs && !p.year) p.year = f.year;
  return false;
}

}  // namespace

std::string_view to_string(Kind kind) noexcept {
  switch (kind) {
    case Kind::movie:
      return "movie";
    case Kind::episode:
      return "episode";
    case Kind::season:
      return "season";
    case Kind::unknown:
      return "unknown";
  }
  return "unknown";
}

Parsed parse_name(std::string_view name) {
  std::string extension = cut_extension(name);
  Release r = analyse(name, !extension.empty(), {});
  Parsed p = std::move(r.parsed);
  p.extension = std::move(extension);
  conclude(p, r, r.garbage ? "a random name" : "");
  return p;
}

Parsed parse(std::string_view whole) {
  const Path path = split(whole);
  std::string_view file = path.file;
  std::string extension = cut_extension(file);
  const Context context = read_context(path);
  file = without_disc_name(file);
  Release own = analyse(file, !extension.empty(), context.hints);
  std::string why;
  bool decided = false;
  for (std::size_t i = 0; i < context.candidates.size() && !decided; ++i) {
    std::string_view folder_name = context.candidates[i];
    Hints plain;
    plain.guess_numbers = own.garbage || own.evidence == 0;
    Release folder = analyse(folder_name, false, plain);
    if (folder.garbage) continue;
    const bool folder_tells = folder.evidence >= 2;
    if (own.garbage || (own.evidence == 0 && folder_tells)) {
      const auto cd = own.numbers.cd;
      own = std::move(folder);
      if (cd) own.parsed.cd = cd;
      if (own.parsed.kind == Kind::unknown && !extension.empty()) own.parsed.kind = Kind::movie;
      why = "all from the folder \"" + clean_text(tidy(folder_name)) + "\"";
      decided = true;
      continue;
    }
    if (own.parsed.title.empty() && !folder_tells) folder.parsed.title = clean_text(tidy(folder_name));
    decided = merge_folder(own.parsed, own, folder);
    if (decided) why = "the title from the folder \"" + clean_text(tidy(folder_name)) + "\"";
  }
  Parsed p = std::move(own.parsed);
  if (context.hints.season && !p.season && p.kind == Kind::episode && !p.date) {
    p.season = context.hints.season;
    if (p.episodes.empty()) {
      for (const double n : p.absolute) p.episodes.push_back(static_cast<int>(n));
      p.absolute.clear();
    }
    own.evidence += 2;
  }
  if (context.hints.movies && p.kind == Kind::episode && p.date && p.episodes.empty() && p.year) {
    p.kind = Kind::movie;
    p.date.reset();
  }
  p.extension = std::move(extension);
  conclude(p, own, own.garbage ? "a random name" : why);
  return p;
}

}  // namespace mediafs::naming
