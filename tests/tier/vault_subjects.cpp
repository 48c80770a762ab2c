#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "tests/tier/vault_contract.h"
#include "tier/vault/dir.h"
#include "tier/vault/s3_client.h"
#include "tier/vault/s3_xml.h"
#include "tier/vault/webdav_client.h"
#include "tier/vault/webdav_vault.h"

namespace mediafs::tier::test {

namespace {

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// The servers outlive one run: names are unique over runs.
std::string unique(const std::string& stem) {
  static std::atomic<unsigned> counter{0};
  return stem + "-" + std::to_string(std::random_device{}()) + "-" + std::to_string(counter.fetch_add(1));
}

s3::Options server_options() {
  Config config;
  config.vault.url = "s3://mediafs-contract";
  config.vault.endpoint = environment("MEDIAFS_TEST_S3_ENDPOINT");
  config.vault.region = environment("MEDIAFS_TEST_S3_REGION");
  Credentials credentials;
  credentials.access_key = environment("MEDIAFS_TEST_S3_ACCESS_KEY");
  credentials.secret_key = environment("MEDIAFS_TEST_S3_SECRET_KEY");
  auto options = value_of(s3::options_from(config, credentials));
  options.multipart_above = kPart;
  options.min_part = kPart;
  options.copy_above = kPart + 1000;
  options.copy_part = kPart;
  options.list_page = 10;
  return options;
}

void create_bucket(const s3::Options& options) {
  s3::S3Client client(options);
  s3::Call call;
  call.method = "PUT";
  call.what = "create the test's bucket";
  const auto made = client.call(call);
  const bool there = made || made.error().cause.find("BucketAlready") != std::string::npos;
  REQUIRE_MESSAGE(there, (made ? std::string() : made.error().message()));
}

webdav::Options dav_options() {
  Config config;
  config.vault.url = environment("MEDIAFS_TEST_DAV_URL");
  Credentials credentials;
  credentials.user = environment("MEDIAFS_TEST_DAV_USER");
  credentials.password = environment("MEDIAFS_TEST_DAV_PASSWORD");
  auto options = value_of(webdav::options_from(config, credentials));
  options.list_page = 10;
  options.chunk_above = kPart;
  options.chunk_bytes = kPart - 1;
  return options;
}

}  // namespace

TempFolder::TempFolder() {
  const std::string base = environment("TMPDIR").empty() ? "/tmp" : environment("TMPDIR");
  path_ = base + "/mediafs-vault-XXXXXX";
  REQUIRE(::mkdtemp(path_.data()) != nullptr);
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

DirSubject::DirSubject() : folder_(std::make_shared<TempFolder>()), root_(folder_->path() + "/vault") {}

std::unique_ptr<Vault> DirSubject::open() const {
  return open_dir_vault(root_);
}

std::size_t DirSubject::garbage() const {
  std::error_code none;
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root_ + "/.mediafs/tmp", none)) {
    count += entry.is_regular_file() ? 1U : 0U;
  }
  return count;
}

void DirSubject::pass_to_child() const {
  ::setenv("MEDIAFS_TEST_CHILD", root_.c_str(), 1);
}
DirSubject DirSubject::from_parent() {
  return DirSubject(environment("MEDIAFS_TEST_CHILD"));
}

std::string S3Subject::unavailable() {
  return environment("MEDIAFS_TEST_S3_ENDPOINT").empty()
             ? "no S3 server (MEDIAFS_TEST_S3_ENDPOINT is not set)"
             : "";
}

S3Subject::S3Subject() : options_(server_options()) {
  create_bucket(options_);
  options_.prefix = unique("some prefix+/contract");
}

std::unique_ptr<Vault> S3Subject::open() const {
  return s3::open_s3_vault(options_);
}

std::size_t S3Subject::garbage() const {
  s3::S3Client client(options_);
  s3::Call call;
  call.query = {{"uploads", ""}, {"prefix", client.list_prefix("")}};
  call.what = "list uploads";
  return value_of(s3::parse_uploads(value_of(client.call(call)).body)).uploads.size();
}

void S3Subject::pass_to_child() const {
  ::setenv("MEDIAFS_TEST_CHILD", options_.prefix.c_str(), 1);
}

