// The trash: what the catalogue knows of objects whose files were deleted, and that the vault still keeps.
// Shapes:     a row is made in the transaction in which its file ends. Waiting: the object stands where it was, under
//             `source`, until the forget job moves it. Kept: it stands under `key`. Going: nobody gets it back any more;
//             what may stand under `key` is to be removed, then the row.
// Invariants: no file's object stands under the source of a row that waits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "common/hash.h"

namespace mediafs::tier {

inline constexpr std::string_view kTrashKeys = ".mediafs/trash/";

inline constexpr std::string_view kTrashListed =
    "trash.listed";  // a setting: "yes" once all keys there have a row

enum class TrashState : std::uint8_t { waiting = 1, kept = 2, going = 3 };

struct TrashEntry {
  std::int64_t id = 0;
  TrashState state = TrashState::waiting;
  WallNs at_ns = 0;    // of the deletion
  std::string path;    // of the file
  std::string source;  // the key under which its object stood
  std::string key;     // its key in the trash
  std::uint64_t size_bytes = 0;
  WallNs mtime_ns = 0;
  std::uint32_t mode = 0644, uid = 0, gid = 0;
  std::optional<Xxh128> checksum;  // unset: nobody has told it
  std::string sha1_hex;
  std::string etag;  // of the object, wherever it stands
};

// ".mediafs/trash/DAY/TIME-ID PATH" with another slash in PATH, so that it is one name; a long path loses its beginning.
// At most 255 bytes after the day, so that it fits wherever the file's own key did.
std::string trash_key(WallNs at_ns, std::int64_t id, std::string_view path);
// What such a key tells: `at_ns`, and a path where that file may go. Unset: it is none of ours.
std::optional<TrashEntry> from_trash_key(std::string_view key);

}  // namespace mediafs::tier
