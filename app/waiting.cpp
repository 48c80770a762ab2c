#include "app/waiting.h"

#include <nlohmann/json.hpp>

namespace mediafs::app {

Status wait_until_done(Activity& activity, const Look& look, const ProgressSink& progress,
                       const std::stop_token& stop, const WaitTimes& times) {
  for (;;) {
    const std::uint64_t seen = activity.told();
    Json now;
    MEDIAFS_ASSIGN(const bool done, look(now));
    progress(now);
    const bool news = activity.await(seen, done ? times.quiet : times.look_again, stop);
    if (stop.stop_requested())
      return make_error(ErrorCode::cancelled, "wait", "it was stopped; the jobs and uploads go on");
    if (done && !news) return {};
    if (news) activity.await(activity.told(), times.gather, stop);
  }
}

}  // namespace mediafs::app
