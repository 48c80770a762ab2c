#include "fs/attributes.h"

#include <cerrno>

#include "common/hash.h"
#include "common/path.h"

namespace mediafs::fs {
namespace {

constexpr std::string_view kMediafs = "user.mediafs.";
constexpr std::string_view kMergerfs = "user.mergerfs.";

struct Copies {
  bool local = false, share = false, vault = false;
};

struct About {
  std::string path;
  Found found;
  Copies copies;
  std::optional<tier::Node> row;
};

Result<About> about(Core& core, NodeId node, const std::string& path, const May& may) {
  About a;
  a.path = path;
  MEDIAFS_ASSIGN(a.found, core.resolve(path, may, core.nodes.branch(node)));
  a.row = std::move(a.found.row);
  if (!a.row) {
    MEDIAFS_ASSIGN(a.row, core.b.catalogue->find(path));
  }
  a.copies.local = a.found.branch == Branch::local;
  a.copies.share = a.found.branch == Branch::share;
  a.copies.vault = a.row && a.row->vault && !a.row->vault->lost;
  if (!a.copies.local || !core.share_usable()) return a;
  if (may.level < Level::share) return needs(Level::share);
  a.copies.share =
      core.share->call<struct stat>([path](int root) { return tree::stat(root, path); }, may.stop)
          .has_value();
  return a;
}

std::string branch_name(Branch branch) {
  switch (branch) {
    case Branch::local:
      return "local";
    case Branch::share:
      return "share";
    case Branch::vault:
      return "vault";
    case Branch::control:
      return "control";
    case Branch::none:
      break;
  }
  return "";
}

std::string copies_of(const About& a) {
  std::string list;
  auto add = [&list](bool there, std::string_view name) {
    if (!there) return;
    if (!list.empty()) list += ',';
    list += name;
  };
  add(a.copies.local, "local");
  add(a.copies.share, "share");
  add(a.copies.vault, "vault");
  return list;
}

std::string state_of(Core& core, const About& a) {
  auto moving = [&](std::string_view kind) {
    return core.mover != nullptr && core.mover->transfers().moving(kind, a.path);
  };
  if (a.found.branch == Branch::vault && a.row && a.row->vault && a.row->vault->lost) return "lost";
  if (a.found.branch == Branch::vault) return moving("fetch") ? "fetching" : "vault-only";
  if (moving("upload")) return "uploading";
  return a.row && a.row->in_vault() ? "synced" : "dirty";
}

// One without a row yet is pinned with the directory that it lies in.
bool is_pinned(Core& core, const About& a) {
  if (a.row) return a.row->pinned;
  for (std::string_view above = a.path; !above.empty();) {
    above = parent_path(above);
    const auto row = core.b.catalogue->find(above);
    if (row && *row) return (*row)->pinned;
  }
  return false;
}

Result<std::string> mediafs_attribute(Core& core, const About& a, std::string_view what) {
  const bool file = S_ISREG(a.found.st.st_mode);
  if (what == "branch") return branch_name(a.found.branch);
  if (what == "copies") return copies_of(a);
  if (what == "pin") return std::string(is_pinned(core, a) ? "1" : "0");
  if (what == "state" && file) return state_of(core, a);
  if (what == "checksum" && a.row && a.row->checksum) return "xxh128:" + to_hex(*a.row->checksum);
  return no_attribute();
}

Result<std::string> mergerfs_attribute(Core& core, const About& a, std::string_view what) {
  const std::string relative = "/" + a.path;
  if (what == "relpath") return relative;
  std::vector<std::string> bases;
  if (a.copies.local) bases.push_back(core.b.config.local.path);
  if (a.copies.share) bases.push_back(core.b.config.share.path);
  if (bases.empty()) return no_attribute();  // no path of this machine leads to its bytes
  if (what == "basepath") return bases.front();
  if (what == "fullpath") return bases.front() + relative;
  if (what != "allpaths") return no_attribute();
  std::string all;
  for (const std::string& base : bases) {
    if (!all.empty()) all += '\0';
    all += base + relative;
  }
  return all;
}

}  // namespace

bool is_own_attribute(std::string_view name) {
  return name.starts_with(kMediafs) || name.starts_with(kMergerfs);
}

Error no_attribute() {
  return errno_error(ENODATA, "getxattr");
}

Result<std::string> own_attribute(Core& core, NodeId node, const std::string& path, std::string_view name,
                                  const May& may) {
  MEDIAFS_ASSIGN(const About a, about(core, node, path, may));
  if (name.starts_with(kMediafs)) return mediafs_attribute(core, a, name.substr(kMediafs.size()));
  return mergerfs_attribute(core, a, name.substr(kMergerfs.size()));
}

Status set_own_attribute(Core& core, const std::string& path, std::string_view name, std::string_view value) {
  if (name != "user.mediafs.pin") return errno_error(EPERM, "setxattr " + std::string(name));
  if (value != "0" && value != "1") return errno_error(EINVAL, "setxattr user.mediafs.pin (0 or 1)");
  auto done = core.b.catalogue->set_pinned(path, value == "1");
  // A file that has just arrived is catalogued once it has settled.
  if (!done && done.error().code == ErrorCode::not_found)
    return errno_error(EAGAIN, "pin " + printable(path));
  return done;
}

}  // namespace mediafs::fs
