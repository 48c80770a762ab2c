// An upload goes to a temporary name, is proven there, gets its metadata, and is moved to its place.
#include <ctime>
#include <future>

#include "tier/vault/webdav_upload.h"

namespace mediafs::tier::webdav {

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr int kMostRounds = 3;
// Where an etag is a size and a second, another second makes another etag.
constexpr std::chrono::milliseconds kNextSecond{1100};

std::string http_date(std::int64_t seconds) {
  const std::time_t when = static_cast<std::time_t>(seconds);
  std::tm utc{};
  char text[64] = "";
  if (::gmtime_r(&when, &utc) == nullptr) return {};
  const std::size_t size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return std::string(text, size);
}

Error corrupt(const std::string& what, std::string why) {
  return make_error(ErrorCode::corrupt, what, std::move(why));
}

// ownCloud's checksums name the algorithm; only SHA-1 is known on both sides.
bool contradicts(const std::string& checksums, const std::string& sha1_hex) {
  const auto at = checksums.find("SHA1:");
  if (at == std::string::npos || sha1_hex.empty()) return false;
  std::string theirs = checksums.substr(at + 5, 40);
  for (char& c : theirs) c = c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c;
  return theirs != sha1_hex;
}

}  // namespace

std::vector<std::string> mtime_headers(WallNs mtime_ns, bool by_date) {
  const std::int64_t seconds = mtime_ns / kSecond;
  std::vector<std::string> headers;
  // Nextcloud refuses what lies within a day of 1970.
  if (seconds > 86'400) headers.push_back("x-oc-mtime: " + std::to_string(seconds));
  if (by_date && seconds > 0) headers.push_back("date: " + http_date(seconds));
  return headers;
}

Result<Xxh128> DavVault::send(const Temp& temp, const Upload& upload, const Task& task) {
  if (client_.nextcloud() && upload.source.size_bytes > client_.options().chunk_above)
    return send_chunks(temp, upload, task);
  FileBody body{.fd = upload.source.fd, .size_bytes = upload.source.size_bytes};
  if (upload.first) body.progress = upload.source.progress;
  Call call;
  call.method = "PUT";
  call.path = temp.path();
  call.headers = mtime_headers(upload.meta.mtime_ns, upload.date_sets_mtime);
  if (client_.nextcloud() && !upload.meta.sha1_hex.empty())
    call.headers.push_back("oc-checksum: SHA1:" + upload.meta.sha1_hex);
  call.file = &body;
  call.stop = task.stop;
  call.what = task.what;
  MEDIAFS_TRY(call_into_temp(call, task));
  return body.hasher->finish().xxh128;
}

Result<Xxh128> DavVault::read_back(const std::string& key, std::uint64_t size_bytes, const std::string& etag,
                                   const Task& task) {
  Hasher hasher(Hasher::Want{});
  std::promise<Status> done;
  const std::uint64_t read = reads_.start(
      {.key = key, .offset = 0, .size_bytes = size_bytes, .if_match = etag},
      [&hasher](std::span<const std::byte> bytes) {
        hasher.update(bytes);
        return true;
      },
      [&done](Status status) { done.set_value(std::move(status)); }, std::nullopt);
  const std::stop_callback on_stop(task.stop, [this, read] { reads_.cancel(read); });
  if (auto status = done.get_future().get(); !status) {
    Error error = std::move(status).error();
    if (error.code == ErrorCode::changed) {  // nobody else knows the name
      error.code = ErrorCode::unsupported;
      error.cause += " (what the server says of an upload does not agree with what it sends of it)";
    }
    error.what = task.what;
    return error;
  }
  return hasher.finish().xxh128;
}

Result<std::string> DavVault::prove(const Temp& temp, const Upload& upload, const Xxh128& sent,
                                    const Task& task) {
  MEDIAFS_ASSIGN(const std::optional<Resource> found, look(temp.path(), task));
  const std::uint64_t size = upload.source.size_bytes;
  if (!found || !found->size_bytes || *found->size_bytes != size) {
    return corrupt(task.what, "the vault holds " + std::to_string(found ? found->size_bytes.value_or(0) : 0) +
                                  " bytes of " + std::to_string(size));
  }
  if (contradicts(found->checksums, upload.meta.sha1_hex))
    return corrupt(task.what, "the server's checksum of the object is not the file's");
  if (size == 0 || !client_.options().read_back) return found->etag;
  MEDIAFS_ASSIGN(const Xxh128 held, read_back(temp.key(), size, found->etag, task));
  if (held != sent) return corrupt(task.what, "the vault holds other bytes than were sent");
  return found->etag;
}

Result<bool> DavVault::set_meta(const std::string& key, const ObjectInfo& expected, const Task& task) {
  if (no_properties_ || expected.etag.empty()) return false;
  Call call;
  call.method = "PROPPATCH";
  call.path = client_.path_of(key);
  call.body_text = proppatch_body(expected.meta, version_of(expected.size_bytes, expected.etag));
  call.accept = {403, 405, 501};
  call.stop = task.stop;
  call.what = task.what;
  MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
  int status = response.status;
  if (status == 207) {
    MEDIAFS_ASSIGN(status, patch_status(response.body));
  }
  if (status == 507)
    return client_.explain(task.what, http::Response{.status = status, .headers = {}, .body = {}});
  if ((status == 403 || status == 405 || status == 501) && !no_properties_.exchange(true)) {
    log::warning(
        "this WebDAV server keeps no properties: times, modes and checksums of its files are known to "
        "this machine's catalogue only",
        {{"vault", describe()}});
  }
  return status >= 200 && status < 300;
}

Result<ObjectInfo> DavVault::settle(const std::string& key, const ObjectInfo& expected, const Task& task) {
  MEDIAFS_ASSIGN(ObjectInfo info, object_at(key, task));
  if (info.size_bytes != expected.size_bytes) {
    return corrupt(task.what, "the vault holds " + std::to_string(info.size_bytes) + " bytes of " +
                                  std::to_string(expected.size_bytes));
  }
  if (info.meta_known && info.meta.checksum == expected.meta.checksum &&
      info.meta.mtime_ns == expected.meta.mtime_ns)
    return info;
  // Some servers give a moved file another etag, or lose its properties.
  ObjectInfo told = expected;
  told.etag = info.etag;
  MEDIAFS_ASSIGN(const bool kept, set_meta(key, told, task));
  if (!kept) return info;
  return object_at(key, task);
}

// A proxy before the server may still be handing on the upload of a killed process when collect_garbage() looks. What is
// not this process's, and did not change from one look to the next, is removed.
void DavVault::sweep() {
  const auto now = std::chrono::steady_clock::now();
  std::map<std::string, std::string> before;
  {
    MutexLock lock(mutex_);
    if (now - swept_ < client_.options().sweep_every) return;
    swept_ = now;
    before.swap(strangers_);
  }
  const Task task{"clear up " + describe()};
  std::map<std::string, std::string> found;
  const Status seen = walk(client_, {.folder = kTemp, .parallel = 1, .what = task.what}, [&](auto&& objects) {
    for (const ObjectInfo& object : objects) {
      if (!base_name(object.key).starts_with(token_ + "-"))
        found[object.key] = version_of(object.size_bytes, object.etag);
    }
    return true;
  });
  if (!seen) return;  // the put will say more
  for (const auto& [key, version] : found) {
    const auto known = before.find(key);
    if (known == before.end() || known->second != version) {
      MutexLock lock(mutex_);
      strangers_[key] = version;
    } else if (auto removed = remove_at(client_.path_of(key), task); !removed) {
      log::warning("unfinished upload stays", removed.error(), {{"path", printable(key)}});
    }
  }
}

Result<PutResult> DavVault::put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                                std::stop_token stop) {
  MEDIAFS_TRY(check_key(key));
  sweep();
  const Task task{"put vault object " + printable(key), std::move(stop)};
  Upload upload{.source = source, .meta = meta};
  if (source.only_new || client_.is_nginx()) {
    MEDIAFS_ASSIGN(const std::optional<Resource> there, look(client_.path_of(key), task));
    if (there && source.only_new)
      return make_error(ErrorCode::exists, task.what, "something stands there already");
    // The old time for new bytes of the same size would make the old etag.
    upload.date_sets_mtime = client_.is_nginx() && !(there && there->size_bytes == source.size_bytes);
  }
  std::string last_etag;
  for (int round = 1;; ++round) {
    Temp temp(*this);
    temp.begun();
    const auto answered = send(temp, upload, task);
    if (!answered) {
      if (answered.error().code == ErrorCode::offline) temp.gone();  // nor would it hear of a removal
      return answered.error();
    }
    const Xxh128 sent = *answered;
    if (meta.checksum && *meta.checksum != sent)
      return make_error(ErrorCode::changed, task.what, "the file is not the one that was checksummed");
    MEDIAFS_ASSIGN(const std::string etag, prove(temp, upload, sent, task));
    ObjectInfo expected{.key = key, .size_bytes = source.size_bytes, .etag = etag, .meta = meta};
    expected.meta.checksum = sent;
    MEDIAFS_TRY(set_meta(temp.key(), expected, task));
    MEDIAFS_ASSIGN(
        const Moved moved,
        move_to_place({.temp = temp.key(),
                       .key = key,
                       .size_bytes = source.size_bytes,
                       .etag = etag,
                       .only_new = source.only_new,
                       // One that a new time does not change is made from the bytes: these are the old ones.
                       .accept_same_etag = etag == last_etag || round >= kMostRounds},
                      task));
    if (moved == Moved::yes) {
      temp.gone();
      MEDIAFS_ASSIGN(ObjectInfo info, settle(key, expected, task));
      return PutResult{std::move(info), sent};
    }
    last_etag = etag;
    upload.first = false;
    upload.date_sets_mtime = false;
    wait_unless_stopped(task.stop, std::chrono::steady_clock::now() + kNextSecond);
  }
}

