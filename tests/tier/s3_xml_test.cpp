#include "tier/vault/s3_xml.h"

#include <doctest/doctest.h>

#include "tier/vault/s3_errors.h"

namespace mediafs::tier::s3 {

TEST_CASE("s3 xml: a listing, encoded as AWS does") {
  const auto page = parse_list(
      "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
      "<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b==</NextContinuationToken>"
      "<EncodingType>url</EncodingType>"
      "<Contents><Key>a+b%2Bc/%E2%82%AC%0A</Key><LastModified>2026-11-20T11:45:00.123Z</LastModified>"
      "<ETag>&quot;9a0364b9e99bb480dd25e1f0284c8555&quot;</ETag><Size>5000000000</Size></Contents>"
      "<CommonPrefixes><Prefix>x</Prefix></CommonPrefixes></ListBucketResult>");
  REQUIRE(page);
  CHECK(page->truncated);
  CHECK(page->continuation == "a&b==");
  REQUIRE(page->objects.size() == 1);
  CHECK(page->objects[0].key == "a b+c/\xE2\x82\xAC\n");
  CHECK(page->objects[0].size_bytes == 5'000'000'000);
  CHECK(page->objects[0].etag == "9a0364b9e99bb480dd25e1f0284c8555");
  CHECK(page->objects[0].modified_ns == 1'795'175'100'123'000'000);
}

TEST_CASE("s3 xml: a key that was not encoded stays as it is") {
  const auto page = parse_list(
      "<ListBucketResult><Contents><Key>a+b%2B &lt;</Key><Size>1</Size></Contents>"
      "</ListBucketResult>");
  REQUIRE(page);
  REQUIRE(page->objects.size() == 1);
  CHECK(page->objects[0].key == "a+b%2B <");
}

TEST_CASE("s3 xml: what is no listing is an error") {
  const std::string bomb =
      "<!DOCTYPE a [<!ENTITY b \"bbbbbbbb\"><!ENTITY c "
      "\"&b;&b;&b;&b;\">]><ListBucketResult><Contents><Key>&c;</Key>"
      "<Size>x</Size></Contents></ListBucketResult>";
  const std::string deep = []() {
    std::string text;
    for (int i = 0; i < 200'000; ++i) text += "<a>";
    return text;
  }();
  for (const std::string& text :
       {std::string(), std::string("<html><body>Hi</body></html>"),
        std::string("<ListBucketResult><Contents>"),
        std::string("<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"),
        std::string("<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>"),
        bomb, deep, std::string(kMaxXml + 1, ' ')}) {
    CAPTURE(text.substr(0, 80));
    CHECK_FALSE(parse_list(text));
  }
}

TEST_CASE("s3 xml: error documents are bounded and printable") {
  const auto error = parse_error("<Error><Code>SignatureDoesNotMatch</Code><Message>no\x01way " +
                                 std::string(5000, 'x') + "</Message><Region>eu-1</Region></Error>");
  CHECK(error.code == "SignatureDoesNotMatch");
  CHECK(error.message.size() < 400);
  CHECK(error.message.find('\x01') == std::string::npos);
  CHECK(error.region == "eu-1");
  CHECK(parse_error("").code.empty());
  CHECK(parse_error("<CopyObjectResult/>").code.empty());
}

TEST_CASE("s3 xml: results of copies and uploads") {
  CHECK(parse_result_etag("<CopyObjectResult><ETag>\"abc\"</ETag></CopyObjectResult>").value() == "abc");
  CHECK(parse_result_etag("<CompleteMultipartUploadResult><ETag>abc-2</ETag></CompleteMultipartUploadResult>")
            .value() == "abc-2");
  CHECK_FALSE(parse_result_etag("<Error><Code>InternalError</Code></Error>"));
  CHECK(parse_upload_id(
            "<InitiateMultipartUploadResult><UploadId>u~1</UploadId></InitiateMultipartUploadResult>")
            .value() == "u~1");
  CHECK_FALSE(parse_upload_id("<InitiateMultipartUploadResult></InitiateMultipartUploadResult>"));
  CHECK(complete_body({"a", "b\"<"}) ==
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part>"
        "<Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag></Part></CompleteMultipartUpload>");
}

TEST_CASE("s3 metadata: mtime as rclone writes it") {
  CHECK(format_mtime(1'700'000'000'123'456'789) == "1700000000.123456789");
  CHECK(format_mtime(1'700'000'000'000'000'000) == "1700000000");
  CHECK(format_mtime(1'700'000'000'100'000'000) == "1700000000.1");
  CHECK(format_mtime(0) == "0");
  CHECK(format_mtime(-1'500'000'000) == "-1.5");
  for (const WallNs ns :
       {WallNs{0}, WallNs{1}, WallNs{-1}, WallNs{-1'500'000'000}, WallNs{1'700'000'000'123'456'789}}) {
    CHECK(parse_mtime(format_mtime(ns)) == ns);
  }
  CHECK(parse_mtime("1700000000.1234567891234") == 1'700'000'000'123'456'789);
  for (const char* bad : {"", "x", "1.x", "--1", "99999999999999999999", "99999999999", "1e9", ".5"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_mtime(bad).has_value());
  }
}

TEST_CASE("s3 metadata: headers there and back; strangers' values do no harm") {
  ObjectMeta meta;
  meta.mtime_ns = 5;
  meta.mode = 0751;
  meta.uid = 1000;
  meta.gid = 4'000'000'000;
  meta.checksum = Xxh128{1, 2, 3};
  meta.sha1_hex = std::string(40, 'a');
  std::map<std::string, std::string> headers;
  for (const auto& [name, value] : meta_headers(meta)) headers[name] = value;
  const ObjectMeta back = meta_from(headers);
  CHECK(back.mtime_ns == meta.mtime_ns);
  CHECK(back.mode == meta.mode);
  CHECK(back.uid == meta.uid);
  CHECK(back.gid == meta.gid);
  CHECK(back.checksum == meta.checksum);
  CHECK(back.sha1_hex == meta.sha1_hex);

  const ObjectMeta strange = meta_from({{"x-amz-meta-mtime", "soon"},
                                        {"last-modified", "Fri, 20 Nov 2026 11:45:00 GMT"},
                                        {"x-amz-meta-mediafs-mode", "9"},
                                        {"x-amz-meta-mediafs-uid", "-1"},
                                        {"x-amz-meta-mediafs-checksum", "xxh128:zz"},
                                        {"x-amz-meta-mediafs-sha1", "<script>"}});
  CHECK(strange.mtime_ns == 1'795'175'100'000'000'000);
  CHECK(strange.mode == 0644);
  CHECK(strange.uid == 0);
  CHECK_FALSE(strange.checksum.has_value());
  CHECK(strange.sha1_hex.empty());
}

TEST_CASE("s3 errors: what each refusal means") {
  struct Row {
    int status;
    const char* code;
    ErrorCode meaning;
  };
  const Row rows[] = {
      {403, "SignatureDoesNotMatch", ErrorCode::credentials},
      {403, "InvalidAccessKeyId", ErrorCode::credentials},
      {400, "ExpiredToken", ErrorCode::credentials},
      {401, "", ErrorCode::credentials},
      {403, "AccessDenied", ErrorCode::permission},
      {403, "QuotaExceeded", ErrorCode::no_space},
      {403, "", ErrorCode::permission},
      {404, "NoSuchKey", ErrorCode::not_found},
      {404, "NoSuchBucket", ErrorCode::not_found},
      {412, "", ErrorCode::changed},
      {416, "InvalidRange", ErrorCode::changed},
      {400, "BadDigest", ErrorCode::changed},
      {429, "", ErrorCode::throttled},
      {503, "SlowDown", ErrorCode::throttled},
      {503, "", ErrorCode::offline},
      {502, "", ErrorCode::offline},
      {500, "InternalError", ErrorCode::io},
      {200, "InternalError", ErrorCode::io},
      {507, "", ErrorCode::no_space},
      {301, "PermanentRedirect", ErrorCode::config},
      {400, "AuthorizationHeaderMalformed", ErrorCode::config},
      {400, "SomethingNew", ErrorCode::invalid},
  };
  for (const Row& row : rows) {
    CAPTURE(row.status);
    CAPTURE(row.code);
    CHECK(error_of({row.status, row.code, "", "", "", ""}, "bucket").code == row.meaning);
  }
  CHECK(error_of({503, "SlowDown", "", "", "", "7"}, "b").retry_after_ms == 7000);
  CHECK(error_of({503, "", "", "", "", "3"}, "b").code == ErrorCode::throttled);
  CHECK(error_of({429, "", "", "", "", "999999999"}, "b").retry_after_ms == 3'600'000);
  CHECK(error_of({429, "", "", "", "", "Fri, 20 Nov 2020 11:45:00 GMT"}, "b").retry_after_ms == 0);
  CHECK(error_of({301, "PermanentRedirect", "", "", "eu-west-3", ""}, "b").cause.find("eu-west-3") !=
        std::string::npos);
  CHECK(error_of({404, "NoSuchBucket", "", "", "", ""}, "films").cause.find("create it") !=
        std::string::npos);
}

TEST_CASE("s3 xml: the parts of an upload") {
  const auto page = parse_parts(
      "<?xml version='1.0'?><ListPartsResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
      "<NextPartNumberMarker>7</NextPartNumberMarker><IsTruncated>true</IsTruncated>"
      "<Part><PartNumber>2</PartNumber><ETag>&quot;abc&quot;</ETag><Size>5242880</Size></Part>"
      "<Part><PartNumber>7</PartNumber><ETag>\"def\"</ETag><Size>1</Size></Part></ListPartsResult>");
  REQUIRE(page.has_value());
  CHECK(page->truncated);
  CHECK(page->next == 7);
  REQUIRE(page->parts.size() == 2);
  CHECK(page->parts[0].number == 2);
  CHECK(page->parts[0].size_bytes == 5'242'880);
  CHECK(page->parts[0].etag == "abc");
  CHECK(page->parts[1].etag == "def");
  CHECK(parse_parts("<ListPartsResult/>")->parts.empty());
  for (const char* broken :
       {"", "<Other/>", "<ListPartsResult><Part><PartNumber>1</PartNumber></Part></ListPartsResult>",
        "<ListPartsResult><Part><PartNumber>-1</PartNumber><Size>1</Size></Part></ListPartsResult>"}) {
    CAPTURE(broken);
    CHECK_FALSE(parse_parts(broken).has_value());
  }
}

}  // namespace mediafs::tier::s3
