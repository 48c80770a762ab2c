#include "tier/vault/http_refusal.h"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "tier/vault/s3_xml.h"

namespace mediafs::tier {

namespace {

ErrorCode by_status(int status) {
  if (status >= 300 && status < 400) return ErrorCode::config;
  switch (status) {
    case 401:
      return ErrorCode::credentials;
    case 403:
      return ErrorCode::permission;
    case 404:
    case 410:
      return ErrorCode::not_found;
    case 405:
    case 501:
      return ErrorCode::unsupported;
    case 408:
      return ErrorCode::timeout;
    case 409:
    case 423:
      return ErrorCode::busy;
    case 412:
    case 416:
      return ErrorCode::changed;
    case 413:
      return ErrorCode::too_large;
    case 414:
      return ErrorCode::name_too_long;
    case 429:
      return ErrorCode::throttled;
    case 502:
    case 503:
    case 504:
      return ErrorCode::offline;
    case 507:
      return ErrorCode::no_space;
    default:
      return status >= 400 && status < 500 ? ErrorCode::invalid : ErrorCode::io;
  }
}

std::int64_t retry_after_ms(std::string_view text) {
  constexpr std::int64_t kHour = 3600;
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || end != text.data() + text.size()) {
    const auto date = s3::parse_http_date(text);
    seconds = date ? *date / 1'000'000'000 - std::time(nullptr) : 0;
  }
  return std::clamp<std::int64_t>(seconds, 0, kHour) * 1000;
}

}  // namespace

Error error_of_status(int status, std::string_view retry_after) {
  Error error{by_status(status), {}, {}};
  if (status == 503 && !retry_after.empty()) error.code = ErrorCode::throttled;
  error.retry_after_ms = retry_after_ms(retry_after);
  return error;
}

}  // namespace mediafs::tier
