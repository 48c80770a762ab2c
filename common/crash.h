// Named kill points: where a test has the process killed, as by kill -9, between two durable steps.
// Threads:    safe from any thread; a disarmed point costs one relaxed load.
// Crash:      that is what it does: MEDIAFS_CRASH="upload.before_commit:3" kills at the third pass, and "@FILE" while FILE
//             is there and says so, counted from when it first did.
// Invariants: each point has a test that kills there (tests/e2e/test_kill_points.py asks for it).
#pragma once

namespace mediafs {

// REQUIRES: `name` is a literal, "stage.step".
void crash_point(const char* name) noexcept;

}  // namespace mediafs
