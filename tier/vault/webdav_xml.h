// The XML of WebDAV: what we ask, and what servers answer, which nobody has checked before us.
// Threads:    functions on values.
// Errors:     io for what is not the expected document, too_large above kMaxXml. Depth does not matter.
// Source:     RFC 4918 14 (elements), XML Namespaces 1.0: prefixes are the server's choice.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "tier/vault/vault.h"

namespace mediafs::tier::webdav {

inline constexpr std::size_t kMaxXml = 64U << 20;

// One <response>: what the server says of a file or folder.
struct Resource {
  std::string href;  // as it was sent, without spaces around
  bool collection = false;
  std::optional<std::uint64_t> size_bytes;
  std::string etag;  // see etag_of(); "" if there is nothing to make one from
  WallNs modified_ns = 0;
  std::map<std::string, std::string> own;  // our properties
  std::string checksums;                   // ownCloud's: "SHA1:... MD5:..."
};
Result<std::vector<Resource>> parse_multistatus(std::string_view xml);

enum class Ask { listing, all };
std::string propfind_body(Ask ask);

// `of` names the version that the properties are about.
std::string proppatch_body(const ObjectMeta& meta, const std::string& of);
std::string modified_body(WallNs mtime_ns);  // Nextcloud's way to set getlastmodified
// The first status in the reply that is no success; 200 if all are.
Result<int> patch_status(std::string_view xml);

std::string version_of(std::uint64_t size_bytes, const std::string& etag);  // for `of`
// True if the properties are of this version; fills `meta` from them.
bool meta_from(const Resource& resource, ObjectMeta& meta);

// The server's own words about a failure, bounded and printable; "" if the body has none.
std::string error_message(std::string_view xml);

// The opaque part of a server's ETag, else one made from size and date; "" if there is neither.
std::string etag_of(std::string_view etag_header, std::optional<std::uint64_t> size_bytes,
                    std::string_view last_modified);
bool is_made_up(std::string_view etag);  // "w:..."

}  // namespace mediafs::tier::webdav
