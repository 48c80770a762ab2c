#include "tier/vault/webdav.h"

#include <random>

#include "common/log.h"
#include "common/path.h"
#include "tier/vault/webdav_vault.h"

namespace mediafs::tier::webdav {

namespace {

constexpr std::size_t kMaxPath = 4096;

std::string new_token() {
  std::random_device random;
  return std::to_string((std::uint64_t(random()) << 32U) | random());
}

}  // namespace

Result<Options> options_from(const Config& config, const Credentials& credentials) {
  MEDIAFS_ASSIGN(const Address address, parse_url(config.vault.url));
  Options options;
  options.tls = address.tls;
  options.host = address.host;
  options.root = address.root;
  options.user = credentials.user.empty() ? address.user : credentials.user;
  options.password = credentials.password;
  options.read_back = config.vault.read_back;
  options.ca_file = config.vault.ca;
  if (!address.user.empty() && address.user != options.user) {
    return make_error(ErrorCode::config, "vault.url " + printable(config.vault.url),
                      "names another user than the credentials do");
  }
  if (options.user.find_first_of(":\r\n") != std::string::npos) {
    return make_error(ErrorCode::config, "vault.credentials", "a user name can't hold a colon");
  }
  if (options.user.empty() != options.password.empty()) {
    return make_error(ErrorCode::credentials, "vault.url " + printable(config.vault.url),
                      "needs user and password, or neither (in the file that vault.credentials names)");
  }
  return options;
}

std::unique_ptr<Vault> open_webdav_vault(Options options) {
  return std::make_unique<DavVault>(std::move(options));
}

DavVault::DavVault(Options options) : client_(std::move(options)), reads_(client_), token_(new_token()) {}

Status DavVault::check_key(const std::string& key) const {
  if (key.empty()) return make_error(ErrorCode::invalid, "vault object", "its key is empty");
  MEDIAFS_TRY(check_path(key));
  if (is_within(key, kTemp) || is_within(key, kAside)) {
    return make_error(ErrorCode::invalid, "vault object " + printable(key),
                      "this folder is the driver's own");
  }
  if (client_.path_of(key).size() > kMaxPath)
    return make_error(ErrorCode::name_too_long, "vault object " + printable(key), "its path is too long");
  return {};
}

Result<std::optional<Resource>> DavVault::look(const std::string& path, const Task& task) {
  Call call;
  call.method = "PROPFIND";
  call.path = path;
  call.headers = {"depth: 0"};
  call.body_text = propfind_body(Ask::all);
  call.accept = {400, 404, 410};
  call.stop = task.stop;
  call.what = task.what;
  MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
  if (response.status == 404 || response.status == 410) return std::optional<Resource>{};
  if (response.status == 400) {  // apache's answer below a file
    const std::string above(parent_path(path));
    if (is_within(above, client_.path_of("")) && above != client_.path_of("")) {
      MEDIAFS_ASSIGN(const std::optional<Resource> parent, look(above, task));
      if (!parent || !parent->collection) return std::optional<Resource>{};
    }
    return client_.explain(task.what, response);
  }
  auto found = parse_multistatus(response.body);
  if (!found || response.status != 207 || found->empty()) {
    return make_error(ErrorCode::io, task.what,
                      "this is no WebDAV server, or it is broken: " +
                          (found ? "HTTP " + std::to_string(response.status) : found.error().cause) +
                          " (check vault.url)");
  }
  return std::optional<Resource>{std::move(found->front())};
}

Result<ObjectInfo> DavVault::info_of(const std::string& key, const Resource& resource,
                                     const Task& task) const {
  if (!resource.size_bytes)
    return make_error(ErrorCode::io, task.what, "the server does not say how large it is");
  ObjectInfo info{.key = key, .size_bytes = *resource.size_bytes, .etag = resource.etag, .meta = {}};
  info.meta_known = meta_from(resource, info.meta);
  return info;
}

Result<ObjectInfo> DavVault::object_at(const std::string& key, const Task& task) {
  MEDIAFS_ASSIGN(const std::optional<Resource> found, look(client_.path_of(key), task));
  if (!found || found->collection) return make_error(ErrorCode::not_found, task.what, "it is not there");
  return info_of(key, *found, task);
}

Status DavVault::probe() {
  const Task task{"vault " + describe()};
  MEDIAFS_ASSIGN(std::optional<Resource> root, look(client_.folder_of(""), task));
  if (!root) {
    Call call;
    call.method = "MKCOL";
    call.path = client_.folder_of("");
    call.accept = {404, 405, 409};
    call.what = task.what;
    MEDIAFS_ASSIGN(const http::Response made, client_.call(call));
    if (made.status == 404 || made.status == 409) {
      return make_error(ErrorCode::not_found, task.what,
                        "neither it nor the folder above it is there: make it, or correct vault.url");
    }
    MEDIAFS_ASSIGN(root, look(client_.folder_of(""), task));
  }
  if (!root || !root->collection)
    return make_error(ErrorCode::config, task.what, "it is no folder (check vault.url)");
  return {};
}

Result<ObjectInfo> DavVault::head(const std::string& key) {
  MEDIAFS_TRY(check_key(key));
  const Task task{"head vault object " + printable(key)};
  for (int attempt = 1;; ++attempt) {
    const std::uint64_t mark = client_.mark();
    auto info = object_at(key, task);
    const bool gap = !info && info.error().code == ErrorCode::not_found && client_.replaced_since(mark);
    if (!gap || attempt >= kTries) return info;
    const auto wait = quick_pause(attempt, info.error());
    wait_unless_stopped(client_.stopping(),
                        std::chrono::steady_clock::now() + wait.value_or(client_.options().slow_answer));
  }
}

std::uint64_t DavVault::start_read(ReadRequest request,
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

Status DavVault::remove_at(const std::string& path, const Task& task) {
  Call call;
  call.method = "DELETE";
  call.path = path;
  call.accept = {404, 410};
  call.stop = task.stop;
  call.what = task.what;
  MEDIAFS_ASSIGN(const http::Response response, client_.call(call));
  if (response.status != 207) return {};
  return make_error(ErrorCode::io, task.what, "the server could not remove all of it");
}

// A folder is no object, and DELETE would take all that is in it.
Status DavVault::remove(const std::string& key) {
  MEDIAFS_TRY(check_key(key));
  const Task task{"remove vault object " + printable(key)};
  MEDIAFS_ASSIGN(const std::optional<Resource> found, look(client_.path_of(key), task));
  if (!found || found->collection) return {};
  return remove_at(client_.path_of(key), task);
}

Status DavVault::list(const std::string& prefix, const std::function<bool(std::vector<ObjectInfo>&&)>& page,
                      std::stop_token stop) {
  if (!prefix.empty()) MEDIAFS_TRY(check_path(prefix));
  const bool hide_own = !is_within(prefix, kOwnFolder);
  const auto visible = [&](std::vector<ObjectInfo>&& objects) {
    std::erase_if(objects, [hide_own](const ObjectInfo& object) {
      return is_within(object.key, hide_own ? kOwnFolder : kTemp) || is_within(object.key, kAside);
    });
    return objects.empty() || page(std::move(objects));
  };
  return walk(client_,
              {.folder = prefix,
               .page_size = client_.options().list_page,
               .parallel = client_.options().parallel_lists,
               .what = "list " + describe(),
               .stop = std::move(stop)},
              visible);
}

Status DavVault::collect_garbage() {
  const Task task{"clear up " + describe()};
  const auto each = [&](const char* folder, const std::function<Status(const std::string&)>& act) -> Status {
    Status status;
    MEDIAFS_TRY(walk(client_, {.folder = folder, .what = task.what}, [&](std::vector<ObjectInfo>&& objects) {
      for (const ObjectInfo& object : objects) {
        if (status) status = act(object.key);
      }
      return status.has_value();
    }));
    return status;
  };
  MEDIAFS_TRY(each(kTemp, [&](const std::string& key) { return remove_at(client_.path_of(key), task); }));
  bool any = false;
  MEDIAFS_TRY(each(kAside, [&](const std::string& key) {
    any = true;
    return restore_aside(key, task);
  }));
  return any ? drop_own_folder(kAside, task) : Status();
}

}  // namespace mediafs::tier::webdav
