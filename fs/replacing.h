// The second half of a rename whose source is on the share or in the vault, over files that other branches have: these go
// once the source counts under its new name, never before.
// Threads:    safe from any thread; blocks on the disk and the share.
// Crash:      what is to go stands in the catalogue first; finish_replacings() completes it at the next start.
#pragma once

#include "fs/core.h"

namespace mediafs::fs {

// Removes what `replacing` names, where it is still the same file, and the note with it.
// REQUIRES: the rename counts: `moving` is unset.
Status remove_replaced(Core& core, const tier::Replacing& replacing, const May& may);
// Before the first request. A share that is absent leaves its part for the next start.
void finish_replacings(Core& core);

}  // namespace mediafs::fs
