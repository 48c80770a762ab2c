// Sidecars (`.NAME.sha1` beside NAME) go where their file goes, in the same request: after the file, as far as possible,
// and without a say in the request's outcome. What somebody does to a sidecar itself is done to it alone.
// A file without any costs a look at the disk for each name.
// Threads:    safe from any thread; blocks on the disk and, where the file is on the share, on the share.
#pragma once

#include "fs/core.h"

namespace mediafs::fs {

struct SidecarsOf {
  const std::string& path;
  const tree::Place* place = nullptr;  // of the path on the local branch; nullptr: its directory isn't there
  bool share = false;                  // the file was on the share
};
// `replaced`: there was a file at `to`, whose own sidecars say nothing about the one that is there now.
void rename_sidecars(Core& core, const SidecarsOf& from, const SidecarsOf& to, bool replaced, const May& may);
// Two local files have taken each other's names.
void exchange_sidecars(Core& core, const std::string& one, const std::string& other, const May& may);
void remove_sidecars(Core& core, const SidecarsOf& of, const May& may);

}  // namespace mediafs::fs
