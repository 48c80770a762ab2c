// Extended attributes of the local branch and of the share.
#include <fcntl.h>
#include <sys/xattr.h>

#include <cerrno>

#include "common/path.h"
#include "fs/tree.h"

namespace mediafs::fs::tree {
namespace {

Error failed(int saved_errno, const char* call, const std::string& path) {
  return errno_error(saved_errno, std::string(call) + " " + printable(path));
}

// Reads a value whose size may change between asking for the size and for the bytes.
template <class Call>
Result<std::string> grown(const char* what, const std::string& path, Call call) {
  std::string value(256, '\0');
  for (;;) {
    const ssize_t size = call(value.data(), value.size());
    if (size >= 0) {
      value.resize(static_cast<std::size_t>(size));
      return value;
    }
    if (errno != ERANGE || value.size() >= 65536) return failed(errno, what, path);
    value.resize(value.size() * 4);
  }
}

template <class Call>
auto with_node(int root, const std::string& path, Call call) -> decltype(call(std::string{})) {
  if (path.empty()) return call(fd_path(root));
  auto node = open_node(root, path);
  if (!node) return std::move(node).error();
  return call(fd_path(node->get()));
}

}  // namespace

Result<std::string> get_xattr(int root, const std::string& path, const std::string& name) {
  return with_node(root, path, [&](const std::string& node) -> Result<std::string> {
    return grown("getxattr", path, [&](char* into, std::size_t size) {
      return ::getxattr(node.c_str(), name.c_str(), into, size);
    });
  });
}

Result<std::string> get_xattr(int fd, const std::string& name) {
  return grown("getxattr", "",
               [&](char* into, std::size_t size) { return ::fgetxattr(fd, name.c_str(), into, size); });
}

Result<std::string> list_xattr(int root, const std::string& path) {
  return with_node(root, path, [&](const std::string& node) -> Result<std::string> {
    return grown("listxattr", path,
                 [&](char* into, std::size_t size) { return ::listxattr(node.c_str(), into, size); });
  });
}

Status set_xattr(int root, const std::string& path, const std::string& name, std::string_view value,
                 int flags) {
  return with_node(root, path, [&](const std::string& node) -> Status {
    if (::setxattr(node.c_str(), name.c_str(), value.data(), value.size(), flags) == 0) return {};
    return failed(errno, "setxattr", path);
  });
}

Status remove_xattr(int root, const std::string& path, const std::string& name) {
  return with_node(root, path, [&](const std::string& node) -> Status {
    if (::removexattr(node.c_str(), name.c_str()) == 0) return {};
    return failed(errno, "removexattr", path);
  });
}

Result<std::string> list_xattr(int fd) {
  return grown("listxattr", "", [&](char* into, std::size_t size) { return ::flistxattr(fd, into, size); });
}

Status set_xattr(int fd, const std::string& name, std::string_view value, int flags) {
  if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), flags) == 0) return {};
  return failed(errno, "setxattr", "");
}

Status remove_xattr(int fd, const std::string& name) {
  if (::fremovexattr(fd, name.c_str()) == 0) return {};
  return failed(errno, "removexattr", "");
}

bool has_acls(int root) {
  return fgetxattr(root, "system.posix_acl_access", nullptr, 0) >= 0 || errno == ENODATA;
}

}  // namespace mediafs::fs::tree
