// The configuration: TOML, the environment over it, every value checked. docs/configure.md says each key to users.
// Threads:    a Config is a value; read-only once loaded.
// Units:      sizes in bytes, times as chrono; Watermark is bytes or a share of the disk.
// Errors:     config: "FILE:LINE: KEY: WHY (did you mean ...?)".
// Secrets:    only in Credentials, loaded apart and never shown; files that others can read are refused.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace mediafs {

struct Watermark {
  std::uint64_t bytes = 0;  // used when percent is 0
  double percent = 0;       // of the filesystem's size
  std::uint64_t of(std::uint64_t total_bytes) const {
    return percent > 0 ? static_cast<std::uint64_t>(static_cast<double>(total_bytes) * percent / 100) : bytes;
  }
};

struct HookConfig {
  std::string on;
  std::vector<std::string> run;
};

struct Config {
  std::string file;  // where it came from, "" for none
  struct Mount {
    std::string path;
    bool allow_other = true;
    bool read_only = false;
    std::string fsname;  // the source that mount(8) shows; "": what was named at the mount, or mediafs
    std::string subtype = "mediafs";   // the type is fuse.SUBTYPE; "": plain fuse
    int uid = -1, gid = -1;            // shown as every file's owner; -1: its own
    std::string umask;                 // octal, shown modes are 0777 without it; "": the files' own
    std::vector<std::string> options;  // the kernel's: noexec, noatime, ...
  } mount;
  struct Local {
    std::string path;
    std::string state;  // filled in: local.path/.mediafs when not given
    std::uint64_t reserve_bytes = 8ULL << 30;
    Watermark evict_below_free{0, 50};
    Watermark evict_until_free{0, 55};
  } local;
  struct Share {
    std::string path;  // "" = no share
    std::string marker;
    std::chrono::milliseconds timeout{5000};
    bool passthrough = false;
  } share;
  struct VaultCfg {
    std::string url;  // "" = no vault
    std::string endpoint;
    bool path_style = true;
    std::string region = "us-east-1";
    std::string credentials;           // a file
    std::string ca;                    // a file of certificates in the place of the system's
    std::uint64_t upload_limit = 0;    // bytes a second
    std::uint64_t download_limit = 0;  // likewise
    std::uint64_t cache_bytes = 20ULL << 30;
    std::chrono::milliseconds trash =
        std::chrono::hours(30 * 24);  // how long deleted files' objects are kept
    bool read_back = true;            // webdav: an upload is read back before it counts
    std::chrono::milliseconds snapshot_every{std::chrono::hours(24)};  // of the catalogue; 0: never
  } vault;
  struct Incoming {
    std::string path = "Incoming";
    std::chrono::milliseconds settle{2000};
    std::vector<std::string> ignore{"*.part", "*.!qB", ".*"};
  } incoming;
  struct Organize {
    std::string movies = "Movies/{title} ({year})/{title} ({year}){edition}{part}.{ext}";
    std::string shows =
        "Shows/{show}/Season {season:02}/{show} - S{season:02}E{episode:02}{-E{last:02}}{ - "
        "episode_title}.{ext}";
    std::string unsorted = "Unsorted";
    std::string on_conflict = "keep_better";
  } organize;
  struct Jobs {
    int organize = 4;
    int upload = 20;
    int checksum = 2;
  } jobs;
  struct Checksum {
    std::string sidecar = "sha1";
  } checksum;
  struct Log {
    std::string level = "info";
    std::string file;
  } log;
  std::vector<HookConfig> hooks;
};

struct Credentials {
  std::string access_key, secret_key, session_token;  // s3
  std::string user, password;                         // webdav
};

using Environment = std::map<std::string, std::string>;
Environment process_environment();

// $MEDIAFS_CONFIG, /etc/mediafs/mediafs.toml, ~/.config/mediafs/mediafs.toml: the first that exists; "" if none.
std::string default_config_file(const Environment& env);
Result<Config> load_config(const std::string& file, const Environment& env);
// The text that load_config would read from a file; `name` stands for the file in messages.
Result<Config> parse_config(std::string_view toml, const std::string& name, const Environment& env);
// Fills what follows from other values and checks what only makes sense together. load_config has done it.
Status finish_config(Config& config);
// What mount.options may hold: the kernel's own options, as mount(8) names them.
const std::vector<std::string>& kernel_mount_options();
// mount.umask as a number; none when it is not set.
std::optional<unsigned> umask_of(const Config::Mount& mount);
// That mount.path and local.path are directories which can be reached; the share and the vault may be away.
Status check_directories(const Config& config);
// "section.key" -> TOML value as text, every effective value, secrets masked. In the file's order.
std::vector<std::pair<std::string, std::string>> show_config(const Config& config);
// From vault.credentials, else MEDIAFS_VAULT_ACCESS_KEY / _SECRET_KEY / _SESSION_TOKEN / _USER / _PASSWORD, else
// AWS's variables, else for s3:// the profile in AWS's files. Nothing found is not an error: fields stay empty.
Result<Credentials> load_credentials(const Config& config, const Environment& env);
Result<std::uint64_t> parse_size(std::string_view text);                  // "8G", "20GiB", "0", "512M"
Result<std::chrono::milliseconds> parse_duration(std::string_view text);  // "2s", "500ms", "5m", "1h"

}  // namespace mediafs
