// Names on the share that differ only by case: its server, as SMB servers do, may show and open them as one.
// Threads:    a function; reads the catalogue's memory of the share, never the share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tier/catalogue/catalogue.h"

namespace mediafs::app {

struct NamesAlike {
  std::uint64_t groups = 0;                    // all of them
  std::vector<std::vector<std::string>> some;  // the paths of the first ones
};
Result<NamesAlike> names_alike(tier::Catalogue& catalogue, std::size_t most);
// As SMB compares, by and large: letters of UTF-8 in lower case; other bytes as they are.
std::string without_case(std::string_view name);

}  // namespace mediafs::app
