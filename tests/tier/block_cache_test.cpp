#include "tier/block_cache.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "stream_dirs.h"
#include "stream_fake.h"

namespace mediafs::tier {
namespace {

using test::content_at;
using test::is_content;
using test::TempDir;

constexpr std::uint64_t kMiB = 1ULL << 20;

std::unique_ptr<BlockCache> open_cache(const TempDir& dir, std::uint64_t limit = 256 * kMiB,
                                       std::function<bool(std::uint64_t)> may_write = {}) {
  auto cache = BlockCache::open({dir.path() + "/cache", limit, 512 * kMiB, std::move(may_write)});
  REQUIRE(cache);
  return std::move(*cache);
}

// Puts blocks [first, last) of the object and waits for them; how many were written.
int fill(BlockCache& cache, const BlockCache::Ref& entry, const CachedObject& object, std::uint64_t seed,
         std::uint64_t first, std::uint64_t last) {
  std::atomic<int> written = 0;
  for (auto block = first; block < last; ++block) {
    const auto size = block_bytes(object.size_bytes, block);
    std::shared_ptr<std::byte[]> bytes(new std::byte[size]);
    for (std::uint64_t i = 0; i < size; ++i) bytes[i] = content_at(seed, block * kBlockBytes + i);
    cache.put(entry, block, BlockCache::Bytes(bytes, bytes.get()),
              [&written](bool ok) { written += ok ? 1 : 0; });
  }
  cache.flush();
  return written;
}

bool has(BlockCache& cache, const BlockCache::Ref& entry, std::uint64_t seed, std::uint64_t offset,
         std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::size_t done = 0;
  while (done < size) {
    const auto got = cache.read(entry, offset + done, std::span(bytes).subspan(done));
    if (got == 0) return false;
    done += got;
  }
  CHECK(is_content(seed, offset, bytes));
  return true;
}

void overwrite(const std::string& file, std::uint64_t at, const std::string& bytes) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(static_cast<std::streamoff>(at));
  stream << bytes;
  REQUIRE(stream.good());
}

std::uint64_t disk_bytes(const std::string& file) {
  struct stat info {};
  REQUIRE(::stat(file.c_str(), &info) == 0);
  return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

// Of the file's first `size` bytes.
std::size_t pages_in_memory(const std::string& file, std::size_t size) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  void* const mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  REQUIRE(mapped != MAP_FAILED);
  std::vector<unsigned char> pages(size / 4096);
  REQUIRE(::mincore(mapped, size, pages.data()) == 0);
  ::munmap(mapped, size);
  return static_cast<std::size_t>(
      std::count_if(pages.begin(), pages.end(), [](auto page) { return page & 1; }));
}

// This program again, killed at the crash point.
void run_child(const TempDir& dir, const char* point) {
  const auto child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::setenv("MEDIAFS_CRASH", point, 1);
    ::setenv("MEDIAFS_TEST_DIR", dir.path().c_str(), 1);
    ::execl("/proc/self/exe", "test", "--no-skip", "--test-case=block cache child", nullptr);
    ::_exit(1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(WTERMSIG(status) == SIGKILL);
}

const CachedObject kFilm{"Movies/Film.bin", "etag-1", 20 * kMiB + 1000};

}  // namespace

TEST_CASE("block cache: what comes in large pieces leaves no pages behind") {
  TempDir dir;
  struct statfs disk {};
  REQUIRE(::statfs(dir.path().c_str(), &disk) == 0);
  if (disk.f_type == TMPFS_MAGIC) return;  // it is nothing but pages
  constexpr std::uint64_t kBlocks = 81;
  std::atomic<bool> may = false;
  auto cache = open_cache(dir, 256 * kMiB, [&may](std::uint64_t) {
    while (!may) std::this_thread::yield();  // until all of them wait
    return true;
  });
  const auto entry = cache->attach(kFilm);
  for (std::uint64_t block = 0; block < kBlocks; ++block) {
    const std::shared_ptr<std::byte> bytes(static_cast<std::byte*>(std::aligned_alloc(4096, kBlockBytes)),
                                           [](std::byte* at) { std::free(at); });
    for (std::uint64_t i = 0; i < kBlockBytes; ++i) bytes.get()[i] = content_at(1, block * kBlockBytes + i);
    REQUIRE(cache->put(entry, block, bytes, {}));
  }
  may = true;
  cache->flush();
  CHECK(pages_in_memory(dir.file(".data"), kBlocks * kBlockBytes) <= 21 * kBlockBytes / 4096);
  CHECK(has(*cache, entry, 1, 0, kBlocks * kBlockBytes));
  cache->detach(entry);
}

TEST_CASE("block cache: what was put is read back, before and after a restart") {
  TempDir dir;
  const auto last = block_count(kFilm.size_bytes);
  {
    auto cache = open_cache(dir);
    const auto entry = cache->attach(kFilm);
    CHECK(fill(*cache, entry, kFilm, 1, 3, 7) == 4);
    CHECK(fill(*cache, entry, kFilm, 1, last - 1, last) == 1);
    CHECK(cache->run(entry, 3, 100) == 4);
    CHECK(cache->run(entry, 7, 10, false) == 10);
    CHECK(has(*cache, entry, 1, 3 * kBlockBytes, 4 * kBlockBytes));
    CHECK_FALSE(has(*cache, entry, 1, 2 * kBlockBytes, 10));
    CHECK(cache->cached_bytes() == 4 * kBlockBytes + 1000);
    cache->detach(entry);
  }
  auto cache = open_cache(dir);
  CHECK(cache->cached_bytes() == 4 * kBlockBytes + 1000);
  const auto entry = cache->attach(kFilm);
  CHECK(has(*cache, entry, 1, 3 * kBlockBytes + 5, 4 * kBlockBytes - 5));
  CHECK(has(*cache, entry, 1, kFilm.size_bytes - 1000, 1000));
  CHECK(cache->run(entry, 0, 3, false) == 3);
  cache->detach(entry);
}

TEST_CASE("block cache: another version is another object, and the old one goes") {
  TempDir dir;
  auto cache = open_cache(dir);
  const auto old = cache->attach(kFilm);
  fill(*cache, old, kFilm, 1, 0, 4);
  auto changed = kFilm;
  changed.etag = "etag-2";
  const auto during = cache->attach(changed);
  CHECK(cache->run(during, 0, 4) == 0);
  CHECK(cache->run(old, 0, 4) == 4);  // still open
  cache->detach(during);
  cache->detach(old);
  const auto after = cache->attach(changed);
  CHECK(cache->cached_bytes() == 0);
  cache->detach(after);
}

TEST_CASE("block cache: damaged files are dropped at start, strange ones left alone") {
  TempDir dir;
  {
    auto cache = open_cache(dir);
    const auto entry = cache->attach(kFilm);
    fill(*cache, entry, kFilm, 1, 0, 4);
    cache->detach(entry);
  }
  const auto map = dir.file(".map");
  const auto data = dir.file(".data");
  REQUIRE(map != "");
  std::ofstream(dir.path() + "/cache/notes.txt") << "mine";
  std::ofstream(dir.path() + "/cache/00112233445566778899aabbccddeeff.map") << "garbage";
  std::ofstream(dir.path() + "/cache/00112233445566778899aabbccddee00.data") << "orphan";
  SUBCASE("magic") {
    overwrite(map, 0, "x");
  }
  SUBCASE("a byte of the key") {
    overwrite(map, 33, "x");
  }
  SUBCASE("a huge key length") {
    overwrite(map, 16, "\xff\xff\xff\x7f");
  }
  SUBCASE("short map") {
    REQUIRE(::truncate(map.c_str(), 100) == 0);
  }
  SUBCASE("empty map") {
    REQUIRE(::truncate(map.c_str(), 0) == 0);
  }
  SUBCASE("short data") {
    REQUIRE(::truncate(data.c_str(), 100) == 0);
  }
  SUBCASE("data of the right size without its content") {
    struct stat st {};
    REQUIRE(::stat(data.c_str(), &st) == 0);
    REQUIRE(::truncate(data.c_str(), 0) == 0);
    REQUIRE(::truncate(data.c_str(), st.st_size) == 0);
  }
  SUBCASE("a bit for what was never written") {
    overwrite(map, 4096, "\x1f");
  }
  SUBCASE("another file in the data's place") {
    REQUIRE(::unlink(data.c_str()) == 0);
    REQUIRE(::symlink("/dev/zero", data.c_str()) == 0);
  }
  SUBCASE("no data") {
    REQUIRE(::unlink(data.c_str()) == 0);
  }
  SUBCASE("no map") {
    REQUIRE(::unlink(map.c_str()) == 0);
  }
  SUBCASE("bits beyond the end") {
    overwrite(map, 4096 + 4 * 10, std::string(4, '\xff'));
  }
  auto cache = open_cache(dir);
  CHECK(cache->cached_bytes() == 0);
  CHECK(dir.file(".map") == "");
  CHECK(dir.file(".data") == "");
  CHECK(dir.file("notes.txt") != "");
}

TEST_CASE("block cache: a file whose content got short while open is not served") {
  TempDir dir;
  auto cache = open_cache(dir);
  const auto entry = cache->attach(kFilm);
  fill(*cache, entry, kFilm, 1, 0, 4);
  REQUIRE(::truncate(dir.file(".data").c_str(), 100) == 0);
  CHECK_FALSE(has(*cache, entry, 1, kBlockBytes, 10));
  CHECK(cache->run(entry, 0, 4) == 0);
  cache->detach(entry);
}

// Run by the next two in a process of its own, which a crash point kills.
TEST_CASE("block cache child" * doctest::skip()) {
  auto cache = BlockCache::open({std::string(std::getenv("MEDIAFS_TEST_DIR")) + "/cache", 256 * kMiB});
  REQUIRE(cache);
  const auto entry = (*cache)->attach(kFilm);
  fill(**cache, entry, kFilm, 1, 0, 128);
  (*cache)->shrink(kMiB);
  ::_exit(0);
}

TEST_CASE("block cache: killed between data and bitmap, the block is not there") {
  TempDir dir;
  run_child(dir, "block_cache.after_data:1");
  REQUIRE(disk_bytes(dir.file(".data")) >= 4 * kBlockBytes);
  auto cache = open_cache(dir);
  const auto entry = cache->attach(kFilm);
  CHECK(cache->run(entry, 0, 128) == 0);
  cache->detach(entry);
}

TEST_CASE("block cache: killed while evicting, no hole is taken for content") {
  TempDir dir;
  run_child(dir, "block_cache.before_punch:1");
  auto cache = open_cache(dir);
  const auto entry = cache->attach(kFilm);
  CHECK(cache->cached_bytes() == 6 * kMiB);  // one extent less
  for (std::uint64_t block = 0; block < 128; ++block) {
    if (cache->run(entry, block, 1) == 1) CHECK(has(*cache, entry, 1, block * kBlockBytes, kBlockBytes));
  }
  cache->detach(entry);
}

TEST_CASE("block cache: the limit holds, the oldest go first and heads and tails last") {
  TempDir dir;
  auto cache = open_cache(dir, 16 * kMiB);
  const auto entry = cache->attach(kFilm);
  const auto last = block_count(kFilm.size_bytes);
  const auto extents = extent_count(kFilm.size_bytes);
  REQUIRE(extents == 11);
  fill(*cache, entry, kFilm, 1, 0, kExtentBlocks);  // the head
  fill(*cache, entry, kFilm, 1, last - 4, last);    // the tail
  for (std::uint64_t block = kExtentBlocks; block < last - 4; ++block) {
    fill(*cache, entry, kFilm, 1, block, block + 1);
    REQUIRE(cache->cached_bytes() <= 16 * kMiB);
  }
  CHECK(disk_bytes(dir.file(".data")) <= 16 * kMiB + 256 * 1024);
  CHECK(has(*cache, entry, 1, 0, 2 * kMiB));
  CHECK(has(*cache, entry, 1, (last - 4) * kBlockBytes, 3 * kBlockBytes + 1000));
  CHECK_FALSE(has(*cache, entry, 1, 2 * kMiB, 1));
  CHECK(has(*cache, entry, 1, 16 * kMiB, 2 * kMiB));
  cache->detach(entry);
}

TEST_CASE("block cache: shrink frees what it says, down to nothing") {
  TempDir dir;
  auto cache = open_cache(dir);
  const auto entry = cache->attach(kFilm);
  fill(*cache, entry, kFilm, 1, 0, 256);
  CHECK(cache->cached_bytes() == 16 * kMiB);
  const auto freed = cache->shrink(5 * kMiB);
  CHECK(freed == 6 * kMiB);
  CHECK(cache->cached_bytes() == 10 * kMiB);
  CHECK(disk_bytes(dir.file(".data")) <= 10 * kMiB + 256 * 1024);
  CHECK(has(*cache, entry, 1, 0, kBlockBytes));
  CHECK(cache->shrink(~0ULL) == 10 * kMiB);
  CHECK(cache->cached_bytes() == 0);
  CHECK(fill(*cache, entry, kFilm, 1, 5, 6) == 1);  // and it goes on
  CHECK(has(*cache, entry, 1, 5 * kBlockBytes, kBlockBytes));
  cache->detach(entry);
}

TEST_CASE("block cache: a smaller limit at a restart") {
  TempDir dir;
  {
    auto cache = open_cache(dir);
    const auto entry = cache->attach(kFilm);
    fill(*cache, entry, kFilm, 1, 0, 256);
    cache->detach(entry);
  }
  auto cache = open_cache(dir, 6 * kMiB);
  cache->flush();
  CHECK(cache->cached_bytes() <= 6 * kMiB);
  CHECK(cache->cached_bytes() > 0);
}

TEST_CASE("block cache: no room on the disk is 'not cached'") {
  TempDir dir;
  std::atomic<std::uint64_t> room = 3 * kBlockBytes;
  auto cache = open_cache(dir, 256 * kMiB, [&room](std::uint64_t bytes) {
    if (room < bytes) return false;
    room -= bytes;
    return true;
  });
  const auto entry = cache->attach(kFilm);
  CHECK(fill(*cache, entry, kFilm, 1, 0, 10) == 3);
  CHECK(has(*cache, entry, 1, 0, 3 * kBlockBytes));
  CHECK(cache->run(entry, 0, 10) == 3);
  cache->detach(entry);
}

TEST_CASE("block cache: forget drops what nobody has open") {
  TempDir dir;
  auto cache = open_cache(dir);
  auto entry = cache->attach(kFilm);
  fill(*cache, entry, kFilm, 1, 0, 4);
  cache->forget(kFilm.key);
  CHECK(has(*cache, entry, 1, 0, 100));
  cache->detach(entry);
  cache->forget(kFilm.key);
  CHECK(cache->cached_bytes() == 0);
  entry = cache->attach(kFilm);
  CHECK(cache->run(entry, 0, 4) == 0);
  CHECK(fill(*cache, entry, kFilm, 1, 2, 4) == 2);
  CHECK(has(*cache, entry, 1, 2 * kBlockBytes, 2 * kBlockBytes));
  cache->detach(entry);
}

TEST_CASE("block cache: reads, writes and evictions at once never give wrong bytes") {
  TempDir dir;
  auto cache = open_cache(dir, 8 * kMiB);
  const auto entry = cache->attach(kFilm);
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&, i] {
      std::vector<std::byte> bytes(kBlockBytes);
      for (std::uint64_t n = static_cast<std::uint64_t>(i); !stop; n += 7) {
        const auto offset = n * kBlockBytes % (20 * kMiB);
        const auto got = cache->read(entry, offset, bytes);
        if (!is_content(1, offset, std::span(bytes).first(got))) ++wrong;
      }
    });
  }
  for (int round = 0; round < 4; ++round) {
    fill(*cache, entry, kFilm, 1, 0, block_count(kFilm.size_bytes));
    cache->shrink(3 * kMiB);
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  CHECK(wrong == 0);
  CHECK(cache->cached_bytes() <= 8 * kMiB);
  cache->detach(entry);
}

}  // namespace mediafs::tier
