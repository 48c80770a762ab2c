#include "tier/vault/s3.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <future>

#include "common/fd.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/vault/names.h"
#include "tier/vault/s3_access.h"
#include "tier/vault/s3_vault.h"
#include "tier/vault/s3_xml.h"

namespace mediafs::tier::s3 {

namespace {

constexpr std::size_t kMaxKey = 1024;
constexpr std::size_t kPieceBytes = 1 << 20;
constexpr std::string_view kOwn = ".mediafs";

Error config_error(const char* key, const std::string& value, std::string why) {
  return make_error(ErrorCode::config, std::string(key) + " " + printable(value), std::move(why));
}

Status parse_url(const std::string& url, Options& options) {
  const std::string rest = url.substr(std::string_view("s3://").size());
  options.bucket = rest.substr(0, rest.find('/'));
  const bool good = options.bucket.size() >= 3 && options.bucket.size() <= 255 &&
                    std::all_of(options.bucket.begin(), options.bucket.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_';
                    });
  if (!good) return config_error("vault.url", url, "needs a bucket: s3://bucket/prefix");
  if (rest.size() > options.bucket.size()) options.prefix = rest.substr(options.bucket.size() + 1);
  while (options.prefix.ends_with('/')) options.prefix.pop_back();
  if (options.prefix.empty()) return {};
  if (auto fine = check_path(options.prefix); !fine)
    return config_error("vault.url", url, fine.error().cause);
  return {};
}

Status parse_endpoint(const std::string& endpoint, Options& options) {
  const bool plain = endpoint.starts_with("http://");
  options.tls = endpoint.starts_with("https://");
  if (!plain && !options.tls) return config_error("vault.endpoint", endpoint, "needs http:// or https://");
  std::string rest = endpoint.substr(endpoint.find("//") + 2);
  if (rest.find_first_of("@?# \t\r\n") != std::string::npos) {
    return make_error(ErrorCode::config, "vault.endpoint",
                      "needs a plain address: http://host:port, without user or query");
  }
  while (rest.ends_with('/')) rest.pop_back();
  options.host = rest.substr(0, rest.find('/'));
  options.base_path = rest.substr(options.host.size());
  if (options.host.empty() || options.host.front() == ':')
    return config_error("vault.endpoint", endpoint, "names no host");
  const std::string own_port = options.tls ? ":443" : ":80";
  if (options.host.ends_with(own_port)) options.host.resize(options.host.size() - own_port.size());
  return {};
}

}  // namespace

Result<Options> options_from(const Config& config, const Credentials& credentials) {
  Options options;
  options.region = config.vault.region.empty() ? "us-east-1" : config.vault.region;
  options.credentials = credentials;
  options.ca_file = config.vault.ca;
  if (!config.local.state.empty()) options.notes_folder = config.local.state + "/uploads";
  MEDIAFS_TRY(parse_url(config.vault.url, options));
  if (config.vault.endpoint.empty()) {
    options.host = amazon_host(options.region);
    // AWS's certificate does not cover bucket names with dots.
    options.path_style = options.bucket.find('.') != std::string::npos;
  } else {
    MEDIAFS_TRY(parse_endpoint(config.vault.endpoint, options));
    options.path_style = config.vault.path_style;
  }
  if (credentials.access_key.empty() || credentials.secret_key.empty()) {
    return make_error(ErrorCode::credentials, "vault.url " + printable(config.vault.url),
                      "needs access_key and secret_key (in the file that vault.credentials names)");
  }
  return options;
}

std::unique_ptr<Vault> open_s3_vault(Options options) {
  return std::make_unique<S3Vault>(std::move(options));
}

std::string content_type(const std::string& key) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kTypes{{
      {"mkv", "video/x-matroska"},
      {"mp4", "video/mp4"},
      {"m4v", "video/x-m4v"},
      {"avi", "video/x-msvideo"},
      {"mov", "video/quicktime"},
      {"webm", "video/webm"},
      {"ts", "video/mp2t"},
      {"mpg", "video/mpeg"},
      {"mp3", "audio/mpeg"},
      {"flac", "audio/flac"},
      {"m4a", "audio/mp4"},
      {"jpg", "image/jpeg"},
      {"png", "image/png"},
      {"srt", "application/x-subrip"},
      {"txt", "text/plain"},
      {"nfo", "text/plain"},
  }};
  const std::string_view name = base_name(key);
  const auto dot = name.rfind('.');
  std::string extension(dot == std::string_view::npos ? std::string_view() : name.substr(dot + 1));
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const auto& [suffix, type] : kTypes) {
    if (extension == suffix) return std::string(type);
  }
  return "application/octet-stream";
}

