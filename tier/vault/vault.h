// The vault: one interface over every kind of object store. A driver does transport and nothing else: what is
// proven, retried or evicted is decided above it.
// Threads:    every call is safe from any thread. Blocking calls block up to the driver's timeouts or the stop token.
// Shapes:     a key is a path in the tree (common/path.h), bytes; the driver adds its prefix and escapes. An etag is
//             opaque and changes whenever the bytes may have changed.
// Units:      bytes; mtime as nanoseconds since 1970.
// Errors:     not_found, exists, offline, timeout, throttled (with retry_after_ms), credentials, permission, changed
//             (if_match failed), corrupt (the store's checksum is not ours), no_space, cancelled, invalid, io.
// Crash:      put, copy and remove are atomic: an object is whole under its key or not there at all. What a kill
//             leaves behind (temporary files, unfinished uploads) collect_garbage() removes, but for uploads that the
//             next put of the same bytes goes on with.
// Invariants: (1) put answers success only after the store confirmed size and checksum of the very bytes it holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/config.h"
#include "common/hash.h"
#include "common/result.h"

namespace mediafs::tier {

// What rclone writes (mtime) and what mediafs adds. Stored as the object's user metadata.
struct ObjectMeta {
  WallNs mtime_ns = 0;
  std::uint32_t mode = 0644;  // permission bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::optional<Xxh128> checksum;
  std::string sha1_hex;  // "" if unknown
};

struct ObjectInfo {
  std::string key;
  std::uint64_t size_bytes = 0;
  std::string etag;
  // From the object's metadata where the call reads it (head, put), else from the listing's last-modified.
  ObjectMeta meta;
  bool meta_known = false;  // false: only meta.mtime_ns is set, from the listing
  // In a listing, of a store whose keys are any bytes: its key is what names.h makes of the store's own.
  bool any_key = false;
  bool folder = false;  // likewise: no object, but an empty folder that another program keeps so
};

struct PutSource {
  int fd = -1;  // borrowed for the call; read with pread from 0 to size
  std::uint64_t size_bytes = 0;
  // Called with bytes newly sent; may be unset.
  std::function<void(std::uint64_t)> progress = {};
  // `exists` if something stands under the key. A store that can't be asked to refuse is looked at first.
  bool only_new = false;
};

struct PutResult {
  ObjectInfo info;
  Xxh128 checksum{};  // of the bytes as they were sent, computed by the driver on their way
};

struct ReadRequest {
  std::string key;
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;  // REQUIRES: > 0 and within the object
  std::string if_match;          // an etag; "" reads whatever is there
};

class Vault {
 public:
  virtual ~Vault() = default;
  virtual std::string describe() const = 0;  // "s3://bucket/prefix at http://127.0.0.1:9000", without secrets

  // One cheap request that shows that the vault answers and lets us in.
  virtual Status probe() = 0;
  virtual Result<PutResult> put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                                std::stop_token stop) = 0;
  virtual Result<ObjectInfo> head(const std::string& key) = 0;
  // Calls on_bytes in order with pieces of the range, then on_done once: success only if every byte of the range was
  // given. Both run on the driver's threads and must not block on the vault. At once returns a number for cancel.
  virtual std::uint64_t start_read(ReadRequest request,
                                   std::function<bool(std::span<const std::byte>)> on_bytes,
                                   std::function<void(Status)> on_done) = 0;
  virtual void cancel(std::uint64_t read) = 0;  // on_done follows with cancelled, unless it ran already
  // Server-side, with new metadata; from == to replaces the metadata only. Overwrites `to`.
  virtual Result<ObjectInfo> copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                                  std::stop_token stop) = 0;
  virtual Status remove(const std::string& key) = 0;  // success if it is not there
  // All objects below `prefix` ("" = all) in pages; `page` returns false to stop.
  virtual Status list(const std::string& prefix, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                      std::stop_token stop) = 0;
  // All objects whose keys come after `after`, in the order of their keys' bytes, where the store lists so; else all.
  // What stands before a driver passes it on.
  virtual Status list_after(const std::string& after,
                            const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                            std::stop_token stop) {
    static_cast<void>(after);
    return list("", page, std::move(stop));
  }
  // Unfinished uploads of a process that is gone, and that no put can go on with. REQUIRES: no put runs.
  virtual Status collect_garbage() = 0;

  // Blocking form of start_read.
  Result<std::size_t> read(ReadRequest request, std::span<std::byte> into);
};

struct Limits;  // rate.h

// By the scheme of config.vault.url. Checks names and credentials' presence, makes no request. `limits` can be changed
// while it works; without them they are the configuration's.
Result<std::unique_ptr<Vault>> open_vault(const Config& config, const Credentials& credentials,
                                          std::shared_ptr<Limits> limits = {});
std::shared_ptr<Limits> limits_from(const Config& config);

}  // namespace mediafs::tier
