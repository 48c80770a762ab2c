// The daemon: everything wired together, in the order in which it starts and stops.
// Threads:    start(), serve() and the destructor on one thread; request_stop() from any, also a signal
//             handler.
// Owns:       every part of the running program.
// Errors:     config, busy (another daemon has the local branch), not_found (a directory that must exist),
//             and those of mount, catalogue and vault. An unreachable vault is not an error: it is waited
//             for.
// Crash:      safe at any point; the next start goes on.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "common/config.h"
#include "common/result.h"

namespace mediafs::app {

struct DaemonOptions {
  Config config;
  Credentials credentials;
  bool new_vault = false;  // the vault that is met becomes this library's, whatever was known
};

class Daemon {
 public:
  static Result<std::unique_ptr<Daemon>> start(DaemonOptions options);  // mounted, but not yet serving
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  // Serves until unmounted or asked to stop. `ready` is called once the tree answers.
  Status serve(const std::function<void()>& ready);
  void request_stop();

 private:
  struct Parts;
  explicit Daemon(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace mediafs::app
