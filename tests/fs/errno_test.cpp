#include "fs/errno.h"

#include <doctest/doctest.h>
#include <cerrno>

using namespace mediafs;

TEST_CASE("what the system said is answered as it is") {
  CHECK(fs::to_errno(errno_error(ENOTTY, "ioctl")) == ENOTTY);
  CHECK(fs::to_errno(errno_error(EDQUOT, "write")) == EDQUOT);
}

TEST_CASE("errors without an errno have one of their own") {
  CHECK(fs::to_errno(make_error(ErrorCode::changed, "x")) == ESTALE);
  CHECK(fs::to_errno(make_error(ErrorCode::timeout, "x")) == ETIMEDOUT);
  CHECK(fs::to_errno(make_error(ErrorCode::offline, "x")) == EHOSTUNREACH);
  CHECK(fs::to_errno(make_error(ErrorCode::corrupt, "x")) == EIO);
  CHECK(fs::to_errno(make_error(ErrorCode::no_space, "x")) == ENOSPC);
}

TEST_CASE("every code answers a positive errno") {
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
    CHECK(fs::to_errno(make_error(static_cast<ErrorCode>(code), "x")) > 0);
  }
}
