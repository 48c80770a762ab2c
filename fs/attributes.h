// user.mediafs.* and user.mergerfs.*: extended attributes that are answered but not listed, so that copies of a file
// don't carry them along.
// Threads:    safe from any thread.
// Errors:     no_attribute() (ENODATA) where a file has none of that name; permission for what can't be set.
#pragma once

#include <string>
#include <string_view>

#include "fs/core.h"

namespace mediafs::fs {

bool is_own_attribute(std::string_view name);
Error no_attribute();
Result<std::string> own_attribute(Core& core, NodeId node, const std::string& path, std::string_view name,
                                  const May& may);
Status set_own_attribute(Core& core, const std::string& path, std::string_view name, std::string_view value);

}  // namespace mediafs::fs
