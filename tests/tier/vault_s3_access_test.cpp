// Who we are to the server and where the bucket is, when that changes; and what is asked of a server that can do less.
#include <algorithm>
#include <atomic>
#include <mutex>

#include "common/http.h"
#include "tests/common/http_server.h"
#include "tests/tier/vault_contract.h"
#include "tier/vault/s3_client.h"

namespace mediafs::tier::test {

namespace {

using mediafs::test::HttpServer;
using mediafs::test::Peer;
using mediafs::test::ServerRequest;

s3::Options options_for(const HttpServer& server) {
  s3::Options options;
  options.tls = false;
  options.host = "127.0.0.1:" + std::to_string(server.port());
  options.bucket = "films";
  options.credentials.access_key = "first";
  options.credentials.secret_key = "the-first-secret";
  return options;
}

std::string of(const ServerRequest& request, const std::string& header) {
  const auto found = request.headers.find(header);
  return found == request.headers.end() ? std::string() : found->second;
}

// An object "f" of 5 bytes, whatever is asked.
bool answer_well(const ServerRequest& request, const Peer& peer) {
  const std::string etag =
      "ETag: \"" + digest_hex(Digest::md5, request.method == "PUT" ? request.body : "bytes") + "\"\r\n";
  if (request.target.find("list-type") != std::string::npos)
    return peer.reply("200 OK", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>");
  if (request.method == "HEAD") return peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + etag + "\r\n");
  if (!of(request, "range").empty())
    return peer.reply("206 Partial Content", "bytes", etag + "Content-Range: bytes 0-4/5\r\n");
  return peer.reply("200 OK", "", etag);
}

bool refuse(const ServerRequest& request, const Peer& peer, const std::string& status,
            const std::string& code, const std::string& headers = "") {
  if (request.method == "HEAD")
    return peer.send("HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n" + headers + "\r\n");
  return peer.reply(status, "<Error><Code>" + code + "</Code><Message>no</Message></Error>", headers);
}

Status put_x(Vault& vault, bool only_new = false) {
  const Source source("x");
  PutSource what = source.put();
  what.only_new = only_new;
  auto put = vault.put("new", what, some_meta(), {});
  return put ? Status() : Status(put.error());
}

std::string header_of(const http::Request& request, const std::string& name) {
  for (const std::string& line : request.headers) {
    if (line.starts_with(name + ": ")) return line.substr(name.size() + 2);
  }
  return {};
}

}  // namespace

TEST_CASE("s3: the bucket in the path or in the host's name, and what is signed") {
  s3::Options options;
  options.host = "s3.eu-west-3.amazonaws.com";
  options.region = "eu-west-3";
  options.bucket = "films";
  options.prefix = "my library";
  options.credentials = {
      .access_key = "A", .secret_key = "S", .session_token = "TOKEN", .user = {}, .password = {}};
  s3::Call call;
  call.key = "a + b/\xC3\xBC.mkv";
  call.query = {{"partNumber", "7"}, {"uploadId", "a/b"}};
  for (const bool path_style : {true, false}) {
    CAPTURE(path_style);
    options.path_style = path_style;
    s3::S3Client client(options);
    const http::Request request = client.prepare(call);
    const std::string host = (path_style ? "" : "films.") + options.host;
    const std::string path = std::string(path_style ? "/films" : "") + "/my%20library/a%20%2B%20b/%C3%BC.mkv";
    CHECK(request.url == "https://" + host + path + "?partNumber=7&uploadId=a%2Fb");
    CHECK(header_of(request, "host") == host);
    CHECK(header_of(request, "x-amz-security-token") == "TOKEN");
    s3::SignRequest expected;
    expected.method = "GET";
    expected.path = path;
    expected.query = call.query;
    expected.headers = {{"host", host}};
    expected.payload_hash = s3::kEmptySha256;
    // The time is the client's: signed again at the one that it says.
    std::tm utc{};
    REQUIRE(::strptime(header_of(request, "x-amz-date").c_str(), "%Y%m%dT%H%M%SZ", &utc) != nullptr);
    expected.at = ::timegm(&utc);
    const auto signed_again = s3::sign(expected, {"A", "S", "TOKEN", "eu-west-3"});
    CHECK(header_of(request, "authorization") == signed_again.back().second);
    CHECK(header_of(request, "authorization")
              .find("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,") !=
          std::string::npos);
    call.key.reset();
    CHECK(client.prepare(call).url.starts_with("https://" + host + (path_style ? "/films?" : "/?")));
    call.key = "a + b/\xC3\xBC.mkv";
  }
}

TEST_CASE("s3: what the configuration says") {
  Config config;
  config.vault.url = "s3://films/my/library/";
  config.vault.region = "eu-west-3";
  config.local.state = "/srv/ssd/.mediafs";
  const Credentials keys{
      .access_key = "A", .secret_key = "S", .session_token = {}, .user = {}, .password = {}};
  auto options = value_of(s3::options_from(config, keys));
  CHECK(options.host == "s3.eu-west-3.amazonaws.com");
  CHECK_FALSE(options.path_style);
  CHECK(options.prefix == "my/library");
  CHECK(options.notes_folder == "/srv/ssd/.mediafs/uploads");
  config.vault.url = "s3://with.dots";
  CHECK(value_of(s3::options_from(config, keys)).path_style);
  CHECK(code_of(s3::options_from(config, {})) == ErrorCode::credentials);
}

TEST_CASE("s3: credentials that expired are read again, once, and the call goes on") {
  std::atomic<int> refused{0};
  const HttpServer server([&](const ServerRequest& request, const Peer& peer) {
    if (of(request, "x-amz-security-token") == "second") return answer_well(request, peer);
    ++refused;
    return refuse(request, peer, request.method == "PUT" ? "403 Forbidden" : "400 Bad Request",
                  "ExpiredToken");
  });
  auto options = options_for(server);
  options.credentials.session_token = "first";
  std::atomic<int> read{0};
  bool renewed = true;
  options.read_credentials = [&]() -> Result<Credentials> {
    ++read;
    Credentials found = options.credentials;
    if (renewed) found.session_token = "second";
    return found;
  };
  using Ask = std::function<Status(Vault&)>;
  const auto status = [](const auto& result) { return result ? Status() : Status(result.error()); };
  const Ask asks[] = {[](Vault& v) { return put_x(v); }, [](Vault& v) { return v.probe(); },
                      [](Vault& v) { return v.remove("f"); }, [&](Vault& v) { return status(v.head("f")); },
                      [&](Vault& v) {
                        return status(read_bytes(v, {"f", 0, 5, ""}));
                      }};
  for (const Ask& ask : asks) {
    refused = read = 0;
    const auto vault = s3::open_s3_vault(options);
    check_ok(ask(*vault));
    CHECK(read == 1);
    const int first = refused;
    CHECK(first >= 1);
    check_ok(ask(*vault));  // known now
    CHECK(refused == first);
  }
  renewed = false;
  for (const Ask& ask : asks) {
    read = refused = 0;
    const auto asked = ask(*s3::open_s3_vault(options));
    REQUIRE_FALSE(asked);
    CHECK(asked.error().code == ErrorCode::credentials);
    CHECK(asked.error().message().find("the-first-secret") == std::string::npos);
    CHECK(read == 1);
    CHECK(refused <= 2);  // a HEAD and what asks why
  }
}

TEST_CASE("s3: a server that repeats our secrets is not quoted, nor those that were before") {
  const HttpServer server([&](const ServerRequest& request, const Peer& peer) {
    const bool renewed = of(request, "x-amz-security-token") == "the-second-token";
    return peer.reply("403 Forbidden",
                      std::string("<Error><Code>") + (renewed ? "AccessDenied" : "ExpiredToken") +
                          "</Code><Message>the-first-secret, the-first-token, the-second-secret, "
                          "the-second-token</Message></Error>");
  });
  auto options = options_for(server);
  options.credentials.session_token = "the-first-token";
  options.read_credentials = [&]() -> Result<Credentials> {
    Credentials found = options.credentials;
    found.secret_key = "the-second-secret";
    found.session_token = "the-second-token";
    return found;
  };
  const auto probe = s3::open_s3_vault(options)->probe();
  REQUIRE_FALSE(probe);
  CHECK(probe.error().message().find("AccessDenied: ***, ***, ***, ***") != std::string::npos);
}

TEST_CASE("s3: a server that names the bucket's region is believed") {
  std::atomic<int> redirected{0};
  bool by_header = false;
  const HttpServer server([&](const ServerRequest& request, const Peer& peer) {
    if (of(request, "authorization").find("/eu-central-1/s3/") != std::string::npos)
      return answer_well(request, peer);
    ++redirected;
    if (by_header)
      return refuse(request, peer, "301 Moved", "PermanentRedirect", "x-amz-bucket-region: eu-central-1\r\n");
    return refuse(request, peer, "400 Bad Request",
                  "AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region><Code>");
  });
  for (const bool header : {true, false}) {
    CAPTURE(header);
    by_header = header;
    redirected = 0;
    const auto vault = s3::open_s3_vault(options_for(server));
    check_ok(vault->probe());
    check_ok(put_x(*vault));
    CHECK(value_of(vault->head("f")).size_bytes == 5);
    CHECK(value_of(read_bytes(*vault, {"f", 0, 5, ""})) == "bytes");
    CHECK(redirected == 1);
  }
  by_header = true;
  for (const auto& first : {0, 1}) {  // a HEAD has no body to say so
    const auto vault = s3::open_s3_vault(options_for(server));
    if (first == 0) CHECK(value_of(vault->head("f")).size_bytes == 5);
    if (first == 1) CHECK(value_of(read_bytes(*vault, {"f", 0, 5, ""})) == "bytes");
  }
}

TEST_CASE("s3: a region that makes no sense, or that does not help, is told") {
  std::string region = "evil.example/";
  std::atomic<int> asked{0};
  const HttpServer server([&](const ServerRequest& request, const Peer& peer) {
    ++asked;
    return refuse(request, peer, "301 Moved", "PermanentRedirect", "x-amz-bucket-region: " + region + "\r\n");
  });
  CHECK(code_of(s3::open_s3_vault(options_for(server))->probe()) == ErrorCode::config);
  CHECK(asked == 1);
  region = "eu-north-1";
  asked = 0;
  CHECK(code_of(s3::open_s3_vault(options_for(server))->probe()) == ErrorCode::config);
  CHECK(asked == 2);
}

TEST_CASE("s3: what must be new overwrites nothing, whatever the server makes of If-None-Match") {
  enum class Server : std::uint8_t { honours, refuses, ignores } kind = Server::honours;
  bool there = false;
  bool hide = false;
  std::vector<std::string> requests;
  std::mutex mutex;
  const HttpServer server([&](const ServerRequest& request, const Peer& peer) {
    const std::lock_guard lock(mutex);
    const bool asks = of(request, "if-none-match") == "*";
    requests.push_back(request.method + (asks ? "?" : ""));
    if (request.method == "HEAD" && (!there || hide)) return refuse(request, peer, "404 Not Found", "");
    if (asks && kind == Server::refuses)
      return refuse(request, peer, "501 Not Implemented", "NotImplemented");
    if (asks && there && kind == Server::honours)
      return refuse(request, peer, "412 Precondition Failed", "PreconditionFailed");
    if (request.method == "PUT") there = true;
    return answer_well(request, peer);
  });
  using Asked = std::vector<std::string>;
  const auto put = [&](Vault& vault, const Asked& wanted) {
    requests.clear();
    const Status done = put_x(vault, true);
    CHECK(requests == wanted);
    return done;
  };
  const auto fresh = [&](Server now) {
    kind = now;
    there = false;
    return s3::open_s3_vault(options_for(server));
  };
  SUBCASE("ignored: a look comes first, always") {
    const auto vault = fresh(Server::ignores);
    for (int i = 0; i < 2; ++i) {
      there = false;
      check_ok(put(*vault, {"HEAD", "PUT?"}));
      CHECK(code_of(put(*vault, {"HEAD"})) == ErrorCode::exists);
    }
  }
  SUBCASE("refused: it is asked once") {
    const auto vault = fresh(Server::refuses);
    check_ok(put(*vault, {"HEAD", "PUT?", "PUT"}));
    CHECK(code_of(put(*vault, {"HEAD"})) == ErrorCode::exists);
    there = false;
    check_ok(put(*vault, {"HEAD", "PUT"}));
  }
  SUBCASE("honoured: known once it refused, and no look is needed any more") {
    const auto vault = fresh(Server::honours);
    check_ok(put(*vault, {"HEAD", "PUT?"}));
    CHECK(code_of(put(*vault, {"HEAD"})) == ErrorCode::exists);
    hide = true;  // it appears between the look and the PUT
    CHECK(code_of(put(*vault, {"HEAD", "PUT?"})) == ErrorCode::exists);
    CHECK(code_of(put(*vault, {"PUT?"})) == ErrorCode::exists);
    there = false;
    check_ok(put(*vault, {"PUT?"}));
  }
}

}  // namespace mediafs::tier::test
