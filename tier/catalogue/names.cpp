#include "common/path.h"
#include "tier/catalogue/internal.h"

namespace mediafs::tier::rows {

namespace {

constexpr std::uint64_t kWord = 64;

std::uint64_t hash_of(std::string_view path) noexcept {
  return std::hash<std::string_view>{}(base_name(path));
}

}  // namespace

Status Names::read(sql::Connection& db) {
  MEDIAFS_ASSIGN(auto query, db.prepare("SELECT name FROM node"));
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return {};
    add(query.view(0));
  }
}

void Names::add(std::string_view path) noexcept {
  const std::uint64_t bit = hash_of(path) % kBits;
  words_[bit / kWord].fetch_or(1ULL << bit % kWord, std::memory_order_relaxed);
}

bool Names::may_have(std::string_view path) const noexcept {
  const std::uint64_t bit = hash_of(path) % kBits;
  return (words_[bit / kWord].load(std::memory_order_relaxed) >> bit % kWord & 1) != 0;
}

}  // namespace mediafs::tier::rows
