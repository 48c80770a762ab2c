// AWS Signature Version 4 for one request whose headers are known beforehand.
// Threads:    functions on values.
// Shapes:     path is percent-encoded as it goes over the wire; query and headers are raw, in any order.
// Secrets:    the secret key is used and never part of a result.
// Source:     AWS "Create a signed AWS API request"; Amazon S3 "Signature Calculations for the Authorization Header".
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mediafs::tier::s3 {

using Pairs = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";
inline constexpr std::string_view kEmptySha256 =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct SigningKey {
  std::string_view access_key, secret_key, session_token;  // no token: ""
  std::string_view region;
};

struct SignRequest {
  std::string method;
  std::string path;
  Pairs query;
  Pairs headers;  // all of them are signed; names in any case; with "host"
  std::string payload_hash;
  std::time_t at = 0;
};

std::string amz_date(std::time_t at);          // "20130524T000000Z"
std::string query_string(const Pairs& query);  // encoded and sorted, as it must go over the wire
std::string canonical_request(const SignRequest& request);
// The request's headers with x-amz-date, x-amz-content-sha256, x-amz-security-token and authorization added.
Pairs sign(SignRequest request, const SigningKey& key);

}  // namespace mediafs::tier::s3
