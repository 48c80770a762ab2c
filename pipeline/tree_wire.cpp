#include "pipeline/tree_wire.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <charconv>
#include <vector>

namespace mediafs::pipeline::wire {

namespace {

constexpr std::size_t kPacket = 64U << 10;

std::string pack(const std::vector<std::string>& fields) {
  std::string out;
  for (const auto& field : fields) out += std::to_string(field.size()) + ":" + field;
  return out;
}

Result<std::vector<std::string>> unpack(const std::string& packet, std::size_t wanted) {
  std::vector<std::string> fields;
  std::size_t at = 0;
  while (at < packet.size()) {
    const auto colon = packet.find(':', at);
    std::size_t size = 0;
    if (colon == std::string::npos) break;
    const auto [end, bad] = std::from_chars(packet.data() + at, packet.data() + colon, size);
    if (bad != std::errc() || end != packet.data() + colon || size > packet.size() - colon - 1) break;
    fields.push_back(packet.substr(colon + 1, size));
    at = colon + 1 + size;
  }
  if (at != packet.size() || fields.size() != wanted)
    return make_error(ErrorCode::invalid, "tree agent", "not our packet");
  return fields;
}

template <class T>
T number(const std::string& text) {
  T value{};
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

std::string encode(const Request& r) {
  return pack({std::string(1, r.operation), r.root, std::to_string(r.device), r.a, r.b});
}

std::string encode(const Result<std::string>& reply) {
  if (reply) return pack({"ok", *reply, "", "0"});
  const Error& e = reply.err();
  return pack({std::string(to_string(e.code)), e.what, e.cause, std::to_string(e.sys_errno)});
}

Result<Request> decode_request(const std::string& packet) {
  MEDIAFS_ASSIGN(auto f, unpack(packet, 5));
  return Request{f[0].empty() ? '\0' : f[0][0], f[1], number<std::uint64_t>(f[2]), f[3], f[4]};
}

Result<std::string> decode_reply(const std::string& packet) {
  MEDIAFS_ASSIGN(auto f, unpack(packet, 4));
  if (f[0] == "ok") return std::move(f[1]);
  Error error = make_error(error_code_from(f[0]), f[1], f[2]);
  error.sys_errno = number<int>(f[3]);
  return error;
}

bool send_message(int socket, const std::string& packet) {
  ssize_t n = 0;
  do {
    n = send(socket, packet.data(), packet.size(), MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(packet.size());
}

Result<std::string> receive(int socket) {
  std::string packet(kPacket, '\0');
  ssize_t n = 0;
  do {
    n = recv(socket, packet.data(), packet.size(), 0);
  } while (n < 0 && errno == EINTR);
  if (n <= 0) return make_error(ErrorCode::offline, "tree agent", "the other side ended");
  packet.resize(static_cast<std::size_t>(n));
  return packet;
}

}  // namespace mediafs::pipeline::wire
