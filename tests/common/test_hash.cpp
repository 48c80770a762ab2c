#include <doctest/doctest.h>
#include <fcntl.h>

#include <string>

#include "common/fd.h"
#include "common/hash.h"
#include "temp_dir.h"

using namespace mediafs;

namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

TEST_CASE("hash: published answers") {
  CHECK(digest_hex(Digest::md5, "") == "d41d8cd98f00b204e9800998ecf8427e");
  CHECK(digest_hex(Digest::sha1, "abc") == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(digest_hex(Digest::sha256, "abc") ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(digest_hex(Digest::none, "abc") == "");
  CHECK(to_hex(xxh128({})) == "99aa06d3014798d86001c324468d497f");
  // RFC 4231, test case 2
  const std::string mac = hmac_sha256("Jefe", "what do ya want for nothing?");
  CHECK(to_hex(std::span(reinterpret_cast<const std::uint8_t*>(mac.data()), mac.size())) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST_CASE("hash: hex there and back") {
  const Xxh128 sum = xxh128(bytes("mediafs"));
  CHECK(xxh128_from_hex(to_hex(sum)) == sum);
  CHECK(!xxh128_from_hex("99aa"));
  CHECK(!xxh128_from_hex("99aa06d3014798d86001c324468d497g"));
}

TEST_CASE("hash: pieces give the sum of the whole, only what was asked for is computed") {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i * 7919);
  Hasher hasher({.md5 = true, .sha1 = true, .sha256 = false});
  for (std::size_t at = 0, step = 1; at < text.size(); at += step, step = step * 3 % 1021 + 1) {
    hasher.update(bytes(std::string_view(text).substr(at, step)));
  }
  const Checksums sums = hasher.finish();
  CHECK(sums.size_bytes == text.size());
  CHECK(sums.xxh128 == xxh128(bytes(text)));
  CHECK(sums.md5_hex == digest_hex(Digest::md5, text));
  CHECK(sums.sha1_hex == digest_hex(Digest::sha1, text));
  CHECK(sums.sha256_hex.empty());
}

TEST_CASE("hash: a descriptor from its start to its end, unless stopped") {
  const test::TempDir dir;
  const std::string text(3'000'001, 'q');  // over two buffers and a bit
  test::put(dir / "f", text);
  const auto fd = open_at(AT_FDCWD, dir / "f", O_RDONLY);
  REQUIRE(fd);
  const auto sums = hash_fd(fd->get(), {.md5 = false, .sha1 = true, .sha256 = true});
  REQUIRE(sums);
  CHECK(sums->size_bytes == text.size());
  CHECK(sums->xxh128 == xxh128(bytes(text)));
  CHECK(sums->sha256_hex == digest_hex(Digest::sha256, text));
  std::stop_source source;
  source.request_stop();
  const auto stopped = hash_fd(fd->get(), {}, source.get_token());
  REQUIRE(!stopped);
  CHECK(stopped.err().code == ErrorCode::cancelled);
}
