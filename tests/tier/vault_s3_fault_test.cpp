// The S3 driver against a real store behind a fault proxy: what the matrix (vault_s3_matrix_test.cpp) has no cell for.
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
