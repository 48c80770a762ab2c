// The vault on a WebDAV server: Nextcloud, ownCloud, apache, nginx, rclone and their like.
// Threads:    as vault.h. Callbacks of reads run on the HTTP client's thread or the retry timer's.
// Owns:       .mediafs/tmp and .mediafs/aside below the URL's path. Folders are made as they are needed and stay.
// Shapes:     an object is the file of its key's name below the URL's path. mtime, mode, owner and checksums are dead
//             properties in urn:x-mediafs:vault; their `of` says which version of the file they are about, so that those
//             of one that another program replaced are not believed. A server without properties keeps the bytes only:
//             then meta_known is false. An etag is the server's, without its quotes and its mark of weakness; of a server
//             that has none it is "w:SIZE-SECONDS", from its last-modified.
//             nginx leaves names that begin with a dot out of its listings; they are there all the same.
// Units:      bytes.
// Errors:     as vault.h; texts come from the server's status and message, bounded, never with a secret.
// Crash:      an upload goes to .mediafs/tmp and is moved to its place once its bytes have been read back. Servers may
//             remove an old object before they move the new one there: for that moment its key can be empty, and reads of
//             ours wait it out. What a kill leaves behind collect_garbage() removes, or moves back; what a proxy of the
//             server's delivers after that is removed by a later put.
// Invariants: (1) nothing outside the URL's path is read or written; (2) nothing is moved over a folder, and none is removed that
//             held anything; (3) no redirect is followed.
// Source:     RFC 4918 (WebDAV), RFC 7617 (Basic), Nextcloud's developer manual (chunked upload v2, X-OC-Mtime).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "tier/vault/rate.h"
#include "tier/vault/vault.h"

namespace mediafs::tier::webdav {

struct Options {
  bool tls = true;
  std::string host;  // with the port, unless it is the scheme's own
  std::string root;  // decoded, without slashes at its ends
  std::string user, password;
  std::shared_ptr<Limits> limits = std::make_shared<Limits>();
  std::string ca_file = {};  // "": the system's
  bool read_back =
      true;  // prove an upload by reading it; false: by its size, and a checksum where the server tells one
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds stall_timeout{30'000};
  // Of one request, beside the time that its bytes may take.
  std::chrono::milliseconds deadline{60'000};
  // A copy or a move may take the server long before it says a word.
  std::chrono::milliseconds slow_answer{300'000};
  // Sizes that tests lower.
  std::uint64_t chunk_above = 64ULL << 20;  // Nextcloud: up to this, one PUT
  std::uint64_t chunk_bytes = 64ULL << 20;
  std::chrono::milliseconds sweep_every{600'000};
  std::size_t list_page = 1000;
  int parallel_lists = 4;
};

Result<Options> options_from(const Config& config, const Credentials& credentials);
std::unique_ptr<Vault> open_webdav_vault(Options options);

}  // namespace mediafs::tier::webdav