bool is_md5(std::string_view etag) {
  return etag.size() == 32 && etag.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<Checksums> hash_piece(int fd, std::uint64_t offset, std::uint64_t size_bytes, Hasher::Want want,
                             Hasher* whole, const std::string& what, const std::stop_token& stop) {
  Hasher hasher(want);
  std::vector<std::byte> buffer(
      static_cast<std::size_t>(std::clamp<std::uint64_t>(size_bytes, 1, kPieceBytes)));
  for (std::uint64_t done = 0; done < size_bytes;) {
    if (stop.stop_requested()) return make_error(ErrorCode::cancelled, what, "asked to stop");
    const auto piece = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size_bytes - done)));
    MEDIAFS_ASSIGN(const std::size_t got, read_some(fd, piece, offset + done));
    if (got < piece.size()) return make_error(ErrorCode::changed, what, "the file became shorter meanwhile");
    hasher.update(piece);
    if (whole != nullptr) whole->update(piece);
    done += got;
  }
  return hasher.finish();
}

Status S3Vault::check_key(const std::string& key) const {
  if (key.empty()) return make_error(ErrorCode::invalid, "vault object", "its key is empty");
  MEDIAFS_TRY(check_path(key));
  MEDIAFS_ASSIGN(const std::string stored, key_of_path(key));
  if (stored.empty()) return make_error(ErrorCode::invalid, "vault object", "its key is empty");
  if (client_.object_key(key).size() > kMaxKey) {
    return make_error(ErrorCode::name_too_long, "vault object " + printable(key),
                      "S3 takes keys of 1024 bytes");
  }
  return {};
}

Status S3Vault::probe() {
  Call call;
  call.query = {{"list-type", "2"}, {"max-keys", "1"}, {"prefix", client_.list_prefix("")}};
  call.what = "vault " + describe();
  MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
  if (auto page = parse_list(response.body); !page) {
    return make_error(ErrorCode::io, call.what,
                      "this is no S3 server: " + page.error().cause + " (check vault.endpoint)");
  }
  return {};
}

Result<PutResult> S3Vault::put(const std::string& key, const PutSource& source, const ObjectMeta& meta,
                               std::stop_token stop) {
  MEDIAFS_TRY(check_key(key));
  if (source.only_new &&
      if_new_ != Condition::honoured) {  // it may well be ignored: then this look is all there is
    const auto there = head(key);
    if (there) return stands_there(key);
    if (there.error().code != ErrorCode::not_found) return there.error();
  }
  if (source.size_bytes <= client_.options().multipart_above) return put_single(key, source, meta, stop);
  return put_multipart(key, source, meta, stop);
}

Error S3Vault::stands_there(const std::string& key) {
  return make_error(ErrorCode::exists, "put vault object " + printable(key),
                    "something stands there already");
}

// A PUT whose answer was lost: what the server says of the object, if that is the one that was sent.
std::optional<http::Response> S3Vault::landed(const ObjectInfo& sent, const std::string& md5_hex) {
  Call call;
  call.method = "HEAD";
  call.key = sent.key;
  call.what = "head vault object " + printable(sent.key);
  auto found = client_.call(call);
  if (!found) return std::nullopt;
  const ObjectMeta meta = meta_from(found->headers);
  const std::string etag = unquote_etag(found->header("etag"));
  const bool same = meta.checksum == sent.meta.checksum && meta.mtime_ns == sent.meta.mtime_ns &&
                    found->header("content-length") == std::to_string(sent.size_bytes) &&
                    (etag == md5_hex || !is_md5(etag));
  return same ? std::optional<http::Response>(std::move(*found)) : std::nullopt;
}

Result<http::Response> S3Vault::send_if_new(Call& call, const std::string& key) {
  if (if_new_ == Condition::refused) return client_.call(call);
  Call asked = call;
  asked.headers.emplace_back("if-none-match", "*");
  auto answer = client_.call(asked);
  if (answer) return answer;
  if (answer.error().code == ErrorCode::changed && answer.error().cause.starts_with("HTTP 412")) {
    if_new_ = Condition::honoured;
    return stands_there(key);
  }
  if (answer.error().code != ErrorCode::unsupported) return answer;
  if_new_ = Condition::refused;
  return client_.call(call);
}

