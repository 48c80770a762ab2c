// The control socket: how the commands talk to the daemon.
// Threads:    Server runs one thread a connection (at most 32) and its handlers on them; Client is single-threaded.
// Owns:       the socket file (mode 0600) for the server's life.
// Shapes:     one JSON object a line. Request {"command": "...", "args": {...}}; then any number of
//             {"progress": {...}} and one {"result": {...}} or {"error": {"code", "what", "cause"}}. A client that
//             closes its end stops its command. Paths in args are percent-encoded: they are bytes.
// Errors:     offline (nobody listens), io, invalid (not our protocol); otherwise what the daemon answered.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <stop_token>
#include <string>

#include "common/fd.h"
#include "common/result.h"

namespace mediafs::app {

using Json = nlohmann::json;
using ProgressSink = std::function<void(const Json&)>;

class ControlServer {
 public:
  using Handler =
      std::function<Result<Json>(const Json& args, const ProgressSink& progress, std::stop_token stop)>;
  // Takes the place of a socket file that nobody listens on.
  static Result<std::unique_ptr<ControlServer>> open(const std::string& socket_path);
  ~ControlServer();                                // stops: running handlers get their stop token
  void add(std::string command, Handler handler);  // before start()
  void start();

 private:
  struct Impl;
  explicit ControlServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// One command, one connection. `progress` may be unset.
Result<Json> control_call(const std::string& socket_path, const std::string& command, const Json& args,
                          const ProgressSink& progress);

}  // namespace mediafs::app
