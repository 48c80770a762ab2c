// What servers send, and what strangers could: the XML, hrefs and URLs of WebDAV.
#include "tier/vault/webdav_xml.h"

#include <doctest/doctest.h>

#include "tier/vault/webdav_client.h"
#include "tier/vault/webdav_path.h"

namespace mediafs::tier::webdav {

namespace {

std::string multistatus(const std::string& inside) {
  return "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">" + inside + "</D:multistatus>";
}

std::string file(const std::string& properties) {
  return multistatus("<D:response><D:href>/dav/f</D:href><D:propstat><D:prop>" + properties +
                     "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>");
}

Resource only(const std::string& xml) {
  auto found = parse_multistatus(xml);
  REQUIRE_MESSAGE(found, (found ? std::string() : found.error().message()));
  REQUIRE(found->size() == 1);
  return found->front();
}

}  // namespace

TEST_CASE("webdav xml: as apache, Nextcloud, Go and a server with a default namespace write it") {
  const std::string apache =
      "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\" xmlns:ns0=\"DAV:\">\n"
      "<D:response xmlns:lp1=\"DAV:\" xmlns:g0=\"urn:x-mediafs:vault\">\n<D:href>/dav/f</D:href>\n"
      "<D:propstat>\n<D:prop>\n<lp1:resourcetype/>\n<lp1:getcontentlength>12</lp1:getcontentlength>\n"
      "<lp1:getlastmodified>Fri, 20 Nov 2026 11:45:00 GMT</lp1:getlastmodified>\n"
      "<lp1:getetag>W/\"c-5\"</lp1:getetag>\n</D:prop>\n<D:status>HTTP/1.1 200 OK</D:status>\n</D:propstat>\n"
      "<D:propstat>\n<D:prop>\n<g0:of/>\n</D:prop>\n<D:status>HTTP/1.1 404 Not Found</D:status>\n"
      "</D:propstat>\n</D:response>\n</D:multistatus>";
  const std::string nextcloud =
      "<d:multistatus xmlns:d=\"DAV:\" "
      "xmlns:oc=\"http://owncloud.org/ns\"><d:response><d:href>/dav/f</d:href>"
      "<d:propstat><d:prop><d:resourcetype/><d:getcontentlength>12</"
      "d:getcontentlength><d:getlastmodified>Fri, "
      "20 Nov 2026 11:45:00 GMT</d:getlastmodified><d:getetag>&quot;c-5&quot;</d:getetag><oc:checksums>"
      "<oc:checksum>SHA1:ab</oc:checksum></oc:checksums></d:prop><d:status>HTTP/1.1 200 OK</d:status>"
      "</d:propstat></d:response></d:multistatus>";
  const std::string plain =
      "<multistatus xmlns=\"DAV:\"><response><href> /dav/f\n</href><propstat><prop><resourcetype/>"
      "<getcontentlength>12</getcontentlength><getetag>\"c-5\"</getetag><getlastmodified>Fri, 20 Nov 2026 "
      "11:45:00 GMT</getlastmodified><x:collection xmlns:x=\"urn:other\"/></prop><status>HTTP/1.1 "
      "200</status>"
      "</propstat></response></multistatus>";
  for (const std::string& xml : {apache, nextcloud, plain}) {
    CAPTURE(xml);
    const Resource found = only(xml);
    CHECK(found.href == "/dav/f");
    CHECK_FALSE(found.collection);
    CHECK(found.size_bytes == 12);
    CHECK(found.etag == "c-5");
    CHECK(found.modified_ns == 1'795'175'100'000'000'000);
    CHECK(found.own.empty());
  }
  CHECK(only(nextcloud).checksums == "SHA1:ab");
  CHECK(only(file("<D:resourcetype><D:collection/></D:resourcetype>")).collection);
  CHECK_FALSE(
      only(file("<D:resourcetype><x:collection xmlns:x=\"urn:other\"/></D:resourcetype>")).collection);
}

TEST_CASE("webdav xml: a prefix means what its nearest declaration says") {
  const Resource found =
      only(file("<a:getcontentlength xmlns:a=\"urn:other\">7</a:getcontentlength>"
                "<D:getcontentlength xmlns:D=\"urn:other\">8</D:getcontentlength>"
                "<b:getcontentlength "
                "xmlns:b=\"DAV:\">9</b:getcontentlength><c:getcontentlength>1</c:getcontentlength>"));
  CHECK(found.size_bytes == 9);
}

TEST_CASE("webdav xml: what is no listing is an error") {
  const std::string deep = [] {
    std::string text;
    for (int i = 0; i < 200'000; ++i) text += "<a>";
    return text;
  }();
  const std::string bomb = "<!DOCTYPE a [<!ENTITY b \"bbbbbbbb\"><!ENTITY c \"&b;&b;&b;&b;\">]>" +
                           file("<D:getcontentlength>&c;</D:getcontentlength>");
  for (const std::string& xml :
       {std::string(), std::string("<html><body>Log in</body></html>"), std::string("<D:multistatus>"),
        std::string("<D:multistatus xmlns:D=\"urn:other\"/>"), std::string("<multistatus/>"),
        file("").substr(0, file("").size() - 5), multistatus("<D:response/>"),
        multistatus("<D:response><D:href/></D:response>"),
        file("<D:getcontentlength>-1</D:getcontentlength>"),
        file("<D:getcontentlength>99999999999999999999</D:getcontentlength>"),
        file("<D:getcontentlength>1 2</D:getcontentlength>"),
        // A folder that may not be read would make the listing shorter.
        multistatus(
            "<D:response><D:href>/a</D:href><D:status>HTTP/1.1 403 Forbidden</D:status></D:response>"),
        bomb, deep, std::string(kMaxXml + 1, ' ')}) {
    CAPTURE(xml.substr(0, 100));
    CHECK_FALSE(parse_multistatus(xml));
  }
}

TEST_CASE("webdav xml: metadata there and back; of another version it is not believed") {
  ObjectMeta meta;
  meta.mtime_ns = 1'700'000'000'000'000'001;
  meta.mode = 0751;
  meta.uid = 1000;
  meta.gid = 4'000'000'000;
  meta.checksum = Xxh128{1, 2, 3};
  meta.sha1_hex = std::string(40, 'a');
  const std::string sent = proppatch_body(meta, version_of(12, "c<&>\"5"));
  const auto from = sent.find("<m:mtime>");
  const std::string properties = sent.substr(from, sent.find("</D:prop>") - from);
  const auto found = [&properties](const std::string& etag, int size) {
    std::string xml = file(properties + "<D:getcontentlength>" + std::to_string(size) +
                           "</D:getcontentlength><D:getetag>\"" + etag + "\"</D:getetag>");
    xml.insert(xml.find("xmlns:D"), "xmlns:m=\"urn:x-mediafs:vault\" ");
    return only(xml);
  };
  ObjectMeta back;
  REQUIRE(meta_from(found("c&lt;&amp;&gt;\"5", 12), back));
  CHECK(back.mtime_ns == meta.mtime_ns);
  CHECK(back.mode == meta.mode);
  CHECK(back.uid == meta.uid);
  CHECK(back.gid == meta.gid);
  CHECK(back.checksum == meta.checksum);
  CHECK(back.sha1_hex == meta.sha1_hex);
  ObjectMeta other;
  CHECK_FALSE(meta_from(found("c-6", 12), other));
  CHECK_FALSE(meta_from(found("c&lt;&amp;&gt;\"5", 13), other));
  CHECK(other.mode == 0644);
  CHECK_FALSE(other.checksum.has_value());
  CHECK_FALSE(meta_from(Resource{}, other));
}

TEST_CASE("webdav xml: the status of properties, and error documents") {
  const auto answer = [](const std::string& a, const std::string& b) {
    return multistatus("<D:response><D:href>/f</D:href><D:propstat><D:prop/><D:status>HTTP/1.1 " + a +
                       "</D:status></D:propstat><D:propstat><D:prop/><D:status>HTTP/1.1 " + b +
                       "</D:status></D:propstat></D:response>");
  };
  CHECK(patch_status(answer("200 OK", "200 OK")).value() == 200);
  CHECK(patch_status(answer("424 Failed Dependency", "403 Forbidden")).value() == 403);
  CHECK(patch_status(answer("507 Full", "424 Failed Dependency")).value() == 507);
  CHECK(patch_status(answer("200 OK", "424 Failed Dependency")).value() == 424);
  CHECK_FALSE(patch_status(multistatus("")));
  CHECK_FALSE(patch_status("<html/>"));
  const std::string said = error_message(
      "<d:error xmlns:d=\"DAV:\" xmlns:s=\"http://sabredav.org/ns\"><s:exception>Locked</s:exception>"
      "<s:message>no\x01way " +
      std::string(5000, 'x') + "</s:message></d:error>");
  CHECK(said.starts_with("no"));
  CHECK(said.size() < 400);
  CHECK(said.find('\x01') == std::string::npos);
  CHECK(error_message("<html/>").empty());
}

TEST_CASE("webdav: an etag, or what stands for one") {
  CHECK(etag_of("\"abc\"", 5, "") == "abc");
  CHECK(etag_of("W/\"abc\"", 5, "") == "abc");
  CHECK(etag_of("abc", 5, "") == "abc");
  CHECK(etag_of("", 5, "Fri, 20 Nov 2026 11:45:00 GMT") == "w:5-1795175100");
  CHECK(etag_of("\"w:1-2\"", 5, "").empty());  // nobody passes for made up
  CHECK(etag_of("", 5, "soon").empty());
  CHECK(etag_of("", std::nullopt, "Fri, 20 Nov 2026 11:45:00 GMT").empty());
  DavClient client(Options{});
  http::Response head{.status = 206, .headers = {}, .body = {}};
  head.headers = {{"content-range", "bytes 0-4/5"}, {"last-modified", "Fri, 20 Nov 2026 11:45:00 GMT"}};
  CHECK(client.version(head, "") == "w:5-1795175100");
  CHECK(client.version(head, "w:5-1") == "w:5-1795175100");
  CHECK(client.version(head, "abc").empty());  // silent: the read is refused
  head.headers["etag"] = "W/\"abc\"";
  CHECK(client.version(head, "abc") == "abc");
  CHECK(client.version(head, "") == "abc");
  CHECK(client.version(head, "w:5-1") == "w:5-1795175100");
  head.headers["content-range"] = "bytes 0-4/*";
  CHECK(client.version(head, "w:5-1").empty());
}

TEST_CASE("webdav: hrefs stay in the folder that was listed") {
  const auto place = [](const std::string& href, const std::string& folder = "dav/my files") {
    const Place found = place_of(href, folder);
    return std::to_string(found.kind) + found.name;
  };
  const std::string self = std::to_string(Place::self);
  const std::string outside = std::to_string(Place::outside);
  const std::string unusable = std::to_string(Place::unusable);
  const auto child = [](const std::string& name) { return std::to_string(Place::child) + name; };
  CHECK(place("/dav/my%20files/") == self);
  CHECK(place("/dav/my%20files") == self);
  CHECK(place("/dav//my%20files/a%2Bb+c") == child("a+b+c"));
  CHECK(place("https://inner:8443/dav/my%20files/a") == child("a"));  // its path decides
  CHECK(place("/dav/my%20files/folder/") == child("folder"));
  CHECK(place("/dav/my files/\xC3\xBC%C3%BC") == child("\xC3\xBC\xC3\xBC"));
  CHECK(place("/dav/my%20files/http://x") == std::to_string(Place::deeper));
  CHECK(place("/dav/my%20files/a/b") == std::to_string(Place::deeper));
  CHECK(place("/dav/my%20files/a?b#c") == child("a"));
  CHECK(place("/a", "") == child("a"));
  for (const char* href :
       {"/dav/my%20files/%2e%2e", "/dav/my%20files/..", "/dav/my%20files/../x", "/dav/my%20files/.",
        "/dav/my%20files/a%2Fb", "/dav/my%20files/a%00b", "/dav/my%20files/x/%2E%2E/%2E%2E/y"}) {
    CAPTURE(href);
    CHECK(place(href) == unusable);
  }
  CHECK(place("/dav/my%20files/" + std::string(300, 'x')) == unusable);
  for (const char* href :
       {"", "a", "../a", "/", "/dav", "/dav/other/a", "/dav/my%2520files/a", "/dav/../dav/my%20files/a",
        "//evil/dav/my%20files/a", "https://evil", "mailto:x", "/dav%2Fmy%20files/a"}) {
    CAPTURE(href);
    CHECK(place(href) == outside);
  }
}

TEST_CASE("webdav: URLs") {
  const Address full = parse_url("webdavs://me%40home@[::1]:8443/a%20b//c%25/").value();
  CHECK(full.tls);
  CHECK(full.user == "me@home");
  CHECK(full.host == "[::1]:8443");
  CHECK(full.root == "a b/c%");
  CHECK(parse_url("webdav://h:80").value().host == "h");
  CHECK(parse_url("webdav://h:80").value().root.empty());
  CHECK(parse_url("webdavs://h:80/").value().host == "h:80");
  for (const char* url : {"webdav://", "webdav:///x", "webdav://:80/x", "webdav://h/a?b", "webdav://h/a#b",
                          "webdav://h/..", "webdav://h/a/%2e%2e/b", "webdav://h/a%2Fb", "webdav://h/a%00b",
                          "webdav://h h/", "http://h/x", "webdav://h\"/x", "webdav://u:geheim@h/x"}) {
    CAPTURE(url);
    const auto parsed = parse_url(url);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == ErrorCode::config);
    CHECK(parsed.error().message().find("geheim") == std::string::npos);
  }
  const auto cloud = nextcloud_of("cloud/remote.php/dav/files/me/Media");
  REQUIRE(cloud);
  CHECK(cloud->base == "cloud/remote.php/dav");
  CHECK(cloud->user == "me");
  CHECK(nextcloud_of("remote.php/dav/files/me")->base == "remote.php/dav");
  for (const char* root :
       {"", "dav", "remote.php/dav/files", "remote.php/dav/files/", "xremote.php/dav/files/me"})
    CHECK_FALSE(nextcloud_of(root));
}

TEST_CASE("webdav: what each refusal means") {
  const std::pair<int, ErrorCode> rows[] = {
      {301, ErrorCode::config},    {401, ErrorCode::credentials}, {403, ErrorCode::permission},
      {404, ErrorCode::not_found}, {409, ErrorCode::not_found},   {405, ErrorCode::unsupported},
      {412, ErrorCode::changed},   {413, ErrorCode::too_large},   {416, ErrorCode::changed},
      {423, ErrorCode::busy},      {429, ErrorCode::throttled},   {500, ErrorCode::io},
      {502, ErrorCode::offline},   {503, ErrorCode::offline},     {507, ErrorCode::no_space},
      {400, ErrorCode::invalid}};
  for (const auto& row : rows) {
    CAPTURE(row.first);
    CHECK(error_of(row.first, "", "").code == row.second);
  }
  CHECK(error_of(503, "", "7").code == ErrorCode::throttled);
  CHECK(error_of(503, "", "7").retry_after_ms == 7000);
  CHECK(error_of(429, "", "999999999").retry_after_ms == 3'600'000);
}

}  // namespace mediafs::tier::webdav
