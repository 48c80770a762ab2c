// What an HTTP status means where the server's own words say no more. Pure.
// Source:     RFC 9110 15, RFC 4918 11, RFC 6585.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/result.h"

namespace mediafs::tier {

// With what a Retry-After header says: seconds or a date (RFC 9110 10.2.3); at most an hour is believed. A 503 with one
// is throttled, without one offline.
Error error_of_status(int status, std::string_view retry_after);

}  // namespace mediafs::tier
