// Result and Error: how every layer says that something went wrong. Errors are data: they are stored in job
// rows, shown by the program and classified for retry.
// Threads:    values; no shared state.
// Errors:     an Error is never dropped silently: Result is [[nodiscard]].
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace mediafs {

enum class ErrorCode : std::uint8_t {
  not_found,      // the path, key or row is not there
  exists,         // it is there already
  not_empty,      // a directory that has entries
  not_directory,  // a component is not a directory
  is_directory,   // a file was expected
  permission,     // refused by the system or the server
  credentials,    // the server does not accept who we are
  invalid,        // a bad argument, name or value
  no_space,       // the disk or the server is full
  too_large,      // larger than what the receiver takes
  name_too_long,  // a component or path is too long
  busy,           // in use; try again when it is not
  changed,        // it is no longer what it was (fingerprint, ETag, generation)
  corrupt,        // bytes or a database that don't match their checksum
  timeout,        // no answer within the deadline
  offline,        // the branch can't be reached
  throttled,      // the server asks us to slow down
  cancelled,      // asked to stop
  unsupported,    // the branch or kernel can't do it
  read_only,      // the branch can't be written
  cross_device,   // would span filesystems
  stale,          // the object behind a handle is gone
  config,         // the configuration is wrong
  io,             // any other failure of disk or network
  internal,       // a bug of ours
};

enum class ErrorClass : std::uint8_t {
  transient,  // the same call may succeed later: retry with back-off
  permanent,  // the same call will fail again
  person,     // somebody must change something (credentials, space, configuration)
};

std::string_view to_string(ErrorCode code) noexcept;
// The inverse of to_string; `internal` for unknown text.
ErrorCode error_code_from(std::string_view text) noexcept;
ErrorClass classify(ErrorCode code) noexcept;

struct [[nodiscard]] Error {
  ErrorCode code = ErrorCode::internal;
  std::string what;        // what was tried, with the path: "open /data/x"
  std::string cause = {};  // why it failed and what to do: "Permission denied (run as root)"
  int sys_errno = 0;       // the errno it came from, 0 if none: lets fs/ answer exactly what the kernel said
  std::int64_t retry_after_ms = 0;  // the server's Retry-After, 0 if it gave none

  // "WHAT: CAUSE"
  std::string message() const;
};

// From an errno captured on the line after the call.
Error errno_error(int saved_errno, std::string what);

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
  Result(Error error) : tl::expected<T, Error>(tl::unexpect, std::move(error)) {}  // NOLINT
  const Error& err() const { return this->error(); }
};

using Status = Result<void>;

inline Error make_error(ErrorCode code, std::string what, std::string cause = {}) {
  return Error{code, std::move(what), std::move(cause)};
}

}  // namespace mediafs

// Returns the error of `expr` from the enclosing function; otherwise goes on.
#define MEDIAFS_TRY(expr)                          \
  do {                                             \
    if (auto try_result_ = (expr); !try_result_) { \
      return std::move(try_result_).error();       \
    }                                              \
  } while (false)

// MEDIAFS_ASSIGN(auto x, call()): x is the value, or the enclosing function returns the error.
#define MEDIAFS_CONCAT2(a, b) a##b
#define MEDIAFS_CONCAT(a, b) MEDIAFS_CONCAT2(a, b)
#define MEDIAFS_ASSIGN_IMPL(tmp, decl, expr) \
  auto tmp = (expr);                         \
  if (!tmp) return std::move(tmp).error();   \
  decl = std::move(*tmp)
#define MEDIAFS_ASSIGN(decl, expr) MEDIAFS_ASSIGN_IMPL(MEDIAFS_CONCAT(assign_, __LINE__), decl, expr)
