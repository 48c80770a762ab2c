#include "watcher/watcher.h"

#include "common/path.h"
#include "watcher/engine.h"

namespace mediafs::watcher {

Watcher::Watcher(Options options, OnEvent on_event, OnRaw on_raw)
    : engine_(std::make_unique<Engine>(std::move(options), std::move(on_event), std::move(on_raw))) {}

Watcher::~Watcher() {
  stop();
}

Status Watcher::start() {
  if (thread_.joinable()) return make_error(ErrorCode::busy, "start the watcher", "it runs already");
  MEDIAFS_TRY(engine_->open());
  thread_ =
      std::jthread([engine = engine_.get()](const std::stop_token& stop) noexcept { engine->run(stop); });
  return {};
}

void Watcher::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  engine_->wake();
  thread_.join();
}

Status Watcher::rescan(std::string_view path) {
  if (!path.empty()) MEDIAFS_TRY(check_path(path));
  engine_->request(std::string(path));
  return {};
}

Stats Watcher::stats() const {
  return engine_->stats();
}

}  // namespace mediafs::watcher