Result<ObjectInfo> DavVault::copy(const std::string& from, const std::string& to, const ObjectMeta& meta,
                                  std::stop_token stop) {
  MEDIAFS_TRY(check_key(from));
  MEDIAFS_TRY(check_key(to));
  const Task task{"copy vault object " + printable(from), std::move(stop)};
  MEDIAFS_ASSIGN(const ObjectInfo source, object_at(from, task));
  ObjectInfo expected{.key = to, .size_bytes = source.size_bytes, .etag = source.etag, .meta = meta};
  if (!expected.meta.checksum) expected.meta.checksum = source.meta.checksum;
  if (expected.meta.sha1_hex.empty()) expected.meta.sha1_hex = source.meta.sha1_hex;
  if (from == to) return replace_meta(expected, task);

  Temp temp(*this);
  temp.begun();
  Call call;
  call.method = "COPY";
  call.path = client_.path_of(from);
  call.headers = {"destination: " + temp.url(), "overwrite: T"};
  call.stop = task.stop;
  call.stall = client_.options().slow_answer;
  call.what = task.what;
  MEDIAFS_TRY(call_into_temp(call, task));
  MEDIAFS_ASSIGN(const ObjectInfo copied, object_at(temp.key(), task));
  if (copied.size_bytes != source.size_bytes) return corrupt(task.what, "the server's copy has another size");
  expected.etag = copied.etag;
  MEDIAFS_TRY(set_meta(temp.key(), expected, task));
  MEDIAFS_TRY(move_to_place({.temp = temp.key(),
                             .key = to,
                             .size_bytes = expected.size_bytes,
                             .etag = expected.etag,
                             .accept_same_etag = true},
                            task));
  temp.gone();
  return settle(to, expected, task);
}

Result<ObjectInfo> DavVault::replace_meta(ObjectInfo expected, const Task& task) {
  if (client_.nextcloud()) {  // what rclone and its own pages show
    Call call;
    call.method = "PROPPATCH";
    call.path = client_.path_of(expected.key);
    call.body_text = modified_body(expected.meta.mtime_ns);
    call.accept = {400, 403, 405, 409, 501};
    call.stop = task.stop;
    call.what = task.what;
    MEDIAFS_TRY(client_.call(call));
    MEDIAFS_ASSIGN(const ObjectInfo now, object_at(expected.key, task));
    expected.etag = now.etag;
  }
  MEDIAFS_TRY(set_meta(expected.key, expected, task));
  return object_at(expected.key, task);
}

}  // namespace mediafs::tier::webdav
