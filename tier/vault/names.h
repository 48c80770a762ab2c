// Keys that can't be paths, and the names that they have in the tree instead. A store like S3 takes any key: "a//b", "../x",
// "folder/" with bytes in it. And names that can't be keys: those that are no UTF-8.
// Threads:    functions on values.
// Shapes:     Q is U+201B. A byte that is no UTF-8 stands in the key as Q and two hex digits, as rclone writes it. A part of a
//             key that can't be a name is shown with Q{...}: Q{} is an empty one, Q{2E} the byte 2E, Q{+} at a name's end says
//             that the part goes on in the next name (one of over 255 bytes). Q{file} and Q{dir} at a name's end tell two
//             objects apart that a tree can't have both: "a" and "a/b".
// Errors:     invalid, for a path with Q{ that none of the above explains.
// Invariants: (1) key_of_path(path_of_key(k)) == k for every key k; (2) no two keys have one path; (3) what path_of_key()
//             gives is accepted by check_path, but for its whole length.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace mediafs::tier {

inline constexpr std::string_view kEscape = "\xE2\x80\x9B{";

std::string path_of_key(std::string_view key);
Result<std::string> key_of_path(std::string_view path);
// True of a name that stands for a key which can't be a path, and of all below one.
inline bool is_escaped(std::string_view path) {
  return path.find(kEscape) != std::string_view::npos;
}

// The file at `path`, whose name a directory has; and what is below `path`, whose name a file has.
std::string marked_file(std::string_view path);
std::string marked_folder(std::string_view path);
std::string unmarked(std::string_view path);  // without such marks
// All paths that one object can have: `path` itself, with and without marks.
std::vector<std::string> same_object(std::string_view path);

// The object "folder/" of no bytes by which other programs keep an empty folder.
std::string folder_marker(std::string_view folder);

}  // namespace mediafs::tier
