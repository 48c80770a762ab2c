// Hook jobs: which of the configured hooks an event calls for. They are made in the transaction of the fact that they
// tell of, so that a kill loses neither.
// Threads:    pure functions.
// Shapes:     a hook job's path is "INDEX:EVENT:PATH", INDEX counting the [[hook]] tables from 0. Its generation is the
//             time of the event, so that each event is a job of its own.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mediafs::tier {

inline constexpr std::string_view kEventArrived = "arrived";    // a file below Incoming has settled
inline constexpr std::string_view kEventFiled = "filed";        // one of those has its place in the library
inline constexpr std::string_view kEventUploaded = "uploaded";  // the vault confirmed its newest content
inline constexpr std::string_view kEventEvicted = "evicted";    // its local copy was given up
inline constexpr std::string_view kEventDeleted = "deleted";    // it is gone from the library
inline constexpr std::string_view kEventDead = "dead";          // a job about it used up its tries

struct HookCall {
  std::size_t index = 0;
  std::string event;
  std::string path;
};
std::string hook_job_path(const HookCall& call);
std::optional<HookCall> hook_call(std::string_view job_path);  // unset: not a hook job's path

}  // namespace mediafs::tier
