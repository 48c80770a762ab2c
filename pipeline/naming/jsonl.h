// Parsed as one line of JSON, for `mediafs name --jsonl` and everything that reads it.
// Threads:    pure functions.
#pragma once

#include <string>
#include <string_view>

#include "pipeline/naming/parse.h"

namespace mediafs::naming {

// Without a newline; fields that the name doesn't tell are absent. An empty id is left out.
std::string to_json(const Parsed& parsed, std::string_view id);

// One request line, {"id", "path", "form": "path" or "name"}, to its answer. A line that is not such an object
// is answered with {"error": …}.
std::string answer_line(std::string_view line);

}  // namespace mediafs::naming
