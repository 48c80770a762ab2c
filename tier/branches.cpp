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

}  // namespace mediafs::tier
