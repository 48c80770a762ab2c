// `jobs wait` and `unmount --drain`, in the daemon.
// Threads:    each call on its connection's thread.
// Errors:     cancelled: only the waiting ends. drain: what is left will not get into the vault by waiting.
#pragma once

#include <stop_token>

#include "app/handlers.h"

namespace mediafs::app {

// Until no job is due or runs. Dead jobs, and those of a paused stage, are nobody's to wait for.
Result<Json> wait_for_jobs(const HandlerParts& parts, const ProgressSink& progress,
                           const std::stop_token& stop);
// The same, and then everything must be in the vault. While the vault is away it waits, and says so.
Result<Json> drain(const HandlerParts& parts, const ProgressSink& progress, const std::stop_token& stop);

}  // namespace mediafs::app
