// Paths in the tree: relative to its root, '/' between components, no leading or trailing slash; "" is the root.
// They are bytes, not text. Everything from outside passes check_path first (invariant 9).
// Threads:    values.
// Errors:     invalid, name_too_long.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "common/result.h"

namespace mediafs {

// Refuses empty components, ".", "..", NUL, a leading slash and components over 255 bytes.
Status check_path(std::string_view path);
std::string_view parent_path(std::string_view path);  // "" for a top-level name
std::string_view base_name(std::string_view path);
std::string join_path(std::string_view dir, std::string_view name);
bool is_within(std::string_view path, std::string_view dir);  // equal or below; everything is within ""
// True for `.NAME.sha1`, `.NAME.sha256`, `.NAME.xxh128`: a sidecar's name. `*media` gets NAME's path.
bool is_sidecar(std::string_view path, std::string* media = nullptr);
// write_file_atomic's temporary files: what a kill leaves of one is nobody's.
inline constexpr std::string_view kTemporaryPrefix = ".mediafs-tmp.";
bool is_temporary(std::string_view path);
std::string sidecar_path(std::string_view media, std::string_view algorithm);
bool glob_match(std::string_view pattern, std::string_view name);  // fnmatch(3) without flags
// The length of the well-formed UTF-8 sequence that `bytes` begin with; 0: they begin with none.
std::size_t utf8_length(std::string_view bytes);
// A name for logs and terminals: control characters and invalid UTF-8 escaped as \xNN.
std::string printable(std::string_view bytes);

}  // namespace mediafs
