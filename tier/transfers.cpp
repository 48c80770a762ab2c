#include "tier/transfers.h"

#include <algorithm>

namespace mediafs::tier {

Transfers::Scope::Scope(Transfers& transfers, std::string kind, std::string path, std::uint64_t total_bytes,
                        WallNs now_ns)
    : transfers_(transfers), entry_(std::make_shared<Entry>()) {
  entry_->kind = std::move(kind);
  entry_->path = std::move(path);
  entry_->total_bytes = total_bytes;
  entry_->started_ns = now_ns;
  MutexLock lock(transfers_.mutex_);
  transfers_.entries_.push_back(entry_);
}

Transfers::Scope::~Scope() {
  MutexLock lock(transfers_.mutex_);
  std::erase(transfers_.entries_, entry_);
}

std::vector<Transfer> Transfers::list() const {
  MutexLock lock(mutex_);
  std::vector<Transfer> out;
  out.reserve(entries_.size());
  for (const auto& e : entries_) {
    out.push_back(
        {e->kind, e->path, e->done_bytes.load(std::memory_order_relaxed), e->total_bytes, e->started_ns});
  }
  return out;
}

bool Transfers::moving(std::string_view kind, std::string_view path) const {
  MutexLock lock(mutex_);
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const auto& e) { return e->kind == kind && e->path == path; });
}

}  // namespace mediafs::tier
