#include <algorithm>
#include <cerrno>

#include "common/path.h"
#include "fs/attributes.h"
#include "fs/ops.h"

namespace mediafs::fs {
namespace {

template <class T, class OnTree>
Result<T> on_branch(Core& core, NodeId node, const std::string& path, const May& may, Result<T> on_vault,
                    OnTree on_tree) {
  MEDIAFS_ASSIGN(const Found found, core.resolve(path, may, core.nodes.branch(node)));
  if (found.branch == Branch::local) return on_tree(core.local_root.get());
  if (found.branch != Branch::share) return on_vault;
  auto answer = core.look_at_share<T>(on_tree, may);
  // `ls -l` asks for them: what is listed from memory has none to show.
  if (!answer && is_sick(answer.error())) return on_vault;
  return answer;
}

// What a file without attributes answers: names of no namespace are nobody's.
Error none_of(std::string_view name) {
  for (const std::string_view space : {"user.", "trusted.", "security.", "system."}) {
    if (name.starts_with(space)) return no_attribute();
  }
  return errno_error(EOPNOTSUPP, "getxattr");
}

bool is_acl(std::string_view name) {
  return name.starts_with("system.posix_acl_");
}

// The kernel asks where permission is first asked for by anybody but the owner: what the local branch has not got has
// its mode alone. A share's server has its own say.
Result<std::string> get_acl(Core& core, const std::string& path, const std::string& name) {
  auto acl = tree::get_xattr(core.local_root.get(), path, name);
  if (!acl && (acl.error().code == ErrorCode::not_found || acl.error().code == ErrorCode::unsupported))
    return no_attribute();
  return acl;
}

// The file that has no name any more, open: null where it has one.
std::shared_ptr<FileHandle> nameless(Core& core, NodeId node) {
  return core.nodes.path(node) ? nullptr : core.local_handle(node);
}

Result<std::string> get(Core& core, NodeId node, const std::string& name, const May& may) {
  // The kernel asks for a file's capabilities at its first write.
  if (!is_own_attribute(name)) {
    if (const auto handle = core.local_handle(node)) return tree::get_xattr(handle->fd.get(), name);
  }
  MEDIAFS_ASSIGN(const std::string path, core.path_of(node));
  if (core.is_control(path)) return no_attribute();
  if (is_own_attribute(name)) return own_attribute(core, node, path, name, may);
  if (is_acl(name)) return get_acl(core, path, name);
  return on_branch<std::string>(core, node, path, may, none_of(name),
                                [path, name](int root) { return tree::get_xattr(root, path, name); });
}

// Ours are answered, never listed; the file itself may carry one. `trusted.` is for root alone, as on a disk.
std::string shown_to(uid_t caller, const std::string& names) {
  std::string others;
  for (std::size_t at = 0; at < names.size();) {
    const std::string name = names.c_str() + at;
    at += name.size() + 1;
    const bool shown = !is_own_attribute(name) && (caller == 0 || !name.starts_with("trusted."));
    if (shown) others.append(name).push_back('\0');
  }
  return others;
}

Result<std::string> list(Core& core, NodeId node, uid_t caller, const May& may) {
  if (const auto handle = nameless(core, node)) {
    MEDIAFS_ASSIGN(const std::string names, tree::list_xattr(handle->fd.get()));
    return shown_to(caller, names);
  }
  MEDIAFS_ASSIGN(const std::string path, core.path_of(node));
  if (core.is_control(path)) return std::string{};
  return on_branch<std::string>(
      core, node, path, may, std::string{},
      [path, caller, local = core.local_root.get()](int root) -> Result<std::string> {
        // smbnetfs, which has none, breaks down over the list.
        const auto one =
            root == local ? Result<std::string>{std::string{}} : tree::get_xattr(root, path, "user.mediafs");
        if (!one && one.error().sys_errno == EOPNOTSUPP) return std::string{};
        MEDIAFS_ASSIGN(const std::string names, tree::list_xattr(root, path));
        return shown_to(caller, names);
      });
}

// An ACL that nobody would go by is refused.
Status may_have(Core& core, NodeId node, const std::string& path, const std::string& name, const May& may) {
  if (!is_acl(name)) return {};
  MEDIAFS_ASSIGN(const Found found, core.resolve(path, may, core.nodes.branch(node)));
  if (found.branch != Branch::share) return {};
  return errno_error(EOPNOTSUPP, "setxattr " + name);
}

// An ACL that is set by who is not in the file's group takes its set-gid bit away, as a chmod does.
Status drop_group_bit(int root, const std::string& path, const std::vector<gid_t>& groups) {
  MEDIAFS_ASSIGN(const struct stat st, tree::stat(root, path));
  const bool member = std::find(groups.begin(), groups.end(), st.st_gid) != groups.end();
  if (member || (st.st_mode & S_ISGID) == 0) return {};
  tree::Changes c;
  c.mode = st.st_mode & 07777 & ~mode_t{S_ISGID};
  return tree::apply(root, path, c, true);
}

// A change of a vault-only file's attributes needs a place that can hold them: the file itself, fetched.
template <class OnTree>
Status change(Core& core, NodeId node, const std::string& path, const May& may, OnTree on_tree) {
  MEDIAFS_ASSIGN(const Found found, core.resolve(path, may, core.nodes.branch(node)));
  if (found.branch == Branch::share) return core.ask_share<void>(on_tree, may);
  if (found.branch == Branch::vault) {
    if (S_ISDIR(found.st.st_mode)) {
      MEDIAFS_TRY(core.ensure_local_directory(path, may));
    } else {
      MEDIAFS_TRY(core.fetch(path, may));
    }
  }
  return on_tree(core.local_root.get());
}

}  // namespace

void op_getxattr(Core& core, XattrReply reply, NodeId node, std::string name) {
  auto body = [&core, node, name](const May& may) { return get(core, node, name, may); };
  core.serve(std::move(reply), std::move(body),
             [](XattrReply& r, const std::string& value) { r.value(value); });
}

void op_listxattr(Core& core, XattrReply reply, NodeId node) {
  auto body = [&core, node, caller = reply.caller().uid](const May& may) {
    return list(core, node, caller, may);
  };
  core.serve(std::move(reply), std::move(body),
             [](XattrReply& r, const std::string& names) { r.value(names); });
}

void op_setxattr(Core& core, StatusReply reply, NodeId node, std::string name, std::string value, int flags) {
  const bool watched = name == "system.posix_acl_access" && reply.caller().uid != 0;
  const auto groups = watched ? std::optional(reply.groups()) : std::nullopt;
  auto body = [&core, node, name, value, flags, groups](const May& may) -> Status {
    if (const auto handle = nameless(core, node); handle && !is_own_attribute(name))
      return tree::set_xattr(handle->fd.get(), name, value, flags);
    MEDIAFS_ASSIGN(const std::string path, core.path_of(node));
    if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
    if (is_own_attribute(name)) return set_own_attribute(core, path, name, value);
    MEDIAFS_TRY(may_have(core, node, path, name, may));
    const bool told = is_acl(name) && core.nodes.branch(node) == Branch::local;  // of others' changes, too
    if (told) core.doing(path);
    auto done = change(core, node, path, may, [path, name, value, flags, groups](int root) -> Status {
      MEDIAFS_TRY(tree::set_xattr(root, path, name, value, flags));
      return groups ? drop_group_bit(root, path, *groups) : Status();
    });
    if (told && !done && !needed(done.error())) core.undone(path);
    return done;
  };
  core.serve(std::move(reply), std::move(body), [](StatusReply& r) { r.ok(); });
}

void op_removexattr(Core& core, StatusReply reply, NodeId node, std::string name) {
  auto body = [&core, node, name](const May& may) -> Status {
    if (const auto handle = nameless(core, node); handle && !is_own_attribute(name))
      return tree::remove_xattr(handle->fd.get(), name);
    MEDIAFS_ASSIGN(const std::string path, core.path_of(node));
    if (core.is_control(path)) return make_error(ErrorCode::read_only, printable(path));
    if (is_own_attribute(name)) return set_own_attribute(core, path, name, "0");
    MEDIAFS_ASSIGN(const Found found, core.resolve(path, may, core.nodes.branch(node)));
    if (found.branch == Branch::vault) return none_of(name);
    return change(core, node, path, may,
                  [path, name](int root) { return tree::remove_xattr(root, path, name); });
  };
  core.serve(std::move(reply), std::move(body), [](StatusReply& r) { r.ok(); });
}

}  // namespace mediafs::fs
