#include "watcher/pending.h"

#include <span>

#include "common/hash.h"

namespace mediafs::watcher {
namespace {

std::int64_t nanoseconds(const timespec& time) {
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

}  // namespace

Fingerprint fingerprint(const struct stat& info) {
  return {info.st_size, nanoseconds(info.st_mtim), nanoseconds(info.st_ctim), file_id(info)};
}

std::uint64_t Fingerprint::hash() const {
  const std::array<std::uint64_t, 5> words{
      static_cast<std::uint64_t>(size_bytes), static_cast<std::uint64_t>(mtime_ns),
      static_cast<std::uint64_t>(ctime_ns), static_cast<std::uint64_t>(file.device),
      static_cast<std::uint64_t>(file.inode)};
  const Xxh128 digest = xxh128(std::as_bytes(std::span(words)));
  std::uint64_t folded = 0;
  for (std::size_t i = 0; i < sizeof folded; ++i) folded = folded << 8 | digest[i];
  return folded;
}

PendingTable::Entry& PendingTable::touch(DirId dir, std::string_view name, bool attrib_only, SteadyTime now) {
  auto [it, fresh] = entries_.try_emplace(Key(dir, name));
  Entry& entry = it->second;
  if (fresh) {
    entry.key = &it->first;
    entry.attrib_only = attrib_only;
  } else {
    schedule_.erase({entry.due, entry.key});
    entry.attrib_only = entry.attrib_only && attrib_only;
  }
  entry.seen.reset();
  entry.writer_looks = 0;
  entry.due = now;
  schedule_.emplace(now, entry.key);
  return entry;
}

void PendingTable::found(DirId dir, std::string_view name, SteadyTime now) {
  if (!contains(dir, name)) touch(dir, name, false, now);
}

const PendingTable::Entry* PendingTable::find(DirId dir, std::string_view name) const {
  const auto it = entries_.find(Key(dir, name));
  return it == entries_.end() ? nullptr : &it->second;
}

PendingTable::Map::iterator PendingTable::erase(Map::iterator it) {
  schedule_.erase({it->second.due, it->second.key});
  return entries_.erase(it);
}

void PendingTable::erase(DirId dir, std::string_view name) {
  const auto it = entries_.find(Key(dir, name));
  if (it != entries_.end()) erase(it);
}

void PendingTable::erase_dir(DirId dir) {
  auto it = entries_.lower_bound(Key(dir, std::string()));
  while (it != entries_.end() && it->first.first == dir) it = erase(it);
}

void PendingTable::reschedule(Entry& entry, SteadyTime due) {
  schedule_.erase({entry.due, entry.key});
  entry.due = due;
  schedule_.emplace(due, entry.key);
}

PendingTable::Entry* PendingTable::first_due(SteadyTime now) {
  if (schedule_.empty() || schedule_.begin()->first > now) return nullptr;
  return &entries_.find(*schedule_.begin()->second)->second;
}

std::optional<SteadyTime> PendingTable::next_due() const {
  if (schedule_.empty()) return std::nullopt;
  return schedule_.begin()->first;
}

}  // namespace mediafs::watcher
