// Where in the library a file goes: the [organize] templates and what they make of a parsed name.
// Threads:    Layout is immutable; safe from any thread.
// Shapes:     templates are paths in the tree with fields. `{title}` is a field, `{season:02}` pads it with zeros; a
//             group with text of its own, `{ - episode_title}` or `{-E{last:02}}`, is written only if its field is known.
//             A field in brackets of its own, ` ({year})`, goes with them.
//             Films: title year edition part ext resolution. Shows: show season episode last episode_title year ext
//             resolution. A daily episode's date stands where its season and episode would.
// Errors:     config (a bad template: which, where, why); invalid, name_too_long (what check_path refuses).
// Invariants: (1) what place() answers passes check_path; (2) no component is longer than 255 bytes, its sidecar's included.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "pipeline/naming/parse.h"

namespace mediafs::naming {

struct Templates {
  std::string movies = "Movies/{title} ({year})/{title} ({year}){edition}{part}.{ext}";
  std::string shows =
      "Shows/{show}/Season {season:02}/{show} - S{season:02}E{episode:02}{-E{last:02}}{ - "
      "episode_title}.{ext}";
  std::string unsorted = "Unsorted";
};

// One piece of a compiled template.
struct TemplatePiece {
  enum class Field {
    text,
    title,
    show,
    year,
    edition,
    part,
    ext,
    season,
    episode,
    last,
    episode_title,
    resolution,
    date
  };
  Field field = Field::text;
  std::string before;  // the text itself, or a group's text around its field
  std::string after;
  std::size_t width = 0;  // zero-padded to
};
using Template = std::vector<TemplatePiece>;

class Layout {
 public:
  static Result<Layout> compile(const Templates& templates);

  // `file_name` is the file's present name: what goes to Unsorted keeps it. `extension` without the dot; empty: the name's own.
  Result<std::string> place(const Parsed& parsed, std::string_view file_name,
                            std::string_view extension) const;
  // False if the name is too uncertain for the library.
  static bool is_filed(const Parsed& parsed);

 private:
  Template movies_;
  Template shows_;
  Template daily_;
  std::string unsorted_;
};

}  // namespace mediafs::naming
