#include "tier/vault/webdav_path.h"

#include <algorithm>
#include <vector>

#include "common/http.h"
#include "common/path.h"

namespace mediafs::tier::webdav {

namespace {

Error bad_url(const std::string& url, std::string why) {
  return make_error(ErrorCode::config, "vault.url " + printable(url), std::move(why));
}

bool is_host(std::string_view host) {
  if (host.empty() || host.front() == ':') return false;
  return std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || c == ':' || c == '[' || c == ']';
  });
}

// The components of a path as it stands in a URL, decoded each by itself; empty ones count for nothing.
std::vector<std::string> components(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const auto slash = std::min(path.find('/'), path.size());
    if (slash > 0) parts.push_back(http::percent_decode(path.substr(0, slash)));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const auto slash = std::min(path.find('/'), path.size());
    if (slash > 0) parts.push_back(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

}  // namespace

Result<Address> parse_url(const std::string& url) {
  Address address;
  address.tls = url.starts_with("webdavs://");
  if (!address.tls && !url.starts_with("webdav://")) return bad_url(url, "needs webdav:// or webdavs://");
  std::string_view rest = url;
  rest.remove_prefix(rest.find("//") + 2);
  if (rest.find_first_of("?# \t\r\n") != std::string_view::npos)
    return bad_url(url, "needs a plain address: webdavs://host/path, without query (a space is %20)");
  std::string_view authority = rest.substr(0, rest.find('/'));
  const std::string_view path = rest.substr(authority.size());
  if (const auto at = authority.rfind('@'); at != std::string_view::npos) {
    const std::string_view user = authority.substr(0, at);
    if (user.find(':') != std::string_view::npos) {  // never quoted: it holds a password
      return make_error(ErrorCode::config, "vault.url", "must not hold a password (use vault.credentials)");
    }
    address.user = http::percent_decode(user);
    authority.remove_prefix(at + 1);
  }
  if (!is_host(authority)) return bad_url(url, "names no host: webdavs://host/path");
  address.host = authority;
  const std::string own_port = address.tls ? ":443" : ":80";
  if (address.host.ends_with(own_port)) address.host.resize(address.host.size() - own_port.size());
  for (const std::string& part : components(path)) {
    auto fine = check_path(part);
    if (!fine) return bad_url(url, fine.error().cause);
    if (part.find('/') != std::string::npos) return bad_url(url, "a name in it holds a slash");
    address.root = join_path(address.root, part);
  }
  return address;
}

std::optional<Nextcloud> nextcloud_of(std::string_view root) {
  constexpr std::string_view kMark = "remote.php/dav/files/";
  const auto at = root.find(kMark);
  if (at == std::string_view::npos || (at > 0 && root[at - 1] != '/')) return std::nullopt;
  const std::string_view after = root.substr(at + kMark.size());
  const std::string_view user = after.substr(0, after.find('/'));
  if (user.empty()) return std::nullopt;
  return Nextcloud{std::string(root.substr(0, at)) + "remote.php/dav", std::string(user)};
}

Place place_of(std::string_view href, std::string_view folder) {
  const auto scheme = href.find("://");
  if (scheme != std::string_view::npos && scheme < href.find('/')) {
    href.remove_prefix(scheme + 3);
    href.remove_prefix(std::min(href.find('/'), href.size()));
  }
  href = href.substr(0, href.find_first_of("?#"));
  if (!href.starts_with('/')) return {};
  const std::vector<std::string> got = components(href);
  const std::vector<std::string_view> base = split(folder);
  if (got.size() < base.size() || !std::equal(base.begin(), base.end(), got.begin())) return {};
  if (got.size() == base.size()) return {Place::self, {}};
  const bool usable = std::all_of(
      got.begin() + static_cast<std::ptrdiff_t>(base.size()), got.end(), [](const std::string& name) {
        return name.find('/') == std::string::npos && check_path(name).has_value();
      });
  if (!usable) return {Place::unusable, {}};
  if (got.size() > base.size() + 1) return {Place::deeper, {}};
  return {Place::child, got.back()};
}

}  // namespace mediafs::tier::webdav
