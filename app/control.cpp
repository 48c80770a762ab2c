#include "app/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "common/fd.h"
#include "common/log.h"
#include "common/sync.h"

namespace mediafs::app {

namespace {

constexpr std::size_t kMostConnections = 32;
constexpr std::size_t kLongestLine = 64U << 20;
constexpr int kPollMs = 200;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return make_error(ErrorCode::name_too_long, "control socket " + path,
                      "a socket's path has at most 107 bytes (set local.state to a shorter one)");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

bool send_line(int fd, const Json& json) {
  const std::string line = json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t n = send(fd, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  return true;
}

// Who listens there. 0: not known.
int peer_of(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

bool is_stopped(int pid) {
  const auto text = read_file(AT_FDCWD, "/proc/" + std::to_string(pid) + "/status", 1U << 16);
  return text && text->find("\nState:\tT") != std::string::npos;
}

// Returns once there is something to be read. A daemon may take its time; a stopped one never answers.
Status await_answer(int fd) {
  constexpr int kLookEveryMs = 2000;
  const int pid = peer_of(fd);
  pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
  for (;;) {
    const int ready = poll(&p, 1, kLookEveryMs);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return {};
    if (ready == 0 && pid > 0 && is_stopped(pid)) {
      const std::string number = std::to_string(pid);
      return make_error(ErrorCode::timeout, "the daemon (pid " + number + ")",
                        "it is stopped, and answers nobody (kill -CONT " + number +
                            " lets it go on; mediafs unmount --force ends it)");
    }
  }
}

// Lines from a socket, with a bound.
class LineReader {
 public:
  explicit LineReader(int fd) : fd_(fd) {}
  bool has_line() const { return buffer_.find('\n') != std::string::npos; }
  Result<std::string> next() {
    for (;;) {
      if (auto end = buffer_.find('\n'); end != std::string::npos) {
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return line;
      }
      if (buffer_.size() > kLongestLine)
        return make_error(ErrorCode::invalid, "control socket", "a line is too long");
      char chunk[65536];
      const ssize_t n = recv(fd_, chunk, sizeof(chunk), 0);
      const int saved = errno;
      if (n < 0 && saved == EINTR) continue;
      if (n < 0) return errno_error(saved, "read the control socket");
      if (n == 0) return make_error(ErrorCode::offline, "control socket", "the other side ended");
      buffer_.append(chunk, static_cast<std::size_t>(n));
    }
  }

 private:
  int fd_;
  std::string buffer_;
};

Json error_json(const Error& e) {
  return {{"error", {{"code", std::string(to_string(e.code))}, {"what", e.what}, {"cause", e.cause}}}};
}

}  // namespace

struct ControlServer::Impl {
  std::string path;
  Fd listener;
  std::map<std::string, Handler> handlers;
  std::jthread acceptor;
  Mutex mutex;
  CondVar ended;
  std::size_t open GUARDED_BY(mutex) = 0;
  std::stop_source stop;

  ~Impl() {
    stop.request_stop();
    if (acceptor.joinable()) acceptor.join();
    {
      MutexLock lock(mutex);
      while (open > 0) ended.wait(mutex);
    }
    if (listener) unlink(path.c_str());
  }

  void accept_loop() noexcept {
    while (!stop.stop_requested()) {
      pollfd p{.fd = listener.get(), .events = POLLIN, .revents = 0};
      if (poll(&p, 1, kPollMs) <= 0) continue;
      Fd connection(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection) continue;
      {
        MutexLock lock(mutex);
        if (open >= kMostConnections) continue;  // closed: the client says that nobody answers
        open++;
      }
      try {
        std::thread([this, c = std::move(connection)]() mutable noexcept { serve(std::move(c)); }).detach();
      } catch (const std::exception& e) {
        log::error("can't serve a control connection", {{"cause", e.what()}});
        connection_ended();
      }
    }
  }

  void connection_ended() {
    MutexLock lock(mutex);
    open--;
    ended.notify_all();
  }

  void serve(Fd connection) noexcept {
    try {
      answer(connection.get());
    } catch (const std::exception& e) {
      log::error("a control command failed", {{"cause", e.what()}});
    }
    connection.reset();
    connection_ended();
  }

  void answer(int fd) {
    const timeval limit{.tv_sec = 10, .tv_usec = 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));  // a client that has stopped reading
    auto line = LineReader(fd).next();
    if (!line) return;
    const Json request = Json::parse(*line, nullptr, false);
    if (!request.is_object() || !request.contains("command") || !request["command"].is_string()) {
      send_line(fd, error_json(make_error(ErrorCode::invalid, "control socket", "not a request of ours")));
      return;
    }
    const std::string command = request["command"].get<std::string>();
    const auto handler = handlers.find(command);
    if (handler == handlers.end()) {
      send_line(fd, error_json(make_error(ErrorCode::unsupported, command,
                                          "this daemon does not know the command")));
      return;
    }
    std::stop_source gone;
    std::atomic<bool> finished{false};
    std::stop_callback on_stop(stop.get_token(), [&] { gone.request_stop(); });
    // Ctrl-C at the client closes its end: that is how a long command learns of it.
    std::jthread watch([&] {
      while (!finished.load()) {
        pollfd p{.fd = fd, .events = POLLRDHUP, .revents = 0};
        if (poll(&p, 1, kPollMs) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
          gone.request_stop();
          return;
        }
      }
    });
    Mutex sending;
    auto progress = [&](const Json& j) {
      MutexLock lock(sending);
      if (!send_line(fd, {{"progress", j}})) gone.request_stop();
    };
    Json reply;
    try {
      auto result = handler->second(request.value("args", Json::object()), progress, gone.get_token());
      reply = result ? Json{{"result", std::move(*result)}} : error_json(result.err());
    } catch (const std::exception& e) {
      reply = error_json(make_error(ErrorCode::invalid, command, e.what()));
    }
    finished = true;
    send_line(fd, reply);
  }
};

ControlServer::ControlServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ControlServer::~ControlServer() = default;

Result<std::unique_ptr<ControlServer>> ControlServer::open(const std::string& socket_path) {
  auto impl = std::make_unique<Impl>();
  impl->path = socket_path;
  MEDIAFS_ASSIGN(const sockaddr_un address, address_of(socket_path));
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error(errno, "control socket " + socket_path);
  unlink(socket_path.c_str());  // the lock on the local branch says that nobody listens
  const mode_t before = umask(0177);
  const int bound = bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const int saved = errno;
  umask(before);
  if (bound != 0) return errno_error(saved, "control socket " + socket_path);
  if (listen(fd.get(), 16) != 0) return errno_error(errno, "control socket " + socket_path);
  impl->listener = std::move(fd);
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(impl)));
}

