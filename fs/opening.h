// What opening and creating share: a file of any branch as a handle, and who reads and writes it.
// Threads:    safe from any thread.
// Errors:     needs_*() where `may` does not go far enough.
#pragma once

#include "fs/core.h"

namespace mediafs::fs {

struct Opener {  // who opens what, and how
  NodeId node = 0;
  int flags = 0;
  uid_t uid = 0;
};
struct Opened {
  std::shared_ptr<FileHandle> handle;
  struct stat st {};  // of a local file
  bool keep_cache = false;
  bool direct_io = false;
};

// Flags that a branch's own file is opened with.
int file_flags(int flags);
Result<Opened> open_path(Core& core, const Opener& who, const std::string& path, const May& may);
// Of a local file that is open already.
Result<Opened> opened_local(Core& core, NodeId node, Fd fd);
// A node that the kernel passes through stays so while it is open: a writer who joins then is not held back by his
// writes, so he is here.
Status await_room(Core& core, NodeId node, int flags, const May& may);
// Who reads and writes: the kernel or we.
Status choose_service(Core& core, const Opener& who, Opened& opened);

std::uint64_t register_handle(Core& core, NodeId node, int flags, const Opened& opened);
// Whether close() has something to tell: the share's server what it could not write, and we that the file is whole.
// The release comes some time after close() has returned.
bool wants_flush(const FileHandle& handle);
// The file is closed before it counts as closed, so that it can be evicted then.
void drop_handle(Core& core, NodeId node, std::uint64_t id);

}  // namespace mediafs::fs
