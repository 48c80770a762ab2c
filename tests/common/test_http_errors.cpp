#include <doctest/doctest.h>

#include <atomic>
#include <latch>
#include <string>
#include <thread>

#include "common/http.h"
#include "http_server.h"

using namespace mediafs;
using namespace std::chrono_literals;
using http::Client;
using http::Request;
using http::Response;
using test::HttpServer;
using test::Peer;
using test::ServerRequest;

namespace {

// Says `first` and then nothing until the client gives up.
HttpServer::Handler stalling(std::string first) {
  return [first = std::move(first)](const ServerRequest&, const Peer& peer) {
    peer.send(first);
    peer.wait_for_close();
    return false;
  };
}

}  // namespace

TEST_CASE("http: a refused connection is offline, and the message says where") {
  const int port = test::unused_port();
  Client client;
  const auto refused = client.perform({.url = "http://127.0.0.1:" + std::to_string(port) + "/bucket/key"});
  REQUIRE(!refused);
  CHECK(refused.err().code == ErrorCode::offline);
  CHECK(refused.err().message().find("GET 127.0.0.1:" + std::to_string(port) + "/bucket/key") == 0);
}

TEST_CASE("http: messages hold no password and no signature") {
  const int port = test::unused_port();
  Client client;
  const auto refused = client.perform(
      {.url = "http://someone:geheim@127.0.0.1:" + std::to_string(port) + "/key?X-Amz-Signature=abcdef",
       .headers = {"Authorization: topsecret"}});
  REQUIRE(!refused);
  for (const char* secret : {"geheim", "someone", "abcdef", "topsecret"}) {
    CHECK(refused.err().message().find(secret) == std::string::npos);
  }
}

TEST_CASE("http: what is no URL is invalid") {
  Client client;
  CHECK(client.perform({.url = "http://"}).err().code == ErrorCode::invalid);
  CHECK(client.perform({.url = "file:///etc/passwd"}).err().code == ErrorCode::invalid);
}

