// What libfuse can't agree on with the kernel. Before 3.17: passthrough, set-id bits cleared by us, parallel directory
// operations, files without a name. Its INIT reply is completed on the way out, and so are the replies that carry a
// backing id. Before 3.18: STATX, which tells when a file was born.
// Threads:    safe from any thread.
// Shapes:     struct fuse_init_out, fuse_open_out and fuse_statx_out as in include/uapi/linux/fuse.h (7.40).
#pragma once

#include <fuse_lowlevel.h>
#include <sys/stat.h>

#include <atomic>
#include <optional>

#include "fs/passthrough.h"

namespace mediafs::fs {

// What the INIT message said; written and read by the one thread that handles it, before any other starts.
struct Negotiation {
  std::atomic<bool> done{false};
  std::uint64_t init_unique = 0;
  std::uint32_t kernel_flags = 0;
  bool kernel_passes_through = false;
};

// What a program leaves behind: the kernel waits for no answer, and another request is often just behind it.
bool is_brief(const void* request, std::size_t size);
// Before the session's first request; its userdata is a Core.
Status hook_session(fuse_session* session);
// Within getattr(): whether the kernel asked by STATX, which reply_statx answers. Told once.
bool takes_statx();
int reply_statx(fuse_req_t request, const struct stat& st, const std::optional<struct timespec>& birth,
                double timeout_s);
// As fuse_reply_open and fuse_reply_create; `backing_id` 0: not passed through.
int reply_open(fuse_req_t request, fuse_file_info info, std::int32_t backing_id);
int reply_create(fuse_req_t request, const fuse_entry_param& entry, fuse_file_info info,
                 std::int32_t backing_id);
// Within init(): asks for passthrough where libfuse can. `session_fd` is where backing ids come from.
void want_passthrough(fuse_conn_info* connection, Passthrough& passthrough, int session_fd);

}  // namespace mediafs::fs
