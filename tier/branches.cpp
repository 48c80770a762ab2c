#include <charconv>
#include <random>

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

// No pid: in a container each start has the same.
const std::string& temp_token() {
  static const std::string token = [] {
    std::random_device random;
    return std::to_string((std::uint64_t(random()) << 32U) | random());
  }();
  return token;
}

Result<bool> object_stands(Vault& vault, const Node& node) {
  MEDIAFS_ASSIGN(const auto head, vault.head(node.vault->key));
  const bool checked = node.checksum && head.meta_known && head.meta.checksum;
  return head.size_bytes == node.size_bytes && head.etag == node.vault->etag &&
         (!checked || head.meta.checksum == node.checksum);
}

}  // namespace mediafs::tier
