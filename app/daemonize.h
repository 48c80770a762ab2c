// Going to the background: the parent waits until the tree is served, or says why it can't be.
// Threads:    before any thread is made.
#pragma once

#include <functional>
#include <string>

#include "common/fd.h"
#include "common/result.h"

namespace mediafs::app {

// In the child: tell ready(), or exit after writing to stderr, which reaches the parent's terminal until then.
class Background {
 public:
  // Forks. In the parent it never returns: it exits with the child's status, 0 once the child is ready.
  // In the child it returns; from then on `log_file` is where stderr goes once it is ready.
  static Result<Background> enter(std::string log_file);
  void ready();

 private:
  Background(Fd pipe, std::string log_file) : pipe_(std::move(pipe)), log_file_(std::move(log_file)) {}
  Fd pipe_;
  std::string log_file_;
};

}  // namespace mediafs::app
