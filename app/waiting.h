// `jobs wait` and `unmount --drain`: wait for the queue's events until nothing is on its way.
// Threads:    each call on its connection's thread.
// Borrows:    Activity (outlives the call).
// Errors:     cancelled: only the waiting ends; what `look` fails with.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <stop_token>

#include "app/activity.h"
#include "app/control.h"

namespace mediafs::app {

// Fills in the progress; true: nothing is on its way.
using Look = std::function<Result<bool>(Json& progress)>;

struct WaitTimes {
  // Between a file's arrival and the notice of it there is a moment when nothing counts: so done is what stays done.
  std::chrono::milliseconds quiet{500};
  std::chrono::milliseconds gather{100};  // events come in bursts, and a look costs queries
  std::chrono::milliseconds look_again{
      2000};  // what tells no event: a file that settles into nothing, bytes moved
};

// Looks, tells the progress, and waits for the next event.
Status wait_until_done(Activity& activity, const Look& look, const ProgressSink& progress,
                       const std::stop_token& stop, const WaitTimes& times = {});

}  // namespace mediafs::app
