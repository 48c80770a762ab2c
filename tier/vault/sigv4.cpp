#include "tier/vault/sigv4.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <span>

#include "common/hash.h"
#include "common/http.h"

namespace mediafs::tier::s3 {

namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// Trimmed, and runs of spaces made one.
std::string canonical_value(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == ' ' && (out.empty() || out.back() == ' ')) continue;
    out += c;
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

Pairs canonical_headers(const Pairs& headers) {
  Pairs out;
  for (const auto& [name, value] : headers) out.emplace_back(lower(name), canonical_value(value));
  std::sort(out.begin(), out.end());
  return out;
}

std::string signed_names(const Pairs& canonical) {
  std::string out;
  for (const auto& [name, value] : canonical) out += (out.empty() ? "" : ";") + name;
  return out;
}

std::string hex_of(std::string_view raw) {
  return to_hex(std::span(reinterpret_cast<const std::uint8_t*>(raw.data()), raw.size()));
}

}  // namespace

std::string amz_date(std::time_t at) {
  std::tm utc{};
  ::gmtime_r(&at, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &utc);
  return text.data();
}

std::string query_string(const Pairs& query) {
  Pairs encoded;
  for (const auto& [name, value] : query) {
    encoded.emplace_back(http::percent_encode(name, false), http::percent_encode(value, false));
  }
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded)
    out.append(out.empty() ? "" : "&").append(name).append("=").append(value);
  return out;
}

std::string canonical_request(const SignRequest& request) {
  const Pairs headers = canonical_headers(request.headers);
  std::string out = request.method + "\n" + request.path + "\n" + query_string(request.query) + "\n";
  for (const auto& [name, value] : headers) out.append(name).append(":").append(value).append("\n");
  return out + "\n" + signed_names(headers) + "\n" + request.payload_hash;
}

Pairs sign(SignRequest request, const SigningKey& key) {
  const std::string when = amz_date(request.at);
  const std::string day = when.substr(0, 8);
  request.headers.emplace_back("x-amz-date", when);
  request.headers.emplace_back("x-amz-content-sha256", request.payload_hash);
  if (!key.session_token.empty()) request.headers.emplace_back("x-amz-security-token", key.session_token);

  const std::string scope = day + "/" + std::string(key.region) + "/s3/aws4_request";
  const std::string to_sign = "AWS4-HMAC-SHA256\n" + when + "\n" + scope + "\n" +
                              digest_hex(Digest::sha256, canonical_request(request));
  std::string signing = hmac_sha256("AWS4" + std::string(key.secret_key), day);
  signing = hmac_sha256(signing, key.region);
  signing = hmac_sha256(signing, "s3");
  signing = hmac_sha256(signing, "aws4_request");
  request.headers.emplace_back("authorization",
                               "AWS4-HMAC-SHA256 Credential=" + std::string(key.access_key) + "/" + scope +
                                   ",SignedHeaders=" + signed_names(canonical_headers(request.headers)) +
                                   ",Signature=" + hex_of(hmac_sha256(signing, to_sign)));
  return std::move(request.headers);
}

}  // namespace mediafs::tier::s3
