#include "tier/stream.h"

#include <doctest/doctest.h>

#include <random>
#include <thread>

#include "stream_dirs.h"
#include "stream_fake.h"

namespace mediafs::tier {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using test::FakeVault;
using test::is_content;
using test::TempDir;

constexpr std::uint64_t kMiB = 1ULL << 20;
const CachedObject kFilm{"Movies/Film.bin", "etag-1", 24 * kMiB + 777};

struct Setup {
  explicit Setup(Streams::Options wanted = {}) : options(std::move(wanted)) {
    options.directory = dir.path() + "/blocks";
    vault.store(kFilm.key, {kFilm.size_bytes, kFilm.etag, 1});
    restart();
  }
  void restart() {
    streams.reset();
    auto opened = Streams::open(options, vault);
    REQUIRE(opened);
    streams = std::move(*opened);
  }
  std::unique_ptr<Stream> open(const CachedObject& object = kFilm) {
    auto stream = streams->open_stream(object);
    REQUIRE(stream);
    return std::move(*stream);
  }
  TempDir dir;
  Streams::Options options;
  FakeVault vault;
  std::unique_ptr<Streams> streams;
};

SteadyTime soon() {
  return steady_clock::now() + std::chrono::seconds(60);
}

// Reads [begin, end) in pieces and compares every byte.
bool reads_right(Stream& stream, std::uint64_t begin, std::uint64_t end, std::size_t piece = 128 << 10,
                 std::uint64_t seed = 1) {
  std::vector<std::byte> bytes(piece);
  while (begin < end) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(piece, end - begin));
    const auto got = stream.read(begin, std::span(bytes).first(want), soon());
    if (!got) {
      MESSAGE(got.err().message());
      return false;
    }
    if (*got != want || !is_content(seed, begin, std::span(bytes).first(want))) return false;
    begin += want;
  }
  return true;
}

ErrorCode error_of(Stream& stream, std::uint64_t offset, SteadyTime deadline, std::stop_token stop = {}) {
  std::vector<std::byte> bytes(4096);
  const auto got = stream.read(offset, bytes, deadline, std::move(stop));
  REQUIRE_FALSE(got);
  return got.err().code;
}

// The rest of the requests fails with this.
auto fail_with(ErrorCode code) {
  return [code](const ReadRequest&) { return FakeVault::Fate{0, make_error(code, "read", "made up")}; };
}

// Only the first `count` requests have this fate.
auto first_ones(int count, FakeVault::Fate fate) {
  auto left = std::make_shared<std::atomic<int>>(count);
  return [left, fate](const ReadRequest&) { return (*left)-- > 0 ? fate : FakeVault::Fate{}; };
}

}  // namespace

