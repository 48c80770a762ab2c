#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>

#include "fs/ops.h"

namespace mediafs::fs {

// What a writer can use: the local branch's figures, less the reserve, which is never filled.
void op_statfs(Core& core, StatfsReply reply) {
  struct statvfs st {};
  if (fstatvfs(core.local_root.get(), &st) != 0) return reply.fail(errno);
  const std::uint64_t reserve = core.b.config.local.reserve_bytes / std::max<std::uint64_t>(st.f_frsize, 1);
  st.f_bavail -= std::min<std::uint64_t>(st.f_bavail, reserve);
  reply.figures(st);
}

}  // namespace mediafs::fs
