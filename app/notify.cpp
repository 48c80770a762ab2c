#include "app/notify.h"

#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/path.h"

namespace mediafs::app {

namespace {

// A failure is systemd's to notice: it has a time limit of its own.
void notify(const std::string& text) {
  (void)sd_notify(0, text.c_str());
}

}  // namespace

void notify_starting(const std::string& what) {
  notify("STATUS=Starting: " + what);
}

// The process that was started may have gone to the background by now: this one is it.
void notify_ready(const std::string& mountpoint) {
  notify("MAINPID=" + std::to_string(getpid()) + "\nREADY=1\nSTATUS=Serving " + printable(mountpoint));
}

void notify_stopping() {
  notify("STOPPING=1\nSTATUS=Stopping: answering what is under way");
}

}  // namespace mediafs::app
