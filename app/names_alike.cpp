#include "app/names_alike.h"

#include <algorithm>
#include <map>
#include <utility>

#include "common/path.h"

namespace mediafs::app {

namespace {

constexpr unsigned kTrail = 0x3F;

bool between(unsigned point, unsigned first, unsigned last) {
  return point >= first && point <= last;
}

unsigned lower(unsigned point) {
  if ((between(point, 0xC0, 0xDE) && point != 0xD7) || (between(point, 0x391, 0x3A9) && point != 0x3A2) ||
      between(point, 0x410, 0x42F)) {
    return point + 0x20;
  }
  if (between(point, 0x400, 0x40F)) return point + 0x50;
  // Pairs, the capital first: at even numbers, and in two stretches at odd ones.
  const bool even = between(point, 0x100, 0x12F) || between(point, 0x132, 0x137) ||
                    between(point, 0x14A, 0x177) || between(point, 0x460, 0x481) ||
                    between(point, 0x48A, 0x4BF) || between(point, 0x4D0, 0x52F);
  const bool odd = between(point, 0x139, 0x148) || between(point, 0x179, 0x17E);
  if (even) return point | 1U;
  return odd && point % 2 == 1 ? point + 1 : point;
}

}  // namespace

std::string without_case(std::string_view name) {
  std::string folded;
  folded.reserve(name.size());
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto byte = static_cast<unsigned char>(name[i]);
    const unsigned next = i + 1 < name.size() ? static_cast<unsigned char>(name[i + 1]) : 0;
    if (between(byte, 'A', 'Z')) {
      folded += static_cast<char>(byte + ('a' - 'A'));
    } else if (between(byte, 0xC2, 0xDF) && between(next, 0x80, 0xBF)) {  // two bytes of UTF-8
      const unsigned point = lower((byte & 0x1FU) << 6 | (next & kTrail));
      folded += static_cast<char>(0xC0U | point >> 6);
      folded += static_cast<char>(0x80U | (point & kTrail));
      ++i;
    } else {
      folded += name[i];
    }
  }
  return folded;
}

Result<NamesAlike> names_alike(tier::Catalogue& catalogue, std::size_t most) {
  NamesAlike found;
  std::vector<std::string> directories{""};
  while (!directories.empty()) {
    const std::string dir = std::move(directories.back());
    directories.pop_back();
    MEDIAFS_ASSIGN(const auto entries, catalogue.share_entries(dir));
    std::map<std::string, std::vector<std::string>> by_name;
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
      std::string path = join_path(dir, entry->name);
      if (entry->is_directory()) directories.push_back(path);
      by_name[without_case(entry->name)].push_back(std::move(path));
    }
    for (auto& [name, paths] : by_name) {
      if (paths.size() < 2) continue;
      std::reverse(paths.begin(), paths.end());
      if (found.groups++ < most) found.some.push_back(std::move(paths));
    }
  }
  return found;
}

}  // namespace mediafs::app
