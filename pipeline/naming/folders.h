// What the names of parent folders mean. Internal to pipeline/naming.
// Threads:    pure functions.
#pragma once

#include <optional>
#include <string_view>

namespace mediafs::naming {

enum class FolderRole { plain, movies, shows, generic, season };

struct Folder {
  FolderRole role = FolderRole::plain;
  std::optional<int> season;  // of a season's folder
};

Folder read_folder(std::string_view name);

}  // namespace mediafs::naming
