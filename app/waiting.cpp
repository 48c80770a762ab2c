#include "app/waiting.h"

namespace mediafs::app {

Status wait_until_done(Activity& activity, const std::function<Result<Outlook>()>& look,
                       const ProgressSink& progress, const std::stop_token& stop, const WaitTimes& times) {
  for (;;) {
    const std::uint64_t seen = activity.told();
    MEDIAFS_ASSIGN(auto outlook, look());
    progress(outlook.progress);
    const bool news = activity.await(seen, outlook.done ? times.quiet : times.look_again, stop);
    if (stop.stop_requested())
      return make_error(ErrorCode::cancelled, "wait", "it was stopped; the jobs and uploads go on");
    if (outlook.done && !news) return {};
    if (news) activity.await(activity.told(), times.gather, stop);
  }
}

}  // namespace mediafs::app