Result<PutResult> S3Vault::put_single(const std::string& key, const PutSource& source, ObjectMeta meta,
                                      const std::stop_token& stop) {
  const std::string what = "put vault object " + printable(key);
  const Hasher::Want want{.md5 = true, .sha256 = !client_.options().tls};
  MEDIAFS_ASSIGN(const Checksums sums,
                 hash_piece(source.fd, 0, source.size_bytes, want, nullptr, what, stop));
  if (meta.checksum && *meta.checksum != sums.xxh128) {
    return make_error(ErrorCode::changed, what, "the file is not the one that was checksummed");
  }
  meta.checksum = sums.xxh128;
  FileBody body{.fd = source.fd,
                .size_bytes = source.size_bytes,
                .md5_hex = sums.md5_hex,
                .sha256_hex = sums.sha256_hex,
                .progress = source.progress};
  if (source.size_bytes == 0) *body.all_sent = true;  // nobody asks for a byte of it
  Call call;
  call.method = "PUT";
  call.key = key;
  call.headers = meta_headers(meta);
  call.headers.emplace_back("content-type", content_type(key));
  call.file = &body;
  call.stop = stop;
  call.what = what;
  ObjectInfo info{.key = key, .size_bytes = source.size_bytes, .etag = {}, .meta = meta, .meta_known = true};
  call.landed = [&] { return landed(info, sums.md5_hex); };
  auto answer = source.only_new ? send_if_new(call, key) : client_.call(call);
  if (!answer) return std::move(answer).error();
  const http::Response response = std::move(*answer);

  info.etag = unquote_etag(response.header("etag"));
  if (info.etag == sums.md5_hex) return PutResult{std::move(info), sums.xxh128};
  const bool own_md5 = response.header("x-amz-server-side-encryption").empty() &&
                       response.header("x-amz-server-side-encryption-customer-algorithm").empty();
  if (is_md5(info.etag) && own_md5) {
    return make_error(ErrorCode::corrupt, what, "the server's checksum of the object is not the file's");
  }
  info.etag.clear();  // says nothing about the bytes here
  MEDIAFS_ASSIGN(ObjectInfo proven, prove(key, info, what));
  return PutResult{std::move(proven), sums.xxh128};
}

Result<ObjectInfo> S3Vault::prove(const std::string& key, const ObjectInfo& expected,
                                  const std::string& what) {
  MEDIAFS_ASSIGN(ObjectInfo found, head(key));
  if (found.size_bytes != expected.size_bytes) {
    return make_error(ErrorCode::corrupt, what,
                      "the vault holds " + std::to_string(found.size_bytes) + " bytes of " +
                          std::to_string(expected.size_bytes));
  }
  if (found.meta.checksum != expected.meta.checksum || found.meta.mtime_ns != expected.meta.mtime_ns) {
    return make_error(ErrorCode::corrupt, what,
                      "the vault holds another version, or lost the object's metadata");
  }
  if (!expected.etag.empty() && found.etag != expected.etag) {
    return make_error(ErrorCode::corrupt, what, "the server's checksum of the object is not the file's");
  }
  return found;
}

Result<ObjectInfo> S3Vault::head(const std::string& key) {
  MEDIAFS_TRY(check_key(key));
  Call call;
  call.method = "HEAD";
  call.key = key;
  call.what = "head vault object " + printable(key);
  auto response = client_.call(call);
  if (!response) {
    const ErrorCode code = response.error().code;
    if (code != ErrorCode::permission && code != ErrorCode::invalid) return std::move(response).error();
    // A HEAD's refusal has no body to say why; a GET's has. What that says may help: other credentials, another region.
    Call why = call;
    why.method = "GET";
    why.headers = {{"range", "bytes=0-0"}};
    if (auto told = client_.call(why); !told) return std::move(told).error();
    response = client_.call(call);
    if (!response) return std::move(response).error();
  }
  ObjectInfo info{.key = key,
                  .etag = unquote_etag(response->header("etag")),
                  .meta = meta_from(response->headers),
                  .meta_known = true};
  const std::string length(response->header("content-length"));
  if (length.empty() || length.find_first_not_of("0123456789") != std::string::npos || length.size() > 18) {
    return make_error(ErrorCode::io, call.what, "the server's reply has no size");
  }
  if (info.etag.empty()) return make_error(ErrorCode::io, call.what, "the server's reply has no ETag");
  info.size_bytes = std::stoull(length);
  return info;
}

std::uint64_t S3Vault::start_read(ReadRequest request,
                                  std::function<bool(std::span<const std::byte>)> on_bytes,
                                  std::function<void(Status)> on_done) {
  std::optional<Error> refused;
  if (auto fine = check_key(request.key); !fine) refused = std::move(fine).error();
  if (request.size_bytes == 0) {
    refused =
        make_error(ErrorCode::invalid, "read vault object " + printable(request.key), "the range is empty");
  }
  return reads_.start(std::move(request), std::move(on_bytes), std::move(on_done), std::move(refused));
}

