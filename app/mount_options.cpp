#include "app/mount_options.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "common/path.h"

namespace mediafs::app {

namespace {

// For others: mount(8) itself, systemd, the boot; or what holds in any case, as the kernel checks permissions here.
constexpr std::array kIgnored{"defaults",    "auto",
                              "noauto",      "user",
                              "nouser",      "users",
                              "nousers",     "owner",
                              "group",       "nofail",
                              "_netdev",     "rw",
                              "relatime",    "norelatime",
                              "atime",       "diratime",
                              "strictatime", "nostrictatime",
                              "nolazytime",  "loud",
                              "silent",      "default_permissions"};
constexpr std::array kIgnoredWithValue{"x-", "X-", "comment=", "uhelper=", "helper=", "user="};

struct Option {
  std::string name, value;
  bool has_value = false;
};

Error wrong(const Option& option, const std::string& why) {
  return make_error(ErrorCode::config, "mount option " + printable(option.name), why);
}

// Commas divide; not within quotes, nor behind a backslash.
std::vector<Option> split(const std::string& text) {
  std::vector<Option> options;
  std::string item;
  bool quoted = false;
  const auto end_item = [&] {
    if (item.empty()) return;
    const std::size_t equals = item.find('=');
    Option option{.name = item.substr(0, equals), .value = "", .has_value = equals != std::string::npos};
    if (option.has_value) option.value = item.substr(equals + 1);
    options.push_back(std::move(option));
    item.clear();
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      item += text[++i];
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (text[i] == ',' && !quoted) {
      end_item();
    } else {
      item += text[i];
    }
  }
  end_item();
  return options;
}

bool ignored(const Option& option) {
  const std::string whole = option.name + (option.has_value ? "=" : "");
  return std::any_of(kIgnored.begin(), kIgnored.end(), [&](const char* name) { return whole == name; }) ||
         std::any_of(kIgnoredWithValue.begin(), kIgnoredWithValue.end(),
                     [&](const char* start) { return whole.starts_with(start); });
}

std::optional<int> number_of(const std::string& text) {
  int number = -1;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  return parsed.ec == std::errc{} && parsed.ptr == end && number >= 0 ? std::optional(number) : std::nullopt;
}

Result<int> user_of(const Option& option) {
  if (auto number = number_of(option.value)) return *number;
  const passwd* entry = option.value.empty() ? nullptr : getpwnam(option.value.c_str());
  if (entry == nullptr) return wrong(option, "there is no user \"" + printable(option.value) + "\"");
  return static_cast<int>(entry->pw_uid);
}

Result<int> group_of(const Option& option) {
  if (auto number = number_of(option.value)) return *number;
  const group* entry = option.value.empty() ? nullptr : getgrnam(option.value.c_str());
  if (entry == nullptr) return wrong(option, "there is no group \"" + printable(option.value) + "\"");
  return static_cast<int>(entry->gr_gid);
}

// False: not one of these.
Result<bool> read_switch(const Option& option, MountOptions& into) {
  const std::string& name = option.name;
  if (name == "ro") {
    into.read_only = true;
  } else if (name == "allow_other" || name == "noallow_other") {
    into.allow_other = name == "allow_other";
    if (!option.has_value) return true;
    if (option.value != "true" && option.value != "false") return wrong(option, "must be true or false");
    into.allow_other = (option.value == "true") == *into.allow_other;
    return true;
  } else {
    return false;
  }
  if (option.has_value) return wrong(option, "takes no value");
  return true;
}

Result<bool> read_value(const Option& option, MountOptions& into) {
  const std::string& name = option.name;
  if (name == "uid") {
    MEDIAFS_ASSIGN(into.uid, user_of(option));
  } else if (name == "gid") {
    MEDIAFS_ASSIGN(into.gid, group_of(option));
  } else if (name == "umask") {
    into.umask = option.value;
  } else if (name == "fsname") {
    into.fsname = option.value;
  } else if (name == "subtype") {
    into.subtype = option.value;
  } else if (name == "nosubtype") {
    into.subtype = "";
    return true;
  } else if (name == "config" || name == "share" || name == "vault") {
    (name == "config" ? into.config : name == "share" ? into.share : into.vault) = option.value;
  } else {
    return false;
  }
  if (option.value.empty() && name != "subtype") return wrong(option, "needs a value: " + name + "=VALUE");
  return true;
}

bool is_kernel(const Option& option) {
  const auto& all = kernel_mount_options();
  return !option.has_value && std::find(all.begin(), all.end(), option.name) != all.end();
}

}  // namespace

Result<MountOptions> parse_mount_options(const std::string& text, bool sloppy) {
  MountOptions options;
  for (const Option& option : split(text)) {
    // mount(8) says rw by itself: it goes over an ro before it, and not over the configuration.
    if (option.name == "rw") options.read_only.reset();
    if (ignored(option)) continue;
    if (is_kernel(option)) {
      options.kernel.push_back(option.name);
      continue;
    }
    MEDIAFS_ASSIGN(const bool was_switch, read_switch(option, options));
    if (was_switch) continue;
    MEDIAFS_ASSIGN(const bool had_value, read_value(option, options));
    if (had_value || sloppy) continue;
    if (option.name == "remount") {
      return wrong(option, "a mount that is served is changed by mediafs unmount and a new mount");
    }
    return wrong(option,
                 "unknown (docs/configure.md lists them; mediafs's other settings stand in its file)");
  }
  return options;
}

void apply(const MountOptions& options, Config::Mount& mount) {
  if (options.allow_other) mount.allow_other = *options.allow_other;
  if (options.read_only) mount.read_only = *options.read_only;
  if (options.fsname) mount.fsname = *options.fsname;
  if (options.subtype) mount.subtype = *options.subtype;
  if (options.umask) mount.umask = *options.umask;
  if (options.uid) mount.uid = *options.uid;
  if (options.gid) mount.gid = *options.gid;
  mount.options.insert(mount.options.end(), options.kernel.begin(), options.kernel.end());
}

std::vector<std::string> helper_arguments(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return {};
  const std::string_view called(base_name(arguments[0]));
  const bool by_mount = called == "mount.mediafs" || called == "mount.fuse.mediafs";
  // No subcommand has a slash.
  const bool by_mount_fuse =
      arguments.size() >= 3 && arguments[1].find('/') != std::string::npos && arguments[1][0] != '-';
  if (!by_mount && !by_mount_fuse) return {};
  std::vector<std::string> out{arguments[0], "mount"};
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument.size() < 2 || argument[0] != '-' || argument.starts_with("--")) {
      out.push_back(argument);
      continue;
    }
    const std::string_view letters = std::string_view(argument).substr(1);
    if (letters[0] == 'o' || letters[0] == 't' || letters[0] == 'N') {  // with a value, here or in the next
      std::string value(letters.substr(1));
      if (value.empty() && i + 1 < arguments.size()) value = arguments[++i];
      if (letters[0] == 'o') out.insert(out.end(), {"-o", value});
      continue;
    }
    for (const char letter : letters) {
      if (letter == 's') out.emplace_back("--sloppy");
      if (letter == 'f') out.emplace_back("--fake");
      if (letter == 'h') out.emplace_back("--help");
      if (std::string_view("sfhnvrw").find(letter) == std::string_view::npos) out.push_back(argument);
    }
  }
  return out;
}

}  // namespace mediafs::app
