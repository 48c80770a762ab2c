// systemd's Type=notify: when the tree answers, when it is about to go, and a line for `systemctl status`. Nothing happens
// where $NOTIFY_SOCKET is not set.
// Threads:    safe from any thread.
#pragma once

#include <string>

namespace mediafs::app {

void notify_starting(const std::string& what);
void notify_ready(const std::string& mountpoint);
void notify_stopping();

}  // namespace mediafs::app
