// The XML and the metadata that S3 servers send, which nobody has checked before us.
// Threads:    functions on values.
// Errors:     io for what is not the expected document. Size is bounded by kMaxXml, depth does not matter.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "tier/vault/vault.h"

namespace mediafs::tier::s3 {

inline constexpr std::size_t kMaxXml = 16U << 20;

struct ErrorText {
  std::string code;     // "" if the body is no error document
  std::string message;  // bounded, printable
  std::string region;   // some servers say which would be right
};
ErrorText parse_error(std::string_view xml);

struct ListedObject {
  std::string key;  // in the bucket, decoded
  std::uint64_t size_bytes = 0;
  std::string etag;
  WallNs modified_ns = 0;
};
struct ListPage {
  std::vector<ListedObject> objects;
  bool truncated = false;
  std::string continuation;
};
Result<ListPage> parse_list(std::string_view xml);

struct ListedUpload {
  std::string key;
  std::string id;
};
struct UploadsPage {
  std::vector<ListedUpload> uploads;
  bool truncated = false;
  std::string next_key, next_id;
};
Result<UploadsPage> parse_uploads(std::string_view xml);

struct ListedPart {
  std::uint64_t number = 0;  // from 1
  std::uint64_t size_bytes = 0;
  std::string etag;
};
struct PartsPage {
  std::vector<ListedPart> parts;
  bool truncated = false;
  std::uint64_t next = 0;
};
Result<PartsPage> parse_parts(std::string_view xml);

Result<std::string> parse_upload_id(std::string_view xml);  // InitiateMultipartUploadResult
Result<std::string> parse_result_etag(
    std::string_view xml);  // Copy{Object,Part}Result, CompleteMultipartUploadResult
std::string complete_body(const std::vector<std::string>& part_etags);  // in order, from part 1

std::string unquote_etag(std::string_view etag);
std::optional<WallNs> parse_iso8601(std::string_view text);    // "2026-11-20T11:45:00.123Z"
std::optional<WallNs> parse_http_date(std::string_view text);  // "Fri, 20 Nov 2026 11:45:00 GMT"
std::string format_mtime(WallNs ns);                           // "1700000000.123456789"
std::optional<WallNs> parse_mtime(std::string_view text);

// As request headers, names with x-amz-meta- before them.
std::vector<std::pair<std::string, std::string>> meta_headers(const ObjectMeta& meta);
ObjectMeta meta_from(const std::map<std::string, std::string>& headers);

}  // namespace mediafs::tier::s3
