// mediafs doctor: what is wrong with this machine or configuration, and how to mend it.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/cli.h"
#include "app/names_alike.h"
#include "app/space_check.h"
#include "app/vault_check.h"
#include "common/fd.h"
#include "common/mounts.h"
#include "common/path.h"
#include "fs/mountpoint.h"
#include "tier/catalogue/catalogue.h"
#include "tier/catalogue/health.h"

namespace mediafs::app {

namespace {

struct Finding {
  enum class Grade : std::uint8_t { ok, warning, bad } grade = Grade::ok;
  std::string what, advice;
};
using Findings = std::vector<Finding>;
using Grade = Finding::Grade;

void check_fuse(Findings& out, bool allow_other) {
  if (access("/dev/fuse", R_OK | W_OK) != 0) {
    out.push_back({Grade::bad, "/dev/fuse: " + std::string(errno == ENOENT ? "not there" : "no access"),
                   "load the module (modprobe fuse); in a container pass the device (--device /dev/fuse "
                   "--cap-add SYS_ADMIN)"});
    return;
  }
  out.push_back({Grade::ok, "/dev/fuse can be opened", ""});
  if (geteuid() == 0) return;
  if (access("/usr/bin/fusermount3", X_OK) != 0 && access("/bin/fusermount3", X_OK) != 0) {
    out.push_back({Grade::bad, "fusermount3 is not installed", "apt install fuse3"});
  }
  if (fs::user_allow_other()) return;
  if (allow_other) {
    out.push_back({Grade::bad, "mount.allow_other needs user_allow_other in /etc/fuse.conf",
                   "add the line user_allow_other, or set mount.allow_other = false"});
  } else {
    out.push_back(
        {Grade::warning,
         "only you will see the tree, no media server that runs as another user: /etc/fuse.conf lacks "
         "user_allow_other",
         "add the line user_allow_other; then mount.allow_other = true, or mount -o allow_other"});
  }
}

void check_limits(Findings& out) {
  auto text = read_file(AT_FDCWD, "/proc/sys/fs/inotify/max_user_watches", 64);
  const long watches = text ? strtol(text->c_str(), nullptr, 10) : 0;
  if (watches > 0 && watches < 65'536) {
    out.push_back({Grade::warning, "fs.inotify.max_user_watches is " + std::to_string(watches),
                   "more directories than that are looked through now and then only: sysctl "
                   "fs.inotify.max_user_watches=524288"});
  } else {
    out.push_back({Grade::ok, "inotify watches: " + std::to_string(watches), ""});
  }
}

void check_local(Findings& out, const Config& config) {
  auto st = stat_at(AT_FDCWD, config.local.path);
  if (!st) {
    out.push_back(
        {Grade::bad, "local.path: " + st.err().message(), "create the directory or correct local.path"});
    return;
  }
  struct statvfs vfs {};
  if (statvfs(config.local.path.c_str(), &vfs) == 0 && vfs.f_blocks > 0) {
    const std::uint64_t total = std::uint64_t(vfs.f_blocks) * vfs.f_frsize;
    for (const Misfit& misfit : space_misfits(config.local, total))
      out.push_back({Grade::warning, misfit.what, misfit.advice});
  }
  const std::string probe = config.local.path + "/.mediafs-doctor-" + std::to_string(getpid());
  Fd fd(open(probe.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) {
    out.push_back({Grade::bad, errno_error(errno, "write to local.path").message(),
                   "run mediafs as an owner of the directory"});
    return;
  }
  fd = Fd(open(probe.c_str(), O_RDONLY | O_CLOEXEC));
  const bool leases = fd && fcntl(fd.get(), F_SETLEASE, F_WRLCK) == 0;
  fd.reset();
  unlink(probe.c_str());
  if (leases) {
    out.push_back({Grade::ok, "local.path can be written and grants leases", ""});
  } else {
    out.push_back({Grade::bad, "local.path grants no leases, so nothing can be evicted safely",
                   "use ext4, xfs or btrfs for the local branch"});
  }
}

void check_mountpoint(Findings& out, const Config& config) {
  struct stat st {};
  if (auto answers = fs::check_answers(config.mount.path); !answers) {
    out.push_back({Grade::bad, answers.err().message(), ""});
    return;
  }
  if (stat(config.mount.path.c_str(), &st) == 0) {
    out.push_back({S_ISDIR(st.st_mode) ? Grade::ok : Grade::bad,
                   "mount.path " + config.mount.path +
                       (S_ISDIR(st.st_mode) ? " is a directory" : " is not a directory"),
                   ""});
    return;
  }
  const int saved = errno;
  if (saved == ENOTCONN) {
    out.push_back({Grade::warning, "mount.path is a dead mount (Transport endpoint is not connected)",
                   "mediafs mount clears it"});
  } else {
    out.push_back({Grade::bad, errno_error(saved, "mount.path " + config.mount.path).message(),
                   "create the directory"});
  }
}

// Whether mounts made here are seen by others, such as containers with a bind mount of the parent.
void check_propagation(Findings& out, const Config& config) {
  const auto mounts = mounts_of();
  const MountRecord* above = mounts ? mount_above(*mounts, config.mount.path) : nullptr;
  if (above == nullptr) return;
  const std::string folder(parent_path(config.mount.path));
  const std::string give = "give containers the folder above it with rslave (docker run -v " + folder + ":" +
                           folder + ":rslave, or --mount type=bind,...,bind-propagation=rslave)";
  if (above->shared) {
    out.push_back({Grade::ok, "mounts below " + above->point + " are seen in other mount namespaces", give});
    return;
  }
  out.push_back({Grade::warning,
                 "mounts below " + above->point + " are not seen by containers that run already",
                 "mount --make-rshared " + above->point + " before mediafs mounts, and " + give});
}

void check_vault(Findings& out, const Config& config) {
  if (config.vault.url.empty()) {
    out.push_back({Grade::warning, "no vault is configured",
                   "nothing is uploaded and nothing can be evicted: set vault.url"});
    return;
  }
  auto credentials = load_credentials(config, process_environment());
  if (!credentials) {
    out.push_back({Grade::bad, credentials.err().message(), ""});
    return;
  }
  auto vault = tier::open_vault(config, *credentials);
  const Status probed = vault ? probe_own_vault(config, **vault) : Status(vault.err());
  if (!probed) {
    out.push_back({Grade::bad, probed.err().message(), ""});
    return;
  }
  out.push_back({Grade::ok, "the vault answers: " + (*vault)->describe(), ""});
  VaultCheck small;
  small.size_bytes = 64U << 10;
  for (const VaultStep& step : check_vault(**vault, small)) {
    if (step.grade == VaultStep::Grade::ok) continue;
    const bool failed = step.grade == VaultStep::Grade::failed;
    out.push_back({failed ? Grade::bad : Grade::warning, "the vault, " + step.name + ": " + step.detail,
                   "mediafs vault test tries it all"});
  }
}

// Beside a daemon too: it only reads.
void check_catalogue(Findings& out, const Config& config) {
  constexpr std::chrono::seconds kLimit{30};
  constexpr const char* kAdvice =
      "mediafs unmount, mediafs rebuild, mediafs mount; the local files are served meanwhile";
  const std::string file = config.local.state + "/catalogue.db";
  const bool known = access((config.local.state + "/" + tier::kKnownVaultFile).c_str(), F_OK) == 0;
  if (access(file.c_str(), R_OK) != 0) {
    if (known) out.push_back({Grade::bad, "the catalogue is gone: " + file, kAdvice});
    return;
  }
  auto db = sql::Connection::open(file, sql::Connection::Mode::read_only);
  const Status sound = db ? tier::check_database(**db, false, kLimit) : Status(db.err());
  if (!sound && sound.err().code != ErrorCode::cancelled) {
    out.push_back({Grade::bad, sound.err().message(), kAdvice});
    return;
  }
  auto catalogue = tier::Catalogue::open({.path = file, .read_only = true});
  const std::string why = catalogue ? (*catalogue)->setting(tier::kIncomplete).value_or("") : "";
  if (why.empty()) {
    out.push_back({Grade::ok,
                   sound ? "the catalogue is whole" : "the catalogue is too large to be looked at here", ""});
  } else {
    out.push_back({Grade::bad, "the catalogue is incomplete: " + why, kAdvice});
  }
}

// From what the daemon remembers of the share: looking there would take long, or for ever.
void check_share_names(Findings& out, const Config& config) {
  constexpr std::size_t kShown = 10;
  const std::string file = config.local.state + "/catalogue.db";
  if (config.share.path.empty() || access(file.c_str(), R_OK) != 0) return;
  auto catalogue = tier::Catalogue::open({.path = file, .read_only = true});
  auto found = catalogue ? names_alike(**catalogue, kShown) : Result<NamesAlike>(catalogue.err());
  if (!found) {
    out.push_back({Grade::warning, "the share's names can't be compared: " + found.err().message(), ""});
    return;
  }
  if (found->groups == 0) return;
  std::string what = "names on the share that differ only by case: " + std::to_string(found->groups);
  for (const auto& paths : found->some) {
    std::string line;
    for (const std::string& path : paths) line += (line.empty() ? "" : " | ") + printable(path);
    what += "\n    " + line;
  }
  if (found->groups > found->some.size()) what += "\n    ...";
  out.push_back(
      {Grade::warning, what,
       "an SMB server may show and open such names as one, so that the other's bytes can't be had: give "
       "them different names, on the server"});
}

void check_keys(Findings& out, const Config& config) {
  const std::string file = config.local.state + "/catalogue.db";
  if (config.vault.url.empty() || access(file.c_str(), R_OK) != 0) return;
  auto catalogue = tier::Catalogue::open({.path = file, .read_only = true});
  auto totals = catalogue ? (*catalogue)->totals() : Result<tier::Totals>(catalogue.err());
  if (!totals || totals->escaped.files == 0) return;
  out.push_back({Grade::warning,
                 "objects in the vault whose keys can't be paths: " + std::to_string(totals->escaped.files),
                 "they can be read, renamed and deleted under names with \xE2\x80\x9B{ in them "
                 "(docs/configure.md): rename them to be rid of these"});
}

// libcurl sends a password readable to whoever listens.
void check_password(Findings& out, const Config& config) {
  const auto credentials = load_credentials(config, process_environment());
  if (!config.vault.url.starts_with("webdav://") || !credentials || credentials->password.empty()) return;
  out.push_back({Grade::warning, "the vault's password is sent over the network readably",
                 "use webdavs:// outside your own network"});
}

int run(const Context& context) {
  Findings findings;
  auto config = load_config(context);
  check_fuse(findings, config ? config->mount.allow_other : false);
  check_limits(findings);
  if (!config) {
    findings.push_back({Grade::bad, config.err().message(), ""});
  } else {
    findings.push_back({Grade::ok, "configuration " + config->file, ""});
    check_local(findings, *config);
    check_mountpoint(findings, *config);
    check_propagation(findings, *config);
    check_catalogue(findings, *config);
    check_share_names(findings, *config);
    check_keys(findings, *config);
    check_password(findings, *config);
    check_vault(findings, *config);
  }
  static constexpr const char* kGrades[] = {"ok", "warning", "bad"};
  bool bad = false;
  Json list = Json::array();
  for (const auto& f : findings) {
    const char* grade = kGrades[static_cast<std::size_t>(f.grade)];
    bad = bad || f.grade == Grade::bad;
    list.push_back({{"grade", grade}, {"what", f.what}, {"advice", f.advice}});
    if (context.json) continue;
    std::cout << grade << ": " << f.what << "\n";
    if (!f.advice.empty()) std::cout << "    " << f.advice << "\n";
  }
  if (context.json) print_json({{"ok", !bad}, {"findings", list}});
  return bad ? kFailed : kDone;
}

}  // namespace

void add_doctor(CLI::App& app, Context& context) {
  auto* command =
      app.add_subcommand("doctor", "what is wrong with this machine or configuration, and how to mend it");
  add_common(*command, context);
  command->callback([&context] { context.run = [&context] { return run(context); }; });
}

}  // namespace mediafs::app
