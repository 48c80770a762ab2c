// A small HTTP/1.1 server for tests: a thread accepts, one more serves each connection, a handler writes raw replies.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/fd.h"

namespace mediafs::test {

struct ServerRequest {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// What a handler answers through.
class Peer {
 public:
  explicit Peer(int fd) : fd_(fd) {}
  bool send(std::string_view bytes) const;
  bool reply(std::string_view status_line, std::string_view body, std::string_view extra_headers = "") const;
  void wait_for_close() const;  // until the client gives up: how a stalled server behaves

 private:
  int fd_;
};

class HttpServer {
 public:
  // true keeps the connection for another request.
  using Handler = std::function<bool(const ServerRequest&, const Peer&)>;
  explicit HttpServer(Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  std::string url(std::string_view target) const;
  int port() const { return port_; }
  int connections() const { return connections_; }

 private:
  void accept_loop();
  void serve(int fd);

  Handler handler_;
  int port_ = 0;  // before the listener, which sets it
  Fd listener_;
  std::atomic<int> connections_{0};
  std::mutex mutex_;
  std::vector<Fd> sockets_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

Fd listen_on_loopback(int& port);
int unused_port();  // one that was free a moment ago: connecting to it is refused

}  // namespace mediafs::test
