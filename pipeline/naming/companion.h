// Files that come with a video: what each is, and where it goes when its video is filed.
// Threads:    pure functions.
// Errors:     invalid (a role that doesn't follow a video), name_too_long.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace mediafs::naming {

enum class FileRole : std::uint8_t {
  video,
  subtitle,
  artwork,
  nfo,
  archive,  // zip, rar with its volumes, 7z
  sample,   // a video cut short to show its quality
  clutter,  // known to be of no use once filed: checksums of the post, adverts, thumbnails' caches
  other,    // anything else: kept
};
std::string_view to_string(FileRole role) noexcept;

// By name only; `path` may have folders before it (Sample/ counts).
FileRole file_role(std::string_view path);

struct SubtitleTags {
  std::string language;            // "en", "pt-BR"; empty if the name doesn't say
  std::vector<std::string> flags;  // forced, sdh, cc, hi, default, commentary: in this order
};
// Of what a subtitle's name has after its video's: ".eng.forced".
SubtitleTags subtitle_tags(std::string_view text);

// A companion's path beside the video's new one: `Movies/A (2001)/A (2001).en.forced.srt`. Folder art (poster.jpg) keeps its
// name. REQUIRES: role is subtitle, artwork or nfo, else the error invalid.
Result<std::string> place_companion(std::string_view video_target, std::string_view companion_name,
                                    std::string_view video_source_name);

}  // namespace mediafs::naming
