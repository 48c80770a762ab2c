// What the mount has answered already and the database does not have yet: renames and removals of files, kept in a
// journal beside the database until the writer's next group takes them over.
// Threads:    append(), look(), lists(), empty(): any. take() and done(): the writer's.
// Owns:       its file.
// Shapes:     a record = size, checksum, number, names; numbers follow one another without a gap. The file is written
//             anew from its start whenever nothing is pending, so a record may be followed by older ones: these have
//             smaller numbers. Bounded: kMostPending records, kMostBytes.
// Errors:     no_space, io, busy (it is full): nothing was taken, the caller goes the synchronous way.
// Crash:      what append() has taken survives kill -9, as the WAL does. The number of the last record that is in the
//             database stands there too, in the same transaction: no record is applied twice. After a power cut the
//             database may have fallen back behind the journal's first record, or behind a group that a record was
//             made after: then its records are left out, for its names may stand for other files there.
// Invariants: (1) a record is pending until the commit that holds it is visible to every reader.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/fd.h"
#include "common/sync.h"
#include "tier/catalogue/catalogue.h"

namespace mediafs::tier {

struct LaterRecord {
  std::uint64_t number = 0;
  Catalogue::RenameRequest request;  // without `to`: a removal of `from`
  std::uint64_t groups = 0;          // of the writer's, answered before it
  bool is_removal() const { return request.to.empty(); }
};

class Later {
 public:
  static constexpr std::size_t kMostPending = 4096;
  static constexpr std::uint64_t kMostBytes = 4 << 20;

  // Reads what a killed process left: it is pending. `applied`: the last number that the database knows; `groups`: how
  // many of the writer's it has.
  static Result<std::unique_ptr<Later>> open(const std::string& file, std::uint64_t applied,
                                             std::uint64_t groups = UINT64_MAX);
  ~Later();  // with nothing pending the file goes
  Later(const Later&) = delete;
  Later& operator=(const Later&) = delete;

  // True: nothing was pending before, so the writer may be asleep. `groups` were answered before.
  Result<bool> append(const Catalogue::RenameRequest& request, std::uint64_t groups = 0) EXCLUDES(mutex_);
  bool empty() const noexcept { return count_.load(std::memory_order_acquire) == 0; }
  enum class Touch : std::uint8_t {
    none,    // the database's row is the newest
    gone,    // the newest record took this very name away
    within,  // records are about what is below it: they may make its row, and leave alone one that is there
    some,    // a record that is pending has to do with it
  };
  Touch look(std::string_view path) const EXCLUDES(mutex_);  // one name's row
  bool lists(std::string_view dir) const EXCLUDES(mutex_);   // a directory and what is in it

  std::vector<const LaterRecord*> take() EXCLUDES(mutex_);  // all that is pending; valid until done()
  void done(std::uint64_t number) EXCLUDES(mutex_);         // up to this one they are committed

 private:
  struct Name {
    std::uint64_t number = 0;  // of the newest record
    bool gone = false;
  };
  Later(std::string file, Fd fd) : file_(std::move(file)), fd_(std::move(fd)) {}
  Status read(std::uint64_t applied, std::uint64_t groups) EXCLUDES(mutex_);
  void add(LaterRecord record) REQUIRES(mutex_);
  void forget(std::string_view name, std::uint64_t number) REQUIRES(mutex_);
  bool has_below(std::string_view dir) const REQUIRES(mutex_);
  bool has_above(std::string_view path) const REQUIRES(mutex_);

  const std::string file_;
  const Fd fd_;
  std::atomic<std::size_t> count_{0};
  mutable Mutex mutex_;
  std::deque<LaterRecord> pending_ GUARDED_BY(mutex_);
  std::map<std::string, Name, std::less<>> names_ GUARDED_BY(mutex_);
  std::uint64_t last_ GUARDED_BY(mutex_) = 0;    // number given
  std::uint64_t offset_ GUARDED_BY(mutex_) = 0;  // where the next record goes
};

}  // namespace mediafs::tier
