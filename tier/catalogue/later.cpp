#include "tier/catalogue/later.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "common/hash.h"
#include "common/log.h"
#include "common/path.h"

namespace mediafs::tier {

namespace {

// size, checksum of all that follows it, number, groups, flags, the lengths of both names, then those of the local file.
enum Field : std::uint8_t { kSize, kSum, kNumber, kGroups, kFlags, kFromSize, kToSize, kStat };
constexpr std::size_t kStatFields = 10;
constexpr std::size_t kFields = kStat + kStatFields;
constexpr std::size_t kHead = kFields * sizeof(std::uint64_t);
constexpr std::uint64_t kFromVisible = 1;
constexpr std::uint64_t kToVisible = 2;
constexpr std::uint64_t kHasStat = 4;
using Fields = std::array<std::uint64_t, kFields>;

std::uint64_t sum_of(std::string_view record) {
  const auto sum = xxh128(std::as_bytes(std::span(record.substr(kNumber * sizeof(std::uint64_t)))));
  std::uint64_t first = 0;
  std::memcpy(&first, sum.data(), sizeof first);
  return first;
}

void put_stat(Fields& fields, const struct stat& st) {
  std::size_t at = kStat;
  for (const auto value :
       {std::int64_t{st.st_mode}, std::int64_t{st.st_uid}, std::int64_t{st.st_gid}, std::int64_t{st.st_size},
        std::int64_t{st.st_mtim.tv_sec}, std::int64_t{st.st_mtim.tv_nsec}, std::int64_t{st.st_ctim.tv_sec},
        std::int64_t{st.st_ctim.tv_nsec}, static_cast<std::int64_t>(st.st_dev),
        static_cast<std::int64_t>(st.st_ino)}) {
    fields.at(at++) = static_cast<std::uint64_t>(value);
  }
}

struct stat stat_in(const Fields& fields) {
  const auto value = [&](std::size_t i) { return static_cast<std::int64_t>(fields.at(kStat + i)); };
  struct stat st {};
  st.st_mode = static_cast<mode_t>(value(0));
  st.st_uid = static_cast<uid_t>(value(1));
  st.st_gid = static_cast<gid_t>(value(2));
  st.st_size = value(3);
  st.st_mtim = {.tv_sec = value(4), .tv_nsec = value(5)};
  st.st_ctim = {.tv_sec = value(6), .tv_nsec = value(7)};
  st.st_dev = static_cast<dev_t>(value(8));
  st.st_ino = static_cast<ino_t>(value(9));
  return st;
}

std::string encode(const LaterRecord& record) {
  const Catalogue::RenameRequest& r = record.request;
  Fields fields{};
  fields[kSize] = kHead + r.from.size() + r.to.size();
  fields[kNumber] = record.number;
  fields[kGroups] = record.groups;
  fields[kFlags] =
      (r.from_visible ? kFromVisible : 0) | (r.to_visible ? kToVisible : 0) | (r.st ? kHasStat : 0);
  fields[kFromSize] = r.from.size();
  fields[kToSize] = r.to.size();
  if (r.st) put_stat(fields, *r.st);
  std::string bytes(kHead, '\0');
  std::memcpy(bytes.data(), fields.data(), kHead);
  bytes.append(r.from).append(r.to);
  const std::uint64_t sum = sum_of(bytes);
  std::memcpy(bytes.data() + kSum * sizeof sum, &sum, sizeof sum);
  return bytes;
}

// The record at the start of `bytes`, which it is cut off from; unset where there is no whole one.
std::optional<LaterRecord> decode(std::string_view& bytes) {
  if (bytes.size() < kHead) return std::nullopt;
  Fields fields;
  std::memcpy(fields.data(), bytes.data(), kHead);
  const std::uint64_t room = bytes.size() - kHead;
  if (fields[kFromSize] > room || fields[kToSize] > room - fields[kFromSize]) return std::nullopt;
  if (fields[kSize] != kHead + fields[kFromSize] + fields[kToSize]) return std::nullopt;
  const std::string_view whole = bytes.substr(0, fields[kSize]);
  if (sum_of(whole) != fields[kSum]) return std::nullopt;
  LaterRecord record{fields[kNumber], {}, fields[kGroups]};
  Catalogue::RenameRequest& r = record.request;
  r.from = whole.substr(kHead, fields[kFromSize]);
  r.to = whole.substr(kHead + fields[kFromSize]);
  r.from_visible = (fields[kFlags] & kFromVisible) != 0;
  r.to_visible = (fields[kFlags] & kToVisible) != 0;
  if ((fields[kFlags] & kHasStat) != 0) r.st = stat_in(fields);
  if (r.from.empty() || !check_path(r.from) || !check_path(r.to)) return std::nullopt;
  bytes.remove_prefix(fields[kSize]);
  return record;
}

}  // namespace

Result<std::unique_ptr<Later>> Later::open(const std::string& file, std::uint64_t applied,
                                           std::uint64_t groups) {
  MEDIAFS_ASSIGN(Fd fd, open_at(AT_FDCWD, file, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  std::unique_ptr<Later> later(new Later(file, std::move(fd)));  // NOLINT: private constructor
  MEDIAFS_TRY(later->read(applied, groups));
  return later;
}

Later::~Later() {
  if (empty() && ::unlink(file_.c_str()) != 0 && errno != ENOENT) {
    log::debug("journal stays", {{"path", printable(file_)}});
  }
}

Status Later::read(std::uint64_t applied, std::uint64_t groups) {
  MEDIAFS_ASSIGN(const struct stat st, stat_fd(fd_.get()));
  std::string text(std::min(static_cast<std::uint64_t>(st.st_size), kMostBytes), '\0');
  MEDIAFS_ASSIGN(const std::size_t size, read_some(fd_.get(), std::as_writable_bytes(std::span(text)), 0));
  std::string_view rest = std::string_view(text).substr(0, size);
  MutexLock lock(mutex_);
  last_ = applied;
  std::uint64_t before = 0;
  while (auto record = decode(rest)) {
    if (before != 0 && record->number != before + 1) break;  // what is left of an earlier round
    before = record->number;
    if (before <= applied) continue;
    if (before != last_ + 1 || record->groups > groups) {
      log::warning("the catalogue fell back behind its journal, which is left out",
                   {{"path", printable(file_)}, {"applied", applied}, {"journal", before}});
      break;
    }
    add(std::move(*record));
    offset_ = size - rest.size();
  }
  // The numbers go on where the database is: nothing that stands there already may follow what is written next.
  if (static_cast<std::uint64_t>(st.st_size) == offset_) return {};
  if (::ftruncate(fd_.get(), static_cast<off_t>(offset_)) == 0) return {};
  return errno_error(errno, "truncate " + printable(file_));
}

void Later::add(LaterRecord record) {
  last_ = record.number;
  names_.insert_or_assign(record.request.from, Name{last_, true});
  if (!record.is_removal()) names_.insert_or_assign(record.request.to, Name{last_, false});
  pending_.push_back(std::move(record));
  count_.store(pending_.size(), std::memory_order_release);
}

// Written under the lock: the order in the file is that of the numbers.
Result<bool> Later::append(const Catalogue::RenameRequest& request, std::uint64_t groups) {
  LaterRecord record{0, request, groups};
  MutexLock lock(mutex_);
  const bool first = pending_.empty();
  const std::uint64_t offset = first ? 0 : offset_;
  record.number = last_ + 1;
  const std::string bytes = encode(record);
  if (pending_.size() >= kMostPending || offset + bytes.size() > kMostBytes) {
    return make_error(ErrorCode::busy, "journal " + printable(file_), "it is full");
  }
  MEDIAFS_TRY(write_all(fd_.get(), std::as_bytes(std::span(bytes)), offset));
  offset_ = offset + bytes.size();
  add(std::move(record));
  return first;
}

bool Later::has_below(std::string_view dir) const {
  if (dir.empty()) return !names_.empty();
  const std::string first = std::string(dir) + '/';
  const auto at = names_.lower_bound(first);
  return at != names_.end() && at->first.starts_with(first);
}

bool Later::has_above(std::string_view path) const {
  for (path = parent_path(path); !path.empty(); path = parent_path(path)) {
    if (names_.find(path) != names_.end()) return true;
  }
  return false;
}

Later::Touch Later::look(std::string_view path) const {
  if (empty() || path.empty()) return Touch::none;
  MutexLock lock(mutex_);
  const auto at = names_.find(path);
  if (has_above(path)) return Touch::some;
  if (has_below(path)) return at == names_.end() ? Touch::within : Touch::some;
  if (at == names_.end()) return Touch::none;
  return at->second.gone ? Touch::gone : Touch::some;
}

bool Later::lists(std::string_view dir) const {
  if (empty()) return false;
  MutexLock lock(mutex_);
  return names_.find(dir) != names_.end() || has_above(dir) || has_below(dir);
}

std::vector<const LaterRecord*> Later::take() {
  std::vector<const LaterRecord*> records;
  if (empty()) return records;
  MutexLock lock(mutex_);
  records.reserve(pending_.size());
  for (const LaterRecord& record : pending_)
    records.push_back(&record);  // a deque's elements stay where they are
  return records;
}

void Later::forget(std::string_view name, std::uint64_t number) {
  const auto at = names_.find(name);
  if (at != names_.end() && at->second.number <= number) names_.erase(at);
}

void Later::done(std::uint64_t number) {
  MutexLock lock(mutex_);
  while (!pending_.empty() && pending_.front().number <= number) {
    forget(pending_.front().request.from, number);
    forget(pending_.front().request.to, number);
    pending_.pop_front();
  }
  count_.store(pending_.size(), std::memory_order_release);
}

}  // namespace mediafs::tier
