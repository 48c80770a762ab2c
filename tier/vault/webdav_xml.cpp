#include "tier/vault/webdav_xml.h"

#include <array>
#include <charconv>
#include <pugixml.hpp>

#include "common/path.h"
#include "tier/vault/s3_xml.h"

namespace mediafs::tier::webdav {

namespace {

constexpr std::string_view kDav = "DAV:";
constexpr std::string_view kOwn = "urn:x-mediafs:vault";
constexpr std::string_view kOwnCloud = "http://owncloud.org/ns";
constexpr std::string_view kXxhPrefix = "xxh128:";
constexpr std::size_t kMaxMessage = 240;
constexpr std::int64_t kSecond = 1'000'000'000;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

template <class T>
std::optional<T> number(std::string_view digits, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::string_view local_name(const pugi::xml_node& node) {
  const std::string_view name = node.name();
  const auto colon = name.find(':');
  return colon == std::string_view::npos ? name : name.substr(colon + 1);
}

// The namespace that an element's prefix, or the lack of one, stands for.
std::string_view space_of(const pugi::xml_node& node) {
  const std::string_view name = node.name();
  const auto colon = name.find(':');
  const std::string_view prefix =
      colon == std::string_view::npos ? std::string_view() : name.substr(0, colon);
  for (pugi::xml_node at = node; at; at = at.parent()) {
    for (const pugi::xml_attribute& attribute : at.attributes()) {
      std::string_view key = attribute.name();
      if (!key.starts_with("xmlns")) continue;
      key.remove_prefix(5);
      const bool ours = prefix.empty() ? key.empty() : key.starts_with(':') && key.substr(1) == prefix;
      if (ours) return attribute.value();
    }
  }
  return {};
}

bool is(const pugi::xml_node& node, std::string_view space, std::string_view name) {
  return local_name(node) == name && space_of(node) == space;
}

pugi::xml_node child(const pugi::xml_node& of, std::string_view name) {
  for (const pugi::xml_node& node : of.children()) {
    if (is(node, kDav, name)) return node;
  }
  return {};
}

std::string text(const pugi::xml_node& node) {
  return std::string(trimmed(node.text().get()));
}

// "HTTP/1.1 200 OK"; 0 for anything else.
int status_of(const pugi::xml_node& node) {
  const std::string line = text(child(node, "status"));
  const auto space = line.find(' ');
  if (!line.starts_with("HTTP/") || space == std::string::npos) return 0;
  return number<int>(std::string_view(line).substr(space + 1, 3)).value_or(0);
}

Error broken(std::string why) {
  return make_error(ErrorCode::io, "read the server's reply", std::move(why));
}

// pugixml knows no entities of a document's own, so none can grow.
Result<pugi::xml_node> parse(pugi::xml_document& document, std::string_view xml, std::string_view root) {
  if (xml.size() > kMaxXml)
    return make_error(ErrorCode::too_large, "read the server's reply", "its XML is too large");
  constexpr unsigned kFlags = pugi::parse_cdata | pugi::parse_escapes | pugi::parse_ws_pcdata_single;
  const auto parsed = document.load_buffer(xml.data(), xml.size(), kFlags, pugi::encoding_utf8);
  if (!parsed) return broken(std::string("no XML: ") + parsed.description());
  const pugi::xml_node top = document.document_element();
  if (!is(top, kDav, root)) {
    return broken("expected " + std::string(root) + ", got " + printable(local_name(top).substr(0, 60)));
  }
  return top;
}

struct Properties {
  std::string etag, modified;
};

Status take(const pugi::xml_node& property, Resource& resource, Properties& found) {
  const std::string_view space = space_of(property);
  const std::string_view name = local_name(property);
  if (space == kOwn) resource.own[std::string(name)] = text(property);
  if (space == kOwnCloud && name == "checksums") {
    for (const pugi::xml_node& one : property.children()) {
      const std::string value = one.type() == pugi::node_element ? text(one) : std::string();
      if (!value.empty()) resource.checksums += (resource.checksums.empty() ? "" : " ") + value;
    }
  }
  if (space != kDav) return {};
  if (name == "resourcetype") resource.collection = bool(child(property, "collection"));
  if (name == "getetag") found.etag = text(property);
  if (name == "getlastmodified") found.modified = text(property);
  if (name == "getcontentlength" && !text(property).empty()) {
    resource.size_bytes = number<std::uint64_t>(text(property));
    if (!resource.size_bytes) return broken("a size is no number");
  }
  return {};
}

Result<Resource> resource_of(const pugi::xml_node& response) {
  Resource resource;
  Properties found;
  resource.href = text(child(response, "href"));
  if (resource.href.empty()) return broken("an entry has no href");
  for (const pugi::xml_node& node : response.children()) {
    if (!is(node, kDav, "propstat")) continue;
    const int status = status_of(node);
    if (status < 200 || status >= 300) continue;
    for (const pugi::xml_node& property : child(node, "prop").children())
      MEDIAFS_TRY(take(property, resource, found));
  }
  resource.etag = etag_of(found.etag, resource.size_bytes, found.modified);
  resource.modified_ns = s3::parse_http_date(found.modified).value_or(0);
  return resource;
}

std::string escaped(std::string_view value) {
  std::string out;
  for (const char c : value) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return out;
}

}  // namespace

Result<std::vector<Resource>> parse_multistatus(std::string_view xml) {
  pugi::xml_document document;
  MEDIAFS_ASSIGN(const pugi::xml_node top, parse(document, xml, "multistatus"));
  std::vector<Resource> resources;
  for (const pugi::xml_node& node : top.children()) {
    if (!is(node, kDav, "response")) continue;
    // A whole entry that failed (a folder that may not be read) would make the listing shorter.
    if (const int status = status_of(node); status >= 300)
      return broken("an entry has HTTP " + std::to_string(status));
    MEDIAFS_ASSIGN(Resource resource, resource_of(node));
    resources.push_back(std::move(resource));
  }
  return resources;
}

std::string propfind_body(Ask ask) {
  std::string body =
      "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propfind xmlns:D=\"DAV:\" "
      "xmlns:m=\"urn:x-mediafs:vault\" "
      "xmlns:o=\"http://owncloud.org/ns\"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/>"
      "<D:getetag/><m:of/><m:mtime/><m:mode/>";
  if (ask == Ask::all) body += "<m:uid/><m:gid/><m:checksum/><m:sha1/><o:checksums/>";
  return body + "</D:prop></D:propfind>";
}

std::string proppatch_body(const ObjectMeta& meta, const std::string& of) {
  std::string body =
      "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propertyupdate xmlns:D=\"DAV:\" "
      "xmlns:m=\"urn:x-mediafs:vault\"><D:set><D:prop>";
  const auto add = [&body](std::string_view name, std::string_view value) {
    body.append("<m:")
        .append(name)
        .append(">")
        .append(escaped(value))
        .append("</m:")
        .append(name)
        .append(">");
  };
  std::array<char, 16> mode{};
  const auto end = std::to_chars(mode.data(), mode.data() + mode.size(), meta.mode, 8).ptr;
  add("mtime", s3::format_mtime(meta.mtime_ns));
  add("mode", std::string_view(mode.data(), static_cast<std::size_t>(end - mode.data())));
  add("uid", std::to_string(meta.uid));
  add("gid", std::to_string(meta.gid));
  add("checksum", meta.checksum ? std::string(kXxhPrefix) + to_hex(*meta.checksum) : std::string("none"));
  add("sha1", meta.sha1_hex.empty() ? std::string("none") : meta.sha1_hex);
  add("of", of);
  return body + "</D:prop></D:set></D:propertyupdate>";
}

std::string modified_body(WallNs mtime_ns) {
  const std::int64_t seconds = mtime_ns / kSecond - (mtime_ns % kSecond < 0 ? 1 : 0);
  return "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop>"
         "<D:lastmodified>" +
         std::to_string(seconds) + "</D:lastmodified></D:prop></D:set></D:propertyupdate>";
}

Result<int> patch_status(std::string_view xml) {
  pugi::xml_document document;
  MEDIAFS_ASSIGN(const pugi::xml_node top, parse(document, xml, "multistatus"));
  int worst = 0;
  const auto note = [&worst](int status) {
    const int plain = status >= 200 && status < 300 ? 200 : status;
    // 424 stands with what failed only because something else did.
    const bool says_more = worst == 0 || worst == 200 || (worst == 424 && plain != 200);
    if (status != 0 && says_more) worst = plain;
  };
  for (const pugi::xml_node& response : top.children()) {
    if (!is(response, kDav, "response")) continue;
    note(status_of(response));
    for (const pugi::xml_node& node : response.children()) {
      if (is(node, kDav, "propstat")) note(status_of(node));
    }
  }
  if (worst == 0) return broken("it says nothing of the properties");
  return worst;
}

std::string version_of(std::uint64_t size_bytes, const std::string& etag) {
  return std::to_string(size_bytes) + " " + etag;
}

bool meta_from(const Resource& resource, ObjectMeta& meta) {
  const auto get = [&resource](const char* name) {
    const auto it = resource.own.find(name);
    return it == resource.own.end() ? std::string() : it->second;
  };
  meta.mtime_ns = resource.modified_ns;
  if (resource.etag.empty() ||
      get("of") != trimmed(version_of(resource.size_bytes.value_or(0), resource.etag)))
    return false;
  const auto mtime = s3::parse_mtime(get("mtime"));
  const auto mode = number<std::uint32_t>(get("mode"), 8);
  if (!mtime || !mode) return false;
  meta.mtime_ns = *mtime;
  meta.mode = *mode & 07777U;
  meta.uid = number<std::uint32_t>(get("uid")).value_or(0);
  meta.gid = number<std::uint32_t>(get("gid")).value_or(0);
  const std::string checksum = get("checksum");
  if (checksum.starts_with(kXxhPrefix))
    meta.checksum = xxh128_from_hex(std::string_view(checksum).substr(kXxhPrefix.size()));
  const std::string sha1 = get("sha1");
  if (sha1.size() == 40 && sha1.find_first_not_of("0123456789abcdef") == std::string::npos)
    meta.sha1_hex = sha1;
  return true;
}

std::string error_message(std::string_view xml) {
  pugi::xml_document document;
  auto top = xml.size() > 64 * 1024 ? Result<pugi::xml_node>(broken("")) : parse(document, xml, "error");
  if (!top) return {};
  for (const pugi::xml_node& node : top->children()) {
    if (local_name(node) == "message") return printable(text(node).substr(0, kMaxMessage));
  }
  return {};
}

std::string etag_of(std::string_view etag_header, std::optional<std::uint64_t> size_bytes,
                    std::string_view last_modified) {
  etag_header = trimmed(etag_header);
  // apache calls an etag weak while the file is younger than a second: the same one.
  if (etag_header.starts_with("W/")) etag_header.remove_prefix(2);
  std::string etag = s3::unquote_etag(etag_header);
  if (!etag.empty() && !is_made_up(etag)) return etag;
  const auto modified = s3::parse_http_date(trimmed(last_modified));
  if (!size_bytes || !modified) return {};
  return "w:" + std::to_string(*size_bytes) + "-" + std::to_string(*modified / kSecond);
}

bool is_made_up(std::string_view etag) {
  return etag.starts_with("w:");
}

}  // namespace mediafs::tier::webdav
