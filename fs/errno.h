// The one funnel from an Error to the errno that the kernel gets.
// Threads:    pure.
#pragma once

#include "common/result.h"

namespace mediafs::fs {

// What the system said, if it said something; else what the code stands for. Never 0.
int to_errno(const Error& error) noexcept;

}  // namespace mediafs::fs
