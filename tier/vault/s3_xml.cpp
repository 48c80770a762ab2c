#include "tier/vault/s3_xml.h"

#include <array>
#include <charconv>
#include <cstring>
#include <ctime>
#include <pugixml.hpp>

#include "common/http.h"
#include "common/path.h"

namespace mediafs::tier::s3 {

namespace {

constexpr std::size_t kMaxMessage = 240;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::string_view kXxhPrefix = "xxh128:";

// The element's name without its namespace prefix.
std::string_view local_name(const pugi::xml_node& node) {
  const std::string_view name = node.name();
  const auto colon = name.find(':');
  return colon == std::string_view::npos ? name : name.substr(colon + 1);
}

pugi::xml_node child(const pugi::xml_node& of, std::string_view name) {
  for (const pugi::xml_node& node : of.children()) {
    if (local_name(node) == name) return node;
  }
  return {};
}

std::string text(const pugi::xml_node& of, std::string_view name) {
  return child(of, name).text().get();
}

// pugixml knows no entities of a document's own, so none can grow. Whitespace in keys counts: it is kept as it stands.
Result<pugi::xml_node> parse(pugi::xml_document& document, std::string_view xml, std::string_view root) {
  if (xml.size() > kMaxXml)
    return make_error(ErrorCode::io, "read the server's reply", "its XML is too large");
  constexpr unsigned kFlags = pugi::parse_cdata | pugi::parse_escapes | pugi::parse_ws_pcdata_single;
  const auto parsed = document.load_buffer(xml.data(), xml.size(), kFlags, pugi::encoding_utf8);
  if (!parsed) {
    return make_error(ErrorCode::io, "read the server's reply",
                      std::string("no XML: ") + parsed.description());
  }
  const pugi::xml_node top = document.document_element();
  if (local_name(top) != root) {
    return make_error(ErrorCode::io, "read the server's reply",
                      "expected " + std::string(root) + ", got " + printable(local_name(top).substr(0, 60)));
  }
  return top;
}

// AWS writes a space as '+' where encoding-type=url was asked for, and a plus always as %2B.
std::string decode_key(std::string key, bool encoded) {
  if (!encoded) return key;
  for (char& c : key) {
    if (c == '+') c = ' ';
  }
  return http::percent_decode(key);
}

template <class T>
std::optional<T> number(std::string_view digits, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

// Digits after the point as nanoseconds; more than nine are cut.
std::optional<std::int64_t> fraction(std::string_view digits) {
  std::int64_t ns = 0;
  for (std::size_t i = 0; i < 9; ++i) {
    const char c = i < digits.size() ? digits[i] : '0';
    if (c < '0' || c > '9') return std::nullopt;
    ns = ns * 10 + (c - '0');
  }
  return ns;
}

std::optional<WallNs> to_ns(std::int64_t seconds, std::int64_t ns) {
  constexpr std::int64_t kMost = 9'000'000'000;  // the year 2255; beyond it nanoseconds don't fit
  if (seconds > kMost || seconds < -kMost) return std::nullopt;
  return seconds * kSecond + ns;
}

}  // namespace

std::string unquote_etag(std::string_view etag) {
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

ErrorText parse_error(std::string_view xml) {
  pugi::xml_document document;
  ErrorText error;
  auto top = parse(document, xml, "Error");
  if (!top) return error;
  error.code = printable(text(*top, "Code").substr(0, 80));
  error.message = printable(text(*top, "Message").substr(0, kMaxMessage));
  error.region = printable(text(*top, "Region").substr(0, 40));
  return error;
}

Result<ListPage> parse_list(std::string_view xml) {
  pugi::xml_document document;
  MEDIAFS_ASSIGN(const pugi::xml_node top, parse(document, xml, "ListBucketResult"));
  const bool encoded = text(top, "EncodingType") == "url";
  ListPage page;
  page.truncated = text(top, "IsTruncated") == "true";
  page.continuation = text(top, "NextContinuationToken");
  for (const pugi::xml_node& node : top.children()) {
    if (local_name(node) != "Contents") continue;
    ListedObject object;
    object.key = decode_key(text(node, "Key"), encoded);
    const auto size = number<std::uint64_t>(text(node, "Size"));
    if (object.key.empty() || !size)
      return make_error(ErrorCode::io, "read the server's listing", "an entry is broken");
    object.size_bytes = *size;
    object.etag = unquote_etag(text(node, "ETag"));
    object.modified_ns = parse_iso8601(text(node, "LastModified")).value_or(0);
    page.objects.push_back(std::move(object));
  }
  if (page.truncated && page.continuation.empty()) {
    return make_error(ErrorCode::io, "read the server's listing", "it is truncated without a way to go on");
  }
  return page;
}

Result<UploadsPage> parse_uploads(std::string_view xml) {
  pugi::xml_document document;
  MEDIAFS_ASSIGN(const pugi::xml_node top, parse(document, xml, "ListMultipartUploadsResult"));
  const bool encoded = text(top, "EncodingType") == "url";
  UploadsPage page;
  page.truncated = text(top, "IsTruncated") == "true";
  page.next_key = decode_key(text(top, "NextKeyMarker"), encoded);
  page.next_id = text(top, "NextUploadIdMarker");
  for (const pugi::xml_node& node : top.children()) {
    if (local_name(node) != "Upload") continue;
    page.uploads.push_back({decode_key(text(node, "Key"), encoded), text(node, "UploadId")});
  }
  if (page.truncated && page.next_key.empty()) {
    return make_error(ErrorCode::io, "read the server's list of uploads",
                      "it is truncated without a way to go on");
  }
  return page;
}

Result<PartsPage> parse_parts(std::string_view xml) {
  pugi::xml_document document;
  MEDIAFS_ASSIGN(const pugi::xml_node top, parse(document, xml, "ListPartsResult"));
  PartsPage page;
  page.truncated = text(top, "IsTruncated") == "true";
  page.next = number<std::uint64_t>(text(top, "NextPartNumberMarker")).value_or(0);
  for (const pugi::xml_node& node : top.children()) {
    if (local_name(node) != "Part") continue;
    const auto part = number<std::uint64_t>(text(node, "PartNumber"));
    const auto size = number<std::uint64_t>(text(node, "Size"));
    if (!part || !size)
      return make_error(ErrorCode::io, "read the server's list of parts", "an entry is broken");
    page.parts.push_back({*part, *size, unquote_etag(text(node, "ETag"))});
  }
  return page;
}

Result<std::string> parse_upload_id(std::string_view xml) {
  pugi::xml_document document;
  MEDIAFS_ASSIGN(const pugi::xml_node top, parse(document, xml, "InitiateMultipartUploadResult"));
  std::string id = text(top, "UploadId");
  if (id.empty()) return make_error(ErrorCode::io, "read the server's reply", "it names no upload");
  return id;
}

Result<std::string> parse_result_etag(std::string_view xml) {
  pugi::xml_document document;
  const std::string_view kRoots[] = {"CopyObjectResult", "CopyPartResult", "CompleteMultipartUploadResult"};
  for (const std::string_view root : kRoots) {
    auto top = parse(document, xml, root);
    if (top) return unquote_etag(text(*top, "ETag"));
  }
  return make_error(ErrorCode::io, "read the server's reply", "it is no result of a copy or upload");
}

std::string complete_body(const std::vector<std::string>& part_etags) {
  std::string body = "<CompleteMultipartUpload>";
  for (std::size_t i = 0; i < part_etags.size(); ++i) {
    body += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>&quot;";
    for (const char c : part_etags[i]) {
      if (c == '&' || c == '<' || c == '>' || c == '"') continue;  // in no etag of any server
      body += c;
    }
    body += "&quot;</ETag></Part>";
  }
  return body + "</CompleteMultipartUpload>";
}

std::optional<WallNs> parse_iso8601(std::string_view when) {
  std::tm utc{};
  const std::string copy(when);
  const char* rest = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  if (rest == nullptr) return std::nullopt;
  std::string_view tail(rest);
  std::int64_t ns = 0;
  if (tail.starts_with('.')) {
    tail.remove_prefix(1);
    const auto end = tail.find_first_not_of("0123456789");
    ns = fraction(tail.substr(0, end)).value_or(0);
    tail = end == std::string_view::npos ? std::string_view() : tail.substr(end);
  }
  if (tail != "Z" && tail != "+00:00" && !tail.empty()) return std::nullopt;
  return to_ns(::timegm(&utc), ns);
}

std::optional<WallNs> parse_http_date(std::string_view when) {
  std::tm utc{};
  const std::string copy(when);
  const char* rest = ::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  if (rest == nullptr || *rest != '\0') return std::nullopt;
  return to_ns(::timegm(&utc), 0);
}

std::string format_mtime(WallNs ns) {
  const bool negative = ns < 0;
  const std::uint64_t size = negative ? 0 - static_cast<std::uint64_t>(ns) : static_cast<std::uint64_t>(ns);
  std::string decimals = std::to_string(size % kSecond);
  decimals.insert(0, 9 - decimals.size(), '0');
  while (!decimals.empty() && decimals.back() == '0') decimals.pop_back();
  return (negative ? "-" : "") + std::to_string(size / kSecond) + (decimals.empty() ? "" : "." + decimals);
}

std::optional<WallNs> parse_mtime(std::string_view when) {
  const bool negative = when.starts_with('-');
  if (negative) when.remove_prefix(1);
  const auto point = when.find('.');
  const auto seconds = number<std::int64_t>(when.substr(0, point));
  const auto ns = fraction(point == std::string_view::npos ? std::string_view() : when.substr(point + 1));
  if (!seconds || *seconds < 0 || !ns) return std::nullopt;
  const auto value = to_ns(*seconds, *ns);
  return value && negative ? std::optional<WallNs>(-*value) : value;
}

std::vector<std::pair<std::string, std::string>> meta_headers(const ObjectMeta& meta) {
  std::array<char, 16> mode{};
  const auto end = std::to_chars(mode.data(), mode.data() + mode.size(), meta.mode, 8).ptr;
  std::vector<std::pair<std::string, std::string>> headers{
      {"x-amz-meta-mtime", format_mtime(meta.mtime_ns)},
      {"x-amz-meta-mediafs-mode", std::string(mode.data(), end)},
      {"x-amz-meta-mediafs-uid", std::to_string(meta.uid)},
      {"x-amz-meta-mediafs-gid", std::to_string(meta.gid)},
  };
  if (meta.checksum) {
    headers.emplace_back("x-amz-meta-mediafs-checksum", std::string(kXxhPrefix) + to_hex(*meta.checksum));
  }
  if (!meta.sha1_hex.empty()) headers.emplace_back("x-amz-meta-mediafs-sha1", meta.sha1_hex);
  return headers;
}

ObjectMeta meta_from(const std::map<std::string, std::string>& headers) {
  auto get = [&](const char* name) -> std::string_view {
    const auto it = headers.find(name);
    return it == headers.end() ? std::string_view() : std::string_view(it->second);
  };
  ObjectMeta meta;
  meta.mtime_ns =
      parse_mtime(get("x-amz-meta-mtime")).value_or(parse_http_date(get("last-modified")).value_or(0));
  meta.mode = number<std::uint32_t>(get("x-amz-meta-mediafs-mode"), 8).value_or(meta.mode) & 07777U;
  meta.uid = number<std::uint32_t>(get("x-amz-meta-mediafs-uid")).value_or(0);
  meta.gid = number<std::uint32_t>(get("x-amz-meta-mediafs-gid")).value_or(0);
  const std::string_view checksum = get("x-amz-meta-mediafs-checksum");
  if (checksum.starts_with(kXxhPrefix)) meta.checksum = xxh128_from_hex(checksum.substr(kXxhPrefix.size()));
  const std::string_view sha1 = get("x-amz-meta-mediafs-sha1");
  if (sha1.size() == 40 && sha1.find_first_not_of("0123456789abcdef") == std::string_view::npos)
    meta.sha1_hex = sha1;
  return meta;
}

}  // namespace mediafs::tier::s3
