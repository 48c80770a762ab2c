// Large files: uploads in parts, which a restart goes on with.
#include <algorithm>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/vault/names.h"
#include "tier/vault/s3_vault.h"
#include "tier/vault/s3_xml.h"

namespace mediafs::tier::s3 {

namespace {

constexpr std::uint64_t kMaxObject = 5ULL << 40;
constexpr std::size_t kTouchEvery = 64;  // parts
// What nobody went on with for so long is garbage.
constexpr std::chrono::hours kKeepUploads{7 * 24};

// AWS's and Ceph's ETag of a multipart object: the MD5 of its parts' MD5s, and their number.
std::string md5_of_md5s(const std::vector<std::string>& md5s) {
  std::string raw;
  for (const std::string& hex : md5s) {
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
      raw += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
  }
  return digest_hex(Digest::md5, raw) + "-" + std::to_string(md5s.size());
}

bool is_multipart_md5(std::string_view etag) {
  const auto dash = etag.find('-');
  return dash != std::string_view::npos && is_md5(etag.substr(0, dash));
}

// The same bytes and metadata, cut into the same parts.
std::string digest_of(std::uint64_t size_bytes, std::uint64_t part, const ObjectMeta& meta) {
  std::string all = std::to_string(size_bytes) + "\n" + std::to_string(part) + "\n";
  for (const auto& [name, value] : meta_headers(meta))
    all.append(name).append(":").append(value).append("\n");
  return digest_hex(Digest::sha256, all);
}

// Whether the same file's next try may go on. Not where the store is full: the parts take up its space.
bool worth_keeping(ErrorCode code) {
  if (code == ErrorCode::no_space) return false;
  return classify(code) != ErrorClass::permanent;
}

}  // namespace

// The parts of one file: hashed in order, those left out that the store has already.
class S3Vault::FileParts {
 public:
  FileParts(S3Vault& vault, const std::string& key, const PutSource& source, std::uint64_t part_bytes,
            const Upload& upload, std::string what, const std::stop_token& stop)
      : vault_(vault),
        key_(key),
        source_(source),
        part_bytes_(part_bytes),
        upload_(upload),
        what_(std::move(what)),
        stop_(stop),
        bodies_(static_cast<std::size_t>(divided_up(source.size_bytes, part_bytes))) {}

  Result<std::vector<std::string>> send(const Xxh128& checksum) {
    const Parts parts{.what = what_,
                      .count = bodies_.size(),
                      .next = [this](std::size_t i) { return next(i); },
                      .etag = [this](std::size_t, const http::Response& r) { return etag_of(r); }};
    auto etags = vault_.run_parts(parts, stop_);
    if (etags && whole_.finish().xxh128 != checksum) {
      return make_error(ErrorCode::changed, what_, "the file is not the one that was checksummed");
    }
    return etags;
  }

  // "" where the store's ETags are not the parts' MD5s.
  std::string expected_etag(const std::vector<std::string>& etags) const {
    const bool md5s =
        std::equal(etags.begin(), etags.end(), bodies_.begin(),
                   [](const std::string& etag, const FileBody& body) { return etag == body.md5_hex; });
    return md5s ? md5_of_md5s(etags) : std::string();
  }

 private:
  Result<Part> next(std::size_t i) {
    const std::uint64_t offset = i * part_bytes_;
    const std::uint64_t bytes = std::min(part_bytes_, source_.size_bytes - offset);
    const Hasher::Want want{.md5 = true, .sha256 = !vault_.client_.options().tls};
    MEDIAFS_ASSIGN(const Checksums sums, hash_piece(source_.fd, offset, bytes, want, &whole_, what_, stop_));
    bodies_[i] = {.fd = source_.fd,
                  .offset = offset,
                  .size_bytes = bytes,
                  .md5_hex = sums.md5_hex,
                  .sha256_hex = sums.sha256_hex,
                  .progress = [this](std::uint64_t n) { told(n); }};
    if (i % kTouchEvery == 0 && upload_.noted) vault_.notes_.touch(vault_.client_.object_key(key_));
    const auto had = upload_.parts.find(i + 1);
    if (had != upload_.parts.end() && had->second.size_bytes == bytes && had->second.etag == sums.md5_hex) {
      told(bytes);
      return Part{.call = {}, .etag = sums.md5_hex};
    }
    Part part;
    part.call.method = "PUT";
    part.call.key = key_;
    part.call.query = {{"partNumber", std::to_string(i + 1)}, {"uploadId", upload_.id}};
    part.call.file = &bodies_[i];
    part.call.what = what_;
    return part;
  }

  Result<std::string> etag_of(const http::Response& response) const {
    std::string etag = unquote_etag(response.header("etag"));
    crash_point("s3_upload.after_part");
    if (etag.empty()) return make_error(ErrorCode::io, what_, "the server's reply to a part has no ETag");
    return etag;
  }

  // On the thread that hashes, and on those that send.
  void told(std::uint64_t bytes) EXCLUDES(mutex_) {
    if (!source_.progress) return;
    MutexLock lock(mutex_);
    source_.progress(bytes);
  }

