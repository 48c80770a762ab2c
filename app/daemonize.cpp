#include "app/daemonize.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace mediafs::app {

Result<Background> Background::enter(std::string log_file) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "go to the background");
  Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t child = fork();
  if (child < 0) return errno_error(errno, "go to the background");
  if (child == 0) {
    reader.reset();
    setsid();
    if (chdir("/") != 0) return errno_error(errno, "go to the background");
    return Background(std::move(writer), std::move(log_file));
  }
  writer.reset();
  char byte = 0;
  ssize_t n = 0;
  do {
    n = read(reader.get(), &byte, 1);
  } while (n < 0 && errno == EINTR);
  if (n == 1) _exit(0);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  _exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

void Background::ready() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const int log = open(log_file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (null >= 0) {
    dup2(null, 0);
    dup2(null, 1);
  }
  if (log >= 0 || null >= 0) dup2(log >= 0 ? log : null, 2);
  if (null >= 0) close(null);
  if (log >= 0) close(log);
  const char byte = '1';
  // The parent may have been killed: then nobody waits for the word.
  if (write(pipe_.get(), &byte, 1) != 1) return;
  pipe_.reset();
}

}  // namespace mediafs::app
