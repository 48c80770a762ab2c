#include <charconv>

#include "common/path.h"
#include "tier/mover.h"

namespace mediafs::tier {

bool Branches::is_state(std::string_view path) const {
  return is_within(path, kStateName);
}

bool Branches::in_incoming(std::string_view path) const {
  return is_within(path, config.incoming.path);
}

bool Branches::visible(std::string_view path) const {
  return !path.empty() && !is_state(path) && !in_incoming(path) && !is_sidecar(path) && !is_temporary(path);
}

std::int64_t moving_id(std::string_view key) {
  if (!key.starts_with(kMovingKeys)) return 0;
  std::int64_t id = 0;
  const std::string_view text = key.substr(kMovingKeys.size());
  const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), id);
  return bad == std::errc() && end == text.data() + text.size() ? id : 0;
}

}  // namespace mediafs::tier
