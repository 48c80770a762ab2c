// The WebDAV driver against a real server behind a fault proxy: what is mended quietly, and what comes out otherwise.
#include <cstdlib>

#include "common/http.h"
#include "tests/tier/vault_contract.h"

namespace mediafs::tier::test {

namespace {

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

struct ProxiedDav {
  static std::string unavailable() {
    return environment("MEDIAFS_TEST_DAV_PROXY").empty()
               ? "no fault proxy (MEDIAFS_TEST_DAV_PROXY is not set)"
               : "";
  }
  ProxiedDav() { post("/reset"); }
  ~ProxiedDav() { posted("/reset"); }
  ProxiedDav(const ProxiedDav&) = delete;
  ProxiedDav& operator=(const ProxiedDav&) = delete;

  std::unique_ptr<Vault> open() const {
    auto options = direct.options();
    const std::string proxy = environment("MEDIAFS_TEST_DAV_PROXY");
    options.host = proxy.substr(proxy.find("//") + 2);
    while (options.host.ends_with('/')) options.host.pop_back();
    options.stall_timeout = std::chrono::milliseconds(1000);
    return webdav::open_webdav_vault(options);
  }
  void set(const std::string& settings) const { post("/set?" + settings); }
  void post(const std::string& what) const { REQUIRE(posted(what)); }
  static bool posted(const std::string& what) {
    http::Client client;
    http::Request request;
    request.method = "POST";
    request.url = environment("MEDIAFS_TEST_DAV_PROXY_CONTROL") + what;
    const auto answer = client.perform(std::move(request));
    return answer && answer->status == 200;
  }
  DavSubject direct;
};

}  // namespace

TEST_CASE("webdav faults, DavSubject: a read that is cut goes on where it stopped") {
  MEDIAFS_SUBJECT(ProxiedDav, proxied);
  const std::string bytes = make_bytes(4 * kPart, 1);
  const std::string etag = put_bytes(*proxied.direct.open(), "f", bytes).info.etag;
  for (const std::string fault : {"drop_after=3000000", "reset_after=5000000"}) {
    CAPTURE(fault);
    proxied.post("/reset");
    const auto vault = proxied.open();
    proxied.set(fault);
    CHECK(value_of(read_bytes(*vault, {"f", 0, bytes.size(), etag})) == bytes);
    CHECK(value_of(read_bytes(*vault, {"f", 1000, bytes.size() - 1000, ""})) == bytes.substr(1000));
  }
  // Always before the end: it gives up, and says that bytes are missing.
  proxied.set("drop_after=100000&reset_after=0");
  CHECK(code_of(read_bytes(*proxied.open(), {"f", 0, bytes.size(), etag})) == ErrorCode::io);
}

TEST_CASE("webdav faults, DavSubject: a few refusals are waited out, many are told") {
  MEDIAFS_SUBJECT(ProxiedDav, proxied);
  const auto vault = proxied.open();
  const std::string bytes = make_bytes(100'000, 2);
  const Source source(bytes);
  for (const std::string status : {"500", "503", "429"}) {
    CAPTURE(status);
    proxied.post("/reset");
    proxied.set("http_count=2&http_status=" + status);
    CHECK(vault->put("f", source.put(), some_meta(), {}));
    for (const std::string method : {"PUT", "MOVE", "PROPFIND", "GET"}) {
      if (status != "503") continue;
      CAPTURE(method);
      proxied.post("/reset");
      proxied.set("http_count=2&http_match=^" + method + "&http_status=" + status);
      CHECK(vault->put("f", source.put(), some_meta(), {}));
    }
    proxied.post("/reset");
    proxied.set("http_count=2&http_status=" + status);
    CHECK(value_of(read_bytes(*vault, {"f", 5, 10, ""})) == bytes.substr(5, 10));
    proxied.post("/reset");
    proxied.set("http_status=" + status);
    const ErrorCode expected = status == "500"   ? ErrorCode::io
                               : status == "503" ? ErrorCode::offline
                                                 : ErrorCode::throttled;
    CHECK(code_of(vault->probe()) == expected);
    CHECK(code_of(vault->put("g", source.put(), some_meta(), {})) == expected);
    CHECK(code_of(read_bytes(*vault, {"f", 0, 1, ""})) == expected);
    CHECK(code_of(vault->list("", [](std::vector<ObjectInfo>&&) { return true; }, {})) == expected);
  }
  proxied.post("/reset");
  CHECK(keys_of(list_all(*vault)) == std::vector<std::string>{"f"});
}

TEST_CASE("webdav faults, DavSubject: a long Retry-After is not waited for but handed on") {
  MEDIAFS_SUBJECT(ProxiedDav, proxied);
  const auto vault = proxied.open();
  proxied.set("http_status=503&retry_after=60");
  const auto probe = vault->probe();
  CHECK(code_of(probe) == ErrorCode::throttled);
  CHECK(probe.error().retry_after_ms == 60'000);
  const auto read = read_bytes(*vault, {"f", 0, 1, ""});
  CHECK(code_of(read) == ErrorCode::throttled);
  CHECK(read.error().retry_after_ms == 60'000);
}

TEST_CASE("webdav faults, DavSubject: a redirect is not followed") {
  MEDIAFS_SUBJECT(ProxiedDav, proxied);
  proxied.set("http_status=302");
  CHECK(code_of(proxied.open()->probe()) == ErrorCode::config);
}

TEST_CASE("webdav faults, DavSubject: a lost reply to a done move is found out") {
  MEDIAFS_SUBJECT(ProxiedDav, proxied);
  const auto vault = proxied.open();
  put_bytes(*proxied.direct.open(), "old", "old bytes");
  proxied.set("lose_reply=1&http_match=^MOVE");
  for (const std::string key : {"new/f", "old"}) {
    CAPTURE(key);
    const std::string bytes = make_bytes(100'000, 3);
    put_bytes(*vault, key, bytes);
    CHECK(value_of(read_bytes(*vault, {key, 0, bytes.size(), ""})) == bytes);
  }
  CHECK(value_of(vault->copy("old", "copied", some_meta(), {})).size_bytes == 100'000);
  const Source source("marker");
  PutSource marker = source.put();
  marker.only_new = true;
  CHECK(vault->put(".mediafs/marker", marker, some_meta(), {}));
  CHECK(code_of(vault->put(".mediafs/marker", marker, some_meta(), {})) == ErrorCode::exists);
  proxied.post("/reset");
  CHECK(proxied.direct.garbage() == 0);
}

TEST_CASE("webdav faults, DavSubject: a put that breaks off leaves what was there") {
  MEDIAFS_SUBJECT(ProxiedDav, proxied);
  put_bytes(*proxied.direct.open(), "f", "old bytes");
  const Source source(make_bytes(4 * kPart, 3));
  for (const std::string fault : {"reset_after_up=3000000", "drop_after_up=3000000"}) {
    CAPTURE(fault);
    proxied.post("/reset");
    proxied.set(fault);
    CHECK_FALSE(proxied.open()->put("f", source.put(), some_meta(), {}));
  }
  proxied.post("/reset");
  CHECK(value_of(read_bytes(*proxied.open(), {"f", 0, 9, ""})) == "old bytes");
  CHECK(keys_of(list_all(*proxied.open())) == std::vector<std::string>{"f"});
}

TEST_CASE("webdav faults, DavSubject: a black hole ends in a timeout, a refusal in offline") {
  MEDIAFS_SUBJECT(ProxiedDav, proxied);
  const auto vault = proxied.open();
  put_bytes(*vault, "f", "bytes");
  const Source source(make_bytes(kPart, 3));
  proxied.set("blackhole=1");
  CHECK(code_of(vault->head("f")) == ErrorCode::timeout);
  CHECK(code_of(read_bytes(*vault, {"f", 0, 5, ""})) == ErrorCode::timeout);
  CHECK(code_of(vault->put("g", source.put(), some_meta(), {})) == ErrorCode::timeout);
  proxied.set("blackhole=0&refuse=1");
  proxied.post("/kill");
  CHECK(code_of(proxied.open()->head("f")) == ErrorCode::offline);
  proxied.post("/reset");
  CHECK(value_of(read_bytes(*vault, {"f", 0, 5, ""})) == "bytes");
}

TEST_CASE("webdav faults, DavSubject: a listing that breaks off is an error, never a shorter listing") {
  MEDIAFS_SUBJECT(ProxiedDav, proxied);
  const auto vault = proxied.open();
  for (int i = 0; i < 12; ++i) put_bytes(*vault, "l" + std::to_string(i % 3) + "/" + std::to_string(i), "x");
  proxied.set("truncate=700&http_match=^PROPFIND");
  CHECK(code_of(vault->list("", [](std::vector<ObjectInfo>&&) { return true; }, {})) == ErrorCode::io);
  for (const std::string status : {"503", "403", "500"}) {
    CAPTURE(status);
    proxied.post("/reset");
    proxied.set("http_status=" + status + "&http_match=" + http::percent_encode("/l1/", false));
    CHECK_FALSE(vault->list("", [](std::vector<ObjectInfo>&&) { return true; }, {}));
  }
  proxied.post("/reset");
  CHECK(list_all(*vault).size() == 12);
}

}  // namespace mediafs::tier::test
