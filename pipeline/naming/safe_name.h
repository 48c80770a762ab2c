// File names that every filesystem and media server takes: also SMB's and Windows' rules.
// Threads:    pure functions.
// Shapes:     one component, valid UTF-8, never empty, no leading or trailing dot or space.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mediafs::naming {

// Leaves room below the 255 bytes of a component for a sidecar's name beside it (`.NAME.xxh128`).
inline constexpr std::size_t kLongestName = 255 - 8;

// Text for use inside a component: unfit characters replaced, nothing trimmed or cut.
std::string safe_text(std::string_view text);
// A whole component; what is too long is cut before the last `keep_tail` bytes, at a character's boundary.
std::string safe_component(std::string_view text, std::size_t keep_tail = 0);
// A file name from outside: cut before its extension.
std::string safe_file_name(std::string_view name);

}  // namespace mediafs::naming
