// Whose the files look: mount.uid, gid and umask go over what the branches say, in answers to the kernel only. It
// decides by these who may do what; chown and chmod change the file beneath, and go on not to be seen.
// Threads:    a value; read-only once made.
#pragma once

#include <sys/stat.h>

#include <optional>

#include "common/config.h"

namespace mediafs::fs {

struct Shown {
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<mode_t> umask;

  static Shown of(const Config::Mount& mount) {
    Shown shown;
    if (mount.uid >= 0) shown.uid = static_cast<uid_t>(mount.uid);
    if (mount.gid >= 0) shown.gid = static_cast<gid_t>(mount.gid);
    if (const auto mask = umask_of(mount)) shown.umask = *mask;
    return shown;
  }
  struct stat over(struct stat st) const {
    st.st_uid = uid.value_or(st.st_uid);
    st.st_gid = gid.value_or(st.st_gid);
    if (umask && !S_ISLNK(st.st_mode)) st.st_mode = (st.st_mode & S_IFMT) | (0777 & ~*umask);
    return st;
  }
};

}  // namespace mediafs::fs
