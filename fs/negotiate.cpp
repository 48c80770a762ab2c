#include "fs/negotiate.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "fs/core.h"

namespace mediafs::fs {

namespace {

constexpr const char* kOldKernel = "the kernel can't (Linux 6.9 or later can)";
constexpr std::uint32_t kOpcodeForget = 2, kOpcodeRelease = 18, kOpcodeReleaseDir = 29,
                        kOpcodeBatchForget = 42;

struct InHead {
  std::uint32_t length, opcode;
  std::uint64_t unique, node;
  std::uint32_t uid, gid, pid, padding;
};

}  // namespace

bool is_brief(const void* request, std::size_t size) {
  InHead head;
  if (size < sizeof head) return false;
  std::memcpy(&head, request, sizeof head);
  return head.opcode == kOpcodeForget || head.opcode == kOpcodeBatchForget || head.opcode == kOpcodeRelease ||
         head.opcode == kOpcodeReleaseDir;
}

#ifdef MEDIAFS_FUSE_NATIVE_PASSTHROUGH

Status hook_session(fuse_session*) {
  return {};
}

void want_passthrough(fuse_conn_info* connection, Passthrough& passthrough, int session_fd) {
  fuse_set_feature_flag(connection, FUSE_CAP_HANDLE_KILLPRIV_V2);
  if (!passthrough.wanted()) return;
  if (!fuse_set_feature_flag(connection, FUSE_CAP_PASSTHROUGH)) return passthrough.refused(kOldKernel);
  connection->max_backing_stack_depth = 0;  // plain filesystems; libfuse adds the mount's own level
  passthrough.agreed(session_fd);
}

int reply_open(fuse_req_t request, fuse_file_info info, std::int32_t backing_id) {
  info.backing_id = backing_id;
  return fuse_reply_open(request, &info);
}

int reply_create(fuse_req_t request, const fuse_entry_param& entry, fuse_file_info info,
                 std::int32_t backing_id) {
  info.backing_id = backing_id;
  return fuse_reply_create(request, &entry, &info);
}

#else

namespace {

constexpr std::uint32_t kOpcodeInit = 26, kOpcodeCreate = 35, kOpcodeTmpfile = 51;
constexpr std::uint32_t kInitExt = 1U << 30;
constexpr std::uint32_t kParallelDirops = 1U << 18;
constexpr std::uint32_t kKillprivV2 = 1U << 28;
constexpr std::uint32_t kPassthrough2 = 1U << 5;  // in flags2
constexpr std::uint32_t kOpenPassthrough = 1U << 7;

struct InitIn {
  std::uint32_t major, minor, max_readahead, flags, flags2;
};
struct OutHead {
  std::uint32_t length;
  std::int32_t error;
  std::uint64_t unique;
};
struct InitOut {
  std::uint32_t major, minor, max_readahead, flags;
  std::uint16_t max_background, congestion_threshold;
  std::uint32_t max_write, time_granularity;
  std::uint16_t max_pages, map_alignment;
  std::uint32_t flags2, max_stack_depth;
};
struct OpenOut {
  std::uint64_t handle;
  std::uint32_t flags;
  std::int32_t backing_id;
};
static_assert(sizeof(InHead) == 40 && sizeof(OutHead) == 16 && sizeof(OpenOut) == 16);
static_assert(offsetof(InitOut, flags2) == 32 && offsetof(InitOut, max_stack_depth) == 36);

// What the reply that this thread is sending carries.
thread_local std::int32_t reply_backing_id = 0;

Negotiation& negotiation_of(void* userdata) {
  return static_cast<Core*>(userdata)->negotiation;
}

void saw_request(Negotiation& n, const char* bytes, std::size_t size) {
  InHead head;
  InitIn init{};
  if (size < sizeof head + offsetof(InitIn, flags2)) return;
  std::memcpy(&head, bytes, sizeof head);
  if (head.opcode != kOpcodeInit) return;
  std::memcpy(&init, bytes + sizeof head, std::min(sizeof init, size - sizeof head));
  const bool extended = (init.flags & kInitExt) != 0;
  n.kernel_flags = init.flags;
  n.kernel_passes_through = extended && (init.flags2 & kPassthrough2) != 0;
  n.init_unique = head.unique;
}

// To libfuse a file without a name (O_TMPFILE) is created as any other: the request is the same, and its flags tell.
void as_create(char* bytes, std::size_t size) {
  InHead head;
  if (size < sizeof head) return;
  std::memcpy(&head, bytes, sizeof head);
  if (head.opcode != kOpcodeTmpfile) return;
  head.opcode = kOpcodeCreate;
  std::memcpy(bytes, &head, sizeof head);
}

// True: this is the reply to INIT, and asks for passthrough now.
bool complete_init(Core& core, const OutHead& head, iovec& body) {
  Negotiation& n = core.negotiation;
  if (head.unique != n.init_unique || n.done) return false;
  n.done = true;
  InitOut out;
  if (head.error != 0 || body.iov_len < sizeof out) {
    core.passthrough.refused(kOldKernel);
    return false;
  }
  std::memcpy(&out, body.iov_base, sizeof out);
  out.flags |= n.kernel_flags & (kParallelDirops | kKillprivV2);
  const bool pass = core.passthrough.wanted() && n.kernel_passes_through;
  if (pass) {
    out.flags |= kInitExt;
    out.flags2 |= kPassthrough2;
    out.max_stack_depth = 1;
  } else if (core.passthrough.wanted()) {
    core.passthrough.refused(kOldKernel);
  }
  std::memcpy(body.iov_base, &out, sizeof out);
  return pass;
}

ssize_t read_request(int fd, void* buffer, std::size_t size, void* userdata) {
  const ssize_t got = static_cast<Core*>(userdata)->turns.read(fd, buffer, size);
  const int saved = errno;
  Negotiation& n = negotiation_of(userdata);
  if (got > 0) as_create(static_cast<char*>(buffer), static_cast<std::size_t>(got));
  if (got > 0 && !n.done) saw_request(n, static_cast<const char*>(buffer), static_cast<std::size_t>(got));
  errno = saved;
  return got;
}

ssize_t write_reply(int fd, iovec* parts, int count, void* userdata) {
  Core& core = *static_cast<Core*>(userdata);
  bool pass = false;
  OutHead head;
  if (count >= 2 && parts[0].iov_len >= sizeof head) {
    std::memcpy(&head, parts[0].iov_base, sizeof head);
    iovec& last = parts[count - 1];
    if (!core.negotiation.done) pass = complete_init(core, head, parts[1]);
    if (reply_backing_id != 0 && head.error == 0 && last.iov_len >= sizeof(OpenOut)) {
      OpenOut out;
      char* at = static_cast<char*>(last.iov_base) + last.iov_len - sizeof out;  // create's follows its entry
      std::memcpy(&out, at, sizeof out);
      out.flags |= kOpenPassthrough;
      out.backing_id = reply_backing_id;
      std::memcpy(at, &out, sizeof out);
    }
  }
  if (pass) core.passthrough.agreed(fuse_session_fd(core.session));
  return writev(fd, parts, count);
}

ssize_t splice_through(int from, off_t* from_offset, int to, off_t* to_offset, std::size_t size,
                       unsigned flags, void*) {
  return splice(from, from_offset, to, to_offset, size, flags);
}

class Carrying {
 public:
  explicit Carrying(std::int32_t backing_id) { reply_backing_id = backing_id; }
  ~Carrying() { reply_backing_id = 0; }
  Carrying(const Carrying&) = delete;
  Carrying& operator=(const Carrying&) = delete;
};

}  // namespace

Status hook_session(fuse_session* session) {
  fuse_custom_io io{};
  io.read = read_request;
  io.writev = write_reply;
  io.splice_receive = splice_through;
  io.splice_send = splice_through;
  const int outcome = fuse_session_custom_io(session, &io, fuse_session_fd(session));
  if (outcome == 0) return {};
  return errno_error(outcome < 0 ? -outcome : EIO, "hook the FUSE session");
}

void want_passthrough(fuse_conn_info*, Passthrough&, int) {}

int reply_open(fuse_req_t request, fuse_file_info info, std::int32_t backing_id) {
  const Carrying carrying(backing_id);
  return fuse_reply_open(request, &info);
}

int reply_create(fuse_req_t request, const fuse_entry_param& entry, fuse_file_info info,
                 std::int32_t backing_id) {
  const Carrying carrying(backing_id);
  return fuse_reply_create(request, &entry, &info);
}

#endif

}  // namespace mediafs::fs
