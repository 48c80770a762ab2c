// The second half of a rename that several branches take part in: what the share has of a local source follows, and the
// files of other branches that a source on the share or in the vault replaces go; these once the source counts under
// its new name, never before.
// Threads:    safe from any thread; blocks on the disk and the share.
// Crash:      what is to be done stands in the catalogue first; finish_replacings() completes it at the next start.
#pragma once

#include "fs/core.h"

namespace mediafs::fs {

// Not every server can refuse to replace by itself. Makes the directories above `to`.
Status rename_on_share(int root, const std::string& from, const std::string& to, unsigned flags);

// After such an answer nobody knows whether the share did what it was asked.
bool may_have_happened(const Error& error) noexcept;

// Does what `replacing` names, where it is still the same file, and drops the note. Is not interrupted, only timed out:
// a share that doesn't say whether it did its part keeps the note for when it is back, and this is a success.
// REQUIRES: the rename counts: `moving` and `source` are unset. On an error nothing was removed.
Status remove_replaced(Core& core, tier::Replacing replacing);
// Before the first request, and whenever the share is back: it may have been absent.
// False: the share is there but does not do its part, and should be asked again.
bool finish_replacings(Core& core);

}  // namespace mediafs::fs