Status S3Vault::remove(const std::string& key) {
  MEDIAFS_TRY(check_key(key));
  Call call;
  call.method = "DELETE";
  call.key = key;
  call.what = "remove vault object " + printable(key);
  auto response = client_.call(call);
  if (response) return {};
  const bool bucket_gone = response.error().cause.find("NoSuchBucket") != std::string::npos;
  if (response.error().code == ErrorCode::not_found && !bucket_gone) return {};
  return std::move(response).error();
}

namespace {

// What the tree is to show of it; nullopt: nothing.
std::optional<ObjectInfo> listed_info(ListedObject&& object, const std::string& base, bool hide_own) {
  if (!object.key.starts_with(base)) return std::nullopt;
  std::string_view key = std::string_view(object.key).substr(base.size());
  if (hide_own && key.size() > kOwn.size() && is_within(key, kOwn)) return std::nullopt;
  // Other programs keep an empty folder as an object of no bytes whose key ends in a slash.
  const bool folder = object.size_bytes == 0 && key.ends_with('/');
  if (folder) key.remove_suffix(1);
  if (key.empty()) return std::nullopt;  // the prefix's own marker
  ObjectInfo info{.key = path_of_key(key),
                  .size_bytes = object.size_bytes,
                  .etag = std::move(object.etag),
                  .meta = {},
                  .any_key = true,
                  .folder = folder};
  info.meta.mtime_ns = object.modified_ns;
  return info;
}

// A listing's next page, asked for before it is wanted; given up when nobody wants it any more.
struct PageAhead {
  explicit PageAhead(const std::stop_token& stop) : forward(stop, Stop{&until}) {}
  ~PageAhead() {
    until.request_stop();
    if (reply.valid()) reply.wait();
  }
  PageAhead(const PageAhead&) = delete;
  PageAhead& operator=(const PageAhead&) = delete;
  struct Stop {
    std::stop_source* source;
    void operator()() const noexcept { source->request_stop(); }
  };
  std::stop_source until;
  std::stop_callback<Stop> forward;
  std::future<Result<http::Response>> reply;
};

}  // namespace

Status S3Vault::list(const std::string& prefix, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                     std::stop_token stop) {
  if (!prefix.empty()) MEDIAFS_TRY(check_path(prefix));
  return list_pages({prefix, ""}, page, stop);
}

Status S3Vault::list_after(const std::string& after,
                           const std::function<bool(std::vector<ObjectInfo>&&)>& page, std::stop_token stop) {
  return list_pages({"", after}, page, stop);
}

Status S3Vault::list_pages(const Listing& listing, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                           const std::stop_token& stop) {
  const std::string base = client_.list_prefix("");
  const bool hide_own = !is_within(listing.folder, kOwn);
  const std::string what = "list " + describe();
  const auto ask = [this, &listing, &what](const std::string& token, std::stop_token until) {
    Call call;
    call.stop = std::move(until);
    call.what = what;
    call.query = {{"list-type", "2"},
                  {"encoding-type", "url"},
                  {"max-keys", std::to_string(client_.options().list_page)},
                  {"prefix", client_.list_prefix(listing.folder)}};
    if (token.empty() && !listing.after.empty())
      call.query.emplace_back("start-after", client_.object_key(listing.after));
    if (!token.empty()) call.query.emplace_back("continuation-token", token);
    return client_.call(call);
  };
  PageAhead ahead(stop);
  for (std::string token;;) {
    MEDIAFS_ASSIGN(const http::Response response, ahead.reply.valid() ? ahead.reply.get() : ask(token, stop));
    MEDIAFS_ASSIGN(ListPage got, parse_list(response.body));
    if (got.truncated && got.continuation == token)
      return make_error(ErrorCode::io, what, "the server repeats itself");
    // The next page is on its way while the caller is busy with this one.
    if (got.truncated) {
      ahead.reply = std::async(std::launch::async, ask, got.continuation, ahead.until.get_token());
    }
    std::vector<ObjectInfo> objects;
    for (ListedObject& object : got.objects) {
      if (auto info = listed_info(std::move(object), base, hide_own)) objects.push_back(std::move(*info));
    }
    if (!objects.empty() && !page(std::move(objects))) return {};
    if (!got.truncated) return {};
    token = std::move(got.continuation);
  }
}

}  // namespace mediafs::tier::s3