  S3Vault& vault_;
  const std::string& key_;
  const PutSource& source_;
  const std::uint64_t part_bytes_;
  const Upload& upload_;
  const std::string what_;
  const std::stop_token& stop_;
  Hasher whole_{Hasher::Want{}};
  std::vector<FileBody> bodies_;
  Mutex mutex_;
};

Result<PutResult> S3Vault::put_multipart(const std::string& key, const PutSource& source, ObjectMeta meta,
                                         const std::stop_token& stop) {
  const std::string what = "put vault object " + printable(key);
  if (source.size_bytes > kMaxObject)
    return make_error(ErrorCode::too_large, what, "S3 takes objects of 5 TiB");
  if (!meta.checksum) {  // it goes with the request that opens the upload
    MEDIAFS_ASSIGN(const Checksums sums,
                   hash_piece(source.fd, 0, source.size_bytes, {}, nullptr, what, stop));
    meta.checksum = sums.xxh128;
  }
  const std::uint64_t part_bytes = part_size(source.size_bytes, client_.options().min_part);
  const std::string of = digest_of(source.size_bytes, part_bytes, meta);
  MEDIAFS_ASSIGN(const Upload upload, begin_upload(key, meta, of, what, stop));
  FileParts parts(*this, key, source, part_bytes, upload, what, stop);
  const ObjectInfo expected{
      .key = key, .size_bytes = source.size_bytes, .etag = {}, .meta = meta, .meta_known = true};
  auto etags = parts.send(*meta.checksum);
  crash_point("s3_upload.before_complete");
  auto info = etags ? complete_upload(upload.id, *etags, expected, source.only_new, what, stop)
                    : Result<ObjectInfo>(std::move(etags).error());
  crash_point("s3_upload.after_complete");
  if (!info && upload.noted && worth_keeping(info.error().code)) return std::move(info).error();
  if (!info) abort_upload(key, upload.id);
  notes_.forget(client_.object_key(key));
  if (!info) return std::move(info).error();
  const std::string computed = parts.expected_etag(*etags);
  if (!computed.empty() && is_multipart_md5(info->etag) && info->etag != computed) {
    return make_error(ErrorCode::corrupt, what, "the server's checksum of the object is not the file's");
  }
  return PutResult{std::move(*info), *meta.checksum};
}

// The noted upload, if it was begun for just this and the store has it still; else a new one.
Result<S3Vault::Upload> S3Vault::begin_upload(const std::string& key, const ObjectMeta& meta,
                                              const std::string& of, const std::string& what,
                                              const std::stop_token& stop) {
  const std::string full = client_.object_key(key);
  if (auto note = notes_.find(full)) {
    if (note->of == of) {
      auto parts = list_parts(key, note->id, what, stop);
      if (parts) {
        log::info("an upload goes on", {{"path", printable(key)}, {"parts", std::uint64_t{parts->size()}}});
        return Upload{std::move(note->id), true, std::move(*parts)};
      }
      if (parts.error().code != ErrorCode::not_found) return std::move(parts).error();
    } else {
      abort_upload(key, note->id);
    }
    notes_.forget(full);
  }
  MEDIAFS_ASSIGN(std::string id, create_upload(key, meta, what, stop));
  crash_point("s3_upload.after_create");
  const bool noted = notes_.remember(full, {.id = id, .of = of});
  crash_point("s3_upload.after_note");
  return Upload{std::move(id), noted, {}};
}

Result<std::map<std::uint64_t, ListedPart>> S3Vault::list_parts(const std::string& key, const std::string& id,
                                                                const std::string& what,
                                                                const std::stop_token& stop) {
  std::map<std::uint64_t, ListedPart> parts;
  Call call;
  call.key = key;
  call.stop = stop;
  call.what = what;
  for (std::uint64_t marker = 0;;) {
    call.query = {{"uploadId", id}};
    if (marker > 0) call.query.emplace_back("part-number-marker", std::to_string(marker));
    MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
    MEDIAFS_ASSIGN(PartsPage page, parse_parts(response.body));
    for (ListedPart& part : page.parts) parts.insert_or_assign(part.number, std::move(part));
    if (!page.truncated) return parts;
    if (page.next <= marker) return make_error(ErrorCode::io, what, "the server repeats itself");
    marker = page.next;
  }
}

Status S3Vault::collect_garbage() {
  notes_.drop_older_than(kKeepUploads);
  const std::string base = client_.list_prefix("");
  Call call;
  call.what = "list the unfinished uploads of " + describe();
  UploadsPage page;
  do {
    // Without encoding-type: radosgw would encode the keys and not say so.
    call.query = {{"uploads", ""}, {"prefix", base}};
    if (!page.next_key.empty()) {
      call.query.emplace_back("key-marker", page.next_key);
      call.query.emplace_back("upload-id-marker", page.next_id);
    }
    MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
    const std::string before = page.next_key + "\n" + page.next_id;
    MEDIAFS_ASSIGN(page, parse_uploads(response.body));
    for (const ListedUpload& upload : page.uploads) {
      if (!upload.key.starts_with(base) || upload.key == base || upload.id.empty()) continue;
      const auto note = notes_.find(upload.key);
      if (note && note->id == upload.id) continue;  // its put goes on with it
      const std::string key = path_of_key(upload.key.substr(base.size()));
      if (check_path(key)) abort_upload(key, upload.id);
    }
    if (page.truncated && page.next_key + "\n" + page.next_id == before) {
      return make_error(ErrorCode::io, call.what, "the server repeats itself");
    }
  } while (page.truncated);
  return {};
}

}  // namespace mediafs::tier::s3
