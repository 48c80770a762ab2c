#include "fs/negotiate.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "fs/core.h"

namespace mediafs::fs {

namespace {

constexpr const char* kOldKernel = "the kernel can't (Linux 6.9 or later can)";
constexpr std::uint32_t kOpcodeForget = 2, kOpcodeGetattr = 3, kOpcodeRelease = 18, kOpcodeReleaseDir = 29,
                        kOpcodeBatchForget = 42, kOpcodeStatx = 52;

struct InHead {
  std::uint32_t length, opcode;
  std::uint64_t unique, node;
  std::uint32_t uid, gid, pid, padding;
};

struct StatxTime {
  std::int64_t seconds;
  std::uint32_t nanoseconds;
  std::int32_t reserved;
};
struct StatxOut {
  std::uint64_t valid_s;
  std::uint32_t valid_ns, flags;
  std::uint64_t spare[2];
  std::uint32_t mask, blksize;
  std::uint64_t attributes;
  std::uint32_t nlink, uid, gid;
  std::uint16_t mode, spare_mode;
  std::uint64_t ino, size, blocks, attributes_mask;
  StatxTime atime, btime, ctime, mtime;
  std::uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
  std::uint64_t spare_end[14];
};
static_assert(sizeof(InHead) == 40 && sizeof(StatxOut) == 288);

StatxTime time_of(const struct timespec& at) {
  return {at.tv_sec, static_cast<std::uint32_t>(at.tv_nsec), 0};
}

// This thread's request that was a STATX.
thread_local bool request_is_statx = false;

InHead head_of(const char* bytes) {
  InHead head;
  std::memcpy(&head, bytes, sizeof head);
  return head;
}

void change_opcode(char* bytes, std::uint32_t opcode) {
  std::memcpy(bytes + offsetof(InHead, opcode), &opcode, sizeof opcode);
}

// To libfuse before 3.18 a STATX is a GETATTR: the request begins as that does, and takes_statx() tells.
void as_getattr(char* bytes, std::size_t size) {
  request_is_statx = size >= sizeof(InHead) && head_of(bytes).opcode == kOpcodeStatx;
  if (request_is_statx) change_opcode(bytes, kOpcodeGetattr);
}

}  // namespace

bool takes_statx() {
  return std::exchange(request_is_statx, false);
}

int reply_statx(fuse_req_t request, const struct stat& st, const std::optional<struct timespec>& birth,
                double timeout_s) {
  StatxOut out{};
  const double whole_s = std::floor(timeout_s);
  out.valid_s = static_cast<std::uint64_t>(whole_s);
  out.valid_ns = static_cast<std::uint32_t>((timeout_s - whole_s) * 1e9);
  out.mask = STATX_BASIC_STATS | (birth ? STATX_BTIME : 0U);
  out.blksize = static_cast<std::uint32_t>(st.st_blksize);
  out.nlink = static_cast<std::uint32_t>(st.st_nlink);
  out.uid = st.st_uid;
  out.gid = st.st_gid;
  out.mode = static_cast<std::uint16_t>(st.st_mode);
  out.ino = st.st_ino;
  out.size = static_cast<std::uint64_t>(st.st_size);
  out.blocks = static_cast<std::uint64_t>(st.st_blocks);
  out.atime = time_of(st.st_atim);
  out.ctime = time_of(st.st_ctim);
  out.mtime = time_of(st.st_mtim);
  if (birth) out.btime = time_of(*birth);
  out.rdev_major = major(st.st_rdev);
  out.rdev_minor = minor(st.st_rdev);
  return fuse_reply_buf(request, reinterpret_cast<const char*>(&out), sizeof out);
}

bool is_brief(const void* request, std::size_t size) {
  if (size < sizeof(InHead)) return false;
  const InHead head = head_of(static_cast<const char*>(request));
  return head.opcode == kOpcodeForget || head.opcode == kOpcodeBatchForget || head.opcode == kOpcodeRelease ||
         head.opcode == kOpcodeReleaseDir;
}

namespace {

fuse_custom_io custom_io();

Status hooked(int outcome) {
  if (outcome == 0) return {};
  return errno_error(outcome < 0 ? -outcome : EIO, "hook the FUSE session");
}

}  // namespace

#ifdef MEDIAFS_FUSE_NATIVE_PASSTHROUGH

namespace {

ssize_t read_request(int fd, void* buffer, std::size_t size, void* userdata) {
  const ssize_t got = static_cast<Core*>(userdata)->turns.read(fd, buffer, size);
  if (got > 0) as_getattr(static_cast<char*>(buffer), static_cast<std::size_t>(got));
  return got;
}

ssize_t write_reply(int fd, iovec* parts, int count, void*) {
  return writev(fd, parts, count);
}

// As libfuse does it where nobody has hooked the session.
int clone_device(int device) {
  constexpr unsigned long kClone = _IOR(229, 0, std::uint32_t);
  const int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  auto master = static_cast<std::uint32_t>(device);
  if (clone < 0 || ioctl(clone, kClone, &master) == 0) return clone;
  close(clone);
  return -1;
}

}  // namespace

Status hook_session(fuse_session* session) {
  fuse_custom_io io = custom_io();
  io.clone_fd = clone_device;
  return hooked(fuse_session_custom_io_317(session, &io, sizeof io, fuse_session_fd(session)));
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
static_assert(sizeof(OutHead) == 16 && sizeof(OpenOut) == 16);
static_assert(offsetof(InitOut, flags2) == 32 && offsetof(InitOut, max_stack_depth) == 36);

// What the reply that this thread is sending carries.
thread_local std::int32_t reply_backing_id = 0;

Negotiation& negotiation_of(void* userdata) {
  return static_cast<Core*>(userdata)->negotiation;
}

void saw_request(Negotiation& n, const char* bytes, std::size_t size) {
  InitIn init{};
  if (size < sizeof(InHead) + offsetof(InitIn, flags2)) return;
  const InHead head = head_of(bytes);
  if (head.opcode != kOpcodeInit) return;
  std::memcpy(&init, bytes + sizeof head, std::min(sizeof init, size - sizeof head));
  const bool extended = (init.flags & kInitExt) != 0;
  n.kernel_flags = init.flags;
  n.kernel_passes_through = extended && (init.flags2 & kPassthrough2) != 0;
  n.init_unique = head.unique;
}

// To libfuse a file without a name (O_TMPFILE) is created as any other: the request is the same, and its flags tell.
void as_create(char* bytes, std::size_t size) {
  if (size >= sizeof(InHead) && head_of(bytes).opcode == kOpcodeTmpfile) change_opcode(bytes, kOpcodeCreate);
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
  if (got > 0) {
    char* bytes = static_cast<char*>(buffer);
    const auto count = static_cast<std::size_t>(got);
    as_getattr(bytes, count);
    as_create(bytes, count);
    if (!n.done) saw_request(n, bytes, count);
  }
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

class Carrying {
 public:
  explicit Carrying(std::int32_t backing_id) { reply_backing_id = backing_id; }
  ~Carrying() { reply_backing_id = 0; }
  Carrying(const Carrying&) = delete;
  Carrying& operator=(const Carrying&) = delete;
};

}  // namespace

Status hook_session(fuse_session* session) {
  const fuse_custom_io io = custom_io();
  return hooked(fuse_session_custom_io(session, &io, fuse_session_fd(session)));
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

namespace {

ssize_t splice_through(int from, off_t* from_offset, int to, off_t* to_offset, std::size_t size,
                       unsigned flags, void*) {
  return splice(from, from_offset, to, to_offset, size, flags);
}

fuse_custom_io custom_io() {
  fuse_custom_io io{};
  io.read = read_request;
  io.writev = write_reply;
  io.splice_receive = splice_through;
  io.splice_send = splice_through;
  return io;
}

}  // namespace

}  // namespace mediafs::fs