TEST_CASE("http: a server that stalls is a timeout, before its head and within its body") {
  for (const char* first : {"", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"}) {
    CAPTURE(first);
    const HttpServer server(stalling(first));
    Client client;
    Request request{.url = server.url("/f")};
    request.stall_timeout = 50ms;
    const auto stalled = client.perform(std::move(request));
    REQUIRE(!stalled);
    CHECK(stalled.err().code == ErrorCode::timeout);
  }
}

TEST_CASE("http: a server that stops reading an upload is a timeout") {
  int port = 0;
  const Fd listener = test::listen_on_loopback(port);  // the kernel connects, nobody ever reads
  constexpr std::size_t kSize = 256 << 20;             // more than the sockets' buffers hold
  std::size_t given = 0;
  Client client;
  Request request{
      .method = "PUT", .url = "http://127.0.0.1:" + std::to_string(port) + "/f", .headers = {"Expect:"}};
  request.body_size = kSize;
  request.body = [&](std::span<std::byte> into) {
    given += into.size();
    return std::optional(into.size());
  };
  request.stall_timeout = 50ms;
  const auto stalled = client.perform(std::move(request));
  REQUIRE(!stalled);
  CHECK(stalled.err().code == ErrorCode::timeout);
  CHECK(given > 0);
  CHECK(given < kSize);
}

TEST_CASE("http: the deadline ends what still trickles") {
  const HttpServer server([](const ServerRequest&, const Peer& peer) {
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
    while (peer.send("x")) std::this_thread::sleep_for(1ms);
    return false;
  });
  Client client;
  Request request{.url = server.url("/f")};
  request.deadline = 80ms;
  const auto late = client.perform(std::move(request));
  REQUIRE(!late);
  CHECK(late.err().code == ErrorCode::timeout);
}

TEST_CASE("http: a body cut short is io") {
  const HttpServer server([](const ServerRequest&, const Peer& peer) {
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    return false;
  });
  Client client;
  const auto cut = client.perform({.url = server.url("/f")});
  REQUIRE(!cut);
  CHECK(cut.err().code == ErrorCode::io);
}

TEST_CASE("http: a reply that ends within its head is io") {
  for (const std::string_view head :
       {"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Le", "HTTP/1.1 204 No Content\r\nDate: now\r\n"}) {
    HttpServer server([&](const ServerRequest&, const Peer& peer) {
      peer.send(head);
      return false;
    });
    Client client;
    bool shown = false;
    const auto cut =
        client.perform({.method = "DELETE", .url = server.url("/x"), .on_head = [&](const Response&) {
                          shown = true;
                          return true;
                        }});
    REQUIRE(!cut);
    CHECK(cut.err().code == ErrorCode::io);
    CHECK_FALSE(shown);
  }
}

TEST_CASE("http: an announced body that ends early is io, one that gives up cancelled") {
  const HttpServer server([](const ServerRequest&, const Peer& peer) { return peer.reply("200 OK", ""); });
  Client client;
  for (const bool gives_up : {false, true}) {
    Request request{.method = "PUT", .url = server.url("/f")};
    request.body_size = 1000;
    request.body = [gives_up](std::span<std::byte>) -> std::optional<std::size_t> {
      if (gives_up) return std::nullopt;
      return 0;
    };
    const auto failed = client.perform(std::move(request));
    REQUIRE(!failed);
    CHECK(failed.err().code == (gives_up ? ErrorCode::cancelled : ErrorCode::io));
  }
}

TEST_CASE("http: the stop token ends a transfer that waits for the server") {
  std::latch asked(1);
  const HttpServer server([&](const ServerRequest&, const Peer& peer) {
    asked.count_down();
    peer.wait_for_close();
    return false;
  });
  Client client;
  std::stop_source source;
  std::jthread stopper([&] {
    asked.wait();
    source.request_stop();
  });
  const auto stopped = client.perform({.url = server.url("/f"), .stop = source.get_token()});
  REQUIRE(!stopped);
  CHECK(stopped.err().code == ErrorCode::cancelled);
  const auto at_once = client.perform({.url = server.url("/f"), .stop = source.get_token()});
  REQUIRE(!at_once);
  CHECK(at_once.err().code == ErrorCode::cancelled);
  CHECK(server.connections() == 1);
}

TEST_CASE("http: on_body and on_head can end a transfer") {
  const HttpServer server(
      [](const ServerRequest&, const Peer& peer) { return peer.reply("200 OK", "body"); });
  Client client;
  Request by_body{.url = server.url("/f")};
  by_body.on_body = [](std::span<const std::byte>) { return false; };
  CHECK(client.perform(std::move(by_body)).err().code == ErrorCode::cancelled);
  bool body_seen = false;
  Request by_head{.url = server.url("/f")};
  by_head.on_head = [](const Response&) { return false; };
  by_head.on_body = [&](std::span<const std::byte>) { return body_seen = true; };
  CHECK(client.perform(std::move(by_head)).err().code == ErrorCode::cancelled);
  CHECK(!body_seen);
}

TEST_CASE("http: cancel() and the client's end call on_done once each") {
  std::latch asked(2);
  const HttpServer server([&](const ServerRequest&, const Peer& peer) {
    asked.count_down();
    peer.wait_for_close();
    return false;
  });
  std::atomic<int> cancelled{0};
  std::atomic<int> calls{0};
  std::latch first_over(1);
  {
    Client client;
    const auto count = [&](const Result<Response>& result) {
      ++calls;
      cancelled += !result && result.err().code == ErrorCode::cancelled ? 1 : 0;
    };
    const auto id = client.start({.url = server.url("/1")}, [&](Result<Response> result) {
      count(result);
      first_over.count_down();
    });
    client.start({.url = server.url("/2")}, count);
    asked.wait();
    client.cancel(id);
    client.cancel(id);
    first_over.wait();
    client.cancel(id);
    client.cancel(999'999);
    CHECK(calls == 1);
  }
  CHECK(calls == 2);
  CHECK(cancelled == 2);
}

TEST_CASE("http: perform() from a callback fails instead of waiting for itself") {
  const HttpServer server([](const ServerRequest&, const Peer& peer) { return peer.reply("200 OK", ""); });
  Client client;
  std::latch over(1);
  ErrorCode code = ErrorCode::io;
  client.start({.url = server.url("/f")}, [&](Result<Response>) {
    const auto inner = client.perform({.url = server.url("/g")});
    code = inner ? ErrorCode::io : inner.err().code;
    over.count_down();
  });
  over.wait();
  CHECK(code == ErrorCode::internal);
}
