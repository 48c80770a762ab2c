// Who writes a file: those that have it open now, and those that were cut off. A file that is written through the mount
// carries a mark, an extended attribute, until its last writer has closed it. One that is still there when nobody writes
// tells that mediafs was killed in between, and the writer cut off; unless nothing has changed since a close, which may
// have been the last.
// Threads:    safe from any thread.
// Errors:     none: where the filesystem has no leases nobody writes, and where it keeps no attributes there are no marks.
#pragma once

#include <string_view>

namespace mediafs {

// By the kernel's word: it gives no read lease on a file that somebody has open for writing. REQUIRES: `fd` is a regular
// file's, open for reading.
bool has_writer(int fd) noexcept;

inline constexpr std::string_view kUnfinishedAttribute = "user.mediafs.unfinished";
bool mark_unfinished(int fd) noexcept;  // false: it could not be marked
// One of those who have it open has closed it: it may be whole as it is now.
void mark_closed(int fd) noexcept;
void clear_unfinished(int fd) noexcept;
bool is_unfinished(int fd) noexcept;

}  // namespace mediafs
