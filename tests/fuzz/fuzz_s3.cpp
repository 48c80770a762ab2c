// What an S3 server sends: XML, headers, dates.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "tier/vault/s3_errors.h"
#include "tier/vault/s3_xml.h"

using namespace mediafs::tier::s3;

namespace {

void must(bool held) {
  if (!held) std::abort();
}

// "name: value" lines.
std::map<std::string, std::string> headers_in(std::string_view text) {
  std::map<std::string, std::string> headers;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos)
      headers[std::string(line.substr(0, colon))] = std::string(line.substr(colon + 1));
  }
  return headers;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const ErrorText error = parse_error(text);
  must(error.message.size() <= 4096);
  static_cast<void>(error_of({.status = static_cast<int>(size % 600),
                              .code = error.code,
                              .message = error.message,
                              .region = error.region,
                              .region_header = std::string(text.substr(0, 40)),
                              .retry_after = std::string(text.substr(0, 20))},
                             "bucket"));
  static_cast<void>(parse_list(text));
  static_cast<void>(parse_uploads(text));
  static_cast<void>(parse_parts(text));
  static_cast<void>(parse_upload_id(text));
  static_cast<void>(parse_result_etag(text));
  static_cast<void>(unquote_etag(text));
  static_cast<void>(parse_iso8601(text));
  static_cast<void>(parse_http_date(text));
  if (const auto mtime = parse_mtime(text)) must(parse_mtime(format_mtime(*mtime)) == mtime);
  static_cast<void>(meta_from(headers_in(text)));
  return 0;
}