void ControlServer::add(std::string command, Handler handler) {
  impl_->handlers[std::move(command)] = std::move(handler);
}

void ControlServer::start() {
  impl_->acceptor = std::jthread([impl = impl_.get()] { impl->accept_loop(); });
}

Result<Json> control_call(const std::string& socket_path, const std::string& command, const Json& args,
                          const ProgressSink& progress) {
  MEDIAFS_ASSIGN(const sockaddr_un address, address_of(socket_path));
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error(errno, "control socket " + socket_path);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int saved = errno;
    Error error = errno_error(saved, "connect to the daemon at " + socket_path);
    if (saved == ECONNREFUSED || saved == ENOENT) error.code = ErrorCode::offline;
    return error;
  }
  if (!send_line(fd.get(), {{"command", command}, {"args", args}})) {
    return make_error(ErrorCode::offline, "daemon at " + socket_path, "it closed the connection");
  }
  LineReader reader(fd.get());
  for (;;) {
    if (!reader.has_line()) MEDIAFS_TRY(await_answer(fd.get()));
    MEDIAFS_ASSIGN(auto line, reader.next());
    Json reply = Json::parse(line, nullptr, false);
    if (!reply.is_object())
      return make_error(ErrorCode::invalid, "daemon at " + socket_path, "its answer is not ours");
    if (reply.contains("progress")) {
      if (progress) progress(reply["progress"]);
    } else if (reply.contains("error")) {
      const Json& e = reply["error"];
      return make_error(error_code_from(e.value("code", "internal")), e.value("what", ""),
                        e.value("cause", ""));
    } else {
      return std::move(reply["result"]);
    }
  }
}

}  // namespace mediafs::app
