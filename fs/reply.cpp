#include "fs/reply.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "common/fd.h"
#include "fs/core.h"
#include "fs/errno.h"
#include "fs/negotiate.h"

namespace mediafs::fs {
namespace {

constexpr std::chrono::milliseconds kLate{500};

void on_interrupt(fuse_req_t, void* source) noexcept {
  static_cast<std::stop_source*>(source)->request_stop();
}

const Shown& shown(fuse_req_t request) {
  return static_cast<const Core*>(fuse_req_userdata(request))->shown_as;
}

fuse_entry_param as_shown(fuse_req_t request, fuse_entry_param entry) {
  entry.attr = shown(request).over(entry.attr);
  return entry;
}

}  // namespace

double Reply::believed_s(double timeout_s) const noexcept {
  const bool late = std::chrono::steady_clock::now() - begun_ > kLate;
  return late ? std::min(timeout_s, kShortTimeout_s) : timeout_s;
}

fuse_req_t Reply::take() noexcept {
  if (interrupt_ != nullptr && request_ != nullptr) {
    // libfuse may be about to call on_interrupt: this waits for it, so that interrupt_ can go.
    fuse_req_interrupt_func(request_, nullptr, nullptr);
    interrupt_.reset();
  }
  return std::exchange(request_, nullptr);
}

Caller Reply::caller() const {
  const fuse_ctx* context = fuse_req_ctx(request_);
  return Caller{context->uid, context->gid, context->umask};
}

// fuse_req_getgroups of libfuse 3.14 reads beyond the end of what it read.
std::vector<gid_t> Reply::groups() const {
  constexpr std::size_t kLargest = 1U << 20;
  constexpr std::string_view kLine = "\nGroups:";
  std::vector<gid_t> groups(1, caller().gid);
  const std::string id = std::to_string(fuse_req_ctx(request_)->pid);
  const auto status = read_file(AT_FDCWD, "/proc/" + id + "/task/" + id + "/status", kLargest);
  const std::size_t at = status ? status->find(kLine) : std::string::npos;
  if (at == std::string::npos) return groups;
  const std::size_t begin = at + kLine.size();
  std::istringstream line(status->substr(begin, status->find('\n', begin) - begin));
  for (gid_t group = 0; line >> group;) groups.push_back(group);
  return groups;
}

void Reply::fail(const Error& error) {
  fail(to_errno(error));
}

void Reply::fail(int error_number) {
  fuse_reply_err(take(), error_number);
}

std::stop_source Reply::interrupt() {
  if (interrupt_ == nullptr) {
    interrupt_ = std::make_unique<std::stop_source>();
    fuse_req_interrupt_func(request_, on_interrupt, interrupt_.get());
  }
  return *interrupt_;
}

bool StatusReply::ok() {
  return fuse_reply_err(take(), 0) == 0;
}

bool EntryReply::entry(const fuse_entry_param& entry) {
  fuse_entry_param told = as_shown(request(), entry);
  told.entry_timeout = believed_s(told.entry_timeout);
  told.attr_timeout = believed_s(told.attr_timeout);
  return fuse_reply_entry(take(), &told) == 0;
}

bool CreateReply::created(const fuse_entry_param& entry, const fuse_file_info& info,
                          std::int32_t backing_id) {
  const fuse_entry_param told = as_shown(request(), entry);
  return reply_create(take(), told, info, backing_id) == 0;
}

bool AttrReply::attributes(const struct stat& st, double timeout_s,
                           const std::optional<struct timespec>& birth) {
  const struct stat told = shown(request()).over(st);
  if (birth_) return reply_statx(take(), told, birth, believed_s(timeout_s)) == 0;
  return fuse_reply_attr(take(), &told, believed_s(timeout_s)) == 0;
}

bool OpenReply::opened(const fuse_file_info& info, std::int32_t backing_id) {
  return reply_open(take(), info, backing_id) == 0;
}

bool DataReply::data(std::span<const char> bytes) {
  return fuse_reply_buf(take(), bytes.data(), bytes.size()) == 0;
}

bool DataReply::data(const std::vector<std::span<const std::byte>>& pieces) {
  std::vector<iovec> parts;
  parts.reserve(pieces.size());
  for (const auto& piece : pieces)
    parts.push_back({.iov_base = const_cast<std::byte*>(piece.data()), .iov_len = piece.size()});
  return fuse_reply_iov(take(), parts.data(), static_cast<int>(parts.size())) == 0;
}

bool DirReply::add(const char* name, const struct stat& st, off_t next) {
  const std::size_t need = fuse_add_direntry(request(), nullptr, 0, name, nullptr, 0);
  if (buffer_.size() + need > room_) return false;
  const std::size_t at = buffer_.size();
  buffer_.resize(at + need);
  fuse_add_direntry(request(), buffer_.data() + at, need, name, &st, next);
  return true;
}

bool DirReply::add_plus(const char* name, const fuse_entry_param& entry, off_t next) {
  const std::size_t need = fuse_add_direntry_plus(request(), nullptr, 0, name, nullptr, 0);
  if (buffer_.size() + need > room_) return false;
  const std::size_t at = buffer_.size();
  buffer_.resize(at + need);
  const fuse_entry_param told = as_shown(request(), entry);
  fuse_add_direntry_plus(request(), buffer_.data() + at, need, name, &told, next);
  return true;
}

bool DirReply::send() {
  return fuse_reply_buf(take(), buffer_.data(), buffer_.size()) == 0;
}

bool WriteReply::written(std::size_t size_bytes) {
  return fuse_reply_write(take(), size_bytes) == 0;
}

bool XattrReply::value(std::string_view bytes) {
  if (size_ == 0) return fuse_reply_xattr(take(), bytes.size()) == 0;
  if (bytes.size() > size_) {
    fail(ERANGE);
    return false;
  }
  return fuse_reply_buf(take(), bytes.data(), bytes.size()) == 0;
}

bool LinkReply::target(const std::string& text) {
  return fuse_reply_readlink(take(), text.c_str()) == 0;
}

bool StatfsReply::figures(const struct statvfs& st) {
  return fuse_reply_statfs(take(), &st) == 0;
}

bool SeekReply::offset(off_t at) {
  return fuse_reply_lseek(take(), at) == 0;
}

}  // namespace mediafs::fs
