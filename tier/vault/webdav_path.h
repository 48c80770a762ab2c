// URLs and hrefs: what a person wrote, and what a server answers. Pure.
// Errors:     config for a vault.url that can't be.
// Invariants: (1) what place_of() names is one component that check_path accepts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"

namespace mediafs::tier::webdav {

// webdav://[user@]host[:port]/path, the path percent-encoded where it must be.
struct Address {
  bool tls = true;
  std::string host;
  std::string root;  // decoded, without slashes at its ends
  std::string user;
};
Result<Address> parse_url(const std::string& url);

// Nextcloud's user, when the path is that of a user's files there: ".../remote.php/dav/files/USER[/...]".
struct Nextcloud {
  std::string base;  // up to and with "remote.php/dav", decoded
  std::string user;
};
std::optional<Nextcloud> nextcloud_of(std::string_view root);

// Where an href of a listing stands, seen from the folder that was listed (decoded, without slashes at its ends). Its path
// alone decides: behind a proxy servers name another host or scheme, and we never go where an href points.
struct Place {
  enum Kind { self, child, deeper, outside, unusable } kind = outside;
  std::string name;  // of a child
};
Place place_of(std::string_view href, std::string_view folder);

}  // namespace mediafs::tier::webdav
