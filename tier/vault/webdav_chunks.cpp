// Nextcloud's chunked upload, version 2: pieces go to a folder of their own beside the files, and are joined by a MOVE.
// A proxy's limit on a request's size, and a connection that breaks, then cost one piece. What a kill leaves there the
// server itself removes after a day.
#include <algorithm>
#include <cstdio>

#include "tier/vault/s3_vault.h"
#include "tier/vault/webdav_upload.h"

namespace mediafs::tier::webdav {

namespace {

constexpr std::uint64_t kMostChunks = 10'000;

}  // namespace

Result<Xxh128> DavVault::send_chunks(const Temp& temp, const Upload& upload, const Task& task) {
  MEDIAFS_TRY(ensure_folder(kTemp, task));
  const std::uint64_t size = upload.source.size_bytes;
  const std::uint64_t least = (size + kMostChunks - 1) / kMostChunks;
  const std::uint64_t piece = std::max({client_.options().chunk_bytes, least, std::uint64_t{1}});
  const std::string folder =
      client_.nextcloud()->base + "/uploads/" + client_.nextcloud()->user + "/mediafs-" + temp.name() + "/";
  const std::vector<std::string> common{"destination: " + temp.url(),
                                        "oc-total-length: " + std::to_string(size)};
  Call call;
  call.headers = common;
  call.stop = task.stop;
  call.what = task.what;
  call.method = "MKCOL";
  call.path = folder;
  MEDIAFS_TRY(client_.call(call));

  Hasher whole(Hasher::Want{});
  const auto send_all = [&]() -> Status {
    call.method = "PUT";
    int number = 0;
    for (std::uint64_t offset = 0; offset < size; offset += piece) {
      FileBody body{.fd = upload.source.fd, .offset = offset, .size_bytes = std::min(piece, size - offset)};
      if (upload.first) body.progress = upload.source.progress;
      // Before it is sent: a piece may be sent twice, the whole is hashed once.
      MEDIAFS_ASSIGN(const Checksums sums,
                     s3::hash_piece(body.fd, offset, body.size_bytes, {}, &whole, task.what, task.stop));
      char name[16];
      std::snprintf(name, sizeof name, "%05d", ++number);
      call.path = folder + name;
      call.file = &body;
      MEDIAFS_TRY(client_.call(call));
      call.file = nullptr;
      if (body.hasher->finish().xxh128 != sums.xxh128)
        return make_error(ErrorCode::changed, task.what, "the file changed while it was sent");
    }
    call.method = "MOVE";
    call.path = folder + ".file";
    call.once = true;
    call.stall = client_.options().slow_answer;
    for (std::string& header : mtime_headers(upload.meta.mtime_ns, false))
      call.headers.push_back(std::move(header));
    if (!upload.meta.sha1_hex.empty()) call.headers.push_back("oc-checksum: SHA1:" + upload.meta.sha1_hex);
    const auto joined = client_.call(call);
    if (joined) return {};
    // Joined, and the answer lost? What is there is proven by prove().
    MEDIAFS_ASSIGN(const std::optional<Resource> there, look(temp.path(), task));
    if (there && there->size_bytes == size) return {};
    return joined.error();
  };
  if (auto sent = send_all(); !sent) {
    if (auto removed = remove_at(folder, {task.what}); !removed)
      log::warning("unfinished upload stays until the server removes it", removed.error(),
                   {{"path", temp.key()}});
    return std::move(sent).error();
  }
  return whole.finish().xxh128;
}

}  // namespace mediafs::tier::webdav
