// Whether a vault can do what mediafs asks of it: tried with an object of its own below .mediafs/, which is gone afterwards.
// Threads:    one; blocks up to the driver's timeouts for each step, or until the stop token.
// Units:      bytes.
// Errors:     in the steps: what failed, with what it means. Nothing that depends on a failed step is tried.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "tier/vault/vault.h"

namespace mediafs::app {

// Whether it answers and, where the catalogue of [local] knows this library's vault, is that one.
Status probe_own_vault(const Config& config, tier::Vault& vault);

struct VaultStep {
  enum class Grade : std::uint8_t {
    ok,
    lacking,
    failed
  } grade = Grade::ok;  // lacking: it works, and mediafs copes
  std::string name;     // "upload"
  std::string detail;   // in words
};

struct VaultCheck {
  std::uint64_t size_bytes = 16ULL << 20;         // of the object
  std::function<void(const VaultStep&)> on_step;  // as they come; may be unset
  std::stop_token stop = {};
};
// REQUIRES: the vault may be written: it is this library's, or nobody's.
std::vector<VaultStep> check_vault(tier::Vault& vault, const VaultCheck& options);

}  // namespace mediafs::app
