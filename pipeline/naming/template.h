// Compiles the templates of [organize]. Internal to pipeline/naming; layout.h has their grammar.
// Threads:    pure functions.
// Errors:     config.
#pragma once

#include <string_view>

#include "pipeline/naming/layout.h"

namespace mediafs::naming {

Result<Template> compile_template(std::string_view key, std::string_view text, bool movies);
// The same template with an episode's date where its season and episode numbers stood in the file's name.
Template daily_template(const Template& shows);

}  // namespace mediafs::naming
