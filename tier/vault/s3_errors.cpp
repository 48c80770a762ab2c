#include "tier/vault/s3_errors.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "common/path.h"
#include "tier/vault/http_refusal.h"

namespace mediafs::tier::s3 {

namespace {

struct Known {
  std::string_view code;
  ErrorCode error;
  std::string_view advice;
};

// Codes say more than the status does: quota comes as 403, an expired token as 400, a failed copy as 200.
constexpr std::array kKnown{
    Known{"SignatureDoesNotMatch", ErrorCode::credentials, "check secret_key and vault.region"},
    Known{"InvalidAccessKeyId", ErrorCode::credentials, "check access_key"},
    Known{"InvalidSecurity", ErrorCode::credentials, "check the credentials file"},
    Known{"ExpiredToken", ErrorCode::credentials, "get a new session token"},
    Known{"InvalidToken", ErrorCode::credentials, "check session_token"},
    Known{"TokenRefreshRequired", ErrorCode::credentials, "get a new session token"},
    Known{"RequestTimeTooSkewed", ErrorCode::credentials, "set this machine's clock"},
    Known{"AccessDenied", ErrorCode::permission, "this key may not do that: check the bucket's policy"},
    Known{"AllAccessDisabled", ErrorCode::permission, "the bucket is locked"},
    Known{"AccountProblem", ErrorCode::permission, "ask the provider"},
    Known{"QuotaExceeded", ErrorCode::no_space, "raise the quota"},
    Known{"InsufficientCapacity", ErrorCode::no_space, "the server is full"},
    Known{"XMinioStorageFull", ErrorCode::no_space, "the server is full"},
    Known{"EntityTooLarge", ErrorCode::too_large, ""},
    Known{"KeyTooLongError", ErrorCode::name_too_long, "S3 takes keys of 1024 bytes"},
    Known{"KeyTooLong", ErrorCode::name_too_long, "S3 takes keys of 1024 bytes"},
    Known{"InvalidBucketName", ErrorCode::config, "check vault.url"},
    Known{"AuthorizationHeaderMalformed", ErrorCode::config, "set vault.region"},
    Known{"PermanentRedirect", ErrorCode::config, "set vault.region or vault.endpoint"},
    Known{"TemporaryRedirect", ErrorCode::offline, "the bucket is being set up"},
    Known{"IllegalLocationConstraintException", ErrorCode::config, "set vault.region"},
    Known{"BadDigest", ErrorCode::changed, "the file changed while it was sent"},
    Known{"InvalidDigest", ErrorCode::changed, "the file changed while it was sent"},
    Known{"XAmzContentSHA256Mismatch", ErrorCode::changed, "the file changed while it was sent"},
    Known{"XAmzContentChecksumMismatch", ErrorCode::changed, "the file changed while it was sent"},
    Known{"PreconditionFailed", ErrorCode::changed, ""},
    Known{"InvalidRange", ErrorCode::changed, "it is shorter than the range that was asked for"},
    Known{"NoSuchKey", ErrorCode::not_found, ""},
    Known{"NoSuchUpload", ErrorCode::not_found, "the upload was aborted or is complete"},
    Known{"MethodNotAllowed", ErrorCode::unsupported, ""},
    Known{"NotImplemented", ErrorCode::unsupported, ""},
    Known{"OperationAborted", ErrorCode::busy, ""},
    Known{"ConditionalRequestConflict", ErrorCode::busy, ""},
    Known{"SlowDown", ErrorCode::throttled, ""},
    Known{"RequestLimitExceeded", ErrorCode::throttled, ""},
    Known{"TooManyRequests", ErrorCode::throttled, ""},
    Known{"BandwidthLimitExceeded", ErrorCode::throttled, ""},
    Known{"RequestTimeout", ErrorCode::timeout, ""},
    Known{"InternalError", ErrorCode::io, "the server failed"},
    Known{"ServiceUnavailable", ErrorCode::offline, ""},
};

}  // namespace

Error error_of(const Refusal& refusal, const std::string& bucket) {
  Error error = error_of_status(refusal.status, refusal.retry_after);
  std::string advice;
  const auto known =
      std::find_if(kKnown.begin(), kKnown.end(), [&](const Known& k) { return k.code == refusal.code; });
  if (known != kKnown.end()) {
    error.code = known->error;
    advice = known->advice;
  }
  if (refusal.code == "NoSuchBucket") {
    error.code = ErrorCode::not_found;
    advice = "the bucket " + printable(bucket) + " is not there: create it, or correct vault.url";
  }
  if (refusal.status == 503 && !refusal.retry_after.empty()) error.code = ErrorCode::throttled;
  if (refusal.status == 507) error.code = ErrorCode::no_space;
  const std::string& region = refusal.region.empty() ? refusal.region_header : refusal.region;
  if (error.code == ErrorCode::config && !region.empty()) {
    advice = "the bucket is in " + printable(region).substr(0, 40) + ": set vault.region";
  }
  if (advice.empty() && refusal.status >= 300 && refusal.status < 400) {
    advice = "the server sends us elsewhere: check vault.endpoint and vault.region";
  }
  error.cause = "HTTP " + std::to_string(refusal.status);
  if (!refusal.code.empty()) error.cause += " " + refusal.code;
  if (!refusal.message.empty()) error.cause += ": " + refusal.message;
  if (!advice.empty()) error.cause += " (" + advice + ")";
  return error;
}

}  // namespace mediafs::tier::s3
