#include "common/mounts.h"

#include <fcntl.h>

#include <charconv>

#include "common/fd.h"
#include "common/path.h"

namespace mediafs {

namespace {

constexpr std::size_t kTableLimit = 64U << 20;

bool is_octal(char c) {
  return c >= '0' && c <= '7';
}

std::string unescape(std::string_view field) {  // space, tab, newline and backslash stand as \ooo
  std::string text;
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && is_octal(field[i + 1]) && is_octal(field[i + 2]) &&
        is_octal(field[i + 3])) {
      text += static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0'));
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const std::size_t end = std::min(line.find(' '), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

template <class Number>
void read_number(std::string_view text, Number& into) {
  std::from_chars(text.data(), text.data() + text.size(), into);
}

}  // namespace

std::vector<MountRecord> parse_mounts(std::string_view text) {
  std::vector<MountRecord> mounts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const auto words = words_of(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    // id, parent, major:minor, root, point, options, tags ..., -, type, source, options
    if (words.size() < 9) continue;
    MountRecord mount;
    read_number(words[0], mount.id);
    const std::size_t colon = std::min(words[2].find(':'), words[2].size() - 1);
    read_number(words[2].substr(0, colon), mount.major);
    read_number(words[2].substr(colon + 1), mount.minor);
    mount.point = unescape(words[4]);
    std::size_t at = 6;
    for (; at < words.size() && words[at] != "-"; ++at) mount.shared |= words[at].starts_with("shared:");
    if (at + 2 >= words.size()) continue;
    mount.type = unescape(words[at + 1]);
    mount.source = unescape(words[at + 2]);
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

Result<std::vector<MountRecord>> mounts_of(const std::string& process) {
  MEDIAFS_ASSIGN(const std::string text, read_file(AT_FDCWD, "/proc/" + process + "/mountinfo", kTableLimit));
  return parse_mounts(text);
}

const MountRecord* mounted_at(const std::vector<MountRecord>& mounts, std::string_view point) {
  const MountRecord* found = nullptr;
  for (const MountRecord& mount : mounts) {
    if (mount.point == point) found = &mount;
  }
  return found;
}

const MountRecord* mount_above(const std::vector<MountRecord>& mounts, std::string_view path) {
  const MountRecord* found = nullptr;
  for (const MountRecord& mount : mounts) {
    if (mount.point == path) continue;
    if (mount.point != "/" && !is_within(path, mount.point)) continue;
    if (found == nullptr || mount.point.size() >= found->point.size()) found = &mount;
  }
  return found;
}

}  // namespace mediafs
