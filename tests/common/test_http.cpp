#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <latch>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/http.h"
#include "http_server.h"

using namespace mediafs;
using http::Client;
using http::Request;
using http::Response;
using test::HttpServer;
using test::Peer;
using test::ServerRequest;

namespace {

std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A body of `size` bytes that is not the same everywhere.
char byte_at(std::size_t i) {
  return static_cast<char>('a' + i * 7 % 23);
}
std::string made_body(std::size_t size) {
  std::string body(size, ' ');
  for (std::size_t i = 0; i < size; ++i) body[i] = byte_at(i);
  return body;
}

Response performed(Client& client, Request request) {
  auto response = client.perform(std::move(request));
  if (!response) FAIL(response.err().message());
  return std::move(*response);
}

Request put_streamed(const std::string& url, std::size_t size) {
  auto at = std::make_shared<std::size_t>(0);
  Request request{.method = "PUT", .url = url};
  request.body_size = size;
  request.body = [at, size](std::span<std::byte> into) -> std::optional<std::size_t> {
    const std::size_t n = std::min({into.size(), size - *at, std::size_t{10'000}});
    for (std::size_t i = 0; i < n; ++i) into[i] = static_cast<std::byte>(byte_at((*at)++));
    return n;
  };
  request.rewind = [at] {
    *at = 0;
    return true;
  };
  return request;
}

}  // namespace

TEST_CASE("http: one connection serves one request after another") {
  const HttpServer server([](const ServerRequest& request, const Peer& peer) {
    return peer.reply("200 OK", "you asked for " + request.target, "X-Thing: One\r\nx-thing:  Two \r\n");
  });
  Client client;
  for (int i = 0; i < 5; ++i) {
    const auto response = client.perform({.url = server.url("/a")});
    REQUIRE(response);
    CHECK(response->status == 200);
    CHECK(response->body == "you asked for /a");
    CHECK(response->header("x-thing") == "Two");
    CHECK(response->header("X-Thing") == "");
  }
  CHECK(server.connections() == 1);
}

TEST_CASE("http: paths go out exactly as given") {
  const HttpServer server(
      [](const ServerRequest& request, const Peer& peer) { return peer.reply("200 OK", request.target); });
  Client client;
  for (const char* target : {"/a/../b", "/./x//y", "/%2e%2E/%c3%a9?prefix=a%2Fb&x", "/a%20b+c"}) {
    CHECK(performed(client, {.url = server.url(target)}).body == target);
  }
}

TEST_CASE("http: a range arrives in pieces, after its head") {
  const std::string whole = made_body(1'000'000);
  const HttpServer server([&](const ServerRequest& request, const Peer& peer) {
    CHECK(request.headers.at("range") == "bytes=1000-900999");
    return peer.reply("206 Partial Content", std::string_view(whole).substr(1000, 900'000),
                      "Content-Range: bytes 1000-900999/1000000\r\n");
  });
  Client client;
  std::string got;
  int heads = 0;
  Request request{.url = server.url("/f"), .headers = {"Range: bytes=1000-900999"}};
  request.on_head = [&](const Response& head) {
    CHECK(got.empty());
    CHECK(head.status == 206);
    CHECK(head.header("content-range") == "bytes 1000-900999/1000000");
    ++heads;
    return true;
  };
  request.on_body = [&](std::span<const std::byte> bytes) {
    got += as_text(bytes);
    return true;
  };
  const auto response = client.perform(std::move(request));
  REQUIRE(response);
  CHECK(response->body.empty());
  CHECK(heads == 1);
  CHECK(got == whole.substr(1000, 900'000));
}

TEST_CASE("http: bodies go up whole, and only large ones ask first") {
  std::string expectation;
  const HttpServer server([&](const ServerRequest& request, const Peer& peer) {
    const auto expect = request.headers.find("expect");
    expectation = expect == request.headers.end() ? "" : expect->second;
    return peer.reply(request.body == made_body(request.body.size()) ? "200 OK" : "400 Different",
                      request.method + " " + std::to_string(request.body.size()));
  });
  Client client;
  const auto large = client.perform(put_streamed(server.url("/f"), 3'000'000));
  REQUIRE(large);
  CHECK(large->status == 200);
  CHECK(large->body == "PUT 3000000");
  CHECK(expectation == "100-continue");
  const auto small = client.perform(put_streamed(server.url("/f"), 200'000));
  REQUIRE(small);
  CHECK(small->status == 200);
  CHECK(small->body == "PUT 200000");
  CHECK(expectation == "");
  const auto text = client.perform({.method = "POST", .url = server.url("/f"), .body_text = made_body(10)});
  REQUIRE(text);
  CHECK(text->body == "POST 10");
  const auto empty = client.perform({.method = "PUT", .url = server.url("/f")});
  REQUIRE(empty);
  CHECK(empty->body == "PUT 0");
  Request slow = put_streamed(server.url("/f"), 100'000);
  slow.send_limit = 10'000'000;
  CHECK(performed(client, std::move(slow)).body == "PUT 100000");
}

TEST_CASE("http: methods without a body say nothing of one, headers are sent as given") {
  const HttpServer server([](const ServerRequest& request, const Peer& peer) {
    std::string seen = request.method;
    for (const char* name : {"content-length", "content-type", "expect", "transfer-encoding"}) {
      if (auto it = request.headers.find(name); it != request.headers.end() && !it->second.empty()) {
        seen += " " + it->first;
      }
    }
    if (request.headers.contains("x-empty")) seen += " x-empty";
    return peer.reply("200 OK", seen);
  });
  Client client;
  CHECK(performed(client, {.method = "DELETE", .url = server.url("/f")}).body == "DELETE");
  CHECK(performed(client, {.method = "PROPFIND", .url = server.url("/f"), .headers = {"X-Empty:"}}).body ==
        "PROPFIND x-empty");
  CHECK(client.perform({.url = server.url("/f"), .headers = {"A: b\r\nInjected: yes"}}).err().code ==
        ErrorCode::invalid);
}

TEST_CASE("http: HEAD gives the length and no body") {
  const HttpServer server([](const ServerRequest& request, const Peer& peer) {
    CHECK(request.method == "HEAD");
    return peer.send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: \"x\"\r\n\r\n");
  });
  Client client;
  for (int i = 0; i < 2; ++i) {
    const auto head = client.perform({.method = "HEAD", .url = server.url("/f")});
    REQUIRE(head);
    CHECK(head->header("content-length") == "12345");
    CHECK(head->header("etag") == "\"x\"");
    CHECK(head->body.empty());
  }
  CHECK(server.connections() == 1);
}

TEST_CASE("http: an error's body stands in the response, not in on_body; redirects are not followed") {
  const HttpServer server([](const ServerRequest& request, const Peer& peer) {
    if (request.target == "/moved") return peer.reply("302 Found", "elsewhere", "Location: /f\r\n");
    return peer.reply("404 Not Found", std::string(100'000, 'e'));
  });
  Client client;
  bool called = false;
  Request request{.url = server.url("/f")};
  request.on_body = [&](std::span<const std::byte>) { return called = true; };
  const auto missing = client.perform(std::move(request));
  REQUIRE(missing);
  CHECK(missing->status == 404);
  CHECK(missing->body.size() == 64 * 1024);
  CHECK(!called);
  const auto moved = client.perform({.url = server.url("/moved")});
  REQUIRE(moved);
  CHECK(moved->status == 302);
  CHECK(moved->header("location") == "/f");
}

TEST_CASE("http: a kept connection that the server has closed is replaced, the body sent again") {
  std::atomic<int> served{0};
  const HttpServer server([&](const ServerRequest& request, const Peer& peer) {
    ++served;
    peer.reply("200 OK", std::to_string(request.body.size()));
    return false;  // closes, having announced nothing
  });
  Client client;
  for (int i = 0; i < 10; ++i) {
    const Response response = performed(client, put_streamed(server.url("/f"), 500'000));
    CHECK(response.body == "500000");
  }
  CHECK(served == 10);
}

TEST_CASE("http: many transfers at once keep to the limit and all end") {
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  std::latch filled(4);
  const HttpServer server([&](const ServerRequest& request, const Peer& peer) {
    const int now = ++running;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    if (request.target == "/first") filled.arrive_and_wait();  // four at once, or this never ends
    --running;
    return peer.reply("200 OK", request.target);
  });
  Client client({.max_connections = 4});
  std::latch done(40);
  std::atomic<int> good{0};
  for (int i = 0; i < 40; ++i) {
    client.start({.url = server.url(i < 4 ? "/first" : "/later")}, [&](Result<Response> response) {
      good += response && response->status == 200 ? 1 : 0;
      done.count_down();
    });
  }
  done.wait();
  CHECK(good == 40);
  CHECK(most == 4);
  CHECK(server.connections() == 4);
}

TEST_CASE(
    "http: a transfer cancelled near its end is over at once, and its connection serves the next request") {
  constexpr std::size_t kSize = 3U << 20;
  for (const bool near : {true, false}) {
    CAPTURE(near);
    const std::string body = made_body(kSize);
    const std::size_t sent = near ? kSize - (512U << 10) : 512U << 10;
    std::latch over(1);
    std::atomic<std::thread::id> film;
    HttpServer server([&](const ServerRequest& request, const Peer& peer) {
      const bool same = film.load() == std::this_thread::get_id();  // a thread is a connection
      if (request.target == "/next") return peer.reply("200 OK", same ? "same" : "new") && same;
      film = std::this_thread::get_id();
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kSize) + "\r\n\r\n" +
                body.substr(0, sent));
      over.wait();
      if (near) return peer.send(std::string_view(body).substr(sent));
      peer.wait_for_close();
      return false;
    });
    Client client({.drain_time = std::chrono::minutes(10)});
    std::latch enough(1);
    std::size_t got = 0;
    Request request{.url = server.url("/film"), .reply_size = kSize};
    request.on_body = [&](std::span<const std::byte> bytes) {
      got += bytes.size();
      if (got == sent) enough.count_down();
      return true;
    };
    const auto number = client.start(std::move(request), [&](Result<Response> result) {
      CHECK_FALSE(result);
      over.count_down();
    });
    enough.wait();
    client.cancel(number);
    over.wait();
    CHECK(got == sent);
    std::string by;  // the rest is on its way; those that come before it get connections of their own
    do {
      by = performed(client, {.url = server.url("/next")}).body;
    } while (near && by != "same" && server.connections() < 5000);
    CHECK(by == (near ? "same" : "new"));
  }
}

TEST_CASE("http: who is cancelled by its own callback near the end leaves its connection, too") {
  constexpr std::size_t kSize = 1U << 20;
  HttpServer server([&](const ServerRequest& request, const Peer& peer) {
    return peer.reply("200 OK", request.target == "/next" ? "next" : made_body(kSize));
  });
  Client client({.max_connections = 1, .drain_time = std::chrono::minutes(10)});
  std::atomic<int> calls = 0;
  Request request{.url = server.url("/film"), .reply_size = kSize};
  request.on_body = [&](std::span<const std::byte>) { return ++calls > 1; };
  const auto refused = client.perform(std::move(request));
  REQUIRE_FALSE(refused);
  CHECK(refused.err().code == ErrorCode::cancelled);
  CHECK(performed(client, {.url = server.url("/next")}).body == "next");  // has to wait for its turn
  CHECK(calls == 1);
}

TEST_CASE("http: percent encoding there and back") {
  CHECK(http::percent_encode("a/b c~é+", true) == "a/b%20c~%C3%A9%2B");
  CHECK(http::percent_encode("a/b", false) == "a%2Fb");
  CHECK(http::percent_decode("a%2Fb%20c%C3%a9+") == "a/b cé+");
  CHECK(http::percent_decode("100%") == "100%");
  CHECK(http::percent_decode("%zz%4") == "%zz%4");
  CHECK(http::percent_decode("%41") == "A");
}
