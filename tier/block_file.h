// One cached object on disk: NAME.data, a sparse file of the object's size, and NAME.map, a header that says which
// object it is and a word for each extent with a bit for each block. NAME is the hash of (key, etag, size).
// Threads:    BlockFiles: reads of `data` from any thread, the rest from one thread at a time.
// Shapes:     block = 64 KiB, the last one short; extent = 32 blocks = 2 MiB. Native byte order: the magic shows it.
// Errors:     corrupt (not a map of ours, not of this name, or of data that is not there: drop it), and those of the file
//             system.
// Crash:      the caller writes a bit after the data is synced, and syncs a cleared bit before the data goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/fd.h"
#include "common/result.h"
#include "tier/stream.h"

namespace mediafs::tier {

inline constexpr std::uint64_t kBlockBytes = 64ULL << 10;
inline constexpr std::uint64_t kExtentBlocks = 32;
inline constexpr std::uint64_t kExtentBytes = kBlockBytes * kExtentBlocks;

inline std::uint64_t block_count(std::uint64_t size_bytes) {
  return (size_bytes + kBlockBytes - 1) / kBlockBytes;
}
inline std::uint64_t extent_count(std::uint64_t size_bytes) {
  return (size_bytes + kExtentBytes - 1) / kExtentBytes;
}
// Of block `block` in an object of this size.
inline std::uint64_t block_bytes(std::uint64_t size_bytes, std::uint64_t block) {
  const auto left = size_bytes - block * kBlockBytes;
  return left < kBlockBytes ? left : kBlockBytes;
}

using ExtentWord = std::pair<std::uint64_t, std::uint32_t>;  // extent, a bit for each block

std::string block_file_name(const CachedObject& object);
bool is_block_file_name(const std::string& name);

struct LoadedMap {
  CachedObject object;
  std::vector<ExtentWord> words;  // without the empty ones
  WallNs used_ns = 0;
};
Result<LoadedMap> load_block_map(int dir, const std::string& name);
void remove_block_files(int dir, const std::string& name);

class BlockFiles {
 public:
  static Result<std::shared_ptr<BlockFiles>> open(int dir, const CachedObject& object);
  static Result<std::shared_ptr<BlockFiles>> create(int dir, const CachedObject& object);  // empty
  int data() const { return data_.get(); }
  // The same file past the kernel's pages, for whole aligned blocks; -1 where the file system has no such way.
  int direct() const { return direct_.get(); }
  void stop_direct() { direct_.reset(); }  // it has refused
  Status write_words(const std::vector<ExtentWord>& words);
  Status sync_data();
  Status sync_map();
  Status punch(std::uint64_t extent);
  void touch();  // used now

 private:
  BlockFiles(Fd data, Fd direct, Fd map, std::uint64_t words_at, std::uint64_t size_bytes)
      : data_(std::move(data)),
        direct_(std::move(direct)),
        map_(std::move(map)),
        words_at_(words_at),
        size_bytes_(size_bytes) {}
  Fd data_;
  Fd direct_;
  Fd map_;
  std::uint64_t words_at_;
  std::uint64_t size_bytes_;
};

}  // namespace mediafs::tier
