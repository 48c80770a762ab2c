// The S3 driver against a real store behind a fault proxy: what is mended quietly, and what comes out otherwise.
#include "tests/tier/s3_proxied.h"

namespace mediafs::tier::test {

TEST_CASE("s3 faults, S3Subject: a read that is cut goes on where it stopped") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
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

TEST_CASE("s3 faults, S3Subject: a few refusals are waited out, many are told") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
  const auto vault = proxied.open();
  const std::string bytes = make_bytes(2 * kPart, 2);
  const Source source(bytes);
  for (const std::string status : {"500", "503", "429"}) {
    CAPTURE(status);
    proxied.post("/reset");
    proxied.set("http_count=2&http_status=" + status);
    CHECK(vault->put("f", source.put(), some_meta(), {}));
    proxied.post("/reset");
    proxied.set("http_count=2&http_status=" + status);
    CHECK(value_of(read_bytes(*vault, {"f", 5, 10, ""})) == bytes.substr(5, 10));
    proxied.post("/reset");
    proxied.set("http_status=" + status);
    const ErrorCode expected = status == "500" ? ErrorCode::io : ErrorCode::throttled;
    CHECK(code_of(vault->probe()) == expected);
    CHECK(code_of(vault->put("g", source.put(), some_meta(), {})) == expected);
    CHECK(code_of(read_bytes(*vault, {"f", 0, 1, ""})) == expected);
    CHECK(code_of(vault->list("", [](std::vector<ObjectInfo>&&) { return true; }, {})) == expected);
  }
  proxied.post("/reset");
  CHECK(keys_of(list_all(*vault)) == std::vector<std::string>{"f"});
}

TEST_CASE("s3 faults, S3Subject: a long Retry-After is not waited for but handed on") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
  const auto vault = proxied.open();
  proxied.set("http_status=503&retry_after=60");
  const auto probe = vault->probe();
  CHECK(code_of(probe) == ErrorCode::throttled);
  CHECK(probe.error().retry_after_ms == 60'000);
  const auto read = read_bytes(*vault, {"f", 0, 1, ""});
  CHECK(code_of(read) == ErrorCode::throttled);
  CHECK(read.error().retry_after_ms == 60'000);
}

TEST_CASE("s3 faults, S3Subject: a lost reply to a done upload is found out") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
  const auto vault = proxied.open();
  const std::string bytes = make_bytes(3 * kPart, 3);
  const Source source(bytes);
  proxied.set("lose_reply=1&http_match=" + http::percent_encode("^POST .*uploadId=", false));
  CHECK(vault->put("f", source.put(), some_meta(), {}));
  proxied.post("/reset");
  CHECK(value_of(read_bytes(*vault, {"f", 0, bytes.size(), ""})) == bytes);
  CHECK(proxied.direct.garbage() == 0);
}

TEST_CASE("s3 faults, S3Subject: a black hole ends in a timeout, a refusal in offline") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
  const auto vault = proxied.open();
  put_bytes(*vault, "f", "bytes");
  const Source source(make_bytes(2 * kPart, 3));
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

TEST_CASE("s3 faults, S3Subject: a listing that breaks off is an error, never a shorter listing") {
  MEDIAFS_SUBJECT(ProxiedS3, proxied);
  const auto vault = proxied.open();
  for (int i = 0; i < 25; ++i) put_bytes(*vault, "l/" + std::to_string(i), "x");
  proxied.set("truncate=1500&http_match=" + http::percent_encode("list-type", false));
  CHECK(code_of(vault->list("", [](std::vector<ObjectInfo>&&) { return true; }, {})) == ErrorCode::io);
  proxied.post("/reset");
  proxied.set("http_status=503&http_match=" + http::percent_encode("continuation-token", false));
  std::size_t seen = 0;
  const auto listed = vault->list("",
                                  [&](std::vector<ObjectInfo>&& page) {
                                    seen += page.size();
                                    return true;
                                  },
                                  {});
  CHECK(code_of(listed) == ErrorCode::throttled);
  CHECK(seen == 10);
}

}  // namespace mediafs::tier::test
