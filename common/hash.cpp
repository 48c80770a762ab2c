#include "common/hash.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <xxhash.h>

#include <cerrno>
#include <new>
#include <stdexcept>
#include <vector>

#include "common/fd.h"

namespace mediafs {

namespace {

constexpr std::size_t kReadBytes = 1 << 20;

const EVP_MD* algorithm(Digest digest) {
  switch (digest) {
    case Digest::none:
      return nullptr;
    case Digest::md5:
      return EVP_md5();
    case Digest::sha1:
      return EVP_sha1();
    case Digest::sha256:
      return EVP_sha256();
  }
  return nullptr;
}

// An OpenSSL digest in the making; none when it was not asked for.
class Running {
 public:
  Running(Digest digest, bool wanted) {
    if (!wanted) return;
    context_.reset(EVP_MD_CTX_new());
    if (!context_) throw std::bad_alloc();
    if (EVP_DigestInit_ex(context_.get(), algorithm(digest), nullptr) != 1) {
      throw std::runtime_error("OpenSSL refuses a digest (is it in FIPS mode?)");
    }
  }
  void update(std::span<const std::byte> bytes) {
    if (context_) EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
  }
  std::string hex() {
    if (!context_) return {};
    std::array<std::uint8_t, EVP_MAX_MD_SIZE> raw{};
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), raw.data(), &size);
    return to_hex(std::span(raw).first(size));
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

struct FreeXxh {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

Xxh128 canonical(XXH128_hash_t hash) {
  XXH128_canonical_t raw;
  XXH128_canonicalFromHash(&raw, hash);
  Xxh128 out{};
  std::copy(std::begin(raw.digest), std::end(raw.digest), out.begin());
  return out;
}

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string to_hex(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::uint8_t byte : bytes) text.append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
  return text;
}

std::optional<Xxh128> xxh128_from_hex(std::string_view hex) {
  Xxh128 out{};
  if (hex.size() != out.size() * 2) return std::nullopt;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int high = nibble(hex[2 * i]);
    const int low = nibble(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.at(i) = static_cast<std::uint8_t>(high << 4 | low);
  }
  return out;
}

std::string digest_hex(Digest digest, std::string_view bytes) {
  Running running(digest, digest != Digest::none);
  running.update(std::as_bytes(std::span(bytes)));
  return running.hex();
}

std::string hmac_sha256(std::string_view key, std::string_view message) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> raw{};
  unsigned size = 0;
  const std::vector<std::uint8_t> text(message.begin(), message.end());
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), text.data(), text.size(), raw.data(),
           &size) == nullptr) {
    throw std::runtime_error("OpenSSL refuses HMAC-SHA256");
  }
  return {raw.begin(), raw.begin() + size};
}

Xxh128 xxh128(std::span<const std::byte> bytes) {
  return canonical(XXH3_128bits(bytes.data(), bytes.size()));
}

struct Hasher::State {
  explicit State(Want want)
      : xxh(XXH3_createState()),
        md5(Digest::md5, want.md5),
        sha1(Digest::sha1, want.sha1),
        sha256(Digest::sha256, want.sha256) {
    if (!xxh) throw std::bad_alloc();
    XXH3_128bits_reset(xxh.get());
  }
  std::uint64_t size_bytes = 0;
  std::unique_ptr<XXH3_state_t, FreeXxh> xxh;
  Running md5, sha1, sha256;
};

Hasher::Hasher(Want want) : state_(std::make_unique<State>(want)) {}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::update(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  state_->size_bytes += bytes.size();
  XXH3_128bits_update(state_->xxh.get(), bytes.data(), bytes.size());
  state_->md5.update(bytes);
  state_->sha1.update(bytes);
  state_->sha256.update(bytes);
}

Checksums Hasher::finish() {
  Checksums sums;
  sums.size_bytes = state_->size_bytes;
  sums.xxh128 = canonical(XXH3_128bits_digest(state_->xxh.get()));
  sums.md5_hex = state_->md5.hex();
  sums.sha1_hex = state_->sha1.hex();
  sums.sha256_hex = state_->sha256.hex();
  return sums;
}

Result<Checksums> hash_fd(int fd, Hasher::Want want, const std::stop_token& stop) {
  Hasher hasher(want);
  std::vector<std::byte> buffer(kReadBytes);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  for (std::uint64_t offset = 0;;) {
    if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "checksum", "asked to stop");
    MEDIAFS_ASSIGN(const std::size_t got, read_some(fd, buffer, offset));
    hasher.update(std::span(buffer).first(got));
    offset += got;
    if (got < buffer.size()) return hasher.finish();
  }
}

}  // namespace mediafs
