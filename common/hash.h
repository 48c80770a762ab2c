// Checksums: xxh3-128 and OpenSSL digests, all in one pass over the bytes.
// Threads:    a Hasher belongs to one thread at a time.
// Shapes:     Xxh128 is 16 bytes in canonical (big-endian) order; hex is lower case.
// Errors:     io from hash_fd.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "common/result.h"

namespace mediafs {

using Xxh128 = std::array<std::uint8_t, 16>;
enum class Digest : std::uint8_t { none, md5, sha1, sha256 };

std::string to_hex(std::span<const std::uint8_t> bytes);
std::optional<Xxh128> xxh128_from_hex(std::string_view hex);
std::string digest_hex(Digest digest, std::string_view bytes);
std::string hmac_sha256(std::string_view key, std::string_view message);  // 32 raw bytes
Xxh128 xxh128(std::span<const std::byte> bytes);

struct Checksums {
  std::uint64_t size_bytes = 0;
  Xxh128 xxh128{};
  std::string md5_hex;  // empty where not asked for
  std::string sha1_hex;
  std::string sha256_hex;
};

class Hasher {
 public:
  struct Want {
    bool md5 = false;
    bool sha1 = false;
    bool sha256 = false;
  };
  explicit Hasher(Want want);
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  void update(std::span<const std::byte> bytes);
  Checksums finish();  // once

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Reads the descriptor from its start to its end.
Result<Checksums> hash_fd(int fd, Hasher::Want want, const std::stop_token& stop = {});

}  // namespace mediafs
