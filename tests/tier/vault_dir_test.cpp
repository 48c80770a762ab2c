// What only a directory can do wrong.
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "tests/tier/vault_contract.h"
#include "tier/vault/dir.h"
#include "tier/vault/rate.h"

namespace mediafs::tier::test {

namespace stdfs = std::filesystem;

TEST_CASE("dir vault: a missing place is offline and is not filled") {
  const TempFolder folder;
  const auto unmounted = open_dir_vault(folder.path() + "/disk/vault");
  const Source source("x");
  CHECK(code_of(unmounted->probe()) == ErrorCode::offline);
  CHECK(code_of(unmounted->put("a", source.put(), {}, {})) == ErrorCode::offline);
  CHECK(code_of(unmounted->head("a")) == ErrorCode::offline);
  CHECK(code_of(unmounted->remove("a")) == ErrorCode::offline);
  CHECK(code_of(unmounted->list("", [](std::vector<ObjectInfo>&&) { return true; }, {})) ==
        ErrorCode::offline);
  CHECK(code_of(read_bytes(*unmounted, {"a", 0, 1, ""})) == ErrorCode::offline);
  CHECK(stdfs::is_empty(folder.path()));
}

TEST_CASE("dir vault: a root that goes away while we run is offline, and so is an empty one in its place") {
  const TempFolder folder;
  const std::string root = folder.path() + "/vault";
  const auto vault = open_dir_vault(root);
  put_bytes(*vault, "a", "x");
  stdfs::rename(root, folder.path() + "/elsewhere");
  const Source source("y");
  CHECK(code_of(vault->put("b", source.put(), {}, {})) == ErrorCode::offline);
  CHECK_FALSE(stdfs::exists(root));
  stdfs::create_directory(root);
  CHECK(code_of(vault->put("b", source.put(), {}, {})) == ErrorCode::offline);
  CHECK(code_of(vault->head("a")) == ErrorCode::offline);
  CHECK(code_of(vault->remove("a")) == ErrorCode::offline);
  CHECK(stdfs::is_empty(root));
  stdfs::remove(root);
  stdfs::rename(folder.path() + "/elsewhere", root);
  CHECK(value_of(read_bytes(*vault, {"a", 0, 1, ""})) == "x");
}

TEST_CASE("dir vault: symlinks are not followed and not listed") {
  const TempFolder folder;
  const std::string root = folder.path() + "/vault";
  const auto vault = open_dir_vault(root);
  check_ok(vault->probe());
  stdfs::create_directory(folder.path() + "/outside");
  std::ofstream(folder.path() + "/outside/secret") << "secret";
  stdfs::create_directory_symlink(folder.path() + "/outside", root + "/link");
  stdfs::create_symlink(folder.path() + "/outside/secret", root + "/file");
  const Source source("x");
  CHECK_FALSE(vault->put("link/new", source.put(), some_meta(), {}));
  CHECK(code_of(vault->head("link/secret")) == ErrorCode::not_found);
  CHECK(code_of(vault->head("file")) == ErrorCode::not_found);
  CHECK(code_of(read_bytes(*vault, {"file", 0, 1, ""})) == ErrorCode::not_found);
  check_ok(vault->remove("link/secret"));
  CHECK(list_all(*vault).empty());
  put_bytes(*vault, "file", "replaced");
  CHECK(stdfs::file_size(folder.path() + "/outside/secret") == 6);
  CHECK_FALSE(stdfs::exists(folder.path() + "/outside/new"));
  CHECK(value_of(read_bytes(*vault, {"file", 0, 8, ""})) == "replaced");
}

TEST_CASE("dir vault: empty folders go with their last object, never the root") {
  const TempFolder folder;
  const std::string root = folder.path() + "/vault";
  const auto vault = open_dir_vault(root);
  put_bytes(*vault, "a/b/c/d", "x");
  put_bytes(*vault, "a/e", "x");
  check_ok(vault->remove("a/b/c/d"));
  CHECK_FALSE(stdfs::exists(root + "/a/b"));
  check_ok(vault->remove("a/e"));
  CHECK_FALSE(stdfs::exists(root + "/a"));
  CHECK(stdfs::exists(root));
  put_bytes(*vault, ".mediafs/only", "x");
  check_ok(vault->remove(".mediafs/only"));
  check_ok(vault->probe());
}

TEST_CASE("dir vault: a file that another program changed loses its checksum, not its place") {
  const TempFolder folder;
  const std::string root = folder.path() + "/vault";
  const auto vault = open_dir_vault(root);
  const std::string etag = put_bytes(*vault, "a", "before").info.etag;
  CHECK(value_of(vault->head("a")).meta.checksum.has_value());
  std::ofstream(root + "/a") << "behind our back";
  const ObjectInfo head = value_of(vault->head("a"));
  CHECK_FALSE(head.meta.checksum.has_value());
  CHECK(head.size_bytes == 15);
  CHECK(code_of(read_bytes(*vault, {"a", 0, 6, etag})) == ErrorCode::changed);
  std::ofstream(root + "/foreign") << "new";
  CHECK(value_of(vault->head("foreign")).size_bytes == 3);
  CHECK(list_all(*vault).size() == 2);
}

TEST_CASE("dir vault: a copy with nothing new to tell takes no room, and outlives what it was made of") {
  const TempFolder folder;
  const std::string root = folder.path() + "/vault";
  const auto vault = open_dir_vault(root);
  put_bytes(*vault, "a", "the film");
  const ObjectInfo info = value_of(vault->head("a"));
  const auto copied = value_of(vault->copy("a", "away/b", info.meta, {}));
  CHECK(copied.size_bytes == 8);
  CHECK(copied.meta.checksum == info.meta.checksum);
  CHECK(stdfs::hard_link_count(root + "/a") == 2);
  value_of(vault->copy("a", "away/b", info.meta, {}));  // over itself, as after a kill
  CHECK(stdfs::hard_link_count(root + "/a") == 2);
  CHECK(stdfs::is_empty(root + "/.mediafs/tmp"));
  put_bytes(*vault, "a", "another");
  CHECK(value_of(read_bytes(*vault, {"away/b", 0, 8, ""})) == "the film");
  ObjectMeta other = info.meta;
  other.mtime_ns += 5'000'000'000;
  CHECK(value_of(vault->copy("away/b", "c", other, {})).meta.mtime_ns == other.mtime_ns);
  CHECK(value_of(vault->head("away/b")).meta.mtime_ns == info.meta.mtime_ns);
  check_ok(vault->remove("away/b"));
  CHECK(value_of(read_bytes(*vault, {"c", 0, 8, ""})) == "the film");
}

TEST_CASE("dir vault: the driver's own folder is no key, a folder is no object") {
  const TempFolder folder;
  const auto vault = open_dir_vault(folder.path() + "/vault");
  const Source source("x");
  CHECK(code_of(vault->put(".mediafs/tmp/x", source.put(), {}, {})) == ErrorCode::invalid);
  put_bytes(*vault, "a/b", "x");
  CHECK(code_of(vault->put("a", source.put(), some_meta(), {})) == ErrorCode::is_directory);
  CHECK(code_of(vault->put("a/b/c", source.put(), some_meta(), {})) == ErrorCode::not_directory);
}

TEST_CASE("vault: urls") {
  Credentials keys;
  keys.access_key = "a";
  keys.secret_key = "s";
  auto open = [&](const std::string& url, const std::string& endpoint = "") {
    Config config;
    config.vault.url = url;
    config.vault.endpoint = endpoint;
    return open_vault(config, keys);
  };
  CHECK(value_of(open("file:///mnt/my disk/")).get()->describe() == "file:///mnt/my disk");
  CHECK(value_of(open("s3://films/a/b/", "http://host:9000/")).get()->describe() ==
        "s3://films/a/b at http://host:9000");
  CHECK(value_of(open("s3://films", "https://host:443/base")).get()->describe() ==
        "s3://films at https://host/base");
  CHECK(value_of(open("s3://films")).get()->describe() == "s3://films at https://s3.us-east-1.amazonaws.com");
  for (const std::string bad : {"", "ftp://x", "file://relative", "file:///", "file:///a/../b", "s3://",
                                "s3://x", "s3://a b c", "s3://films/../x", "s3://films//x"}) {
    CAPTURE(bad);
    CHECK(code_of(open(bad)) == ErrorCode::config);
  }
  for (const std::string bad : {"host:9000", "http://", "http://user:password@host", "http://host?x=1"}) {
    CAPTURE(bad);
    const auto opened = open("s3://films", bad);
    CHECK(code_of(opened) == ErrorCode::config);
    CHECK(opened.error().message().find("password") == std::string::npos);
  }
  keys.secret_key.clear();
  CHECK(code_of(open("s3://films")) == ErrorCode::credentials);
}

TEST_CASE("vault: the upload limit admits at once what is paid for, and waits can be stopped") {
  RateLimit limit(1);
  check_ok(limit.acquire(1'000'000, {}));
  std::stop_source stop;
  stop.request_stop();
  CHECK(code_of(limit.acquire(1, stop.get_token())) == ErrorCode::cancelled);
  RateLimit none(0);
  check_ok(none.acquire(1'000'000, stop.get_token()));
}

TEST_CASE("vault: a limit is changed while somebody waits for it") {
  RateLimit limit(1);
  check_ok(limit.acquire(1'000'000'000, {}));  // 30 years
  std::promise<void> begins;
  std::jthread waiter([&] {
    begins.set_value();
    check_ok(limit.acquire(1'000'000'000, {}));
  });
  begins.get_future().wait();
  limit.set(0);  // or this test never ends
  waiter.join();
  CHECK(limit.bytes_per_second() == 0);

  CHECK(limit.take(1U << 30).count() == 0);
  limit.set(1000);
  CHECK(limit.take(1U << 30).count() == 0);  // the first goes at once
  const auto wait = limit.take(1U << 20);
  CHECK(wait.count() > 0);
  CHECK(wait <= std::chrono::milliseconds(250));
  CHECK(limit.take(4096).count() == 0);  // what is small never waits
  limit.set(2000);
  CHECK(limit.take(1U << 20).count() == 0);
}

TEST_CASE("vault: reads wait for their turn, can be cancelled there, and go on when the limit goes") {
  TempFolder folder;
  auto limits = std::make_shared<Limits>();
  const auto vault = open_dir_vault(folder.path() + "/vault", limits);
  check_ok(vault->probe());
  const std::string bytes = make_bytes(1U << 20, 3);
  put_bytes(*vault, "f", bytes);
  limits->download.set(1);
  CHECK(value_of(read_bytes(*vault, {"f", 0, bytes.size(), ""})) == bytes);  // and 12 days of debt
  CHECK(value_of(read_bytes(*vault, {"f", 0, 100, ""})) == bytes.substr(0, 100));
  std::promise<ErrorCode> ended;
  const auto read = vault->start_read(
      {"f", 0, bytes.size(), ""}, [](std::span<const std::byte>) { return true; },
      [&](Status status) { ended.set_value(status ? ErrorCode::internal : status.error().code); });
  vault->cancel(read);
  CHECK(ended.get_future().get() == ErrorCode::cancelled);
  std::jthread later([&] { limits->download.set(0); });
  CHECK(value_of(read_bytes(*vault, {"f", 0, bytes.size(), ""})) == bytes);
}

}  // namespace mediafs::tier::test
