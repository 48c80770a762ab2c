// What a WebDAV server sends, and where its hrefs lead.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/path.h"
#include "tier/vault/webdav_path.h"
#include "tier/vault/webdav_xml.h"

using namespace mediafs::tier;

namespace {

void must(bool held) {
  if (!held) std::abort();
}

void look_at(std::string_view href) {
  for (const char* folder : {"", "dav/My Library"}) {
    const webdav::Place place = webdav::place_of(href, folder);
    if (place.kind != webdav::Place::child) continue;
    must(place.name.find('/') == std::string::npos && mediafs::check_path(place.name).has_value());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  look_at(text);
  if (const auto resources = webdav::parse_multistatus(text)) {
    for (const webdav::Resource& resource : *resources) {
      look_at(resource.href);
      ObjectMeta meta;
      static_cast<void>(webdav::meta_from(resource, meta));
    }
  }
  static_cast<void>(webdav::patch_status(text));
  must(webdav::error_message(text).size() <= 4096);
  static_cast<void>(webdav::etag_of(text, size, text));
  if (const auto address = webdav::parse_url(std::string(text)))
    static_cast<void>(webdav::nextcloud_of(address->root));
  return 0;
}
