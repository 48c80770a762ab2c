// Replies: each request owns one, of the kind that its operation calls for. Move-only; answers exactly once; one that
// is dropped answers EIO by itself. The wrong kind of answer does not compile.
// Threads:    a reply belongs to one thread at a time and may travel to another.
// Errors:     the bool that a success returns is false when the kernel did not take it (the caller was killed or the
//             mount is gone): what the answer would have handed over (a lookup, an open handle) must be taken back.
#pragma once

#include <fuse_lowlevel.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/result.h"

namespace mediafs::fs {

struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t umask = 0;
};

class Reply {
 public:
  explicit Reply(fuse_req_t request) : request_(request) {}
  Reply(Reply&& other) noexcept
      : request_(std::exchange(other.request_, nullptr)),
        begun_(other.begun_),
        interrupt_(std::move(other.interrupt_)) {}
  Reply& operator=(Reply&&) = delete;
  ~Reply() {
    if (request_ != nullptr) fail(EIO);
  }
  Caller caller() const;
  std::vector<gid_t> groups() const;  // the caller's, all; read from /proc: for rare requests
  void fail(const Error& error);
  void fail(int error_number);
  // Requested when the kernel says that the caller was interrupted. REQUIRES: not yet answered.
  std::stop_source interrupt();

 protected:
  fuse_req_t take() noexcept;
  fuse_req_t request() const noexcept { return request_; }
  // For how long the kernel may believe what is answered now: not for long where it took longer than a change underneath
  // takes to be told for the last time (see Invalidator).
  double believed_s(double timeout_s) const noexcept;

 private:
  fuse_req_t request_;
  SteadyTime begun_ = std::chrono::steady_clock::now();
  std::unique_ptr<std::stop_source> interrupt_;  // at a fixed address: libfuse holds it
};

class StatusReply : public Reply {
 public:
  using Reply::Reply;
  bool ok();
};

class EntryReply : public Reply {
 public:
  using Reply::Reply;
  bool entry(const fuse_entry_param& entry);
};

class CreateReply : public Reply {
 public:
  using Reply::Reply;
  bool created(const fuse_entry_param& entry, const fuse_file_info& info, std::int32_t backing_id);
};

// With `birth` the kernel has asked when the file was born, too.
class AttrReply : public Reply {
 public:
  explicit AttrReply(fuse_req_t request, bool birth = false) : Reply(request), birth_(birth) {}
  bool wants_birth() const { return birth_; }
  bool attributes(const struct stat& st, double timeout_s, const std::optional<struct timespec>& birth = {});

 private:
  bool birth_;
};

class OpenReply : public Reply {
 public:
  using Reply::Reply;
  bool opened(const fuse_file_info& info, std::int32_t backing_id = 0);
};

class DataReply : public Reply {
 public:
  using Reply::Reply;
  bool data(std::span<const char> bytes);
  bool data(const std::vector<std::span<const std::byte>>& pieces);  // one after the other
};

// Directory entries: packed with the request's own layout, then answered.
class DirReply : public Reply {
 public:
  DirReply(fuse_req_t request, std::size_t size_bytes) : Reply(request), room_(size_bytes) {}
  // False: no room left, the entry is not in.
  bool add(const char* name, const struct stat& st, off_t next);
  bool add_plus(const char* name, const fuse_entry_param& entry, off_t next);
  bool send();

 private:
  std::size_t room_;
  std::string buffer_;
};

class WriteReply : public Reply {
 public:
  using Reply::Reply;
  bool written(std::size_t size_bytes);
};

// getxattr and listxattr: with size 0 the caller asks how much there is.
class XattrReply : public Reply {
 public:
  XattrReply(fuse_req_t request, std::size_t size_bytes) : Reply(request), size_(size_bytes) {}
  bool value(std::string_view bytes);

 private:
  std::size_t size_;
};

class LinkReply : public Reply {
 public:
  using Reply::Reply;
  bool target(const std::string& text);
};

class StatfsReply : public Reply {
 public:
  using Reply::Reply;
  bool figures(const struct statvfs& st);
};

class SeekReply : public Reply {
 public:
  using Reply::Reply;
  bool offset(off_t at);
};

}  // namespace mediafs::fs
