// mediafs verify: reads files back and compares them with their sidecars and the catalogue's checksums.
#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/cli.h"
#include "app/progress.h"
#include "common/fd.h"
#include "common/hash.h"
#include "common/path.h"

namespace mediafs::app {

namespace {

struct VerifyArguments {
  std::vector<std::string> paths;
  std::string since;
  bool vault = false;
};

struct File {
  std::string path;
  std::uint64_t size_bytes = 0;
};

struct Report {
  std::uint64_t files = 0, bytes = 0, in_vault_only = 0, without_checksum = 0;
  std::uint64_t objects = 0, object_bytes = 0;  // read back from the vault
  Json bad = Json::array();
  Json gone = Json::array();  // deleted or renamed while we looked
};

std::string attribute(const std::string& path, const char* name) {
  char value[256];
  const ssize_t n = lgetxattr(path.c_str(), name, value, sizeof(value));
  return n > 0 ? std::string(value, static_cast<std::size_t>(n)) : "";
}

// A time as RFC 3339 or YYYY-MM-DD, or a file whose mtime counts.
Result<std::time_t> since_time(const std::string& text) {
  if (text.empty()) return std::time_t{0};
  std::tm tm{};
  for (const char* form : {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"}) {
    const char* end = strptime(text.c_str(), form, &tm);
    if (end != nullptr && *end == '\0') return timegm(&tm);
  }
  auto st = stat_at(AT_FDCWD, text);
  if (!st)
    return make_error(ErrorCode::invalid, "--since " + text,
                      "neither a time (2026-01-31 or 2026-01-31T12:00:00Z) nor a file");
  return st->st_mtim.tv_sec;
}

bool is_gone(int error) {
  return error == ENOENT || error == ESTALE;
}

Result<std::vector<File>> collect(const std::vector<std::string>& paths, std::time_t since, Report& report) {
  std::vector<File> out;
  for (const auto& path : paths) {
    char* roots[] = {const_cast<char*>(path.c_str()), nullptr};
    const std::unique_ptr<FTS, int (*)(FTS*)> walk(
        fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, nullptr), &fts_close);
    if (!walk) return errno_error(errno, "verify " + printable(path));
    while (const FTSENT* entry = fts_read(walk.get())) {
      if (entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR) {
        const Error error = errno_error(entry->fts_errno, "verify " + printable(entry->fts_path));
        if (entry->fts_level == FTS_ROOTLEVEL) return error;  // a name that somebody has typed
        (is_gone(entry->fts_errno) ? report.gone : report.bad)
            .push_back({{"path", printable(entry->fts_path)}, {"why", error.message()}});
        continue;
      }
      if (entry->fts_info != FTS_F || is_sidecar(entry->fts_path)) continue;
      if (entry->fts_statp->st_mtime < since) continue;
      out.push_back({entry->fts_path, static_cast<std::uint64_t>(entry->fts_statp->st_size)});
    }
  }
  return out;
}

struct Expected {
  std::string algorithm, digest;
};

std::vector<Expected> expectations(const std::string& path) {
  std::vector<Expected> out;
  for (const char* algorithm : {"sha1", "sha256", "xxh128"}) {
    const std::string sidecar = sidecar_path(path, algorithm);
    const auto st = stat_at(AT_FDCWD, sidecar);
    if (!st || !S_ISREG(st->st_mode)) continue;  // to open a pipe would wait for whoever writes it
    auto text = read_file(AT_FDCWD, sidecar, 1024);
    if (text) out.push_back({algorithm, text->substr(0, text->find_first_of(" \n"))});
  }
  const std::string known = attribute(path, "user.mediafs.checksum");
  if (known.starts_with("xxh128:")) out.push_back({"xxh128", known.substr(7)});
  return out;
}

std::string digest_of(const Checksums& sums, const std::string& algorithm) {
  if (algorithm == "sha1") return sums.sha1_hex;
  return algorithm == "sha256" ? sums.sha256_hex : to_hex(sums.xxh128);
}

Status verify_one(const std::string& path, const std::vector<Expected>& expected) {
  MEDIAFS_ASSIGN(auto fd, open_at(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  bool sha256 = false;
  for (const auto& e : expected) sha256 = sha256 || e.algorithm == "sha256";
  MEDIAFS_ASSIGN(const auto sums, hash_fd(fd.get(), {.sha1 = true, .sha256 = sha256}));
  for (const auto& e : expected) {
    const std::string found = digest_of(sums, e.algorithm);
    if (found != e.digest) {
      return make_error(ErrorCode::corrupt, printable(path),
                        e.algorithm + " is " + found + ", expected " + printable(e.digest));
    }
  }
  return {};
}

void verify(const Context& context, const std::vector<File>& files, Report& report) {
  std::uint64_t total = 0;
  for (const auto& f : files) total += f.size_bytes;
  std::uint64_t done = 0;
  std::unique_ptr<Progress> bar;
  if (!context.json) bar = std::make_unique<Progress>("verify");
  for (const auto& f : files) {
    if (bar) bar->show(done, total, Progress::Unit::bytes, printable(base_name(f.path)));
    done += f.size_bytes;
    if (attribute(f.path, "user.mediafs.branch") == "vault") {
      report.in_vault_only++;  // the mount might read it from its cache
      continue;
    }
    const auto expected = expectations(f.path);
    if (expected.empty() && !stat_at(AT_FDCWD, f.path)) {
      report.gone.push_back({{"path", printable(f.path)}, {"why", "it is gone"}});
      continue;
    }
    if (expected.empty()) {
      report.without_checksum++;
      continue;
    }
    report.files++;
    report.bytes += f.size_bytes;
    if (auto ok = verify_one(f.path, expected); !ok) {
      const bool gone = !stat_at(AT_FDCWD, f.path);
      (gone ? report.gone : report.bad).push_back({{"path", printable(f.path)}, {"why", ok.err().message()}});
      if (!gone) continue;
      report.files--;
      report.bytes -= f.size_bytes;
    }
  }
  if (bar) bar->show(total, total, Progress::Unit::bytes, "");
}

// The daemon reads the objects, past its cache.
Status verify_objects(const Context& context, const std::vector<std::string>& paths, std::time_t since,
                      Report& report) {
  MEDIAFS_ASSIGN(const auto daemon, daemon_for(context, paths));
  MEDIAFS_ASSIGN(Json request, tree_paths(daemon, paths));
  MEDIAFS_ASSIGN(const Json answer,
                 call(context, daemon, "verify_vault", {{"paths", std::move(request)}, {"since", since}}));
  report.objects = answer.value("files", std::uint64_t{0});
  report.object_bytes = answer.value("bytes", std::uint64_t{0});
  for (const auto& bad : answer.value("bad", Json::array())) report.bad.push_back(bad);
  return {};
}

int run(const Context& context, const VerifyArguments& args) {
  auto since = since_time(args.since);
  if (!since) return fail(context, since.err());
  std::vector<std::string> paths = args.paths;
  if (paths.empty()) {
    auto daemon = daemon_for(context, {});
    if (!daemon) return fail(context, daemon.err());
    paths.push_back(daemon->mountpoint);
  }
  Report report;
  auto files = collect(paths, *since, report);
  if (!files) return fail(context, files.err());
  verify(context, *files, report);
  if (args.vault) {
    if (auto done = verify_objects(context, paths, *since, report); !done) return fail(context, done.err());
  }
  if (context.json) {
    print_json({{"files", report.files},
                {"bytes", report.bytes},
                {"in_vault_only", report.in_vault_only},
                {"objects", report.objects},
                {"object_bytes", report.object_bytes},
                {"without_checksum", report.without_checksum},
                {"bad", report.bad},
                {"gone", report.gone}});
  } else {
    for (const auto& b : report.bad) std::cerr << "mediafs: verify: " << b.value("why", "") << "\n";
    std::cout << report.files << " files, " << human_bytes(report.bytes) << " verified, " << report.bad.size()
              << " bad";
    if (args.vault)
      std::cout << "; " << report.objects << " objects of the vault, " << human_bytes(report.object_bytes);
    if (report.in_vault_only > 0 && !args.vault)
      std::cout << "; " << report.in_vault_only << " only in the vault (--vault reads them too)";
    if (!report.gone.empty()) std::cout << "; " << report.gone.size() << " gone meanwhile";
    if (report.without_checksum > 0) std::cout << "; " << report.without_checksum << " without a checksum";
    std::cout << "\n";
  }
  return report.bad.empty() ? kDone : kFailed;
}

}  // namespace

void add_verify(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("verify", "read files back and compare them with their checksums");
  add_common(*command, context);
  auto args = std::make_shared<VerifyArguments>();
  command->add_option("PATH", args->paths, "files or directories; none: the whole tree");
  command->add_option("--since", args->since, "only what changed since this time or this file's mtime");
  command->add_flag("--vault", args->vault,
                    "the objects in the vault, too: they are read back, past the cache");
  command->callback([args, &context] { context.run = [args, &context] { return run(context, *args); }; });
}

}  // namespace mediafs::app
