// The share: a directory where somebody else's server is mounted. Every call runs on the branch's own threads with a
// deadline; after one that passed, when the marker is missing, or when nothing is mounted where something was, the branch counts as
// absent until a probe succeeds.
// Threads:    safe from any thread. call() blocks up to the timeout, or until `stop`; look() for a moment at most.
// Owns:       its threads. One that hangs in a dead server is left behind: nothing can end it, so nothing joins it
//             (64 at most; then what hangs takes the place of what works).
// Errors:     timeout (this call hung), offline (it counts as absent), busy (a look's answer is late), cancelled
//             (`stop`); else the call's own.
// Invariants: (1) a call that was given up before it began never begins.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "common/fd.h"
#include "common/result.h"

namespace mediafs::fs {

class ShareBranch {
  struct State;

 public:
  struct Options {
    std::string path;
    std::string marker;    // "": none
    bool mounted = false;  // the path was seen to be a mount point: it is absent while it is none
    std::chrono::milliseconds timeout{5000};
  };
  explicit ShareBranch(Options options);
  ~ShareBranch();
  ShareBranch(const ShareBranch&) = delete;
  ShareBranch& operator=(const ShareBranch&) = delete;

  bool usable() const noexcept;
  std::uint64_t times_back()
      const noexcept;                    // how often it has become usable: whoever looks seldom misses none
  bool is_mount_point() const noexcept;  // was seen to be one, now or before
  bool wait_until_probed();              // the first probe's outcome, or false after the timeout
  const std::string& path() const noexcept;
  const std::string& marker() const noexcept;

  // `work` gets a descriptor of the share's root. It must own all that it uses: it may outlive the caller.
  template <class T>
  Result<T> call(std::function<Result<T>(int root)> work, const std::stop_token& stop = {}) {
    return on_root(Wait::deadline, std::move(work), stop);
  }
  // As call(), for a question that can be answered from memory as well. busy: the answer is late, or that of another
  // look is, and nobody waits for it. One that stays out for the timeout makes the branch absent, too.
  template <class T>
  Result<T> look(std::function<Result<T>(int root)> work, const std::stop_token& stop = {}) {
    return on_root(Wait::moment, std::move(work), stop);
  }

  // An open file on the share: read and written through call(), closed on the branch's threads.
  class File {
   public:
    File(ShareBranch& branch, Fd fd);
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int fd() const noexcept { return fd_.get(); }

   private:
    std::shared_ptr<State> state_;
    Fd fd_;
  };
  // As call(), on an open file; does not need the root.
  template <class T>
  Result<T> call_file(std::shared_ptr<File> file, std::function<Result<T>(int fd)> work,
                      const std::stop_token& stop = {}) {
    auto result = std::make_shared<std::optional<Result<T>>>();
    MEDIAFS_TRY(run_plain(
        Wait::deadline,
        [result, file = std::move(file), work = std::move(work)] { result->emplace(work(file->fd())); },
        stop));
    return std::move(**result);
  }

 private:
  enum class Wait : std::uint8_t { moment, deadline };
  template <class T>
  Result<T> on_root(Wait wait, std::function<Result<T>(int root)> work, const std::stop_token& stop) {
    auto result = std::make_shared<std::optional<Result<T>>>();
    MEDIAFS_TRY(run(
        wait,
        [result, work = std::move(work)](Result<Fd> root) {
          if (root) {
            result->emplace(work(root->get()));
          } else {
            result->emplace(std::move(root).error());
          }
        },
        stop));
    return std::move(**result);
  }
  Status run(Wait wait, std::function<void(Result<Fd> root)> work, const std::stop_token& stop);
  Status run_plain(Wait wait, std::function<void()> work, const std::stop_token& stop);
  std::shared_ptr<State> state_;
};

}  // namespace mediafs::fs
