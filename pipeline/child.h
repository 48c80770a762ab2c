// Processes of ours: started with a clean environment, default signals, no descriptors of the daemon's, and a process
// group of their own.
// Threads:    start_child() from any thread; a Child belongs to one at a time.
// Owns:       the process until it has ended: ~Child kills its group.
// Errors:     those of the system calls.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <initializer_list>
#include <string>
#include <vector>

#include "common/fd.h"
#include "common/result.h"

namespace mediafs::pipeline {

struct ChildOptions {
  std::vector<std::string> command;
  std::vector<std::string> environment;  // beside clean_environment()
  int output = -1;                       // its stdout and stderr; -1: /dev/null
  int socket = -1;                       // becomes its descriptor 3; -1: none
};

// PATH, HOME, USER, LANG, LC_ALL, TZ and TMPDIR as the daemon has them, and nothing else: secrets may stand in the rest.
std::vector<std::string> clean_environment();
// NAME=VALUE of those of `names` that the daemon's environment has.
std::vector<std::string> environment_of(std::initializer_list<const char*> names);

class Child {
 public:
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();
  int pidfd() const { return pidfd_.get(); }  // readable once it has ended
  // True when it has ended within `limit`; its wait status is in `status` then.
  bool await_end(std::chrono::milliseconds limit, int& status);
  void signal_group(int number) const;

 private:
  friend Result<Child> start_child(const ChildOptions& options);
  Child(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_;
  Fd pidfd_;
};

Result<Child> start_child(const ChildOptions& options);

}  // namespace mediafs::pipeline