TEST_CASE("stream: sequential, at the end and beyond it") {
  Setup setup;
  auto stream = setup.open();
  CHECK(reads_right(*stream, 0, kFilm.size_bytes, 100'000));
  std::vector<std::byte> bytes(5000);
  const auto tail = stream->read(kFilm.size_bytes - 10, bytes, soon());
  REQUIRE(tail);
  CHECK(*tail == 10);
  const auto beyond = stream->read(kFilm.size_bytes, bytes, soon());
  REQUIRE(beyond);
  CHECK(*beyond == 0);
  CHECK(setup.vault.sent_bytes() == kFilm.size_bytes);  // once each
  CHECK(setup.vault.requests() < 40);
  CHECK(setup.streams->stats().served_bytes == kFilm.size_bytes + 10);
  CHECK(setup.streams->stats().requests == setup.vault.requests());
}

TEST_CASE("stream: the first read fetches little more than was asked for") {
  Setup setup;
  auto stream = setup.open();
  CHECK(reads_right(*stream, 10 * kMiB + 100, 10 * kMiB + 4196));
  REQUIRE(setup.vault.requests() == 1);
  CHECK(setup.vault.log()[0].size_bytes == 64 << 10);
}

TEST_CASE("stream: a media file's tail is asked for with its head, side by side") {
  Setup setup;
  const CachedObject film{"Movies/Film.mkv", "etag-9", 50 * kMiB};
  setup.vault.store(film.key, {film.size_bytes, film.etag, 9});
  setup.vault.fate([](const ReadRequest&) { return FakeVault::Fate{~0ULL, {}, false, true}; });
  auto stream = setup.open(film);
  std::thread reader([&] { CHECK(reads_right(*stream, 0, 4096, 4096, 9)); });
  while (setup.vault.requests() < 2) std::this_thread::yield();
  setup.vault.release();
  reader.join();
  CHECK(reads_right(*stream, film.size_bytes - 4096, film.size_bytes, 4096, 9));
  CHECK(setup.vault.requests() == 2);
}

TEST_CASE("stream: random reads by eight threads on one handle and on eight") {
  Setup setup({.directory = {}, .memory_bytes = 16 * kMiB});
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < 8; ++i) streams.push_back(setup.open());
  for (const bool shared : {true, false}) {
    std::atomic<int> wrong = 0;
    std::vector<std::thread> readers;
    for (unsigned i = 0; i < 8; ++i) {
      readers.emplace_back([&, i] {
        std::mt19937_64 random(i);
        for (int n = 0; n < 25; ++n) {
          const auto size = 1 + random() % 200'000;
          const auto offset = random() % (kFilm.size_bytes - size);
          if (!reads_right(*streams[shared ? 0 : i], offset, offset + size, 200'000)) ++wrong;
        }
      });
    }
    for (auto& reader : readers) reader.join();
    CHECK(wrong == 0);
  }
  streams.clear();
  while (setup.vault.running() > 0) std::this_thread::yield();
}

TEST_CASE("stream: two readers of one range share one request, which serves while it goes on") {
  Setup setup;
  setup.vault.fate([](const ReadRequest&) { return FakeVault::Fate{~0ULL, {}, true, true}; });
  auto one = setup.open();
  auto two = setup.open();
  std::thread first([&] { CHECK(reads_right(*one, kMiB, kMiB + 100'000, 100'000)); });
  while (setup.vault.requests() < 1) std::this_thread::yield();
  std::thread second([&] { CHECK(reads_right(*two, kMiB, kMiB + 100'000, 100'000)); });
  setup.vault.release();
  first.join();  // although no request ever ends: it hangs after its last byte
  second.join();
  CHECK(setup.vault.requests() == 1);
}

TEST_CASE("stream: two sequential readers fetch a file once") {
  Setup setup;
  auto one = setup.open();
  auto two = setup.open();
  std::thread first([&] { CHECK(reads_right(*one, 0, kFilm.size_bytes)); });
  std::thread second([&] { CHECK(reads_right(*two, 0, kFilm.size_bytes)); });
  first.join();
  second.join();
  CHECK(setup.vault.sent_bytes() == kFilm.size_bytes);
}

TEST_CASE("stream: a seek cancels what was read ahead, but not what another handle reads") {
  Setup setup;
  setup.vault.fate([](const ReadRequest& request) {
    const bool ahead = request.offset >= kMiB && request.offset < 20 * kMiB;
    return FakeVault::Fate{ahead ? 0 : ~0ULL, {}, ahead};
  });
  auto stream = setup.open();
  CHECK(reads_right(*stream, 0, 768 << 10));  // reads ahead beyond 1 MiB
  REQUIRE(setup.vault.log().back().offset >= kMiB);
  const auto useless = setup.vault.requests();
  SUBCASE("alone") {
    CHECK(reads_right(*stream, 22 * kMiB, 22 * kMiB + 10));
    CHECK(setup.vault.cancels() > 0);
    while (setup.vault.running() > 0) std::this_thread::yield();
  }
  SUBCASE("another waits") {
    const auto last = setup.vault.log().back();
    auto other = setup.open();
    std::atomic<bool> failed = false;
    std::stop_source stop;
    // The end of a transfer under way and what follows it: the request for the latter shows that it waits.
    std::thread reader([&] {
      failed = error_of(*other, last.offset + last.size_bytes - 100, soon(), stop.get_token()) ==
               ErrorCode::cancelled;
    });
    while (setup.vault.requests() == useless) std::this_thread::yield();
    CHECK(reads_right(*stream, 22 * kMiB, 22 * kMiB + 10));
    CHECK(setup.vault.running() >= 2);  // both that are waited for
    CHECK(setup.vault.requests() == useless + 2);
    stop.request_stop();
    reader.join();
    CHECK(failed);
  }
  SUBCASE("closed") {
    stream.reset();
    while (setup.vault.running() > 0) std::this_thread::yield();
    CHECK(setup.vault.cancels() > 0);
  }
}

TEST_CASE("stream: blocks survive a restart, and are not fetched again") {
  Setup setup;
  {
    auto stream = setup.open();
    CHECK(reads_right(*stream, 0, kFilm.size_bytes));
  }
  setup.restart();
  const auto before = setup.vault.requests();
  CHECK(setup.streams->stats().cached_bytes == kFilm.size_bytes);
  {
    auto stream = setup.open();
    CHECK(reads_right(*stream, 0, kFilm.size_bytes));
  }
  CHECK(setup.vault.requests() == before);
  setup.streams->forget(kFilm.key);
  CHECK(setup.streams->stats().cached_bytes == 0);
}

TEST_CASE("stream: a changed object fails the stream for good, never mixed bytes") {
  Setup setup;
  auto stream = setup.open();
  CHECK(reads_right(*stream, 0, 100'000));
  setup.vault.store(kFilm.key, {kFilm.size_bytes, "etag-2", 2});
  CHECK(error_of(*stream, 20 * kMiB, soon()) == ErrorCode::changed);
  CHECK(error_of(*stream, 0, soon()) == ErrorCode::changed);
  auto changed = kFilm;
  changed.etag = "etag-2";
  auto fresh = setup.open(changed);
  CHECK(reads_right(*fresh, 0, kFilm.size_bytes, 128 << 10, 2));
  setup.vault.store(kFilm.key, {kFilm.size_bytes, kFilm.etag, 1});
  CHECK(error_of(*stream, 0, soon()) == ErrorCode::changed);
  stream = setup.open();  // opened anew it may try again
  CHECK(reads_right(*stream, 0, kMiB));
}

TEST_CASE("stream: no room on the disk: served from memory, once") {
  std::atomic<bool> may = false;
  Setup setup({.directory = {}, .may_write = [&may](std::uint64_t) { return may.load(); }});
  auto stream = setup.open();
  CHECK(reads_right(*stream, 0, kFilm.size_bytes));
  CHECK(setup.vault.sent_bytes() == kFilm.size_bytes);
  CHECK(setup.streams->stats().cached_bytes == 0);
  stream.reset();
  setup.streams.reset();  // its may_write refers to `may`
}

TEST_CASE("stream: no room on the disk and little memory") {
  Setup setup({.directory = {}, .cache_bytes = 0, .memory_bytes = kMiB});
  auto stream = setup.open();
  CHECK(reads_right(*stream, 0, kFilm.size_bytes));
  CHECK(setup.vault.sent_bytes() < 2 * kFilm.size_bytes);
  CHECK(reads_right(*stream, 3 * kMiB, 9 * kMiB, 3 * kMiB));  // more than all memory at once
}

TEST_CASE("stream: an object without an etag stays off the disk") {
  Setup setup;
  auto object = kFilm;
  object.etag = "";
  auto stream = setup.open(object);
  CHECK(reads_right(*stream, 0, kFilm.size_bytes));
  CHECK(setup.streams->stats().cached_bytes == 0);
}

TEST_CASE("stream: a cache smaller than the file") {
  Setup setup({.directory = {}, .cache_bytes = 6 * kMiB});
  auto stream = setup.open();
  CHECK(reads_right(*stream, 0, kFilm.size_bytes));
  CHECK(reads_right(*stream, 0, kFilm.size_bytes));
  CHECK(setup.streams->stats().cached_bytes <= 6 * kMiB);
  CHECK(setup.streams->shrink(~0ULL) > 0);
  CHECK(reads_right(*stream, 0, 3 * kMiB));
}

TEST_CASE("stream: a black hole ends at the deadline, and the next read tries anew") {
  Setup setup;
  setup.vault.fate([](const ReadRequest&) { return FakeVault::Fate{1000, {}, true}; });
  auto stream = setup.open();
  CHECK(error_of(*stream, 0, steady_clock::now() + milliseconds(50)) == ErrorCode::timeout);
  CHECK(setup.vault.cancels() == 1);
  while (setup.vault.running() > 0) std::this_thread::yield();
  setup.vault.fate({});
  CHECK(reads_right(*stream, 0, 100'000));
}

TEST_CASE("stream: a reader that is interrupted returns at once") {
  Setup setup;
  setup.vault.fate([](const ReadRequest&) { return FakeVault::Fate{0, {}, true}; });
  auto stream = setup.open();
  std::stop_source stop;
  std::thread reader([&] { CHECK(error_of(*stream, 0, soon(), stop.get_token()) == ErrorCode::cancelled); });
  while (setup.vault.requests() == 0) std::this_thread::yield();
  stop.request_stop();
  reader.join();
  CHECK(error_of(*stream, 0, soon(), stop.get_token()) == ErrorCode::cancelled);
}

TEST_CASE("stream: failures that pass are tried again until the deadline") {
  for (const auto code : {ErrorCode::offline, ErrorCode::timeout, ErrorCode::throttled}) {
    Setup setup;
    setup.vault.fate(first_ones(3, {70'000, make_error(code, "read", "made up")}));
    auto stream = setup.open();
    CHECK(reads_right(*stream, 0, kMiB, kMiB));
    setup.vault.refuse(make_error(code, "read", "made up"));
    CHECK(error_of(*stream, 20 * kMiB, steady_clock::now() + milliseconds(200)) == code);
  }
}

TEST_CASE("stream: failures that don't pass are told at once") {
  for (const auto code : {ErrorCode::not_found, ErrorCode::credentials, ErrorCode::permission}) {
    Setup setup;
    setup.vault.fate(fail_with(code));
    auto stream = setup.open();
    CHECK(error_of(*stream, 0, soon()) == code);
    CHECK(setup.vault.requests() == 1);
  }
}

TEST_CASE("stream: a vault that refuses at once is not asked in a tight loop") {
  Setup setup;
  setup.vault.refuse(make_error(ErrorCode::offline, "read", "made up"));
  auto stream = setup.open();
  CHECK(error_of(*stream, 0, steady_clock::now() + milliseconds(300)) == ErrorCode::offline);
  CHECK(setup.vault.requests() < 10);
  setup.vault.refuse(make_error(ErrorCode::permission, "read", "made up"));
  const auto before = setup.vault.requests();
  CHECK(error_of(*stream, 0, soon()) == ErrorCode::permission);
  CHECK(setup.vault.requests() == before + 1);
  setup.vault.refuse(std::nullopt);
  CHECK(reads_right(*stream, 0, kMiB));
}

TEST_CASE("stream: a reply of the wrong length is tried once more") {
  SUBCASE("short, then right") {
    Setup setup;
    setup.vault.fate(first_ones(1, {1000}));
    auto stream = setup.open();
    CHECK(reads_right(*stream, 0, 100'000));
    CHECK(setup.vault.requests() >= 2);
  }
  SUBCASE("short for ever") {
    Setup setup;
    setup.vault.fate([](const ReadRequest&) { return FakeVault::Fate{1000}; });
    auto stream = setup.open();
    CHECK(error_of(*stream, 0, soon()) == ErrorCode::corrupt);
    CHECK(setup.vault.requests() == 2);
  }
  SUBCASE("too long") {
    Setup setup;
    setup.vault.fate([](const ReadRequest&) {
      FakeVault::Fate fate;
      fate.extra_bytes = 1;
      return fate;
    });
    auto stream = setup.open();
    std::vector<std::byte> bytes(kMiB);
    const auto got = stream->read(0, bytes, soon());
    if (got) {
      CHECK(is_content(1, 0, bytes));  // all that was asked for had come
    } else {
      CHECK(got.err().code == ErrorCode::corrupt);
    }
  }
}

TEST_CASE("stream: going away with transfers under way") {
  Setup setup;
  setup.vault.fate([](const ReadRequest& request) {
    return FakeVault::Fate{request.offset < kMiB ? ~0ULL : 0, {}, request.offset >= kMiB};
  });
  auto stream = setup.open();
  CHECK(reads_right(*stream, 0, 768 << 10));
  stream.reset();
  setup.streams.reset();
  CHECK(setup.vault.running() == 0);
}

TEST_CASE("stream: an empty object") {
  Setup setup;
  auto stream = setup.open({"empty", "etag", 0});
  std::vector<std::byte> bytes(10);
  const auto got = stream->read(0, bytes, soon());
  REQUIRE(got);
  CHECK(*got == 0);
  CHECK(setup.vault.requests() == 0);
}

}  // namespace mediafs::tier
