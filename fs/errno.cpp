#include "fs/errno.h"

#include <cerrno>

namespace mediafs::fs {

int to_errno(const Error& error) noexcept {
  if (error.sys_errno > 0) return error.sys_errno;
  switch (error.code) {
    case ErrorCode::not_found:
      return ENOENT;
    case ErrorCode::exists:
      return EEXIST;
    case ErrorCode::not_empty:
      return ENOTEMPTY;
    case ErrorCode::not_directory:
      return ENOTDIR;
    case ErrorCode::is_directory:
      return EISDIR;
    case ErrorCode::permission:
      return EACCES;
    case ErrorCode::credentials:
      return EACCES;
    case ErrorCode::invalid:
      return EINVAL;
    case ErrorCode::no_space:
      return ENOSPC;
    case ErrorCode::too_large:
      return EFBIG;
    case ErrorCode::name_too_long:
      return ENAMETOOLONG;
    case ErrorCode::busy:
      return EBUSY;
    case ErrorCode::changed:
      return ESTALE;
    case ErrorCode::corrupt:
      return EIO;
    case ErrorCode::timeout:
      return ETIMEDOUT;
    case ErrorCode::offline:
      return EHOSTUNREACH;
    case ErrorCode::throttled:
      return EAGAIN;
    case ErrorCode::cancelled:
      return EINTR;
    case ErrorCode::unsupported:
      return EOPNOTSUPP;
    case ErrorCode::read_only:
      return EROFS;
    case ErrorCode::cross_device:
      return EXDEV;
    case ErrorCode::stale:
      return ESTALE;
    case ErrorCode::config:
      return EINVAL;
    case ErrorCode::io:
      return EIO;
    case ErrorCode::internal:
      return EIO;
  }
  return EIO;
}

}  // namespace mediafs::fs
