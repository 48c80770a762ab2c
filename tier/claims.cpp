#include "tier/claims.h"

#include <algorithm>
#include <utility>

#include "common/path.h"

namespace mediafs::tier {

namespace {

constexpr char kKeySpace = '\x01';

bool is_key(const std::string& path) {
  return path.starts_with(kKeySpace);
}

bool meet(const std::string& a, const std::string& b) {
  if (is_key(a) != is_key(b)) return false;  // the tree's root is above every path, but above no key
  return is_within(a, b) || is_within(b, a);
}

}  // namespace

Claims::Claim::Claim(Claim&& other) noexcept
    : claims_(std::exchange(other.claims_, nullptr)), held_(other.held_) {}

Claims::Claim& Claims::Claim::operator=(Claim&& other) noexcept {
  if (this != &other) {
    release();
    claims_ = std::exchange(other.claims_, nullptr);
    held_ = other.held_;
  }
  return *this;
}

Claims::Claim::~Claim() {
  release();
}

void Claims::Claim::release() noexcept {
  Claims* const claims = std::exchange(claims_, nullptr);
  if (claims == nullptr) return;
  MutexLock lock(claims->mutex_);
  claims->held_.erase(held_);
  claims->freed_.notify_all();
}

bool Claims::free(const std::vector<std::string>& paths) const {
  for (const auto& held : held_) {
    for (const std::string& theirs : held) {
      if (std::any_of(paths.begin(), paths.end(),
                      [&](const std::string& ours) { return meet(ours, theirs); })) {
        return false;
      }
    }
  }
  return true;
}

Result<Claims::Claim> Claims::claim(std::vector<std::string> paths, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(mutex_);
  while (!free(paths)) {
    if (!freed_.wait_until(mutex_, deadline) && !free(paths)) {
      return make_error(ErrorCode::busy, paths.empty() ? std::string() : printable(paths.front()),
                        "something else works on it (try again)");
    }
  }
  Claim claim;
  claim.claims_ = this;
  claim.held_ = held_.insert(held_.end(), std::move(paths));
  return claim;
}

}  // namespace mediafs::tier
