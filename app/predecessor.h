// What a daemon leaves behind that was killed: a dead mount; or one that nobody serves and that is not dead, because a
// process which can't end holds it. Whoever looks at that waits for ever, so that it is ended before anybody looks.
// Threads:    at start and end, before and after all else.
// Owns:       the file `mounted` in the state directory: who serves which connection.
// Errors:     busy: the killed one does not end.
#pragma once

#include <string>

#include "common/fd.h"
#include "common/result.h"

namespace mediafs::app {

// Ends the connection of the daemon that served this state directory before, if that one is gone or about to be, and
// takes its mount away. A daemon that lives is left alone. Never touches a mount.
Status clear_predecessor(const std::string& state);
// One daemon a local branch: two would undo each other's work. busy: another one has it.
Result<Fd> lock_state(const std::string& state);
// The same for those that keep their state elsewhere: locks the open directory itself, where its filesystem can.
Status lock_local(int local_root, const std::string& path);
void remember_mount(const std::string& state, const std::string& mountpoint);
void forget_mount(const std::string& state);  // it is gone; who starts now waits for this process's end

}  // namespace mediafs::app
