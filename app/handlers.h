// What the daemon answers on its control socket. docs/operate.md says the commands to users.
// Threads:    handlers run on the control server's threads.
// Borrows:    everything in Parts (outlives the server).
#pragma once

#include "app/activity.h"
#include "app/control.h"
#include "app/report.h"
#include "pipeline/stages.h"

namespace mediafs::app {

struct HandlerParts {
  View view;
  pipeline::Tools& tools;
  pipeline::Workers& workers;
  std::function<void(bool lazily)> request_stop;
  Activity* activity = nullptr;
  std::function<std::size_t()> outstanding_events = {};
};

// Paths are bytes, JSON is text: they travel percent-encoded.
Result<std::vector<std::string>> paths_of(const Json& args);
using Handler = Result<Json>(const HandlerParts& parts, const Json& args, const ProgressSink& progress,
                             const std::stop_token& stop);
// handlers_trash.cpp
Handler trash_list, trash_restore, trash_empty;

void add_handlers(ControlServer& server, const HandlerParts& parts);

}  // namespace mediafs::app
