// What goes between the daemon and its tree agents: one packet a request, one a reply.
// Threads:    pure functions, and one packet on a socket.
// Shapes:     fields are length-prefixed (decimal, ':'), so any bytes travel; a packet has at most 64 KiB.
// Errors:     offline (the other side ended), invalid (not ours).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "common/result.h"

namespace mediafs::pipeline::wire {

inline constexpr char kMeet = 'm', kStat = 's', kRename = 'r', kUnlink = 'u', kWrite = 'w', kRead = 'd',
                      kChecksum = 'c';

// Instead of an answer: a call that takes long goes on.
inline constexpr std::string_view kAlive = "alive";

struct Request {
  char operation = 0;
  std::string root;
  std::uint64_t device = 0;
  std::string a, b;
};

std::string encode(const Request& request);
std::string encode(const Result<std::string>& reply);
Result<Request> decode_request(const std::string& packet);
Result<std::string> decode_reply(const std::string& packet);  // the reply itself, or invalid
bool send_message(int socket, const std::string& packet);
Result<std::string> receive(int socket);

}  // namespace mediafs::pipeline::wire

namespace mediafs::pipeline {

// `alive` is called now and then while it takes long.
std::string carry_out_encoded(const wire::Request& request, const std::function<void()>& alive = {});

}  // namespace mediafs::pipeline
