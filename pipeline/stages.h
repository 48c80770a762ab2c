// The stages: what a job of each kind does. One file each, stage_<name>.cpp.
// Threads:    handlers are safe from any number of the stage's threads.
// Borrows:    everything in Tools (outlives the workers).
// Errors:     as pipeline/workers.h's retry_plan reads them: changed = nothing left to do, busy = later.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "common/config.h"
#include "common/result.h"
#include "pipeline/tree.h"
#include "pipeline/workers.h"
#include "tier/mover.h"
#include "tier/stream.h"

namespace mediafs::pipeline {

struct Tools {
  tier::Branches& branches;
  tier::Mover& mover;
  tier::Streams* streams = nullptr;
  Tree& tree;
  std::string mountpoint;                    // of the tree, for hooks
  std::function<void()> plan_eviction = {};  // something became evictable
  std::chrono::milliseconds hook_limit = std::chrono::minutes(10);
};

Result<Handler> organize_stage(Tools& tools);  // config: a template of [organize] is wrong
Handler checksum_stage(Tools& tools);
Handler upload_stage(Tools& tools);
Handler evict_stage(Tools& tools);
Handler relocate_stage(Tools& tools);
Handler forget_stage(Tools& tools);
Handler restat_stage(Tools& tools);
Handler hook_stage(Tools& tools);

// A file below Incoming has settled: its organize job and the hooks on that, unless its name is one that [incoming]
// ignore leaves alone.
Status enqueue_arrival(Tools& tools, const std::string& path);
bool ignored_in_incoming(const Config::Incoming& incoming, std::string_view path);

}  // namespace mediafs::pipeline
