// What the section [mount] may say about how the tree looks to mount(8) and to those who ask for owners and modes.
#include <algorithm>
#include <charconv>

#include "common/config_keys.h"
#include "common/path.h"

namespace mediafs {

const std::vector<std::string>& kernel_mount_options() {
  static const std::vector<std::string> all{"dev",     "nodev",      "suid", "nosuid",  "exec", "noexec",
                                            "noatime", "nodiratime", "sync", "dirsync", "async"};
  return all;
}

std::optional<unsigned> umask_of(const Config::Mount& mount) {
  unsigned mask = 0;
  const char* end = mount.umask.data() + mount.umask.size();
  const auto parsed = std::from_chars(mount.umask.data(), end, mask, 8);
  if (mount.umask.empty() || parsed.ec != std::errc{} || parsed.ptr != end || mask > 0777)
    return std::nullopt;
  return mask;
}

namespace config_detail {

namespace {

// libfuse and fusermount3 take both in a list that commas divide.
bool is_plain(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    return c == ',' || c == '\\' || static_cast<unsigned char>(c) <= 0x20 || c == 0x7F;
  });
}

}  // namespace

std::optional<KeyProblem> check_mount(const Config& config) {
  const Config::Mount& m = config.mount;
  if (!is_plain(m.fsname)) return KeyProblem{"mount.fsname", "must hold no comma, backslash or space"};
  if (!is_plain(m.subtype)) return KeyProblem{"mount.subtype", "must hold no comma, backslash or space"};
  if (m.uid < -1) return KeyProblem{"mount.uid", "must be a user's number (or -1: each file's own)"};
  if (m.gid < -1) return KeyProblem{"mount.gid", "must be a group's number (or -1: each file's own)"};
  if (!m.umask.empty() && !umask_of(m)) {
    return KeyProblem{"mount.umask",
                      "\"" + printable(m.umask) + "\" is not an octal number up to 777, for example \"022\""};
  }
  const auto& known = kernel_mount_options();
  for (const std::string& option : m.options) {
    if (std::find(known.begin(), known.end(), option) != known.end()) continue;
    return KeyProblem{"mount.options",
                      "\"" + printable(option) + "\" is not known" + suggestion(option, known)};
  }
  return std::nullopt;
}

}  // namespace config_detail

}  // namespace mediafs
