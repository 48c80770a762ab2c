// What only a server can refuse.
#include <map>

#include "common/path.h"
#include "tests/tier/vault_contract.h"
#include "tier/vault/names.h"
#include "tier/vault/s3_client.h"
#include "tier/vault/s3_xml.h"

namespace mediafs::tier::test {

namespace {

void check_every_call(Vault& vault, ErrorCode expected, const std::string& secret) {
  const Source source("x");
  const Source large(make_bytes(kPart + 1, 1));
  const auto check = [&](const auto& result) {
    CHECK(code_of(result) == expected);
    CHECK(result.error().message().find(secret) == std::string::npos);
  };
  check(vault.probe());
  check(vault.put("a", source.put(), some_meta(), {}));
  check(vault.put("a", large.put(), some_meta(), {}));
  check(vault.head("a"));
  check(read_bytes(vault, {"a", 0, 1, ""}));
  check(vault.copy("a", "b", some_meta(), {}));
  check(vault.remove("a"));
  check(vault.list("", [](std::vector<ObjectInfo>&&) { return true; }, {}));
  check(vault.collect_garbage());
}

}  // namespace

TEST_CASE("s3 vault, S3Subject: wrong credentials") {
  MEDIAFS_SUBJECT(S3Subject, subject);
  auto options = subject.options();
  SUBCASE("a wrong secret key") {
    options.credentials.secret_key = "not-the-secret-key";
  }
  SUBCASE("an unknown access key") {
    options.credentials.access_key = "nobody";
    options.credentials.secret_key = "not-the-secret-key";
  }
  check_every_call(*s3::open_s3_vault(options), ErrorCode::credentials, "not-the-secret-key");
}

TEST_CASE("s3 vault: nobody listens") {
  s3::Options options;
  options.tls = false;
  options.host = "127.0.0.1:1";
  options.bucket = "films";
  options.multipart_above = kPart;
  options.credentials.access_key = "a";
  options.credentials.secret_key = "the-secret";
  check_every_call(*s3::open_s3_vault(options), ErrorCode::offline, "the-secret");
}

TEST_CASE("s3 vault, S3Subject: no such bucket") {
  MEDIAFS_SUBJECT(S3Subject, subject);
  auto options = subject.options();
  options.bucket = "mediafs-no-such-bucket";
  const auto vault = s3::open_s3_vault(options);
  const auto probe = vault->probe();
  CHECK(code_of(probe) == ErrorCode::not_found);
  CHECK(probe.error().message().find("create it") != std::string::npos);
  const Source source("x");
  CHECK(code_of(vault->put("a", source.put(), {}, {})) == ErrorCode::not_found);
  CHECK(code_of(vault->remove("a")) == ErrorCode::not_found);
}

TEST_CASE("s3 vault, S3Subject: what must be new and is large overwrites nothing") {
  MEDIAFS_SUBJECT(S3Subject, subject);
  const auto vault = subject.open();
  const std::string bytes = make_bytes(kPart + 1, 1);
  const Source source(bytes);
  PutSource what = source.put();
  what.only_new = true;
  CHECK(value_of(vault->put("a", what, some_meta(), {})).info.size_bytes == bytes.size());
  put_bytes(*vault, "b", "first");
  for (const std::string key : {"a", "b"})
    CHECK(code_of(vault->put(key, what, some_meta(), {})) == ErrorCode::exists);
  CHECK(value_of(read_bytes(*vault, {"b", 0, 5, ""})) == "first");
  CHECK(subject.garbage() == 0);
}

TEST_CASE("s3 vault, S3Subject: nothing outside the prefix is touched") {
  MEDIAFS_SUBJECT(S3Subject, subject);
  auto beside = subject.options();
  beside.prefix += "-beside";
  const auto vault = subject.open();
  const auto other = s3::open_s3_vault(beside);
  put_bytes(*vault, "a", "mine");
  put_bytes(*other, "a", "theirs");
  // An upload of theirs that is under way.
  s3::S3Client client(beside);
  s3::Call call;
  call.method = "POST";
  call.key = "unfinished";
  call.query = {{"uploads", ""}};
  call.what = "open an upload";
  const std::string id = value_of(s3::parse_upload_id(value_of(client.call(call)).body));
  check_ok(vault->collect_garbage());
  check_ok(vault->remove("a"));
  CHECK(list_all(*vault).empty());
  CHECK(value_of(read_bytes(*other, {"a", 0, 6, ""})) == "theirs");
  CHECK(keys_of(list_all(*other)) == std::vector<std::string>{"a"});
  call.method = "DELETE";
  call.query = {{"uploadId", id}};
  CHECK(client.call(call));  // it was there still
}

TEST_CASE("s3 vault, S3Subject: keys that are no paths are served under other names") {
  MEDIAFS_SUBJECT(S3Subject, subject);
  const auto vault = subject.open();
  put_bytes(*vault, "folder/file", "x");
  s3::S3Client client(subject.options());
  const auto put_raw = [&](const std::string& key, const std::string& bytes) {
    s3::Call call;
    call.method = "PUT";
    call.key = path_of_key(key);
    call.body_text = bytes;
    call.what = "put as others do";
    const auto done = client.call(call);
    CHECK_MESSAGE(done, (done ? "" : done.error().message()));
  };
  const std::vector<std::string> keys{"a//b",        "/lead",
                                      "./dot",       "x/../y",
                                      "..",          "full/",
                                      "f",           "f/g",
                                      "ctl\x01\n\t", "m/" + std::string(300, 'L') + "/f",
                                      ".mediafs",    "p+q r%20&<>\"'\\"};
  for (const std::string& key : keys) put_raw(key, "of " + key);
  for (const std::string key : {"folder/", "empty/", "deep//"}) put_raw(key, "");
  std::vector<std::string> folders;
  std::map<std::string, ObjectInfo> files;
  for (ObjectInfo& info : list_all(*vault)) {
    CHECK(check_path(info.key));
    if (info.folder) {
      folders.push_back(info.key);
    } else {
      files[info.key] = info;
    }
  }
  CHECK(folders == std::vector<std::string>{"deep/\xE2\x80\x9B{}", "empty", "folder"});
  CHECK(files.size() == keys.size() + 1);
  for (const std::string& key : keys) {
    const std::string path = path_of_key(key);
    REQUIRE_MESSAGE(files.contains(path), printable(path));
    CHECK(value_of(read_bytes(*vault, {path, 0, key.size() + 3, files[path].etag})) == "of " + key);
    CHECK(value_of(vault->head(path)).size_bytes == key.size() + 3);
    // It can be renamed to what is a path, replaced where it is, and deleted.
    CHECK(value_of(vault->copy(path, "moved/to here", some_meta(), {})).size_bytes == key.size() + 3);
    put_bytes(*vault, path, "new");
    CHECK(value_of(read_bytes(*vault, {path, 0, 3, ""})) == "new");
    check_ok(vault->remove(path));
    CHECK(code_of(vault->head(path)) == ErrorCode::not_found);
  }
  check_ok(vault->remove(folder_marker("empty")));
  check_ok(vault->remove(folder_marker("folder")));
  CHECK(keys_of(list_all(*vault)) ==
        std::vector<std::string>{"deep/\xE2\x80\x9B{}", "folder/file", "moved/to here"});
  CHECK(code_of(vault->head("a\xE2\x80\x9B{zz}")) == ErrorCode::invalid);
}

TEST_CASE("s3 vault, S3Subject: a listing goes on after any key") {
  MEDIAFS_SUBJECT(S3Subject, subject);
  s3::Options options = subject.options();
  options.list_page = 2;
  const auto vault = s3::open_s3_vault(options);
  for (const std::string key : {"a//b", "c/", "d", "e/../f"}) put_bytes(*vault, path_of_key(key), "x");
  put_bytes(*vault, "b\xFC", "latin");
  const auto all = keys_of(list_all(*vault));
  CHECK(all.size() == 5);
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::vector<std::string> rest;
    check_ok(vault->list_after(all[i],
                               [&](std::vector<ObjectInfo>&& page) {
                                 for (const ObjectInfo& info : page) rest.push_back(info.key);
                                 return true;
                               },
                               {}));
    CHECK(rest == std::vector<std::string>(all.begin() + static_cast<std::ptrdiff_t>(i) + 1, all.end()));
  }
}

TEST_CASE("s3 vault, S3Subject: an object of rclone's, without our metadata") {
  MEDIAFS_SUBJECT(S3Subject, subject);
  s3::S3Client client(subject.options());
  s3::Call call;
  call.method = "PUT";
  call.key = "theirs";
  call.headers = {{"x-amz-meta-mtime", "1600000000.25"}};
  call.body_text = "bytes";
  call.what = "put as rclone does";
  REQUIRE(client.call(call));
  const auto vault = subject.open();
  const ObjectInfo head = value_of(vault->head("theirs"));
  CHECK(head.meta.mtime_ns == 1'600'000'000'250'000'000);
  CHECK(head.meta.mode == 0644);
  CHECK_FALSE(head.meta.checksum.has_value());
  CHECK(value_of(vault->copy("theirs", "ours", head.meta, {})).size_bytes == 5);
}

}  // namespace mediafs::tier::test
