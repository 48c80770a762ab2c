#include <doctest/doctest.h>

#include <thread>

#include "stream_dirs.h"
#include "stream_fake.h"
#include "tier/distance.h"
#include "tier/stream.h"

namespace mediafs::tier {
namespace {

using test::FakeVault;
using test::is_content;
using test::TempDir;

constexpr std::uint64_t kMiB = 1ULL << 20;
const CachedObject kFilm{"Movies/Film.bin", "etag-1", 24 * kMiB + 777};

struct Setup {
  Setup() {
    vault.store(kFilm.key, {kFilm.size_bytes, kFilm.etag, 1});
    auto opened = Streams::open({.directory = dir.path() + "/blocks"}, vault);
    REQUIRE(opened);
    streams = std::move(*opened);
    auto film = streams->open_stream(kFilm);
    REQUIRE(film);
    stream = std::move(*film);
  }
  TempDir dir;
  FakeVault vault;
  std::unique_ptr<Streams> streams;
  std::unique_ptr<Stream> stream;
};

SteadyTime soon() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(60);
}

bool reads_right(Stream& stream, std::uint64_t offset, std::size_t size) {
  std::vector<std::byte> bytes(size);
  const auto got = stream.read(offset, bytes, soon());
  return got && *got == size && is_content(1, offset, bytes);
}

}  // namespace

TEST_CASE(
    "stream: what a read needs is asked for when it begins, be it waited for later and in another order") {
  Setup setup;
  auto first = setup.stream->begin(5 * kMiB + 1000, kMiB);
  auto second = setup.stream->begin(6 * kMiB + 1000, 4096);
  REQUIRE(setup.vault.requests() == 1);  // the second lies in the first's last block
  CHECK(setup.vault.log().front().size_bytes == kMiB + (64 << 10));
  std::vector<std::byte> bytes(kMiB);
  REQUIRE(second->finish(bytes, soon()));
  CHECK(is_content(1, 6 * kMiB + 1000, std::span(bytes).first(4096)));
  REQUIRE(first->finish(bytes, soon()));
  CHECK(is_content(1, 5 * kMiB + 1000, bytes));
  CHECK(setup.vault.requests() == 1);
}

TEST_CASE("stream: a read that began and that nobody waits for gives up what only it wanted") {
  Setup setup;
  setup.vault.fate([](const ReadRequest&) { return FakeVault::Fate{0, {}, true}; });
  auto begun = setup.stream->begin(0, 100'000);
  CHECK(setup.vault.requests() == 1);
  begun.reset();
  setup.stream.reset();
  while (setup.vault.running() > 0) std::this_thread::yield();
  CHECK(setup.vault.cancels() == 1);
}

TEST_CASE("stream: a seek lets the transfer end that has nearly ended, and cancels the others") {
  Setup setup;
  constexpr std::uint64_t kSent = 896ULL << 10;
  setup.vault.fate([](const ReadRequest& request) {
    if (request.offset >= 20 * kMiB) return FakeVault::Fate{};
    return FakeVault::Fate{request.offset == 0 ? kSent : 0, {}, true};
  });
  auto begun = setup.stream->begin(0, kMiB);
  auto next = setup.stream->begin(kMiB, 512 << 10);
  CHECK(reads_right(*setup.stream, 0, kSent));
  begun.reset();
  next.reset();
  const auto before = setup.vault.requests();
  REQUIRE(before > 2);  // something was read ahead
  CHECK(reads_right(*setup.stream, 22 * kMiB, 4096));
  CHECK(setup.vault.cancels() == before - 1);
  setup.stream.reset();
  while (setup.vault.running() > 0) std::this_thread::yield();
}

TEST_CASE("stream: what is read soon after it came is not copied, also when the cache has it already") {
  Setup setup;
  auto read = setup.stream->begin(3 * kMiB, kMiB);
  while (setup.streams->stats().cached_bytes < kMiB) std::this_thread::yield();
  std::vector<std::byte> room(kMiB);
  const auto within = [&](std::span<const std::byte> piece) {
    return piece.data() >= room.data() && piece.data() < room.data() + room.size();
  };
  auto pieces = read->finish_in_pieces(room, soon());
  REQUIRE(pieces);
  CHECK(pieces->size_bytes() == kMiB);
  std::uint64_t at = 3 * kMiB;
  for (const auto& piece : pieces->bytes) {
    CHECK_FALSE(within(piece));
    CHECK(is_content(1, at, piece));
    at += piece.size();
  }
  // Read to its end it is the cache's alone; who still has the pieces keeps their bytes.
  for (bool from_disk = false; !from_disk; std::this_thread::yield()) {
    const auto again = setup.stream->begin(3 * kMiB, kMiB)->finish_in_pieces(room, soon());
    REQUIRE(again);
    from_disk = again->bytes.size() == 1 && within(again->bytes.front());
  }
  CHECK(is_content(1, 3 * kMiB, room));
  CHECK(is_content(1, 3 * kMiB, pieces->bytes.front()));
  CHECK(setup.vault.requests() == 1);
}

TEST_CASE("stream: a seek in a vault that is far away is asked for in two halves") {
  Setup setup;
  setup.vault.fate([](const ReadRequest&) {
    std::this_thread::sleep_for(Distance::kFar);  // the way there
    return FakeVault::Fate{};
  });
  CHECK(reads_right(*setup.stream, 0, kMiB));
  CHECK(setup.vault.requests() == 1);  // who knows how far it is
  std::uint64_t at = 1;
  for (; setup.vault.requests() < Distance::kSamples; ++at)
    CHECK(reads_right(*setup.stream, at * 5 * kMiB % (22 * kMiB), kMiB));
  const auto before = setup.vault.requests();
  CHECK(before == Distance::kSamples);
  CHECK(reads_right(*setup.stream, 23 * kMiB, kMiB));
  const auto log = setup.vault.log();
  REQUIRE(log.size() == before + 2);
  for (auto request = log.end() - 2; request != log.end(); ++request) CHECK(request->size_bytes == kMiB / 2);
  CHECK(reads_right(*setup.stream, 12 * kMiB, 4096));
  CHECK(setup.vault.requests() == before + 3);  // what is small is one request
}

}  // namespace mediafs::tier
