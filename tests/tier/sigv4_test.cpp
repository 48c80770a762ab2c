// The examples of Amazon's "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk".
#include "tier/vault/sigv4.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "common/hash.h"
#include "common/http.h"

namespace mediafs::tier::s3 {

namespace {

constexpr std::time_t kExampleTime = 1'369'353'600;  // 2013-05-24T00:00:00Z
constexpr SigningKey kExampleKey{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "",
                                 "us-east-1"};

std::string header(const Pairs& headers, const std::string& name) {
  const auto it =
      std::find_if(headers.begin(), headers.end(), [&](const auto& h) { return h.first == name; });
  return it == headers.end() ? std::string() : it->second;
}

SignRequest example(std::string method, std::string path) {
  SignRequest request;
  request.method = std::move(method);
  request.path = std::move(path);
  request.headers = {{"Host", "examplebucket.s3.amazonaws.com"}};
  request.payload_hash = kEmptySha256;
  request.at = kExampleTime;
  return request;
}

std::string signature(SignRequest request) {
  const std::string value = header(sign(std::move(request), kExampleKey), "authorization");
  return value.substr(value.rfind('=') + 1);
}

}  // namespace

TEST_CASE("sigv4: GET of a range") {
  auto request = example("GET", "/test.txt");
  request.headers.emplace_back("Range", "bytes=0-9");
  CHECK(header(sign(request, kExampleKey), "authorization") ==
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_CASE("sigv4: PUT of a name with a dollar sign") {
  auto request = example("PUT", "/" + http::percent_encode("test$file.text", true));
  request.payload_hash = digest_hex(Digest::sha256, "Welcome to Amazon S3.");
  request.headers.emplace_back("Date", "Fri, 24 May 2013 00:00:00 GMT");
  request.headers.emplace_back("x-amz-storage-class", "REDUCED_REDUNDANCY");
  CHECK(signature(request) == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST_CASE("sigv4: a query without a value") {
  auto request = example("GET", "/");
  request.query = {{"lifecycle", ""}};
  CHECK(signature(request) == "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST_CASE("sigv4: a listing, whose query is sorted") {
  auto request = example("GET", "/");
  request.query = {{"prefix", "J"}, {"max-keys", "2"}};
  CHECK(signature(request) == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST_CASE("sigv4: the canonical request") {
  SignRequest request = example("GET", "/a%20b");
  request.query = {{"b", "x y+z"}, {"a", "1/2"}};
  request.headers.emplace_back("X-Amz-Meta-Many", "  two   spaces ");
  CHECK(canonical_request(request) ==
        "GET\n/a%20b\na=1%2F2&b=x%20y%2Bz\nhost:examplebucket.s3.amazonaws.com\n"
        "x-amz-meta-many:two spaces\n\nhost;x-amz-meta-many\n" +
            std::string(kEmptySha256));
}

TEST_CASE("sigv4: a session token is sent and signed") {
  SigningKey key = kExampleKey;
  key.session_token = "TOKEN";
  const Pairs headers = sign(example("GET", "/"), key);
  CHECK(header(headers, "x-amz-security-token") == "TOKEN");
  CHECK(header(headers, "authorization").find(";x-amz-security-token,") != std::string::npos);
  CHECK(header(headers, "x-amz-date") == "20130524T000000Z");
}

}  // namespace mediafs::tier::s3
