// Named kill points: where a test has the process killed, as by kill -9, between two durable steps.
// Threads:    safe from any thread; a disarmed point costs one relaxed load.
// Crash:      that is what it does: MEDIAFS_CRASH="upload.before_commit:3" kills at the third pass.
#pragma once

namespace mediafs {

// REQUIRES: `name` is a literal, "stage.step".
void crash_point(const char* name) noexcept;

}  // namespace mediafs
