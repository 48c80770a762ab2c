#include "common/result.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace mediafs {

namespace {

constexpr int kCodeCount = static_cast<int>(ErrorCode::internal) + 1;

ErrorCode code_of(int saved_errno) noexcept {
  switch (saved_errno) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
    case ENODATA:
      return ErrorCode::not_found;
    case EEXIST:
      return ErrorCode::exists;
    case ENOTEMPTY:
      return ErrorCode::not_empty;
    case ENOTDIR:
      return ErrorCode::not_directory;
    case EISDIR:
      return ErrorCode::is_directory;
    case EACCES:
    case EPERM:
      return ErrorCode::permission;
    case EINVAL:
    case EBADF:
    case ELOOP:
    case EILSEQ:
    case ERANGE:
      return ErrorCode::invalid;
    case ENOSPC:
    case EDQUOT:
      return ErrorCode::no_space;
    case EFBIG:
    case EOVERFLOW:
    case E2BIG:
    case EMLINK:
      return ErrorCode::too_large;
    case ENAMETOOLONG:
      return ErrorCode::name_too_long;
    case EBUSY:
    case EAGAIN:
    case ETXTBSY:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EDEADLK:
      return ErrorCode::busy;
    case EUCLEAN:
    case EBADMSG:
      return ErrorCode::corrupt;
    case ETIMEDOUT:
      return ErrorCode::timeout;
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
    case EPIPE:
    case ESHUTDOWN:
      return ErrorCode::offline;
    case ECANCELED:
    case EINTR:
      return ErrorCode::cancelled;
    case ENOSYS:
    case EOPNOTSUPP:
    case ENOTTY:
      return ErrorCode::unsupported;
    case EROFS:
      return ErrorCode::read_only;
    case EXDEV:
      return ErrorCode::cross_device;
    case ESTALE:
      return ErrorCode::stale;
    default:
      return ErrorCode::io;
  }
}

}  // namespace

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::exists:
      return "exists";
    case ErrorCode::not_empty:
      return "not_empty";
    case ErrorCode::not_directory:
      return "not_directory";
    case ErrorCode::is_directory:
      return "is_directory";
    case ErrorCode::permission:
      return "permission";
    case ErrorCode::credentials:
      return "credentials";
    case ErrorCode::invalid:
      return "invalid";
    case ErrorCode::no_space:
      return "no_space";
    case ErrorCode::too_large:
      return "too_large";
    case ErrorCode::name_too_long:
      return "name_too_long";
    case ErrorCode::busy:
      return "busy";
    case ErrorCode::changed:
      return "changed";
    case ErrorCode::corrupt:
      return "corrupt";
    case ErrorCode::timeout:
      return "timeout";
    case ErrorCode::offline:
      return "offline";
    case ErrorCode::throttled:
      return "throttled";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::read_only:
      return "read_only";
    case ErrorCode::cross_device:
      return "cross_device";
    case ErrorCode::stale:
      return "stale";
    case ErrorCode::config:
      return "config";
    case ErrorCode::io:
      return "io";
    case ErrorCode::internal:
      return "internal";
  }
  return "internal";
}

ErrorCode error_code_from(std::string_view text) noexcept {
  for (int i = 0; i < kCodeCount; ++i) {
    const auto code = static_cast<ErrorCode>(i);
    if (to_string(code) == text) return code;
  }
  return ErrorCode::internal;
}

ErrorClass classify(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::busy:
    case ErrorCode::timeout:
    case ErrorCode::offline:
    case ErrorCode::throttled:
    case ErrorCode::cancelled:
    case ErrorCode::io:
      return ErrorClass::transient;
    case ErrorCode::permission:
    case ErrorCode::credentials:
    case ErrorCode::no_space:
    case ErrorCode::read_only:
    case ErrorCode::config:
      return ErrorClass::person;
    case ErrorCode::not_found:
    case ErrorCode::exists:
    case ErrorCode::not_empty:
    case ErrorCode::not_directory:
    case ErrorCode::is_directory:
    case ErrorCode::invalid:
    case ErrorCode::too_large:
    case ErrorCode::name_too_long:
    case ErrorCode::changed:
    case ErrorCode::corrupt:
    case ErrorCode::unsupported:
    case ErrorCode::cross_device:
    case ErrorCode::stale:
    case ErrorCode::internal:
      return ErrorClass::permanent;
  }
  return ErrorClass::permanent;
}

std::string Error::message() const {
  if (cause.empty()) return what;
  if (what.empty()) return cause;
  return what + ": " + cause;
}

Error errno_error(int saved_errno, std::string what) {
  Error error =
      make_error(code_of(saved_errno), std::move(what), std::generic_category().message(saved_errno));
  error.sys_errno = saved_errno;
  return error;
}

}  // namespace mediafs
