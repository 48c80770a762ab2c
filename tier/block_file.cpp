#include "tier/block_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "common/hash.h"

namespace mediafs::tier {
namespace {

struct Head {
  std::uint64_t magic;
  std::uint32_t block_bytes;
  std::uint32_t extent_blocks;
  std::uint32_t key_bytes;
  std::uint32_t etag_bytes;
  std::uint64_t size_bytes;
};
static_assert(sizeof(Head) == 32);

constexpr std::uint64_t kMagic = 0x316b636f6c62666d;  // "mfblock1", little-endian
constexpr std::uint64_t kWordsAlign = 4096;
constexpr std::uint32_t kLongestName =
    16384;  // of a key or an etag: bounds what a damaged header can ask for
constexpr std::uint64_t kLargestObject = 1ULL << 46;
constexpr std::size_t kHashBytes = std::tuple_size_v<Xxh128>;

std::string identity(const CachedObject& object) {
  Head head{kMagic,
            static_cast<std::uint32_t>(kBlockBytes),
            static_cast<std::uint32_t>(kExtentBlocks),
            static_cast<std::uint32_t>(object.key.size()),
            static_cast<std::uint32_t>(object.etag.size()),
            object.size_bytes};
  std::string text(sizeof head, '\0');
  std::memcpy(text.data(), &head, sizeof head);
  return text + object.key + object.etag;
}

Xxh128 hash_of(const std::string& text) {
  return xxh128(std::as_bytes(std::span(text)));
}

std::uint64_t words_offset(std::uint64_t header_bytes) {
  return (header_bytes + kHashBytes + kWordsAlign - 1) / kWordsAlign * kWordsAlign;
}

Error bad_map(const std::string& name, const char* why) {
  return make_error(ErrorCode::corrupt, "read block map " + name, why);
}

// A word may only have bits of blocks that exist.
std::uint32_t valid_bits(std::uint64_t size_bytes, std::uint64_t extent) {
  const auto blocks = block_count(size_bytes) - extent * kExtentBlocks;
  return blocks >= kExtentBlocks ? ~0U : (1U << blocks) - 1;
}

Fd open_direct(int dir, const std::string& name) {
  auto direct = open_at(dir, name + ".data", O_WRONLY | O_DIRECT | O_NOFOLLOW | O_CLOEXEC);
  return direct ? std::move(*direct) : Fd();
}

// Whether no block of a map's lies in a hole, as in a file that was truncated, or restored without its content: zeros
// must not be served for what nobody wrote. File systems that can't tell holes say that there are none.
bool has_all(int data, std::uint64_t size_bytes, const std::vector<ExtentWord>& words) {
  std::uint64_t content_until = 0;  // from the block that was looked at last
  for (const auto& [extent, bits] : words) {
    for (std::uint64_t i = 0; i < kExtentBlocks; ++i) {
      if ((bits >> i & 1U) == 0) continue;
      const auto block = extent * kExtentBlocks + i;
      const auto from = block * kBlockBytes;
      const auto end = from + block_bytes(size_bytes, block);
      if (end <= content_until) continue;
      const auto hole = ::lseek(data, static_cast<off_t>(from), SEEK_HOLE);
      if (hole < 0) return true;
      content_until = static_cast<std::uint64_t>(hole);
      if (end > content_until) return false;
    }
  }
  return true;
}

}  // namespace

std::string block_file_name(const CachedObject& object) {
  return to_hex(hash_of(identity(object)));
}

bool is_block_file_name(const std::string& name) {
  return xxh128_from_hex(name).has_value();
}

Result<LoadedMap> load_block_map(int dir, const std::string& name) {
  MEDIAFS_ASSIGN(auto map, open_at(dir, name + ".map", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  MEDIAFS_ASSIGN(const auto info, stat_fd(map.get()));
  Head head{};
  MEDIAFS_ASSIGN(const auto got, read_some(map.get(), std::as_writable_bytes(std::span(&head, 1)), 0));
  if (got != sizeof head || head.magic != kMagic) return bad_map(name, "not a block map");
  if (head.block_bytes != kBlockBytes || head.extent_blocks != kExtentBlocks)
    return bad_map(name, "other shape");
  if (head.key_bytes > kLongestName || head.etag_bytes > kLongestName || head.size_bytes > kLargestObject) {
    return bad_map(name, "impossible header");
  }
  std::string text(sizeof head + head.key_bytes + head.etag_bytes + kHashBytes, '\0');
  MEDIAFS_ASSIGN(const auto all, read_some(map.get(), std::as_writable_bytes(std::span(text)), 0));
  if (all != text.size()) return bad_map(name, "short header");
  Xxh128 hash{};
  std::memcpy(hash.data(), text.data() + text.size() - kHashBytes, kHashBytes);
  text.resize(text.size() - kHashBytes);
  if (hash != hash_of(text) || to_hex(hash) != name) return bad_map(name, "header and name differ");

  LoadedMap loaded;
  loaded.object = {text.substr(sizeof head, head.key_bytes), text.substr(sizeof head + head.key_bytes),
                   head.size_bytes};
  loaded.used_ns = static_cast<WallNs>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
  std::vector<std::uint32_t> words(extent_count(head.size_bytes));
  const auto words_at = words_offset(text.size());
  if (static_cast<std::uint64_t>(info.st_size) != words_at + words.size() * sizeof words[0]) {
    return bad_map(name, "wrong length");
  }
  MEDIAFS_ASSIGN(const auto read, read_some(map.get(), std::as_writable_bytes(std::span(words)), words_at));
  if (read != words.size() * sizeof words[0]) return bad_map(name, "short");
  for (std::uint64_t i = 0; i < words.size(); ++i) {
    if ((words[i] & ~valid_bits(head.size_bytes, i)) != 0) return bad_map(name, "bits beyond the end");
    if (words[i] != 0) loaded.words.emplace_back(i, words[i]);
  }
  MEDIAFS_ASSIGN(const auto data,
                 open_at(dir, name + ".data", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  MEDIAFS_ASSIGN(const auto about, stat_fd(data.get()));
  if (!S_ISREG(about.st_mode) || static_cast<std::uint64_t>(about.st_size) != head.size_bytes) {
    return bad_map(name, "its data file has another size");
  }
  if (!has_all(data.get(), head.size_bytes, loaded.words))
    return bad_map(name, "its data file has not all that it should");
  return loaded;
}

void remove_block_files(int dir, const std::string& name) {
  ::unlinkat(dir, (name + ".map").c_str(), 0);
  ::unlinkat(dir, (name + ".data").c_str(), 0);
}

Result<std::shared_ptr<BlockFiles>> BlockFiles::open(int dir, const CachedObject& object) {
  const auto name = block_file_name(object);
  MEDIAFS_ASSIGN(auto data, open_at(dir, name + ".data", O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  MEDIAFS_ASSIGN(auto map, open_at(dir, name + ".map", O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  auto direct = open_direct(dir, name);
  return std::shared_ptr<BlockFiles>(new BlockFiles(std::move(data), std::move(direct), std::move(map),
                                                    words_offset(identity(object).size()),
                                                    object.size_bytes));
}

Result<std::shared_ptr<BlockFiles>> BlockFiles::create(int dir, const CachedObject& object) {
  if (object.key.size() > kLongestName || object.etag.size() > kLongestName ||
      object.size_bytes > kLargestObject) {
    return make_error(ErrorCode::unsupported, "cache " + object.key,
                      "its name or size is beyond the block cache's");
  }
  const auto name = block_file_name(object);
  const auto text = identity(object);
  const auto words_at = words_offset(text.size());
  constexpr int kFlags = O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
  // The map first: an old one must not describe the new data file.
  MEDIAFS_ASSIGN(auto map, open_at(dir, name + ".map", kFlags, 0600));
  MEDIAFS_ASSIGN(auto data, open_at(dir, name + ".data", kFlags, 0600));
  const auto map_bytes = words_at + extent_count(object.size_bytes) * sizeof(std::uint32_t);
  if (::ftruncate(data.get(), static_cast<off_t>(object.size_bytes)) != 0 ||
      ::ftruncate(map.get(), static_cast<off_t>(map_bytes)) != 0) {
    const int saved = errno;
    remove_block_files(dir, name);
    return errno_error(saved, "size block files of " + object.key);
  }
  const auto hash = hash_of(text);
  const auto header = text + std::string(hash.begin(), hash.end());
  if (auto written = write_all(map.get(), std::as_bytes(std::span(header)), 0); !written) {
    remove_block_files(dir, name);
    return written.err();
  }
  auto direct = open_direct(dir, name);
  return std::shared_ptr<BlockFiles>(
      new BlockFiles(std::move(data), std::move(direct), std::move(map), words_at, object.size_bytes));
}

Status BlockFiles::write_words(const std::vector<ExtentWord>& words) {
  std::vector<std::uint32_t> run;
  for (std::size_t i = 0; i < words.size();) {
    run.clear();
    const auto first = words[i].first;
    for (; i < words.size() && words[i].first == first + run.size(); ++i) run.push_back(words[i].second);
    MEDIAFS_TRY(write_all(map_.get(), std::as_bytes(std::span(run)), words_at_ + first * sizeof run[0]));
  }
  return {};
}

Status BlockFiles::sync_data() {
  if (::fdatasync(data_.get()) == 0) return {};
  const int saved = errno;
  return errno_error(saved, "fdatasync block data");
}

Status BlockFiles::sync_map() {
  if (::fdatasync(map_.get()) == 0) return {};
  const int saved = errno;
  return errno_error(saved, "fdatasync block map");
}

Status BlockFiles::punch(std::uint64_t extent) {
  const auto from = extent * kExtentBytes;
  const auto size = std::min(kExtentBytes, size_bytes_ - from);
  if (::fallocate(data_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from),
                  static_cast<off_t>(size)) == 0) {
    return {};
  }
  const int saved = errno;
  return errno_error(saved, "punch block data");
}

void BlockFiles::touch() {
  ::futimens(map_.get(), nullptr);
}

}  // namespace mediafs::tier
