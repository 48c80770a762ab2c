// The vault in a directory: a second disk, an rclone or sshfs mount. A key is the path below the root.
// Threads:    as vault.h; reads run on a small pool of the driver's own.
// Owns:       <root>/.mediafs/tmp. Keeps no descriptor between calls: the disk can be unmounted at any time.
// Shapes:     etag = "size-mtime_ns-ino". The checksum stands in user.mediafs.checksum and .sha1; user.mediafs.of says
//             which size and mtime it belongs to, so that one that another program outdated is not believed.
// Crash:      temp file, fsync, rename, fsync of the directory.
// Invariants: (1) nothing outside the root is read or written: symlinks are never followed; (2) a root that was there and
//             is gone, or whose parent is missing, is offline: the place of an unmounted disk is not filled.
#pragma once

#include <memory>
#include <string>

#include "tier/vault/rate.h"
#include "tier/vault/vault.h"

namespace mediafs::tier {

// `root` is absolute. Makes no system call.
std::unique_ptr<Vault> open_dir_vault(std::string root,
                                      std::shared_ptr<Limits> limits = std::make_shared<Limits>());

}  // namespace mediafs::tier
