#include "http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace mediafs::test {

namespace {

// Reads more into `buffer`; false at the connection's end.
bool receive(int fd, std::string& buffer) {
  char piece[65536];
  const ssize_t n = ::recv(fd, piece, sizeof piece, 0);
  if (n <= 0) return false;
  buffer.append(piece, static_cast<std::size_t>(n));
  return true;
}

ServerRequest parse_head(const std::string& head) {
  ServerRequest request;
  const auto first = head.find(' ');
  const auto second = head.find(' ', first + 1);
  request.method = head.substr(0, first);
  request.target = head.substr(first + 1, second - first - 1);
  for (std::size_t at = head.find("\r\n") + 2; at < head.size();) {
    const std::size_t end = std::min(head.find("\r\n", at), head.size());
    const std::size_t colon = head.find(':', at);
    if (colon < end) {
      std::string name = head.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      const std::size_t value = head.find_first_not_of(' ', colon + 1);
      request.headers[name] = value < end ? head.substr(value, end - value) : "";
    }
    at = end + 2;
  }
  return request;
}

}  // namespace

Fd listen_on_loopback(int& port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  if (!fd || ::bind(fd.get(), raw, size) != 0 || ::listen(fd.get(), 128) != 0 ||
      ::getsockname(fd.get(), raw, &size) != 0) {
    throw std::runtime_error("no listening socket on the loopback");
  }
  port = ntohs(address.sin_port);
  return fd;
}

bool Peer::send(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool Peer::reply(std::string_view status_line, std::string_view body, std::string_view extra_headers) const {
  std::string text = "HTTP/1.1 ";
  text.append(status_line).append("\r\nContent-Length: ").append(std::to_string(body.size())).append("\r\n");
  return send(text.append(extra_headers).append("\r\n").append(body));
}

void Peer::wait_for_close() const {
  std::string ignored;
  while (receive(fd_, ignored)) ignored.clear();
}

HttpServer::HttpServer(Handler handler) : handler_(std::move(handler)), listener_(listen_on_loopback(port_)) {
  acceptor_ = std::thread([this] { accept_loop(); });
}

HttpServer::~HttpServer() {
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const Fd& fd : sockets_) ::shutdown(fd.get(), SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
}

std::string HttpServer::url(std::string_view target) const {
  return "http://127.0.0.1:" + std::to_string(port_) + std::string(target);
}

void HttpServer::accept_loop() {
  for (;;) {
    const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    ++connections_;
    const std::lock_guard lock(mutex_);
    sockets_.emplace_back(fd);
    threads_.emplace_back([this, fd] { serve(fd); });
  }
}

void HttpServer::serve(int fd) {
  const Peer peer(fd);
  std::string buffer;
  for (bool keep = true; keep;) {
    std::size_t head_end = 0;
    while ((head_end = buffer.find("\r\n\r\n")) == std::string::npos) {
      if (!receive(fd, buffer)) return;
    }
    ServerRequest request = parse_head(buffer.substr(0, head_end));
    buffer.erase(0, head_end + 4);
    const std::string& length = request.headers["content-length"];
    const std::size_t size = length.empty() ? 0 : std::stoul(length);
    if (request.headers.contains("expect")) peer.send("HTTP/1.1 100 Continue\r\n\r\n");
    while (buffer.size() < size) {
      if (!receive(fd, buffer)) return;
    }
    request.body = buffer.substr(0, size);
    buffer.erase(0, size);
    keep = handler_(request, peer);
  }
  // The descriptor stays open until the server ends, so that its number is not taken by another connection.
  ::shutdown(fd, SHUT_RDWR);
}

int unused_port() {
  int port = 0;
  const Fd fd = listen_on_loopback(port);
  return port;
}

}  // namespace mediafs::test