S3Subject S3Subject::from_parent() {
  auto options = server_options();
  options.prefix = environment("MEDIAFS_TEST_CHILD");
  return S3Subject(std::move(options));
}

std::string DavSubject::unavailable() {
  return environment("MEDIAFS_TEST_DAV_URL").empty() ? "no WebDAV server (MEDIAFS_TEST_DAV_URL is not set)"
                                                     : "";
}

DavSubject::DavSubject() : options_(dav_options()) {
  options_.root += (options_.root.empty() ? "" : "/") + unique("some folder+%41");
  check_ok(open()->probe());  // makes it
}

bool DavSubject::lacks(std::string_view feature) {
  const std::string kind = environment("MEDIAFS_TEST_DAV_KIND");
  constexpr std::pair<std::string_view, std::string_view> kLacking[] = {
      {"apache", "leftovers of a killed upload"},
      {"nginx", "leftovers of a killed upload"},
      {"nginx", "properties"},
      {"nginx", "ETags finer than a second"},
      {"nginx", "dotted names in listings"},
      {"nginx", "folders that must be made"},
      {"nextcloud", "leftovers of a killed upload"},
      {"rclone", "properties"}};
  for (const auto& [server, what] : kLacking) {
    if (server != kind || what != feature) continue;
    MESSAGE("left out: " << kind << " has no " << feature);
    return true;
  }
  return false;
}

std::unique_ptr<Vault> DavSubject::open() const {
  return webdav::open_webdav_vault(options_);
}

std::size_t DavSubject::garbage() const {
  webdav::DavClient client(options_);
  std::size_t count = 0;
  for (const char* folder : {webdav::kTemp, webdav::kAside}) {
    check_ok(webdav::walk(client, {.folder = folder, .what = "count leftovers"},
                          [&count](std::vector<ObjectInfo>&& objects) {
                            count += objects.size();
                            return true;
                          }));
  }
  return count;
}

void DavSubject::pass_to_child() const {
  ::setenv("MEDIAFS_TEST_CHILD", options_.root.c_str(), 1);
}

DavSubject DavSubject::from_parent() {
  auto options = dav_options();
  options.root = environment("MEDIAFS_TEST_CHILD");
  return DavSubject(std::move(options));
}

std::string make_bytes(std::size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
  for (char& c : bytes) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    c = static_cast<char>(state >> 56);
  }
  return bytes;
}

Source::Source(std::string_view bytes) : fd_(::memfd_create("source", MFD_CLOEXEC)), size_(bytes.size()) {
  REQUIRE(write_all(fd_.get(), std::as_bytes(std::span(bytes)), 0));
}

ObjectMeta some_meta() {
  ObjectMeta meta;
  meta.mtime_ns = 1'700'000'000'123'456'789;
  meta.mode = 0640;
  meta.uid = ::getuid();
  meta.gid = ::getgid();
  return meta;
}

PutResult put_bytes(Vault& vault, const std::string& key, std::string_view bytes) {
  const Source source(bytes);
  return value_of(vault.put(key, source.put(), some_meta(), {}));
}

Result<std::string> read_bytes(Vault& vault, const ReadRequest& request) {
  std::string bytes(static_cast<std::size_t>(request.size_bytes), '\0');
  MEDIAFS_ASSIGN(const std::size_t got, vault.read(request, std::as_writable_bytes(std::span(bytes))));
  CHECK(got == bytes.size());
  return bytes;
}

std::vector<ObjectInfo> list_all(Vault& vault, const std::string& prefix) {
  std::vector<ObjectInfo> all;
  check_ok(vault.list(prefix,
                      [&](std::vector<ObjectInfo>&& page) {
                        CHECK_FALSE(page.empty());
                        all.insert(all.end(), page.begin(), page.end());
                        return true;
                      },
                      {}));
  return all;
}

std::vector<std::string> keys_of(const std::vector<ObjectInfo>& objects) {
  std::vector<std::string> keys;
  for (const ObjectInfo& object : objects) keys.push_back(object.key);
  return keys;
}

}  // namespace mediafs::tier::test
